// How the text of a chat's answer is to be read: which dialects apply, and what the client asked
// for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/dialects/reasoning.h"
#include "text/dialects/tool_calls.h"

namespace fathom::api {

// The default: all text is content.
struct AnswerForm {
  const ReasoningDialect* reasoning = nullptr;
  bool starts_in_thoughts = false;
  bool separate_reasoning = true;  // else thoughts are content, tags and all
  bool stream_reasoning = true;    // else thoughts come in one piece, when they end

  const ToolDialect* tools = nullptr;  // null: calls stay in the text
  std::vector<std::string> tool_names;
  int32_t most_calls = 0;  // the answer ends with this one; 0: any number
};

}  // namespace fathom::api
