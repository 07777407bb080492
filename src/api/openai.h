// What /v1/completions and /v1/chat/completions have in common.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "api/format.h"
#include "api/job.h"
#include "api/json_reader.h"
#include "api/json_writer.h"

namespace fathom::api {

struct OpenAiOptions {
  std::string id;     // of the response
  std::string model;  // echoed
  int64_t created = 0;
  bool include_usage = false;  // stream_options
  bool continuous_usage = false;
  bool return_token_ids = false;
  bool return_prompt_ids = false;
  bool return_cached_details = false;
  bool return_meta_info = false;
  std::chrono::steady_clock::time_point start;  // when the request was read
};

// model, rid, stream_options, return_*; and the fields that this build refuses
// (response_format...). After the prompts and samples of the job are known.
std::expected<void, Failure> read_openai(Fields& fields, std::string_view id_prefix,
                                         OpenAiOptions& options, Job& job,
                                         const Settings& settings);

struct Usage {
  int64_t prompt = 0, completion = 0, cached = 0, reasoning = 0;
};
Usage usage_of(const Choice& choice);
// Each prompt counts once, however many samples it has.
Usage usage_of(const std::vector<Choice>& choices, size_t samples);
void write_usage(JsonWriter& out, const Usage& usage);

// "finish_reason" and "matched_stop", null while the choice is unfinished.
void write_finish(JsonWriter& out, const std::optional<FinishReason>& finish);
// "meta_info" of a choice that has ended, when asked for.
void write_meta_info(JsonWriter& out, const Choice& choice, const OpenAiOptions& options,
                     const std::string& weight_version);
void write_ids(JsonWriter& out, std::string_view key, std::span<const int32_t> ids);

// {"id","object","created","model" of a response or chunk, left open.
void open_response(JsonWriter& out, const OpenAiOptions& options, std::string_view object);
// "usage","metadata","sglext"? and the closing brace of a response that does not stream.
void close_response(JsonWriter& out, const OpenAiOptions& options, const Usage& usage,
                    const std::string& weight_version);
// The event with empty choices that carries the usage of a stream.
std::string usage_event(const OpenAiOptions& options, std::string_view object, const Usage& usage);

}  // namespace fathom::api
