// What every generating route boils down to: prompts, samples of each, and how they are to be run.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/choice.h"
#include "api/errors.h"
#include "api/settings.h"
#include "request/request.h"
#include "text/tokenizer.h"

namespace fathom::api {

struct Prompt {
  std::string text;
  std::vector<int32_t> ids;  // used instead of `text` when `tokenized`
  bool tokenized = false;
  bool add_special = true;  // BOS before `text`

  SamplingParams sampling;
  bool explicit_length = false;  // the client chose max_new_tokens: it must fit
  LogprobOptions logprob;
  std::optional<AnswerForm> form;  // chat: how the answer is read
  std::string rid;                 // "": random
};

struct Job {
  std::vector<Prompt> prompts;
  int64_t samples = 1;   // per prompt; sequences are prompt-major
  std::string rid_base;  // not "": sequence i is called rid_base_i

  bool stream = false;
  int64_t stream_interval = 1;  // tokens between two chunks of a sequence, after its first
  int64_t priority = 0;
  bool require_reasoning = false;  // the outputs begin in thoughts (raw prompts)
  std::string cache_namespace;
  bool use_prefix_cache = true;
  bool embed = false;  // embeddings instead of text

  size_t sequences() const { return prompts.size() * static_cast<size_t>(samples); }
};

// A job made ready for the engine. requests[i] and choices[i] belong together.
struct Prepared {
  std::vector<std::vector<int32_t>> prompt_ids;  // per prompt
  std::vector<GenerateRequest> requests;
  std::vector<Choice> choices;
};

// Tokenises and applies the length defaults; a prompt of any length is tokenised once.
Parsed<Prepared> prepare(const Job& job, std::shared_ptr<const Tokenizer> tokenizer,
                         const Settings& settings);

// "n" or "best_of" samples of `prompts` prompts: within both limits, else a failure.
std::expected<void, Failure> check_sequence_count(size_t prompts, int64_t samples,
                                                  const Settings& settings);

// token_ids_logprob and its like: they are in every position of the answer.
std::expected<void, Failure> check_chosen_ids(const LogprobOptions& logprob, const std::string& path,
                                              const Settings& settings);

std::string random_id();  // 32 hex digits

}  // namespace fathom::api
