// The part of a chat request that becomes the template's context.
#include <algorithm>

#include "api/chat.h"
#include "text/chat_messages.h"

namespace fathom::api {
namespace {

using simdjson::dom::array;
using Done = std::expected<void, Failure>;

struct Message {
  std::string role;
  std::optional<std::string> content;
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

// Text parts joined with a single space.
Parsed<std::string> join_parts(array parts, const std::string& path) {
  std::string text;
  size_t i = 0;
  for (const JsonValue item : parts) {
    Fields part(item, fmt::format("{}[{}]", path, i));
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
    if (i++ > 0) text += ' ';
    text += piece;
  }
  return text;
}

Parsed<std::optional<std::string>> read_content(const Fields& fields) {
  const auto value = fields.find("content");
  if (!value) return std::nullopt;
  const std::string path = fields.path_of("content");
  array parts;
  if (value->get(parts) == simdjson::SUCCESS) return TRY(join_parts(parts, path));
  if (!value->is_string()) {
    return std::unexpected(
        Failure(400, path + ": must be a string or a list of content parts", true));
  }
  return TRY(to_string(*value, path));
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
    m.content = TRY(read_content(message));
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
  // Templates render calls only of messages whose content is none.
  const std::string content = message.content.value_or("");
  out.key("content");
  calls&& content.empty() ? out.null() : out.string(content);
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

Parsed<std::vector<JsonValue>> read_tools(const Fields& fields) {
  std::vector<JsonValue> tools;
  const auto value = fields.find("tools");
  if (!value) return tools;
  array list;
  if (value->get(list) != simdjson::SUCCESS) {
    return std::unexpected(Failure(400, "tools: must be a list", true));
  }
  for (const JsonValue item : list) {
    const std::string path = fmt::format("tools[{}]", tools.size());
    Fields tool(item, path);
    std::string type = "function", name;
    tool.string("type", type);
    TRY(tool.status());
    if (type != "function") return refuse("{}.type must be 'function', got '{}'.", path, type);
    const auto function = tool.find("function");
    if (!function) {
      return std::unexpected(Failure(400, path + ".function: is required", true));
    }
    Fields inner(*function, path + ".function");
    inner.string("name", name);
    TRY(inner.status());
    if (name.empty()) {
      return std::unexpected(Failure(400, path + ".function.name: is required", true));
    }
    if (const auto schema = inner.find("parameters"); schema && !schema->is_object()) {
      return refuse("Tool {} function has invalid 'parameters' schema: must be an object.",
                    tools.size());
    }
    tools.push_back(item);
  }
  return tools;
}

// Whether the template gets the tools. Forced calls need grammars, which this build lacks.
Parsed<bool> read_tool_choice(const Fields& fields, const std::vector<JsonValue>& tools) {
  const auto value = fields.find("tool_choice");
  if (!value) return true;
  if (value->is_object()) {
    Fields choice(*value, "tool_choice");
    std::string name;
    if (const auto function = choice.find("function")) {
      Fields inner(*function, "tool_choice.function");
      inner.string("name", name);
      TRY(inner.status());
    }
    if (name.empty()) {
      return std::unexpected(Failure(400, "tool_choice.function.name: is required", true));
    }
    if (tools.empty()) {
      return refuse("Tools cannot be empty if tool choice is set to a specific tool.");
    }
    const bool known = std::ranges::any_of(tools, [&](JsonValue tool) {
      std::string_view other;
      return tool["function"]["name"].get(other) == simdjson::SUCCESS && other == name;
    });
    if (!known) return refuse("Tool '{}' not found in tools list.", name);
    return refuse("tool_choice: a specific tool is not supported by this build yet.");
  }
  const std::string choice = TRY(to_string(*value, "tool_choice"));
  if (choice == "auto") return true;
  if (choice == "none") return false;
  if (choice == "required") {
    if (tools.empty()) return refuse("Tools cannot be empty if tool choice is set to required.");
    return refuse("tool_choice: 'required' is not supported by this build yet.");
  }
  return refuse("tool_choice must be auto, none, required or a function, got '{}'.", choice);
}

// reasoning_effort and reasoning: the template's switch for thinking.
Parsed<std::optional<bool>> read_thinking(const Fields& fields) {
  std::optional<bool> thinking;
  const auto read_effort = [&](const Fields& from, std::string_view name) -> Done {
    const auto value = from.find(name);
    if (!value) return {};
    if (value->is_number()) {
      const double effort = value->is_double() ? double(*value) : double(int64_t(*value));
      if (effort < 0 || effort > 0.99) {
        return refuse("{} must be in [0, 0.99], got {}.", name, effort);
      }
      thinking = true;
      return {};
    }
    static constexpr std::string_view kEfforts[] = {"none", "minimal", "low", "medium",
                                                    "high", "xhigh",   "max"};
    const std::string effort = TRY(to_string(*value, from.path_of(name)));
    if (std::ranges::find(kEfforts, effort) == std::end(kEfforts)) {
      return refuse("{} must be none, minimal, low, medium, high, xhigh or max, got '{}'.", name,
                    effort);
    }
    thinking = effort != "none";
    return {};
  };
  TRY(read_effort(fields, "reasoning_effort"));
  if (const auto value = fields.find("reasoning")) {
    Fields reasoning(*value, "reasoning");
    bool enabled = true;
    reasoning.boolean("enabled", enabled);
    TRY(reasoning.status());
    if (reasoning.find("enabled")) thinking = enabled;
    TRY(read_effort(reasoning, "effort"));
  }
  return thinking;
}

Done write_kwargs(JsonWriter& out, const Fields& fields, const Settings& settings,
                  std::string& own_template) {
  std::optional<bool> thinking = TRY(read_thinking(fields));
  if (const auto value = fields.find("chat_template_kwargs")) {
    simdjson::dom::object kwargs;
    if (value->get(kwargs) != simdjson::SUCCESS) {
      return std::unexpected(Failure(400, "chat_template_kwargs: must be a JSON object", true));
    }
    for (const auto& [name, item] : kwargs) {
      if (name == "chat_template") {
        if (!settings.trust_request_chat_template) {
          return refuse(
              "chat_template_kwargs.chat_template is refused; start the server with "
              "--trust-request-chat-template to allow it.");
        }
        own_template = TRY(to_string(item, "chat_template_kwargs.chat_template"));
        continue;
      }
      if (name == "thinking" || name == "enable_thinking") thinking.reset();
      out.any_key(name).raw(simdjson::minify(item));
    }
  }
  if (thinking) out.key("thinking").boolean(*thinking).key("enable_thinking").boolean(*thinking);
  return {};
}

}  // namespace

Parsed<ChatPrompt> read_chat_prompt(Fields& fields, const Settings& settings,
                                    bool with_tool_choice) {
  ChatPrompt prompt;
  JsonWriter out(prompt.context_json);
  out.begin_object();
  TRY(write_kwargs(out, fields, settings, prompt.own_template));
  auto messages = TRY(read_messages(fields));
  bool continue_final = false, generation_prompt = true;
  fields.boolean("continue_final_message", continue_final);
  fields.boolean("add_generation_prompt", generation_prompt);
  TRY(fields.status());
  prompt.prefill = take_prefill(messages, continue_final);
  const auto tools = TRY(read_tools(fields));
  const bool use_tools = with_tool_choice ? TRY(read_tool_choice(fields, tools)) : true;

  // Reserved names stand last: they win over kwargs of the same name.
  out.key("messages").begin_array();
  for (const auto& message : messages) write_message(out, message);
  out.end_array();
  prompt.has_tools = use_tools && !tools.empty();
  if (prompt.has_tools) {
    out.key("tools").begin_array();
    for (const JsonValue tool : tools) out.raw(simdjson::minify(tool));
    out.end_array();
  }
  out.key("add_generation_prompt").boolean(generation_prompt);
  out.end_object();
  return prompt;
}

Parsed<std::string> render(const ChatPrompt& prompt, const ChatTemplate* chat_template,
                           const Tokenizer& tokenizer) {
  std::shared_ptr<const ChatTemplate> own;
  if (!prompt.own_template.empty()) {
    const auto token = [&](std::optional<int32_t> id) {
      return id ? tokenizer.token_bytes(*id) : std::string_view();
    };
    own = TRY(
        ChatTemplate::compile(prompt.own_template, token(tokenizer.bos()), token(tokenizer.eos())));
    chat_template = own.get();
  }
  if (chat_template == nullptr) {
    return refuse(
        "This model has no chat template; start the server with --chat-template, or use "
        "/v1/completions.");
  }
  return TRY(render_chat(*chat_template, prompt.context_json)) + prompt.prefill;
}

}  // namespace fathom::api
