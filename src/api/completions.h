// POST /v1/completions (spec: http-api 7, 9).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "api/openai.h"

namespace fathom::api {

struct CompletionRequest {
  Job job;  // job.samples is best_of when that is larger than n
  OpenAiOptions options;
  int64_t n = 1;
  bool echo = false;
  std::optional<int64_t> logprobs;  // top logprobs per token; 0: the chosen token only
};

// Field `name`: a string, strings, token ids, or lists of token ids.
std::expected<void, Failure> read_prompts(const Fields& fields, const std::string& name,
                                          const Settings& settings, std::vector<Prompt>& prompts);

Parsed<CompletionRequest> parse_completion(const std::string& body, const Settings& settings);

std::unique_ptr<Format> completion_format(const CompletionRequest& request,
                                          const Settings& settings,
                                          std::shared_ptr<const Tokenizer> tokenizer);

}  // namespace fathom::api
