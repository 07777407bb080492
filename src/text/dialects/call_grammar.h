// Grammars under which an answer calls tools as its dialect writes calls: structural tags, as JSON
// texts (spec: sampling-and-output 6 and 8).
#pragma once

#include <span>
#include <string>

#include "text/dialects/tool_calls.h"

namespace fathom {

struct CallableTool {
  std::string name;
  std::string parameters;  // JSON Schema of the arguments; "": any object
};

// Nothing but calls: one, or at least one.
std::string forced_calls(const ToolDialect& dialect, std::span<const CallableTool> tools,
                         bool one_call);
// Free text, in which every call is one of a tool and follows its schema.
std::string checked_calls(const ToolDialect& dialect, std::span<const CallableTool> tools);

}  // namespace fathom
