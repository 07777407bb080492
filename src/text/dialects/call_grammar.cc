#include "text/dialects/call_grammar.h"

#include "base/json.h"

namespace fathom {
namespace {

// Arguments come in the schema's order.
OrderedJson schema_of(const CallableTool& tool) {
  OrderedJson schema = tool.parameters.empty()
                           ? OrderedJson::object()
                           : parse_ordered_json(tool.parameters, tool.name).value();
  if (!schema.contains("type")) schema["type"] = "object";
  return schema;
}

// One tag per tool: its head, its arguments, its end.
OrderedJson tags(const ToolDialect& d, std::span<const CallableTool> tools) {
  OrderedJson list = OrderedJson::array();
  for (const CallableTool& tool : tools) {
    std::string begin(d.call_begin);
    std::string end(d.call_end);
    if (d.fenced) {
      begin += "function" + std::string(d.separator) + tool.name + "\n```json\n";
      end = "\n```" + end;
    } else {
      begin += tool.name + std::string(d.separator);
    }
    list.push_back({{"type", "tag"},
                    {"begin", begin},
                    {"content", {{"type", "json_schema"}, {"json_schema", schema_of(tool)}}},
                    {"end", end}});
  }
  return list;
}

std::string structural_tag(OrderedJson format) {
  return json_text(OrderedJson({{"type", "structural_tag"}, {"format", std::move(format)}}));
}

}  // namespace

std::string forced_calls(const ToolDialect& d, std::span<const CallableTool> tools, bool one_call) {
  // Models put a blank line between their thoughts and the calls.
  const OrderedJson blank = {{"type", "regex"}, {"pattern", "\\n{0,2}"}};
  const OrderedJson calls = {{"type", "tags_with_separator"},
                             {"tags", tags(d, tools)},
                             {"separator", d.fenced ? "\n" : ""},
                             {"at_least_one", true},
                             {"stop_after_first", one_call}};
  const auto constant = [](std::string_view text) {
    return OrderedJson{{"type", "const_string"}, {"value", text}};
  };
  return structural_tag(
      {{"type", "sequence"},
       {"elements", {blank, constant(d.calls_begin), calls, constant(d.calls_end)}}});
}

std::string checked_calls(const ToolDialect& d, std::span<const CallableTool> tools) {
  return structural_tag({{"type", "triggered_tags"},
                         {"triggers", OrderedJson::array({d.call_begin})},
                         {"tags", tags(d, tools)}});
}

}  // namespace fathom
