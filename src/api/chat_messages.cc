// The part of a chat request that becomes the template's context.
#include "text/chat_messages.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "api/chat.h"

namespace fathom::api {
namespace {

using simdjson::dom::array;

struct Message {
  std::string role;
  std::optional<std::string> content;
  std::vector<std::string> parts;  // of which it consists, if it came as a list
  JsonValue source;
  bool prefix = false;  // continue this message
};

Parsed<std::string> read_role(const Fields& fields) {
  const auto value = fields.find("role");
  if (!value) {
    return std::unexpected(Failure(400, fields.path_of("role") + ": is required", true));
  }
  std::string role = TRY(to_string(*value, fields.path_of("role")));
  std::ranges::transform(role, role.begin(), [](unsigned char c) { return std::tolower(c); });
  // Newer names of roles that every template knows.
  if (role == "developer") return "system";
  if (role == "function") return "tool";
  if (role == "user" || role == "system" || role == "assistant" || role == "tool") return role;
  return std::unexpected(
      Failure(400,
              fmt::format("{}: must be user, system, assistant, tool, function or developer, got "
                          "'{}'",
                          fields.path_of("role"), role),
              true));
}

Parsed<std::vector<std::string>> read_parts(array parts, const std::string& path) {
  std::vector<std::string> texts;
  for (const JsonValue item : parts) {
    Fields part(item, fmt::format("{}[{}]", path, texts.size()));
    std::string type, piece;
    part.string("type", type);
    TRY(part.status());
    if (type != "text" && type != "input_text") {
      return refuse("Model only supports text input; received unsupported content type '{}'.",
                    type);
    }
    if (!part.find("text")) part.wrong("text", "is required");
    part.string("text", piece);
    TRY(part.status());
    texts.push_back(std::move(piece));
  }
  return texts;
}

std::expected<void, Failure> read_content(const Fields& fields, Message& message) {
  const auto value = fields.find("content");
  if (!value) return {};
  const std::string path = fields.path_of("content");
  array parts;
  if (value->get(parts) == simdjson::SUCCESS) {
    message.parts = TRY(read_parts(parts, path));
    message.content = fmt::format("{}", fmt::join(message.parts, " "));
    return {};
  }
  if (!value->is_string()) {
    return std::unexpected(
        Failure(400, path + ": must be a string or a list of content parts", true));
  }
  message.content = TRY(to_string(*value, path));
  return {};
}

// Calls that a template can write: it would say of what is missing only that it is undefined.
std::expected<void, Failure> check_calls(const Fields& message) {
  const auto value = message.find("tool_calls");
  if (!value) return {};
  const std::string path = message.path_of("tool_calls");
  array calls;
  if (value->get(calls) != simdjson::SUCCESS) return schema_error(path, "must be a list");
  size_t i = 0;
  for (const JsonValue item : calls) {
    const Fields call(item, fmt::format("{}[{}]", path, i++));
    TRY(call.status());
    const auto function = call.find("function");
    if (!function) return schema_error(call.path_of("function"), "is required");
    TRY(required_string(Fields(*function, call.path_of("function")), "name"));
  }
  return {};
}

Parsed<std::vector<Message>> read_messages(const Fields& fields) {
  const auto value = fields.find("messages");
  if (!value) return std::unexpected(Failure(400, "messages: is required", true));
  array list;
  if (value->get(list) != simdjson::SUCCESS) {
    return std::unexpected(Failure(400, "messages: must be a list", true));
  }
  if (list.size() == 0) return refuse("Messages cannot be empty.");
  std::vector<Message> messages;
  for (const JsonValue item : list) {
    Fields message(item, fmt::format("messages[{}]", messages.size()));
    TRY(message.status());
    Message& m = messages.emplace_back();
    m.source = item;
    m.role = TRY(read_role(message));
    TRY(read_content(message, m));
    if (m.role == "assistant") TRY(check_calls(message));
    message.boolean("prefix", m.prefix);
    TRY(message.status());
  }
  return messages;
}

void write_message(JsonWriter& out, const Message& message) {
  out.begin_object().key("role").string(message.role);
  simdjson::dom::object members;
  bool calls = false;
  if (message.source.get(members) == simdjson::SUCCESS) {
    for (const auto& [name, value] : members) {
      if (name == "role" || name == "content" || name == "prefix") continue;
      if (name == "tool_calls" && value.is_null()) continue;
      calls |= name == "tool_calls";
      out.any_key(name).raw(simdjson::minify(value));
    }
  }
  const std::string content = message.content.value_or("");
  out.key("content");
  if (calls && content.empty()) {
    out.null();  // templates render calls only of messages whose content is none
  } else if (message.parts.empty()) {
    out.string(content);
  } else {  // render_chat joins them, unless the template wants to do that
    out.begin_array();
    for (const std::string& text : message.parts) {
      out.begin_object().key("type").string("text").key("text").string(text).end_object();
    }
    out.end_array();
  }
  out.end_object();
}

// The last message is the assistant's: its text becomes the prefill, or it is turned into a user's.
std::string take_prefill(std::vector<Message>& messages, bool continue_final) {
  Message& last = messages.back();
  if (last.role != "assistant" || !last.content) return "";
  if (continue_final || last.prefix) {
    std::string text = std::move(*last.content);
    messages.pop_back();
    return text;
  }
  last.role = "user";
  return "";
}

}  // namespace

Parsed<ChatPrompt> read_chat_prompt(Fields& fields, const Settings& settings,
                                    bool with_tool_choice) {
  ChatPrompt prompt;
  TemplateArguments arguments = TRY(read_template_arguments(fields, settings));
  prompt.thinking = arguments.thinking();
  prompt.own_template = std::move(arguments.own_template);
  auto messages = TRY(read_messages(fields));
  bool continue_final = false, generation_prompt = true;
  fields.boolean("continue_final_message", continue_final);
  fields.boolean("add_generation_prompt", generation_prompt);
  TRY(fields.status());
  prompt.prefill = take_prefill(messages, continue_final);
  prompt.tool_use = TRY(read_tools(fields, with_tool_choice));

  JsonWriter out(prompt.context_json);
  out.begin_object();
  for (const auto& [name, json] : arguments.values) out.any_key(name).raw(json);
  // Reserved names stand last: they win over arguments of the same name.
  out.key("messages").begin_array();
  for (const auto& message : messages) write_message(out, message);
  out.end_array();
  if (!prompt.tool_use.tools.empty()) {
    out.key("tools").begin_array();
    for (const ChatTool& tool : prompt.tool_use.tools) out.raw(tool.json);
    out.end_array();
  }
  out.key("add_generation_prompt").boolean(generation_prompt);
  out.end_object();
  return prompt;
}

}  // namespace fathom::api
