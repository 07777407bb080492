// One sequence as the scheduler knows it: ids, counts and pages. n > 1 samples are n sequences.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fathom {

using SequenceId = uint64_t;

// What the engine hands to the scheduler. Already validated: the prompt fits context and pool.
struct SequenceSpec {
  SequenceId id = 0;
  std::vector<int32_t> prompt;
  int64_t max_new_tokens = 0;
  bool ignore_eos = false;
  int64_t priority = 0;
  std::string cache_namespace;
  // Most prompt tokens that may come from the prefix cache; -1: no limit of its own (at least one
  // token is always computed). 0 with prompt logprobs from position 0 or cache bypass.
  int32_t max_cached_tokens = -1;
  bool insert_into_cache = true;
  bool insert_generated = true;  // else only the prompt
  bool health_probe = false;  // ignores the queue limit
};

}  // namespace fathom
