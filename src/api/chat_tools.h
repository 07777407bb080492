// The parts of a chat request that the template is given beside the messages: tools, and arguments
// of its own (spec: http-api 8.1).
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/json_reader.h"
#include "api/settings.h"

namespace fathom::api {

struct ChatTool {
  std::string json;        // as the client wrote it
  std::string name;        // of the function
  std::string parameters;  // its JSON Schema; "": anything
  bool strict = false;     // arguments must follow the schema also when calls are not forced
};

// What the answer may call.
struct ToolUse {
  std::vector<ChatTool> tools;  // none with tool_choice "none", the named one with a name
  bool required = false;        // the answer must be a call
  bool one_call = false;        // and no more than one
};

// tools, tool_choice, parallel_tool_calls. Without `with_choice` all tools may be called.
Parsed<ToolUse> read_tools(const Fields& fields, bool with_choice);

struct TemplateArguments {
  std::vector<std::pair<std::string, std::string>> values;  // name, JSON text; no name twice
  std::string own_template;  // chat_template_kwargs.chat_template, where trusted
  // What the template is told about thinking, if anything.
  std::optional<bool> thinking() const;
};

// chat_template_kwargs over reasoning_effort and reasoning over the server's own.
Parsed<TemplateArguments> read_template_arguments(const Fields& fields, const Settings& settings);

}  // namespace fathom::api
