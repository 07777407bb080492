// JSON Schemas of request bodies: every field that the parsers in src/api look for (openapi_test
// watches them), with the bounds that they enforce. Fields that are not named are ignored.
#include <string>
#include <utility>

#include "server/openapi.h"

namespace fathom {
namespace {

constexpr int64_t kInt32Max = 2147483647;
constexpr int64_t kInt64Max = INT64_MAX, kInt64Min = INT64_MIN;

// Members of "properties", separated by commas.
class Members {
 public:
  Members& field(std::string_view name, std::string_view schema) {
    if (!text_.empty()) text_ += ", ";
    text_.append("\"").append(name).append("\": ").append(schema);
    return *this;
  }
  Members& flag(std::string_view name) { return field(name, R"({"type": ["boolean", "null"]})"); }
  Members& text(std::string_view name) { return field(name, R"({"type": ["string", "null"]})"); }
  Members& object(std::string_view name) { return field(name, R"({"type": ["object", "null"]})"); }
  // Known, but not served: anything but null is refused.
  Members& absent(std::string_view name) { return field(name, R"({"type": "null"})"); }
  Members& integer(std::string_view name, int64_t low, int64_t high) {
    return field(name, R"({"type": ["integer", "null"], "minimum": )" + std::to_string(low) +
                           R"(, "maximum": )" + std::to_string(high) + "}");
  }
  Members& add(const Members& others) {
    if (!text_.empty() && !others.text_.empty()) text_ += ", ";
    text_ += others.text_;
    return *this;
  }
  // `required`: names in quotation marks, separated by commas.
  std::string schema(std::string_view required = "") const {
    std::string out = R"({"type": "object", "properties": {)" + text_ + "}";
    if (!required.empty()) out.append(R"(, "required": [)").append(required).append("]");
    return out + "}";
  }

 private:
  std::string text_;
};

constexpr std::string_view kStrings = R"({"anyOf": [{"type": "null"}, {"type": "string"},
  {"type": "array", "items": {"type": "string"}, "maxItems": 32}]})";
constexpr std::string_view kIds = R"({"anyOf": [{"type": "null"},
  {"type": "array", "items": {"type": "integer", "minimum": 0}}]})";
constexpr std::string_view kSomeIds = R"({"type": "array", "minItems": 1,
  "items": {"type": "integer", "minimum": 0}})";
// One value, or one for each prompt.
constexpr std::string_view kFlags = R"({"anyOf": [{"type": ["boolean", "null"]},
  {"type": "array", "minItems": 1, "items": {"type": "boolean"}}]})";
constexpr std::string_view kIntegers = R"({"anyOf": [{"type": ["integer", "null"], "minimum": -1},
  {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": -1}}]})";

// A string, strings, token ids, or lists of token ids.
constexpr std::string_view kPrompts = R"({"anyOf": [{"type": "string", "minLength": 1},
  {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
  {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
  {"type": "array", "minItems": 1,
   "items": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}}]})";

constexpr std::string_view kContent = R"({"anyOf": [{"type": "string"}, {"type": "array", "items": {
  "type": "object", "required": ["type", "text"],
  "properties": {"type": {"const": "text"}, "text": {"type": "string"}}}}]})";

std::string messages(std::string_view roles, std::string_view more = "") {
  return R"({"type": "array", "minItems": 1, "items": {
    "type": "object", "required": ["role", "content"], "properties": {"role": {"enum": [)" +
         std::string(roles) + R"(]}, "content": )" + std::string(kContent) + std::string(more) +
         "}}}";
}

constexpr std::string_view kTools = R"({"anyOf": [{"type": "null"}, {"type": "array", "items": {
  "type": "object", "required": ["type", "function"], "properties": {
    "type": {"const": "function"},
    "function": {"type": "object", "required": ["name"], "properties": {
      "name": {"type": "string", "minLength": 1}, "description": {"type": ["string", "null"]},
      "parameters": {"type": ["object", "null"]}, "strict": {"type": ["boolean", "null"]}}}}}}]})";

// The functions below follow the readers of src/api.

Members penalties_and_stops() {
  return Members()
      .field("min_p", R"({"type": ["number", "null"], "minimum": 0, "maximum": 1})")
      .field("frequency_penalty", R"({"type": ["number", "null"], "minimum": -2, "maximum": 2})")
      .field("presence_penalty", R"({"type": ["number", "null"], "minimum": -2, "maximum": 2})")
      .field("repetition_penalty",
             R"({"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 2})")
      .field("stop", kStrings);
}

