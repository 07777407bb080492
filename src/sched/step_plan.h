// What one forward step computes: "sequence s contributes n new rows", for prefill and decode alike.
// A plain value; broadcast to all ranks, which hold no scheduling state of their own.
#pragma once

#include <cstdint>
#include <vector>

#include "sched/sequence.h"

namespace fathom {

struct SequenceStep {
  SequenceId id = 0;
  int32_t first_position = 0;   // rows stand at [first_position, first_position + rows)
  int32_t rows = 0;
  bool samples = false;         // the last row's logits yield a token
  bool is_prompt = false;       // rows belong to the prompt (or to re-prefill after retraction)
  int32_t cached_tokens = 0;    // at this sequence's first step: prompt tokens found in the cache
  bool first_step = false;
  int32_t retractions = 0;      // of this sequence, so far
  const int32_t* tokens = nullptr;  // ids of the rows; valid until the step is committed
  const int32_t* slots = nullptr;   // position -> pool slot for [0, first_position + rows); likewise
};

struct StepPlan {
  std::vector<SequenceStep> sequences;
  int32_t prompt_rows = 0;  // rows with is_prompt
  int32_t decode_rows = 0;  // one per decoding sequence, and one per forced token
  int32_t decoding = 0;     // sequences without is_prompt
  bool empty() const { return sequences.empty(); }
  void clear() {
    sequences.clear();
    prompt_rows = decode_rows = decoding = 0;
  }
};

}  // namespace fathom
