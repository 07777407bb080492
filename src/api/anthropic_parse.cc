#include "api/anthropic.h"
#include "base/log.h"

namespace fathom::api {
namespace {

using simdjson::dom::array;
using Done = std::expected<void, Failure>;

constexpr int64_t kLeastThinkingBudget = 1024;

std::unexpected<Failure> unsupported_block(const std::string& path, std::string_view type) {
  if (type == "image" || type == "document") {
    return refuse("{}: Model only supports text input; received unsupported content type '{}'.",
                  path, type);
  }
  return refuse("{}.type: unknown content block type '{}'.", path, type);
}

// What one of the client's messages becomes: chat messages, in order.
class MessageTranslator {
 public:
  MessageTranslator(JsonWriter& out, std::string role) : out_(out), role_(std::move(role)) {}

  Done add_block(JsonValue item, const std::string& path) {
    Fields block(item, path);
    const std::string type = TRY(required_string(block, "type"));
    if (type == "text") return add_text(TRY(required_string(block, "text")));
    if (type == "search_result") return add_search_result(block);
    if (type == "tool_reference" || type == "redacted_thinking") return {};  // nothing to read
    if (role_ == "assistant") {
      if (type == "tool_use") return add_call(block);
      if (type == "thinking") {
        thinking_ += TRY(required_string(block, "thinking"));
        return {};
      }
    } else if (role_ == "user" && type == "tool_result") {
      return add_result(block);
    }
    return unsupported_block(path, type);
  }

  Done add_text(const std::string& text) {
    if (has_text_) text_ += '\n';
    has_text_ = true;
    text_ += text;
    return {};
  }

  // Writes what is still held. A message of nothing but tool results has no text of its own.
  void finish(bool even_if_empty) {
    if (!has_text_ && calls_.empty() && thinking_.empty() && !even_if_empty) return;
    out_.begin_object().key("role").string(role_).key("content").string(text_);
    if (!thinking_.empty()) out_.key("reasoning_content").string(thinking_);
    if (!calls_.empty()) out_.key("tool_calls").begin_array().raw(calls_).end_array();
    out_.end_object();
    has_text_ = false;
    text_.clear();
    calls_.clear();
    thinking_.clear();
  }

 private:
  Done add_search_result(const Fields& block) {
    const auto content = block.find("content");
    if (!content) return {};
    return add_text(TRY(text_of(*content, block.path_of("content"))));
  }

  Done add_call(Fields& block) {
    const std::string id = TRY(required_string(block, "id"));
    const std::string name = TRY(required_string(block, "name"));
    const auto input = block.find("input");
    if (input && !input->is_object())
      return schema_error(block.path_of("input"), "must be an object");
    JsonWriter out(calls_);
    out.begin_object().key("id").string(id).key("type").string("function");
    out.key("function").begin_object().key("name").string(name);
    out.key("arguments").string(input ? simdjson::minify(*input) : "{}");
    out.end_object().end_object();
    return {};
  }

  Done add_result(Fields& block) {
    const std::string id = TRY(required_string(block, "tool_use_id"));
    const auto content = block.find("content");
    const std::string text =
        content ? TRY(text_of(*content, block.path_of("content"))) : std::string();
    finish(false);
    out_.begin_object().key("role").string("tool").key("tool_call_id").string(id);
    out_.key("content").string(text).end_object();
    return {};
  }

  // A string, or blocks whose texts stand on lines of their own.
  static Parsed<std::string> text_of(JsonValue value, const std::string& path) {
    array blocks;
    if (value.get(blocks) != simdjson::SUCCESS) {
      if (!value.is_string()) return schema_error(path, "must be a string or a list of blocks");
      return TRY(to_string(value, path));
    }
    std::string text, ignored;
    JsonWriter nowhere(ignored);
    MessageTranslator inner(nowhere, "tool");
    size_t i = 0;
    for (const JsonValue item : blocks) {
      TRY(inner.add_block(item, fmt::format("{}[{}]", path, i++)));
    }
    return inner.text_;
  }