Members sampling() {  // read_sampling
  return Members()
      .field("temperature", R"({"type": ["number", "null"], "minimum": 0})")
      .field("top_p", R"({"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1})")
      .field("top_k", R"({"type": ["integer", "null"], "minimum": -1, "maximum": 2147483647,
                          "not": {"const": 0}})")
      .add(penalties_and_stops())
      .field("stop_regex", kStrings)
      .field("stop_token_ids", kIds)
      .flag("ignore_eos")
      .flag("no_stop_trim")
      .flag("skip_special_tokens")
      .flag("spaces_between_special_tokens")
      .field("logit_bias", R"({"type": ["object", "null"], "propertyNames": {"pattern": "^[0-9]+$"},
                               "additionalProperties": {"type": "number"}})")
      .text("json_schema")
      .text("regex")
      .text("ebnf")
      .text("structural_tag")
      .field("custom_params", R"({"type": ["object", "null"], "properties": {
                                  "thinking_budget": {"type": ["integer", "null"], "minimum": 0}}})");
}

Members openai_sampling() {  // read_openai_sampling
  return sampling()
      .field("response_format", R"({"anyOf": [{"type": "null"}, {"type": "object",
          "required": ["type"], "properties": {
          "type": {"enum": ["text", "json_object", "json_schema", "structural_tag"]},
          "json_schema": {"type": "object", "properties": {"name": {"type": "string"},
              "strict": {"type": ["boolean", "null"]}, "schema": {"type": "object"}}}}}]})")
      .integer("min_tokens", 0, kInt32Max)
      .integer("seed", kInt64Min, kInt64Max);
}

// `streams`: false where true is answered by 501.
Members common(bool streams = true) {  // read_common
  Members m;
  streams ? m.flag("stream") : m.field("stream", R"({"enum": [false, null]})");
  m.integer("stream_interval", 1, kInt32Max);
  m.integer("priority", kInt64Min, kInt64Max);
  m.text("extra_key").text("cache_salt").flag("cache_prompt").flag("require_reasoning");
  m.integer("routed_dp_rank", 0, 0).integer("data_parallel_rank", 0, 0);
  for (const auto name : {"custom_logit_processor", "lora_path", "session_params", "image_data",
                          "video_data", "audio_data", "return_hidden_states"}) {
    m.absent(name);
  }
  return m;
}

Members openai(bool streams = true) {  // read_openai
  return common(streams)
      .text("model")
      .field("rid", kStrings)
      .field("stream_options", R"({"type": ["object", "null"], "properties": {
          "include_usage": {"type": ["boolean", "null"]},
          "continuous_usage_stats": {"type": ["boolean", "null"]}}})")
      .flag("return_token_ids")
      .flag("return_prompt_token_ids")
      .flag("return_cached_tokens_details")
      .flag("return_meta_info");
}

Members chat_prompt() {  // read_chat_prompt
  return Members()
      .field("messages",
             messages(R"("user", "system", "assistant", "developer", "tool", "function")", R"(,
               "name": {"type": "string"}, "tool_call_id": {"type": "string"},
               "reasoning_content": {"type": ["string", "null"]}, "prefix": {"type": "boolean"})"))
      .field("tools", kTools)
      .object("chat_template_kwargs")
      .field("reasoning_effort", R"({"anyOf": [{"type": "null"},
          {"enum": ["none", "minimal", "low", "medium", "high", "xhigh", "max"]},
          {"type": "number", "minimum": 0, "maximum": 0.99}]})")
      .field("reasoning", R"({"type": ["object", "null"], "properties": {
          "enabled": {"type": ["boolean", "null"]}}})")
      .flag("continue_final_message")
      .flag("add_generation_prompt");
}

std::string chat() {
  return openai()
      .add(openai_sampling())
      .add(chat_prompt())
      .field("tool_choice", R"({"anyOf": [{"enum": ["auto", "none", "required", null]},
          {"type": "object", "required": ["type", "function"], "properties": {
           "type": {"const": "function"}, "function": {"type": "object", "required": ["name"],
           "properties": {"name": {"type": "string"}}}}}]})")
      .field("input_ids", kIds)
      .integer("max_tokens", 0, kInt32Max)
      .integer("max_completion_tokens", 0, kInt32Max)
      .integer("n", 1, 128)
      .flag("logprobs")
      .integer("top_logprobs", 0, 20)
      .flag("parallel_tool_calls")
      .flag("separate_reasoning")
      .flag("stream_reasoning")
      .schema();  // messages, or input_ids
}

