// Chats as clients send them, brought into the form that a template expects, and rendered
// (spec: sampling-and-output 5 "do better", http-api 8).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "text/chat_template.h"

namespace fathom {

// context_json: {"messages": [...], "tools": [...]?, "add_generation_prompt": bool, kwargs...} as
// the client wrote it. Before rendering:
//  - content that is null becomes "", or stays null (also for "") beside tool_calls;
//  - text parts of a content list are joined by a space, unless the template loops over parts;
//  - function.arguments becomes a string or an object, whichever the template reads;
//  - tools get null for an absent description or parameters; templates that ignore tools are
//    replaced by the built-in one of their family.
// kInvalid names the message, or has the template's own words. Any thread.
Result<std::string> render_chat(const ChatTemplate& chat_template, std::string_view context_json);

}  // namespace fathom