  JsonWriter& out_;
  const std::string role_;
  std::string text_, thinking_, calls_;
  bool has_text_ = false;
};

// true: it is text of the assistant, and nothing but text.
Parsed<bool> write_message(JsonWriter& out, JsonValue item, const std::string& path) {
  Fields message(item, path);
  const std::string role = TRY(required_string(message, "role"));
  if (role != "user" && role != "assistant" && role != "system") {
    return refuse("{}.role must be user, assistant or system, got '{}'.", path, role);
  }
  const auto content = message.find("content");
  if (!content) return schema_error(path + ".content", "is required");
  MessageTranslator translator(out, role);
  bool continues = role == "assistant";
  array blocks;
  if (content->get(blocks) == simdjson::SUCCESS) {
    size_t i = 0;
    for (const JsonValue block : blocks) {
      continues &= block["type"].get_string().value_unsafe() == "text";
      TRY(translator.add_block(block, fmt::format("{}.content[{}]", path, i++)));
    }
    translator.finish(blocks.size() == 0);
    return continues;
  }
  if (!content->is_string()) return schema_error(path + ".content", "must be a string or a list");
  TRY(translator.add_text(TRY(to_string(*content, path + ".content"))));
  translator.finish(true);
  return continues;
}

// A string or text blocks, joined by line breaks.
Done write_system(JsonWriter& out, const Fields& fields) {
  const auto value = fields.find("system");
  if (!value) return {};
  MessageTranslator translator(out, "system");
  array blocks;
  if (value->get(blocks) == simdjson::SUCCESS) {
    size_t i = 0;
    for (const JsonValue block : blocks) {
      TRY(translator.add_block(block, fmt::format("system[{}]", i++)));
    }
  } else if (value->is_string()) {
    TRY(translator.add_text(TRY(to_string(*value, "system"))));
  } else {
    return schema_error("system", "must be a string or a list of text blocks");
  }
  translator.finish(false);
  return {};
}

Done write_messages(JsonWriter& out, const Fields& fields) {
  const auto value = fields.find("messages");
  if (!value) return schema_error("messages", "is required");
  array list;
  if (value->get(list) != simdjson::SUCCESS) return schema_error("messages", "must be a list");
  if (list.size() == 0) return refuse("messages: at least one message is required.");
  out.key("messages").begin_array();
  TRY(write_system(out, fields));
  size_t i = 0;
  bool continues = false;
  for (const JsonValue item : list) {
    continues = TRY(write_message(out, item, fmt::format("messages[{}]", i++)));
  }
  out.end_array();
  // What clients put into the assistant's mouth the answer continues.
  if (continues) out.key("continue_final_message").boolean(true);
  return {};
}

// Schemas without a type are objects.
void write_schema(JsonWriter& out, std::optional<JsonValue> schema) {
  out.key("parameters").begin_object();
  bool typed = false;
  simdjson::dom::object members;
  if (schema && schema->get(members) == simdjson::SUCCESS) {
    for (const auto& [name, value] : members) {
      typed |= name == "type";
      out.any_key(name).raw(simdjson::minify(value));
    }
  }
  if (!typed) out.key("type").string("object");
  out.end_object();
}

// true: there are tools to choose from.
Parsed<bool> write_tools(JsonWriter& out, const Fields& fields) {
  const auto value = fields.find("tools");
  if (!value) return false;
  array list;
  if (value->get(list) != simdjson::SUCCESS) return schema_error("tools", "must be a list");
  size_t i = 0, kept = 0;
  std::string text;
  JsonWriter tools(text);
  for (const JsonValue item : list) {
    Fields tool(item, fmt::format("tools[{}]", i++));
    std::string type = "custom", description;
    tool.string("type", type);
    const std::string name = TRY(required_string(tool, "name"));
    if (type != "custom") {  // tools that Anthropic's servers would run
      log::warn("/v1/messages: tool '{}' of type '{}' is left out", name, type);
      continue;
    }
    const auto schema = tool.find("input_schema");
    if (schema && !schema->is_object()) {
      return schema_error(tool.path_of("input_schema"), "must be an object");
    }
    tool.string("description", description);
    TRY(tool.status());
    tools.begin_object().key("type").string("function").key("function").begin_object();
    tools.key("name").string(name);
    if (tool.find("description")) tools.key("description").string(description);
    write_schema(tools, schema);
    tools.end_object().end_object();
    ++kept;
  }
  if (kept == 0) return false;
  out.key("tools").begin_array().raw(text).end_array();
  return true;
}

Done write_tool_choice(JsonWriter& out, const Fields& fields, bool has_tools) {
  const auto value = fields.find("tool_choice");
  if (!value) return {};
  Fields choice(*value, "tool_choice");
  const std::string type = TRY(required_string(choice, "type"));
  bool single = false;
  choice.boolean("disable_parallel_tool_use", single);
  TRY(choice.status());
  if (type == "tool") {
    const std::string name = TRY(required_string(choice, "name"));
    out.key("tool_choice").begin_object().key("type").string("function");
    out.key("function").begin_object().key("name").string(name).end_object().end_object();
  } else if (type == "any") {
    out.key("tool_choice").string("required");
  } else if (type == "auto" || type == "none") {
    if (has_tools) out.key("tool_choice").string(type);
  } else {
    return refuse("tool_choice.type must be auto, any, tool or none, got '{}'.", type);
  }
  if (single) out.key("parallel_tool_calls").boolean(false);
  return {};
}

Done write_thinking(JsonWriter& out, const Fields& fields) {
  const auto value = fields.find("thinking");
  if (!value) return {};
  Fields thinking(*value, "thinking");
  const std::string type = TRY(required_string(thinking, "type"));
  int64_t budget = 0;
  if (type == "enabled") {
    if (!thinking.find("budget_tokens")) thinking.wrong("budget_tokens", "is required");
    thinking.integer("budget_tokens", budget, kLeastThinkingBudget, kInt32Max);
    TRY(thinking.status());
  } else if (type != "disabled" && type != "adaptive") {
    return refuse("thinking.type must be enabled, disabled or adaptive, got '{}'.", type);
  }
  if (type == "adaptive") return {};  // the template's own default
  out.key("reasoning").begin_object().key("enabled").boolean(type == "enabled").end_object();
  if (budget > 0) {
    out.key("custom_params").begin_object().key("thinking_budget").integer(budget).end_object();
  }
  return {};
}

Done write_output_config(JsonWriter& out, const Fields& fields) {
  const auto value = fields.find("output_config");
  if (!value) return {};
  Fields config(*value, "output_config");
  std::string effort;
  config.string("effort", effort);
  TRY(config.status());
  if (!effort.empty()) out.key("reasoning_effort").string(effort);
  const auto format_value = config.find("format");
  if (!format_value) return {};
  Fields format(*format_value, "output_config.format");
  const std::string type = TRY(required_string(format, "type"));
  const auto schema = format.find("schema");
  if (type != "json_schema") {
    return refuse("output_config.format.type must be json_schema, got '{}'.", type);
  }
  if (!schema) return schema_error("output_config.format.schema", "is required");
  out.key("response_format").begin_object().key("type").string("json_schema");
  out.key("json_schema").begin_object().key("name").string("output");
  out.key("schema").raw(simdjson::minify(*schema)).end_object().end_object();
  return {};
}

}  // namespace

Parsed<std::string> chat_body_of_messages(const std::string& body, MessagesUse use) {
  const auto document = TRY(JsonDocument::parse(body));
  Fields fields(document.root(), "");
  TRY(fields.status());
  std::string model = "x";
  fields.string("model", model);
  TRY(fields.status());
  if (model.empty()) return refuse("model: must not be empty.");

  std::string text;
  JsonWriter out(text);
  out.begin_object();
  if (use == MessagesUse::kGenerate) {
    if (!fields.find("max_tokens")) fields.wrong("max_tokens", "is required");
    int64_t most = 0;
    fields.integer("max_tokens", most, 1, kInt32Max);
    TRY(fields.status());
    out.key("max_tokens").integer(most);
  }
  TRY(write_messages(out, fields));
  const bool has_tools = TRY(write_tools(out, fields));
  TRY(write_tool_choice(out, fields, has_tools));
  TRY(write_thinking(out, fields));
  TRY(write_output_config(out, fields));
  if (const auto stops = fields.find("stop_sequences")) {
    out.key("stop").raw(simdjson::minify(*stops));
  }
  for (const auto name : {"model", "stream", "temperature", "top_p", "top_k", "rid", "priority",
                          "cache_salt", "extra_key", "seed", "ignore_eos"}) {
    if (const auto value = fields.find(name)) out.key(name).raw(simdjson::minify(*value));
  }
  out.end_object();
  return text;
}

Parsed<ChatRequest> parse_messages(const std::string& body, const Settings& settings,
                                   MessagesUse use) {
  ChatRequest request = TRY(parse_chat(TRY(chat_body_of_messages(body, use)), settings));
  request.options.id = "msg_" + random_id();
  return request;
}

std::expected<void, Failure> check_thinking(const ChatRequest& request) {
  const auto& form = request.job.prompts[0].form;
  if (request.chat.thinking == false && form && form->starts_in_thoughts) {
    return refuse("thinking: this model always thinks; its type cannot be 'disabled'.");
  }
  return {};
}

}  // namespace fathom::api
