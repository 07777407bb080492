// The engine's sampling parameters, after validation and defaults (spec: http-api 5.2).
// src/api fills this from JSON and refuses values out of range; everything below trusts it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/shared.h"

namespace fathom {

// What constrains the output (spec: sampling-and-output 6): the client's text, which src/grammar
// compiles before the request is submitted.
struct GrammarSpec {
  enum class Kind { kJsonSchema, kRegex, kEbnf, kStructuralTag };
  Kind kind = Kind::kJsonSchema;
  std::string text;  // JSON object mode is the schema {"type": "object"}
  // Generated tokens up to and including the first occurrence of these are free; the grammar binds
  // what follows (the ids of "</think>" for a model that thinks). Empty: it binds from the first.
  std::vector<int32_t> starts_after;
};

// Limits on the thoughts at the start of an output: the tokens up to and including `end`.
struct ThoughtLimits {
  std::vector<int32_t> end;       // the ids of "</think>"; never empty in a submitted request
  std::optional<int64_t> budget;  // tokens after which `end` is forced
  std::vector<int32_t> banned;    // not drawn while thinking
  bool closes = false;            // where the model would end its answer, `end` comes instead
};

struct SamplingParams {
  int64_t max_new_tokens = 128;  // 0: prefill only
  int64_t min_new_tokens = 0;    // EOS and stop tokens are masked until then

  double temperature = 1.0;  // below 1e-6 is greedy
  double top_p = 1.0;        // (0, 1]
  int64_t top_k = -1;        // -1: all; 1: greedy
  double min_p = 0.0;        // [0, 1]
  double frequency_penalty = 0.0;   // [-2, 2]
  double presence_penalty = 0.0;    // [-2, 2]
  double repetition_penalty = 1.0;  // (0, 2]; generated tokens only
  // Token id -> added to its logit; each id once.
  Shared<std::vector<std::pair<int32_t, float>>> logit_bias;
  std::optional<ThoughtLimits> thoughts;
  std::optional<uint64_t> seed;  // absent: derived from the server's seed and the request number

  Shared<std::vector<std::string>> stop;        // matched on decoded text, by the text layer
  Shared<std::vector<std::string>> stop_regex;  // likewise
  Shared<std::vector<int32_t>> stop_token_ids;  // matched by the engine; ascending
  std::optional<GrammarSpec> grammar;

  bool ignore_eos = false;  // no stop token of any kind ends the sequence
  bool no_stop_trim = false;
  bool skip_special_tokens = true;
  bool spaces_between_special_tokens = true;

  bool penalizes() const {
    return frequency_penalty != 0 || presence_penalty != 0 || repetition_penalty != 1.0;
  }
  bool greedy() const { return temperature < 1e-6 || top_k == 1; }
};

}  // namespace fathom
