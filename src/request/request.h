// What crosses from a connection to the engine thread: plain values, no JSON, no text.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "request/sampling_params.h"

namespace fathom {

class Grammar;  // src/grammar; compiled, immutable, shared

struct LogprobOptions {
  bool enabled = false;
  int32_t start_len = -1;  // first prompt position whose logprob is returned; -1: output only
  int32_t top_n = 0;       // top lists per position
  std::vector<int32_t> token_ids;  // extra ids whose logprob is returned at each position
};

struct GenerateRequest {
  std::string rid;  // unique among requests in flight
  std::vector<int32_t> input_ids;  // non-empty; every id in [0, vocab_size)
  SamplingParams sampling;
  std::shared_ptr<const Grammar> grammar;  // sampling.grammar compiled; null when there is none
  LogprobOptions logprob;
  int64_t priority = 0;
  std::string cache_namespace;     // extra_key / cache_salt: different values never share a prefix
  bool use_prefix_cache = true;
  bool embed = false;              // the last event carries the prompt's embedding; max_new_tokens is 0
  bool cache_generated = true;     // else only the prompt stays in the prefix cache
  bool health_probe = false;       // admitted at a full queue, not counted in metrics
};

}  // namespace fathom