std::string completion() {
  return openai()
      .add(openai_sampling())
      .field("prompt", kPrompts)
      .integer("max_tokens", 0, kInt32Max)
      .integer("n", 1, 128)
      .integer("best_of", 1, 128)
      .integer("logprobs", 0, 20)
      .flag("echo")
      .schema(R"("prompt")");
}

Members native_prompts() {
  return Members()
      .field("text", R"({"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1,
                                    "items": {"type": "string"}}]})")
      .field("input_ids", R"({"anyOf": [
          {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}},
          {"type": "array", "minItems": 1, "items":
             {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}}}]})")
      .absent("input_embeds")
      .field("rid", kStrings);
}

std::string native(bool streams = true) {
  const std::string params = sampling()
                                 .integer("max_new_tokens", 0, kInt32Max)
                                 .integer("min_new_tokens", 0, kInt32Max)
                                 .integer("sampling_seed", kInt64Min, kInt64Max)
                                 .integer("stream_interval", 1, kInt32Max)
                                 .integer("n", 1, 128)
                                 .schema();
  return common(streams)
      .add(native_prompts())
      .field("sampling_params", R"({"anyOf": [{"type": "null"}, )" + params +
                                    R"(, {"type": "array", "minItems": 1, "items": )" + params +
                                    "}]}")
      .field("return_logprob", kFlags)
      .field("logprob_start_len", kIntegers)
      .field("top_logprobs_num", kIntegers)
      .field("token_ids_logprob", R"({"anyOf": [{"type": "null"},
          {"type": "array", "items": {"type": "integer", "minimum": 0}},
          {"type": "array", "items": {"type": "array", "items": {"type": "integer", "minimum": 0}}}]})")
      .flag("return_text_in_logprobs")
      .flag("return_prompt_token_ids")
      .schema();
}

// What /v1/messages and /v1/responses hand on to the chat completion.
Members handed_on() {
  return Members()
      .text("model")
      .flag("stream")
      .field("temperature", R"({"type": ["number", "null"], "minimum": 0})")
      .field("top_p", R"({"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1})")
      .field("top_k", R"({"type": ["integer", "null"], "minimum": -1, "not": {"const": 0}})")
      .text("rid")
      .integer("priority", kInt64Min, kInt64Max)
      .text("cache_salt")
      .text("extra_key")
      .integer("seed", kInt64Min, kInt64Max)
      .flag("ignore_eos");
}

Members anthropic() {
  return handed_on()
      .field("messages", messages(R"("user", "assistant", "system")"))
      .field("system", R"({"anyOf": [{"type": "null"}, {"type": "string"}, {"type": "array",
          "items": {"type": "object", "required": ["type", "text"],
          "properties": {"type": {"const": "text"}, "text": {"type": "string"}}}}]})")
      .field("tools", R"({"anyOf": [{"type": "null"}, {"type": "array", "items": {
          "type": "object", "required": ["name", "input_schema"], "properties": {
          "name": {"type": "string", "minLength": 1}, "description": {"type": ["string", "null"]},
          "input_schema": {"type": "object"}}}}]})")
      .field("tool_choice", R"({"type": ["object", "null"], "required": ["type"], "properties": {
          "type": {"enum": ["auto", "any", "tool", "none"]}, "name": {"type": "string"},
          "disable_parallel_tool_use": {"type": ["boolean", "null"]}}})")
      .field("thinking", R"({"type": ["object", "null"], "required": ["type"], "properties": {
          "type": {"enum": ["enabled", "disabled", "adaptive"]},
          "budget_tokens": {"type": "integer", "minimum": 1024, "maximum": 2147483647}}})")
      .field("output_config", R"({"type": ["object", "null"], "properties": {
          "effort": {"type": ["string", "null"]}, "format": {"type": ["object", "null"],
          "properties": {"type": {"const": "json_schema"}, "schema": {"type": "object"}}}}})")
      .field("stop_sequences", kStrings);
}

