// POST /generate (spec: http-api 5).
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "api/format.h"
#include "api/job.h"

namespace fathom::api {

struct NativeRequest {
  Job job;
  bool batch = false;  // answered by an array, events carry an index
  bool text_in_logprobs = false;
  bool return_prompt_ids = false;
};

Parsed<NativeRequest> parse_generate(const std::string& body, const Settings& settings);

// `request` and `settings` are copied from; `start` is when the request arrived.
std::unique_ptr<Format> native_format(const NativeRequest& request, const Settings& settings,
                                      std::shared_ptr<const Tokenizer> tokenizer,
                                      std::chrono::steady_clock::time_point start);

}  // namespace fathom::api
