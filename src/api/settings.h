// What the request parsers and response writers must know of the server: plain values, fixed once
// the model is loaded. Any thread may read them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "request/sampling_params.h"
#include "text/dialects/reasoning.h"
#include "text/dialects/tool_calls.h"

namespace fathom::api {

// What requests that need text are told where Settings::text is false.
inline constexpr std::string_view kNoText =
    "The server was started with --skip-tokenizer-init: send input_ids, not text.";

struct Settings {
  std::string served_model_name = "default";
  std::function<std::string()> weight_version = [] { return "default"; };  // at the moment

  int32_t vocab_size = 0;          // of the model (padded): bound of every token id
  int32_t context_length = 0;      // tokens
  int64_t max_request_tokens = 0;  // min(context, KV pool)
  int32_t embedding_size = 0;      // of an embedding (--is-embedding); 0: embeddings are refused

  int64_t stream_interval = 1;                   // tokens between chunks, after the first
  bool incremental_streaming_output = false;     // /generate streams deltas
  bool include_usage_by_default = false;         // --stream-response-default-include-usage
  bool allow_auto_truncate = false;              // --allow-auto-truncate
  bool trust_request_chat_template = false;      // --trust-request-chat-template
  bool priority_scheduling = false;              // --enable-priority-scheduling
  int64_t default_priority = 0;                  // of requests without one
  bool abort_on_priority_when_disabled = false;  // --abort-on-priority-when-disabled

  bool text = true;      // false: --skip-tokenizer-init, ids in and out
  bool grammars = true;  // false: --grammar-backend none
  const ReasoningDialect* reasoning = nullptr;  // --reasoning-parser
  const ToolDialect* tools = nullptr;           // --tool-call-parser
  bool strict_thinking = false;                 // --enable-strict-thinking
  bool strip_thinking_cache = false;            // --strip-thinking-cache
  // --default-chat-template-kwargs: names and values, as JSON texts.
  std::vector<std::pair<std::string, std::string>> template_kwargs;

  int64_t max_samples = 128;                 // n and best_of, per prompt
  int64_t max_sequences_per_request = 4096;  // prompts x n
  int64_t max_top_logprobs = 4096;           // on /generate; of chosen ids too, and of /v1/score's

  SamplingParams native_defaults;  // --preferred-sampling-params
  SamplingParams chat_defaults;    // generation_config.json with --sampling-defaults model
};

// --preferred-sampling-params: a JSON object of /generate's sampling parameters over `base`.
Result<SamplingParams> parse_sampling_defaults(std::string_view json, const SamplingParams& base);
// The five sampling fields of a model's generation_config.json over `base`.
Result<SamplingParams> parse_generation_config(std::string_view json, const SamplingParams& base);
// --default-chat-template-kwargs: the members of a JSON object.
Result<std::vector<std::pair<std::string, std::string>>> parse_template_kwargs(
    std::string_view json);

}  // namespace fathom::api