std::string responses() {
  return handed_on()
      .field("input", R"({"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {
          "type": "object", "required": ["role", "content"], "properties": {
          "type": {"const": "message"},
          "role": {"enum": ["user", "system", "assistant", "developer"]},
          "content": {"type": "string"}}}}]})")
      .text("instructions")
      .integer("max_output_tokens", 1, kInt32Max)
      .add(penalties_and_stops())
      .integer("min_tokens", 0, kInt32Max)
      .field("include", R"({"anyOf": [{"type": "null"}, {"type": "array",
                            "items": {"type": "string"}}]})")
      .integer("top_logprobs", 0, 20)
      .field("tools", R"({"anyOf": [{"type": "null"}, {"type": "array", "items": {
          "type": "object", "required": ["type", "name"], "properties": {
          "type": {"const": "function"}, "name": {"type": "string", "minLength": 1},
          "description": {"type": ["string", "null"]}, "parameters": {"type": ["object", "null"]},
          "strict": {"type": ["boolean", "null"]}}}}]})")
      .field("tool_choice", R"({"anyOf": [{"enum": ["auto", "none", "required", null]},
          {"type": "object", "required": ["type", "name"], "properties": {
           "type": {"const": "function"}, "name": {"type": "string"}}}]})")
      .flag("parallel_tool_calls")
      .field("text", R"({"type": ["object", "null"], "properties": {"format": {
          "type": ["object", "null"], "required": ["type"], "properties": {
          "type": {"enum": ["text", "json_object", "json_schema"]}, "name": {"type": "string"},
          "strict": {"type": ["boolean", "null"]}, "schema": {"type": "object"}}}}})")
      .field("reasoning", R"({"type": ["object", "null"], "properties": {
          "effort": {"enum": ["none", "minimal", "low", "medium", "high", "xhigh", "max", null]}}})")
      .object("chat_template_kwargs")
      .object("metadata")
      .text("user")
      .field("background", R"({"enum": [false, null]})")
      .absent("previous_response_id")
      .absent("conversation")
      .absent("prompt")
      .schema(R"("input")");
}

std::string embeddings() {
  return openai(false)
      .field("input", kPrompts)
      .field("encoding_format", R"({"enum": ["float", "base64", null]})")
      .integer("dimensions", 1, 65536)
      .schema(R"("input")");
}

std::string score() {
  constexpr std::string_view kPiece = R"({"anyOf": [{"type": "string", "minLength": 1},
      {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}}]})";
  return openai(false)
      .field("query", kPiece)
      .field("items", R"({"anyOf": [)" + std::string(kPiece) +
                          R"(, {"type": "array", "minItems": 1, "items": )" + std::string(kPiece) +
                          "}]}")
      .field("label_token_ids", kSomeIds)
      .flag("apply_softmax")
      .flag("item_first")
      .schema(R"("items", "label_token_ids")");
}

std::string tokens() {
  return chat_prompt()
      .field("prompt", R"({"anyOf": [{"type": "string"},
                           {"type": "array", "items": {"type": "string"}, "minItems": 1}]})")
      .flag("add_special_tokens")
      .schema();
}

std::string ids() {
  return Members()
      .field("tokens", R"({"anyOf": [{"type": "array", "items": {"type": "integer"}},
          {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}]})")
      .flag("skip_special_tokens")
      .schema(R"("tokens")");
}

std::string vertex() {
  return Members()
      .field("instances", R"({"type": "array", "minItems": 1, "items": {"type": "object",
          "required": ["text"], "properties": {"text": {"type": "string"}}}})")
      .object("parameters")
      .schema(R"("instances")");
}

using Row = std::pair<std::string_view, std::string>;

std::vector<Row> make_schemas() {
  return {
      {"/generate", native()},
      {"/encode", native(false)},
      {"/vertex_generate", vertex()},
      {"/v1/completions", completion()},
      {"/v1/chat/completions", chat()},
      {"/invocations", chat()},
      {"/v1/messages",
       anthropic()
           .field("max_tokens", R"({"type": "integer", "minimum": 1, "maximum": 2147483647})")
           .schema(R"("messages", "max_tokens")")},
      {"/v1/messages/count_tokens", anthropic().schema(R"("messages")")},
      {"/v1/responses", responses()},
      {"/v1/embeddings", embeddings()},
      {"/v1/score", score()},
      {"/tokenize", tokens()},
      {"/v1/tokenize", tokens()},
      {"/detokenize", ids()},
      {"/v1/detokenize", ids()},
      {"/separate_reasoning", Members()
                                  .field("text", R"({"type": "string"})")
                                  .field("reasoning_parser", R"({"type": "string"})")
                                  .schema(R"("text", "reasoning_parser")")},
      {"/parse_function_call", Members()
                                   .field("text", R"({"type": "string"})")
                                   .field("tool_call_parser", R"({"type": "string"})")
                                   .field("tools", kTools)
                                   .schema(R"("text", "tool_call_parser")")},
      {"/abort_request", Members().text("rid").flag("abort_all").schema()},
  };
}

}  // namespace

std::string_view request_schema(std::string_view path) {
  static const std::vector<Row> schemas = make_schemas();
  for (const auto& [name, schema] : schemas) {
    if (name == path) return schema;
  }
  return "";
}

}  // namespace fathom
