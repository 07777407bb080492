// JSON Schemas of request bodies: the fields that most clients send, with the bounds that the
// parsers in src/api enforce. Fields that are not named here are allowed.
#include <string>
#include <utility>

#include "server/openapi.h"

namespace fathom {
namespace {

constexpr int64_t kInt32Max = 2147483647;

constexpr std::string_view kSampling = R"(
  "temperature": {"type": ["number", "null"], "minimum": 0},
  "top_p": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
  "top_k": {"type": ["integer", "null"], "minimum": -1, "maximum": 2147483647, "not": {"const": 0}},
  "min_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
  "frequency_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2},
  "presence_penalty": {"type": ["number", "null"], "minimum": -2, "maximum": 2},
  "repetition_penalty": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 2},
  "stop": {"anyOf": [{"type": "null"}, {"type": "string"},
                     {"type": "array", "items": {"type": "string"}, "maxItems": 32}]},
  "ignore_eos": {"type": ["boolean", "null"]})";

constexpr std::string_view kStream = R"(
  "model": {"type": "string"},
  "stream": {"type": ["boolean", "null"]})";

constexpr std::string_view kText = R"({"anyOf": [{"type": "string", "minLength": 1},
  {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
  {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
  {"type": "array", "minItems": 1,
   "items": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}}]})";

constexpr std::string_view kMessages = R"({"type": "array", "minItems": 1, "items": {
  "type": "object", "required": ["role", "content"], "properties": {
    "role": {"enum": ["user", "system", "assistant", "developer"]},
    "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": {
      "type": "object", "required": ["type", "text"],
      "properties": {"type": {"const": "text"}, "text": {"type": "string"}}}}]}}}})";

constexpr std::string_view kAnthropicMessages = R"({"type": "array", "minItems": 1, "items": {
  "type": "object", "required": ["role", "content"], "properties": {
    "role": {"enum": ["user", "assistant"]},
    "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": {
      "type": "object", "required": ["type", "text"],
      "properties": {"type": {"const": "text"}, "text": {"type": "string"}}}}]}}}})";

std::string object(std::string_view required, std::initializer_list<std::string> properties) {
  std::string text = R"({"type": "object", "properties": {)";
  bool first = true;
  for (const std::string& p : properties) {
    if (!first) text += ", ";
    first = false;
    text += p;
  }
  text += "}";
  if (!required.empty()) text += R"(, "required": [)" + std::string(required) + "]";
  return text + "}";
}

std::string field(std::string_view name, std::string_view schema) {
  return '"' + std::string(name) + "\": " + std::string(schema);
}

std::string integer(std::string_view name, int64_t low, int64_t high) {
  return field(name, R"({"type": ["integer", "null"], "minimum": )" + std::to_string(low) +
                         R"(, "maximum": )" + std::to_string(high) + "}");
}

using Row = std::pair<std::string_view, std::string>;

std::vector<Row> make_schemas() {
  const std::string sampling(kSampling), stream(kStream);
  const std::string chat =
      object(R"("messages")",
             {field("messages", kMessages), stream, sampling, integer("max_tokens", 0, kInt32Max),
              integer("n", 1, 128), field("logprobs", R"({"type": ["boolean", "null"]})"),
              integer("top_logprobs", 0, 20)});
  const std::string tokens = object(
      "", {field("prompt", R"({"anyOf": [{"type": "string"},
                               {"type": "array", "items": {"type": "string"}, "minItems": 1}]})"),
           field("messages", kMessages), field("add_special_tokens", R"({"type": "boolean"})")});
  const std::string ids =
      object(R"("tokens")", {field("tokens", R"({"type": "array", "items": {"type": "integer"}})"),
                             field("skip_special_tokens", R"({"type": "boolean"})")});
  const std::string prompts =
      field("text", R"({"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1,
                                   "items": {"type": "string"}}]})") +
      ", " + field("input_ids", R"({"type": "array", "minItems": 1,
                                    "items": {"type": "integer", "minimum": 0}})");
  const std::string native = object(
      "", {prompts,
           field("sampling_params", object("", {sampling, integer("max_new_tokens", 0, kInt32Max),
                                                integer("n", 1, 128)})),
           field("stream", R"({"type": ["boolean", "null"]})"),
           field("return_logprob", R"({"type": ["boolean", "null"]})"),
           integer("logprob_start_len", -1, kInt32Max), integer("top_logprobs_num", 0, 4096)});
  const std::string anthropic_fields = field("system", R"({"type": "string"})");
  return {
      {"/generate", native},
      {"/encode", object("", {prompts})},
      {"/v1/completions", object(R"("prompt")", {field("prompt", kText), stream, sampling,
                                                 integer("max_tokens", 0, kInt32Max),
                                                 integer("n", 1, 128), integer("logprobs", 0, 20),
                                                 field("echo", R"({"type": "boolean"})")})},
      {"/v1/chat/completions", chat},
      {"/invocations", chat},
      {"/v1/messages",
       object(R"("messages", "max_tokens")",
              {field("messages", kAnthropicMessages), anthropic_fields, stream,
               field("max_tokens", R"({"type": "integer", "minimum": 1, "maximum": 2147483647})"),
               field("temperature", R"({"type": "number", "minimum": 0})")})},
      {"/v1/messages/count_tokens",
       object(R"("messages")", {field("messages", kAnthropicMessages), anthropic_fields})},
      {"/v1/responses",
       object(R"("input")", {field("input", R"({"anyOf": [{"type": "string"},
                 {"type": "array", "minItems": 1, "items": {"type": "object",
                  "required": ["role", "content"], "properties": {
                  "role": {"enum": ["user", "system", "assistant", "developer"]},
                  "content": {"type": "string"}}}}]})"),
                             stream, sampling, integer("max_output_tokens", 1, kInt32Max),
                             field("instructions", R"({"type": ["string", "null"]})")})},
      {"/v1/embeddings",
       object(R"("input")",
              {field("input", kText), field("encoding_format", R"({"enum": ["float", "base64"]})"),
               integer("dimensions", 1, 65536)})},
      {"/v1/score", object(R"("items", "label_token_ids")",
                           {field("query", R"({"type": "string"})"),
                            field("items", R"({"type": "array", "minItems": 1,
                                  "items": {"type": "string", "minLength": 1}})"),
                            field("label_token_ids", R"({"type": "array", "minItems": 1,
                                            "items": {"type": "integer", "minimum": 0}})"),
                            field("apply_softmax", R"({"type": "boolean"})"),
                            field("item_first", R"({"type": "boolean"})")})},
      {"/tokenize", tokens},
      {"/v1/tokenize", tokens},
      {"/detokenize", ids},
      {"/v1/detokenize", ids},
      {"/abort_request", object("", {field("rid", R"({"type": "string"})"),
                                     field("abort_all", R"({"type": "boolean"})")})},
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
