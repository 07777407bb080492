// Reads the fields that all generating routes share (spec: http-api 5.2, 7, 8.1).
#pragma once

#include "api/job.h"
#include "api/json_reader.h"
#include "api/settings.h"

namespace fathom::api {

constexpr int64_t kMaxTopLogprobs = 20;  // of the OpenAI routes

// temperature, top_p, stop, ... : every sampling field whose name is the same everywhere.
void read_sampling(Fields& fields, SamplingParams& sampling, const Settings& settings);
// The OpenAI routes' names for the others: min_tokens, seed.
void read_openai_sampling(Fields& fields, SamplingParams& sampling, const Settings& settings);
// /generate's names: max_new_tokens, min_new_tokens, sampling_seed.
// Sets explicit_length when the client chose max_new_tokens.
void read_native_sampling(Fields& fields, SamplingParams& sampling, bool& explicit_length,
                          const Settings& settings);

// stream, priority, extra_key, cache_salt, cache_prompt, routed_dp_rank, and features that are
// refused whatever the route.
std::expected<void, Failure> read_common(Fields& fields, Job& job, const Settings& settings);

// After max_new_tokens is known.
std::expected<void, Failure> check_min_tokens(const SamplingParams& sampling,
                                              std::string_view min_name, std::string_view max_name);

}  // namespace fathom::api
