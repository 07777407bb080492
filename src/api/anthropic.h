// POST /v1/messages and /v1/messages/count_tokens (spec: http-api 11): a translation to a chat
// completion, whose answer is shown as Anthropic's blocks and events.
#pragma once

#include <memory>
#include <string>

#include "api/chat.h"

namespace fathom::api {

enum class MessagesUse { kGenerate, kCount };  // counting needs no max_tokens

Parsed<ChatRequest> parse_messages(const std::string& body, const Settings& settings,
                                   MessagesUse use);
// After the prompt is rendered: refuses thinking "disabled" where the template opens thoughts
// anyway.
std::expected<void, Failure> check_thinking(const ChatRequest& request);
std::unique_ptr<Format> messages_format(const ChatRequest& request);
// {"input_tokens": n}
std::string token_count_answer(size_t tokens);

// The body of the chat completion request that means the same; for parse_messages and tests.
Parsed<std::string> chat_body_of_messages(const std::string& body, MessagesUse use);

}  // namespace fathom::api
