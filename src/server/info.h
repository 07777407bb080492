// What the server says about itself and its load (spec: http-api 4). Pure functions of plain
// values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/engine.h"
#include "http/message.h"

namespace fathom {

// Fixed once the model is loaded.
struct ModelFacts {
  std::string model_path;
  std::string tokenizer_path;
  std::string served_name;
  std::string load_format = "auto";
  std::string weight_version = "default";
  std::string model_type;
  std::string architecture;
  int32_t vocab_size = 0;
  int32_t context_length = 0;
  std::optional<int32_t> bos_token;
  std::vector<int32_t> eos_tokens;
  int64_t pool_tokens = 0;         // KV pool
  int64_t max_request_tokens = 0;  // min(context, pool)
  int32_t max_running = 0;
  int32_t page_size = 1;
  int32_t chunked_prefill_size = 0;  // -1: whole prompts
  double mem_fraction = 0;
  std::string reasoning_parser, tool_call_parser;  // a dialect's name; empty: none
  int64_t available_bytes = 0;  // of memory, after loading
  int64_t weight_bytes = 0, kv_bytes = 0, scratch_bytes = 0;
  int64_t created = 0;         // unix seconds
  double startup_seconds = 0;  // start of the process to ready
};

OrderedJson model_card(const ModelFacts& facts);
http::Response models_response(const ModelFacts& facts);
// `id` may contain '/'; unknown ids are a 404.
http::Response model_response(const ModelFacts& facts, std::string_view id);
OrderedJson model_info(const ModelFacts& facts, const OrderedJson& server_args);
// `server_args`: every flag under its snake_case name, secrets already redacted.
OrderedJson server_info(const ModelFacts& facts, const OrderedJson& server_args,
                        const EngineStats& stats);

}  // namespace fathom
