// A sequence inside the scheduler: its tokens, its pages, and how far its KV is computed.
#pragma once

#include <cstdint>
#include <vector>

#include "cache/prefix_cache.h"
#include "sched/sequence.h"

namespace fathom {

// tokens   | prompt ............................ | generated ... |
// KV       | [0, computed) is in the pool        | rows still to compute |
// pages    | [0, lease.tokens()) the tree's      | then private pages    |
struct Sequence {
  SequenceSpec spec;            // its prompt has moved to `tokens`
  uint64_t arrival = 0;         // order of add()
  std::vector<int32_t> tokens;  // prompt + generated
  int32_t prompt_tokens = 0;
  int32_t computed = 0;
  std::vector<PageId> pages;
  std::vector<int32_t> slots;   // position -> slot, for every position that `pages` cover
  PrefixLease lease;
  int32_t planned_rows = 0;     // in the step under way
  int32_t forced = 0;           // last generated tokens that were not sampled (Committed::forced)
  int32_t cached_tokens = -1;   // at first admission; -1: not admitted yet
  bool started = false;         // its first step was planned
  int32_t retractions = 0;
  bool aborted = false;         // leaves before the next plan

  int32_t generated() const { return static_cast<int32_t>(tokens.size()) - prompt_tokens; }
  int32_t pending() const { return static_cast<int32_t>(tokens.size()) - computed; }
  // Decoding: all but the last token's KV is there, and that of forced ones behind it. Otherwise rows
  // of a prompt (or of a retracted sequence's history) are to be computed first.
  bool decoding() const { return pending() <= 1 + forced && generated() > forced; }
};

}  // namespace fathom
