#include "text/chat_messages.h"

#include "base/json.h"

namespace fathom {
namespace {

constexpr int kMostLevels = 100;  // below the nesting limit of the template engine's own parser

// The client's key order is the template's key order: OrderedJson throughout.

// As Python's json.dumps(ensure_ascii=False) writes it.
void dump_as_python(const OrderedJson& value, std::string& out) {
  if (value.is_object()) {
    out += '{';
    bool first = true;
    for (const auto& [key, item] : value.items()) {
      if (!std::exchange(first, false)) out += ", ";
      out += json_text(OrderedJson(key)) + ": ";
      dump_as_python(item, out);
    }
    out += '}';
  } else if (value.is_array()) {
    out += '[';
    for (size_t i = 0; i < value.size(); ++i) {
      if (i > 0) out += ", ";
      dump_as_python(value[i], out);
    }
    out += ']';
  } else {
    out += json_text(value);
  }
}

bool has_calls(const OrderedJson& message) {
  const auto calls = message.find("tool_calls");
  return calls != message.end() && calls->is_array() && !calls->empty();
}

// One string of all text parts.
Result<std::string> join_parts(const OrderedJson& parts) {
  std::string text;
  for (const OrderedJson& part : parts) {
    const auto type = part.is_object() ? part.find("type") : part.end();
    const std::string kind = part.is_object() && type != part.end() && type->is_string()
                                 ? type->get<std::string>()
                                 : "unknown";
    const bool is_text = kind == "text" || kind == "input_text" || kind == "output_text";
    if (!is_text || !part.contains("text") || !part["text"].is_string()) {
      return invalid("Model only supports text input; received unsupported content type '{}'.",
                     kind);
    }
    if (&part != &parts.front()) text += ' ';
    text += part["text"].get<std::string>();
  }
  return text;
}

Status normalise_content(OrderedJson& message, const TemplateHabits& habits) {
  OrderedJson& content = message["content"];  // null when absent
  if (content.is_array()) {
    std::string text = TRY(join_parts(content));
    if (!habits.wants_content_parts) content = std::move(text);
  }
  if (has_calls(message)) {
    if (content == "") content = nullptr;
  } else if (content.is_null()) {
    content = "";
  }
  return {};
}

Status normalise_arguments(OrderedJson& call, const TemplateHabits& habits) {
  if (!call.is_object() || !call.contains("function") || !call["function"].is_object()) return {};
  OrderedJson& function = call["function"];
  if (!function.contains("arguments")) function["arguments"] = "{}";
  OrderedJson& arguments = function["arguments"];
  if (!habits.wants_argument_objects) {
    if (arguments.is_string()) return {};
    std::string text;
    dump_as_python(arguments, text);
    arguments = std::move(text);
    return {};
  }
  if (!arguments.is_string()) return {};
  auto object = parse_ordered_json(arguments.get_ref<const std::string&>(), "arguments", kMostLevels);
  if (!object) return invalid("Assistant tool call function.arguments must be valid JSON.");
  if (!object->is_object()) {
    return invalid("Assistant tool call function.arguments must be a JSON object.");
  }
  arguments = std::move(*object);
  return {};
}

Status normalise_message(OrderedJson& message, const TemplateHabits& habits) {
  TRY(normalise_content(message, habits));
  if (!has_calls(message)) return {};
  for (OrderedJson& call : message["tool_calls"]) TRY(normalise_arguments(call, habits));
  return {};
}

void complete_tools(OrderedJson& tools) {
  for (OrderedJson& tool : tools) {
    if (!tool.is_object() || !tool.contains("function") || !tool["function"].is_object()) continue;
    for (const char* name : {"description", "parameters"}) {
      if (!tool["function"].contains(name)) tool["function"][name] = nullptr;
    }
  }
}

void bare_functions(OrderedJson& tools) {
  for (OrderedJson& tool : tools) {
    if (tool.is_object() && tool.contains("function")) tool = OrderedJson(tool["function"]);
  }
}

}  // namespace

Result<std::string> render_chat(const ChatTemplate& chosen, std::string_view context_json) {
  OrderedJson context = TRY(parse_ordered_json(context_json, "chat", kMostLevels));
  if (!context.is_object() || !context.contains("messages") || !context["messages"].is_array()) {
    return invalid("chat: messages must be a list");
  }
  const bool with_tools =
      context.contains("tools") && context["tools"].is_array() && !context["tools"].empty();
  const ChatTemplate& used = with_tools ? chosen.for_tools() : chosen;
  for (size_t i = 0; i < context["messages"].size(); ++i) {
    OrderedJson& message = context["messages"][i];
    if (!message.is_object()) return invalid("messages[{}] must be an object", i);
    TRY(normalise_message(message, used.habits()));
  }
  if (with_tools) complete_tools(context["tools"]);

  Result<std::string> text = used.render(json_text(context));
  if (text || !with_tools) return text;
  // Some templates read the function's fields directly.
  bare_functions(context["tools"]);
  Result<std::string> second = used.render(json_text(context));
  return second ? second : text;
}

}  // namespace fathom
