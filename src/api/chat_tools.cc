#include "api/chat_tools.h"

#include <algorithm>

namespace fathom::api {
namespace {

using simdjson::dom::array;
using simdjson::dom::object;
using Done = std::expected<void, Failure>;

constexpr size_t kMostTools = 1024;
constexpr size_t kMostNameBytes = 256;

constexpr std::string_view kTypes[] = {"string", "number",  "integer", "object",
                                       "array",  "boolean", "null"};

bool is_type_name(JsonValue value) {
  std::string_view name;
  return value.get(name) == simdjson::SUCCESS &&
         std::ranges::find(kTypes, name) != std::end(kTypes);
}

// What is wrong with a JSON Schema, "" if nothing is. Looks at the keywords whose misuse is common;
// the grammar compiler knows the rest.
std::string schema_fault(JsonValue schema, const std::string& path) {
  if (schema.is_bool()) return "";
  object keywords;
  if (schema.get(keywords) != simdjson::SUCCESS) return path + " must be an object or a boolean";
  for (const auto& [name, value] : keywords) {
    const std::string here = path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
    array list;
    object members;
    if (name == "type") {
      const bool many = value.get(list) == simdjson::SUCCESS;
      if (many ? !std::all_of(list.begin(), list.end(), is_type_name) : !is_type_name(value)) {
        return here + " must be the name of a JSON type or a list of them";
      }
    } else if (name == "required") {
      if (value.get(list) != simdjson::SUCCESS ||
          !std::all_of(list.begin(), list.end(), [](JsonValue v) { return v.is_string(); })) {
        return here + " must be a list of strings";
      }
    } else if (name == "properties" || name == "$defs" || name == "definitions") {
      if (value.get(members) != simdjson::SUCCESS) return here + " must be an object";
      for (const auto& [key, inner] : members) {
        if (auto fault = schema_fault(inner, fmt::format("{}.{}", here, key)); !fault.empty()) {
          return fault;
        }
      }
    } else if (name == "anyOf" || name == "oneOf" || name == "allOf" || name == "prefixItems") {
      if (value.get(list) != simdjson::SUCCESS || list.size() == 0) {
        return here + " must be a list of schemas";
      }
      size_t i = 0;
      for (const JsonValue inner : list) {
        if (auto fault = schema_fault(inner, fmt::format("{}[{}]", here, i++)); !fault.empty()) {
          return fault;
        }
      }
    } else if (name == "enum") {
      if (!value.is_array()) return here + " must be a list";
    }
  }
  return "";
}

Parsed<ChatTool> read_tool(JsonValue item, size_t index) {
  const std::string path = fmt::format("tools[{}]", index);
  Fields tool(item, path);
  std::string type = "function";
  tool.string("type", type);
  TRY(tool.status());
  if (type != "function") return refuse("{}.type must be 'function', got '{}'.", path, type);
  const auto function = tool.find("function");
  if (!function) return std::unexpected(Failure(400, path + ".function: is required", true));
  Fields inner(*function, path + ".function");
  ChatTool out{.json = simdjson::minify(item)};
  inner.string("name", out.name);
  inner.boolean("strict", out.strict);
  TRY(inner.status());
  if (out.name.empty()) {
    return std::unexpected(Failure(400, path + ".function.name: is required", true));
  }
  const auto hidden = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  if (out.name.size() > kMostNameBytes || std::ranges::any_of(out.name, hidden)) {
    return refuse("{}.function.name must have at most {} bytes and no control characters.", path,
                  kMostNameBytes);
  }
  if (const auto schema = inner.find("parameters")) {
    const std::string fault = schema->is_object() ? schema_fault(*schema, "") : "must be an object";
    if (!fault.empty()) {
      return refuse("Tool {} function has invalid 'parameters' schema: {}.", index, fault);
    }
    out.parameters = simdjson::minify(*schema);
  }
  return out;
}

// The one tool that {"type": "function", "function": {"name"}} wants.
Done choose_named(JsonValue value, ToolUse& use) {
  Fields choice(value, "tool_choice");
  std::string name;
  if (const auto function = choice.find("function")) {
    Fields inner(*function, "tool_choice.function");
    inner.string("name", name);
    TRY(inner.status());
  }
  if (name.empty()) {
    return std::unexpected(Failure(400, "tool_choice.function.name: is required", true));
  }
  if (use.tools.empty()) {
    return refuse("Tools cannot be empty if tool choice is set to a specific tool.");
  }
  std::erase_if(use.tools, [&](const ChatTool& tool) { return tool.name != name; });
  if (use.tools.empty()) return refuse("Tool '{}' not found in tools list.", name);
  use.required = use.one_call = true;
  return {};
}

Done read_choice(const Fields& fields, ToolUse& use) {
  const auto value = fields.find("tool_choice");
  if (!value) return {};
  if (value->is_object()) return choose_named(*value, use);
  const std::string choice = TRY(to_string(*value, "tool_choice"));
  if (choice == "none") {
    use.tools.clear();
  } else if (choice == "required") {
    if (use.tools.empty()) {
      return refuse("Tools cannot be empty if tool choice is set to required.");
    }
    use.required = true;
  } else if (choice != "auto") {
    return refuse("tool_choice must be auto, none, required or a function, got '{}'.", choice);
  }
  return {};
}

// reasoning_effort: none turns thinking off, all else on.
Parsed<std::optional<bool>> read_effort(const Fields& from, std::string_view name) {
  static constexpr std::string_view kEfforts[] = {"none", "minimal", "low", "medium",
                                                  "high", "xhigh",   "max"};
  const auto value = from.find(name);
  if (!value) return std::nullopt;
  const std::string path = from.path_of(name);
  double number;
  if (value->is_number() && value->get(number) == simdjson::SUCCESS) {
    if (number < 0 || number > 0.99)
      return refuse("{} must be in [0, 0.99], got {}.", path, number);
    return true;
  }
  const std::string effort = TRY(to_string(*value, path));
  if (std::ranges::find(kEfforts, effort) == std::end(kEfforts)) {
    return refuse("{} must be none, minimal, low, medium, high, xhigh or max, got '{}'.", path,
                  effort);
  }
  return effort != "none";
}

// reasoning_effort, and reasoning {"enabled", "effort"} over it.
Parsed<std::optional<bool>> read_thinking(const Fields& fields) {
  std::optional<bool> thinking = TRY(read_effort(fields, "reasoning_effort"));
  const auto value = fields.find("reasoning");
  if (!value) return thinking;
  Fields reasoning(*value, "reasoning");
  bool enabled = true;
  reasoning.boolean("enabled", enabled);
  TRY(reasoning.status());
  if (reasoning.find("enabled")) thinking = enabled;
  if (const auto effort = TRY(read_effort(reasoning, "effort"))) thinking = effort;
  return thinking;
}

}  // namespace

Parsed<ToolUse> read_tools(const Fields& fields, bool with_choice) {
  ToolUse use;
  if (const auto value = fields.find("tools")) {
    array list;
    if (value->get(list) != simdjson::SUCCESS) {
      return std::unexpected(Failure(400, "tools: must be a list", true));
    }
    if (list.size() > kMostTools) {
      return refuse("tools may hold at most {} tools, got {}.", kMostTools, list.size());
    }
    for (const JsonValue item : list) use.tools.push_back(TRY(read_tool(item, use.tools.size())));
  }
  if (!with_choice) return use;
  TRY(read_choice(fields, use));
  if (const auto value = fields.find("parallel_tool_calls")) {
    bool parallel = true;
    if (value->get(parallel) != simdjson::SUCCESS) {
      return std::unexpected(Failure(400, "parallel_tool_calls: must be true or false", true));
    }
    use.one_call |= !parallel;
  }
  return use;
}

std::optional<bool> TemplateArguments::thinking() const {
  for (const std::string_view name : {"thinking", "enable_thinking"}) {
    for (const auto& [key, value] : values) {
      if (key == name && (value == "true" || value == "false")) return value == "true";
    }
  }
  return std::nullopt;
}

Parsed<TemplateArguments> read_template_arguments(const Fields& fields, const Settings& settings) {
  TemplateArguments out;
  const auto set = [&](std::string_view name, std::string json) {
    const auto known =
        std::ranges::find(out.values, name, &std::pair<std::string, std::string>::first);
    known == out.values.end() ? void(out.values.emplace_back(name, std::move(json)))
                              : void(known->second = std::move(json));
  };
  for (const auto& [name, json] : settings.template_kwargs) set(name, json);
  if (const auto thinking = TRY(read_thinking(fields))) {
    for (const auto name : {"thinking", "enable_thinking"}) set(name, *thinking ? "true" : "false");
  }
  const auto value = fields.find("chat_template_kwargs");
  if (!value) return out;
  object kwargs;
  if (value->get(kwargs) != simdjson::SUCCESS) {
    return std::unexpected(Failure(400, "chat_template_kwargs: must be a JSON object", true));
  }
  // The client's own word for thinking replaces both.
  const auto is_switch = [](std::string_view name) {
    return name == "thinking" || name == "enable_thinking";
  };
  for (const auto& [name, item] : kwargs) {
    if (is_switch(name)) std::erase_if(out.values, [&](auto& one) { return is_switch(one.first); });
  }
  for (const auto& [name, item] : kwargs) {
    if (name != "chat_template") {
      set(name, simdjson::minify(item));
      continue;
    }
    if (!settings.trust_request_chat_template) {
      return refuse(
          "chat_template_kwargs.chat_template is refused; start the server with "
          "--trust-request-chat-template to allow it.");
    }
    out.own_template = TRY(to_string(item, "chat_template_kwargs.chat_template"));
  }
  return out;
}

Result<std::vector<std::pair<std::string, std::string>>> parse_template_kwargs(
    std::string_view json) {
  std::vector<std::pair<std::string, std::string>> out;
  const auto document = JsonDocument::parse(std::string(json));
  if (!document) return invalid("{}", document.error().message);
  object members;
  if (document->root().get(members) != simdjson::SUCCESS) return invalid("must be a JSON object");
  for (const auto& [name, value] : members) out.emplace_back(name, simdjson::minify(value));
  return out;
}

}  // namespace fathom::api
