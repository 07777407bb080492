#include <algorithm>

#include "api/responses.h"
#include "api/sampling.h"

namespace fathom::api {
namespace {

using simdjson::dom::array;
using Done = std::expected<void, Failure>;

// A string, or parts whose texts follow each other.
Parsed<std::string> text_of(JsonValue value, const std::string& path) {
  array parts;
  if (value.get(parts) != simdjson::SUCCESS) {
    if (!value.is_string()) return schema_error(path, "must be a string or a list of parts");
    return TRY(to_string(value, path));
  }
  std::string text;
  size_t i = 0;
  for (const JsonValue item : parts) {
    Fields part(item, fmt::format("{}[{}]", path, i++));
    const std::string type = TRY(required_string(part, "type"));
    const bool refusal = type == "refusal";
    if (!refusal && type != "input_text" && type != "output_text" && type != "text" &&
        type != "reasoning_text" && type != "summary_text") {
      return refuse("{}: Model only supports text input; received unsupported content type '{}'.",
                    part.path_of("type"), type);
    }
    text += TRY(required_string(part, refusal ? "refusal" : "text"));
  }
  return text;
}

// Turns input items into chat messages. What the assistant did in a row (thoughts, text, calls) is
// one message.
class InputTranslator {
 public:
  explicit InputTranslator(JsonWriter& out) : out_(out) {}

  Done add(JsonValue value, const std::string& path) {
    Fields item(value, path);
    std::string type = "message";
    item.string("type", type);
    TRY(item.status());
    if (type == "message") return add_message(item);
    if (type == "function_call") return add_call(item);
    if (type == "function_call_output") return add_output(item);
    if (type == "reasoning") return add_reasoning(item);
    if (type == "item_reference") {
      return refuse("{}: responses are not stored, so items cannot be referred to.", path);
    }
    return refuse("{}.type: unsupported input item type '{}'.", path, type);
  }

  void add_text(std::string_view role, std::string_view text) {
    finish();
    out_.begin_object().key("role").string(role).key("content").string(text).end_object();
  }

  // Writes the assistant's message that is being collected.
  void finish() {
    if (!pending_) return;
    pending_ = false;
    out_.begin_object().key("role").string("assistant").key("content").string(text_);
    if (!thinking_.empty()) out_.key("reasoning_content").string(thinking_);
    if (!calls_.empty()) out_.key("tool_calls").begin_array().raw(calls_).end_array();
    out_.end_object();
    text_.clear();
    thinking_.clear();
    calls_.clear();
  }

 private:
  Done add_message(Fields& item) {
    const std::string role = TRY(required_string(item, "role"));
    if (role != "user" && role != "assistant" && role != "system" && role != "developer") {
      return refuse("{} must be user, assistant, system or developer, got '{}'.",
                    item.path_of("role"), role);
    }
    const auto content = item.find("content");
    if (!content) return schema_error(item.path_of("content"), "is required");
    const std::string text = TRY(text_of(*content, item.path_of("content")));
    if (role != "assistant") {
      add_text(role, text);
      return {};
    }
    if (!text_.empty() || !calls_.empty()) finish();
    pending_ = true;
    text_ = text;
    return {};
  }

  Done add_call(Fields& item) {
    const std::string id = TRY(required_string(item, "call_id"));
    const std::string name = TRY(required_string(item, "name"));
    const std::string arguments = TRY(required_string(item, "arguments"));
    pending_ = true;
    JsonWriter out(calls_);
    out.begin_object().key("id").string(id).key("type").string("function");
    out.key("function").begin_object().key("name").string(name);
    out.key("arguments").string(arguments).end_object().end_object();
    return {};
  }

  Done add_output(Fields& item) {
    const std::string id = TRY(required_string(item, "call_id"));
    const auto output = item.find("output");
    if (!output) return schema_error(item.path_of("output"), "is required");
    const std::string text = TRY(text_of(*output, item.path_of("output")));
    finish();
    out_.begin_object().key("role").string("tool").key("tool_call_id").string(id);
    out_.key("content").string(text).end_object();
    return {};
  }

