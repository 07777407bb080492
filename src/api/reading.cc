#include "api/reading.h"

#include <algorithm>

#include "api/chat_tools.h"
#include "api/json_writer.h"

namespace fathom::api {
namespace {

// A field that must be there and be a string.
Parsed<std::string> required_string(Fields& fields, std::string_view name) {
  if (!fields.find(name)) {
    return std::unexpected(Failure(400, std::string(name) + ": is required", true));
  }
  std::string value;
  fields.string(name, value);
  TRY(fields.status());
  return value;
}

}  // namespace

Parsed<std::string> separate_reasoning(const std::string& body) {
  const auto document = TRY(JsonDocument::parse(body));
  Fields fields(document.root(), "");
  TRY(fields.status());
  const std::string text = TRY(required_string(fields, "text"));
  const std::string name = TRY(required_string(fields, "reasoning_parser"));
  const ReasoningDialect* dialect = TRY(find_reasoning_dialect(name));
  ReasoningParser parser(*dialect, dialect->start == ReasoningDialect::Start::kThinking);
  ReasoningParser::Output out = parser.push(text);
  const ReasoningParser::Output rest = parser.finish();
  std::string answer;
  JsonWriter json(answer);
  json.begin_object().key("reasoning_text").string(out.reasoning + rest.reasoning);
  json.key("text").string(out.content + rest.content).end_object();
  return answer;
}

Parsed<std::string> parse_function_call(const std::string& body) {
  const auto document = TRY(JsonDocument::parse(body));
  Fields fields(document.root(), "");
  TRY(fields.status());
  const std::string text = TRY(required_string(fields, "text"));
  const std::string name = TRY(required_string(fields, "tool_call_parser"));
  const ToolDialect* dialect = TRY(find_tool_dialect(name));
  const ToolUse use = TRY(read_tools(fields, false));
  std::vector<std::string> names;
  for (const ChatTool& tool : use.tools) names.push_back(tool.name);

  ToolCallParser parser(*dialect, names);
  DialectEvents events;
  parser.push(text, events);
  parser.finish(events);
  GatheredOutput output = gather(events);
  if (!output.calls_are_sound()) output = {.content = text};
  std::string answer;
  JsonWriter json(answer);
  json.begin_object().key("normal_text").string(output.content).key("calls").begin_array();
  for (const auto& call : output.calls) {
    // Their place among the tools, as SGLang numbers them here.
    const auto tool = std::ranges::find(names, call.name) - names.begin();
    json.begin_object().key("tool_index").integer(tool).key("name").string(call.name);
    json.key("parameters").string(call.arguments).end_object();
  }
  json.end_array().end_object();
  return answer;
}

}  // namespace fathom::api
