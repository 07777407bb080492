// POST /v1/responses (spec: http-api 12): a translation to a chat completion, whose answer is shown
// as output items and typed events. Nothing is stored.
#pragma once

#include <memory>
#include <string>

#include "api/chat.h"

namespace fathom::api {

struct ResponsesRequest {
  ChatRequest chat;
  std::string echo;  // the members of the answer that repeat the request: "tools":[...],...
};

Parsed<ResponsesRequest> parse_responses(const std::string& body, const Settings& settings);
std::unique_ptr<Format> responses_format(const ResponsesRequest& request,
                                         std::shared_ptr<const Tokenizer> tokenizer);

// The body of the chat completion request that means the same; for parse_responses and tests.
Parsed<std::string> chat_body_of_responses(const std::string& body);

}  // namespace fathom::api