  Done add_reasoning(const Fields& item) {
    const auto content = item.find("content");
    if (!content) return {};
    if (!text_.empty() || !calls_.empty()) finish();
    thinking_ += TRY(text_of(*content, item.path_of("content")));
    pending_ = true;
    return {};
  }

  JsonWriter& out_;
  bool pending_ = false;
  std::string text_, thinking_, calls_;
};

Done write_messages(JsonWriter& out, Fields& fields) {
  const auto input = fields.find("input");
  if (!input) return schema_error("input", "is required");
  std::string instructions;
  fields.string("instructions", instructions);
  TRY(fields.status());
  out.key("messages").begin_array();
  InputTranslator translator(out);
  if (!instructions.empty()) translator.add_text("system", instructions);
  array items;
  if (input->get(items) == simdjson::SUCCESS) {
    if (items.size() == 0) return refuse("input: must not be an empty list.");
    size_t i = 0;
    for (const JsonValue item : items) {
      TRY(translator.add(item, fmt::format("input[{}]", i++)));
    }
  } else if (input->is_string()) {
    translator.add_text("user", TRY(to_string(*input, "input")));
  } else {
    return schema_error("input", "must be a string or a list of items");
  }
  translator.finish();
  out.end_array();
  return {};
}

Done write_flat_tools(JsonWriter& out, const Fields& fields) {
  const auto value = fields.find("tools");
  if (!value) return {};
  array list;
  if (value->get(list) != simdjson::SUCCESS) return schema_error("tools", "must be a list");
  if (list.size() == 0) return {};
  out.key("tools").begin_array();
  size_t i = 0;
  for (const JsonValue item : list) {
    Fields tool(item, fmt::format("tools[{}]", i++));
    const std::string type = TRY(required_string(tool, "type"));
    if (type != "function") {
      return refuse("{}: only 'function' is supported, got '{}'.", tool.path_of("type"), type);
    }
    const std::string name = TRY(required_string(tool, "name"));
    out.begin_object().key("type").string("function").key("function").begin_object();
    out.key("name").string(name);
    for (const auto key : {"description", "parameters", "strict"}) {
      if (const auto member = tool.find(key)) out.key(key).raw(simdjson::minify(*member));
    }
    out.end_object().end_object();
  }
  out.end_array();
  return {};
}

Done write_tool_choice(JsonWriter& out, const Fields& fields) {
  const auto value = fields.find("tool_choice");
  if (!value) return {};
  if (!value->is_object()) {
    out.key("tool_choice").string(TRY(to_string(*value, "tool_choice")));
    return {};
  }
  Fields choice(*value, "tool_choice");
  const std::string type = TRY(required_string(choice, "type"));
  if (type != "function") {
    return refuse("tool_choice.type: only 'function' is supported, got '{}'.", type);
  }
  const std::string name = TRY(required_string(choice, "name"));
  out.key("tool_choice").begin_object().key("type").string("function");
  out.key("function").begin_object().key("name").string(name).end_object().end_object();
  return {};
}

Done write_text_format(JsonWriter& out, const Fields& fields) {
  const auto text = fields.find("text");
  if (!text) return {};
  Fields outer(*text, "text");
  TRY(outer.status());
  const auto value = outer.find("format");
  if (!value) return {};
  Fields format(*value, "text.format");
  const std::string type = TRY(required_string(format, "type"));
  if (type != "text" && type != "json_object" && type != "json_schema") {
    return refuse("text.format.type must be text, json_object or json_schema, got '{}'.", type);
  }
  out.key("response_format").begin_object().key("type").string(type);
  if (type == "json_schema") {
    const auto schema = format.find("schema");
    if (!schema) return schema_error("text.format.schema", "is required");
    std::string name = "output";
    bool strict = false;
    format.string("name", name);
    format.boolean("strict", strict);
    TRY(format.status());
    out.key("json_schema").begin_object().key("name").string(name).key("strict").boolean(strict);
    out.key("schema").raw(simdjson::minify(*schema)).end_object();
  }
  out.end_object();
  return {};
}

Done write_reasoning(JsonWriter& out, const Fields& fields) {
  const auto value = fields.find("reasoning");
  if (!value) return {};
  Fields reasoning(*value, "reasoning");
  std::string effort;
  reasoning.string("effort", effort);
  TRY(reasoning.status());
  if (!effort.empty()) out.key("reasoning_effort").string(effort);
  return {};
}

// Logprobs of the text are an extra output; top_logprobs asks for them too.
Done write_logprobs(JsonWriter& out, Fields& fields) {
  std::vector<std::string> include;
  int64_t top = 0;
  fields.strings("include", include);
  fields.integer("top_logprobs", top, 0, kMaxTopLogprobs);
  TRY(fields.status());
  const bool wanted =
      top > 0 || std::ranges::find(include, "message.output_text.logprobs") != include.end();
  if (wanted) out.key("logprobs").boolean(true).key("top_logprobs").integer(top);
  return {};
}

// Both need answers that were kept.
Done refuse_storage(Fields& fields) {
  bool background = false;
  fields.boolean("background", background);
  TRY(fields.status());
  if (background) return refuse("background: responses are not stored, so it must be false.");
  for (const auto name : {"previous_response_id", "conversation", "prompt"}) {
    if (fields.find(name)) return refuse("{}: responses are not stored, so it must be null.", name);
  }
  return {};
}

Parsed<std::string> chat_body(Fields& fields) {
  TRY(fields.status());
  TRY(refuse_storage(fields));
  std::string text;
  JsonWriter out(text);
  out.begin_object();
  TRY(write_messages(out, fields));
  TRY(write_flat_tools(out, fields));
  TRY(write_tool_choice(out, fields));
  TRY(write_text_format(out, fields));
  TRY(write_reasoning(out, fields));
  TRY(write_logprobs(out, fields));
  int64_t most = 0;
  fields.integer("max_output_tokens", most, 1, kInt32Max);
  TRY(fields.status());
  if (most > 0) out.key("max_tokens").integer(most);
  for (const auto name : {"model", "stream", "temperature", "top_p", "top_k", "min_p",
                          "repetition_penalty", "frequency_penalty", "presence_penalty", "stop",
                          "seed", "ignore_eos", "min_tokens", "parallel_tool_calls",
                          "chat_template_kwargs", "rid", "priority", "extra_key", "cache_salt"}) {
    if (const auto value = fields.find(name)) out.key(name).raw(simdjson::minify(*value));
  }
  out.end_object();
  return text;
}

std::string echo_of(const Fields& fields, const ChatRequest& chat) {
  std::string text;
  JsonWriter out(text);
  const auto repeat = [&](std::string_view name, std::string_view otherwise) {
    const auto value = fields.find(name);
    out.key(name).raw(value ? simdjson::minify(*value) : std::string(otherwise));
  };
  const SamplingParams& sampling = chat.job.prompts[0].sampling;
  repeat("instructions", "null");
  repeat("max_output_tokens", "null");
  repeat("metadata", "{}");
  repeat("parallel_tool_calls", "true");
  out.key("previous_response_id").null();
  repeat("reasoning", R"({"effort":null,"summary":null})");
  out.key("background").boolean(false).key("store").boolean(false);
  out.key("temperature").number(sampling.temperature);
  repeat("text", R"({"format":{"type":"text"}})");
  repeat("tool_choice", R"("auto")");
  repeat("tools", "[]");
  repeat("top_logprobs", "0");
  out.key("top_p").number(sampling.top_p);
  out.key("truncation").string("disabled");
  repeat("user", "null");
  return text;
}

}  // namespace

Parsed<std::string> chat_body_of_responses(const std::string& body) {
  const auto document = TRY(JsonDocument::parse(body));
  Fields fields(document.root(), "");
  return chat_body(fields);
}

Parsed<ResponsesRequest> parse_responses(const std::string& body, const Settings& settings) {
  const auto document = TRY(JsonDocument::parse(body));
  Fields fields(document.root(), "");
  ResponsesRequest request;
  request.chat = TRY(parse_chat(TRY(chat_body(fields)), settings));
  request.chat.options.id = "resp_" + random_id();
  request.echo = echo_of(fields, request.chat);
  return request;
}

}  // namespace fathom::api
