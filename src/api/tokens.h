// /tokenize and /detokenize (spec: http-api 13). Body in, body out.
#pragma once

#include <string>

#include "api/errors.h"
#include "api/settings.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace fathom::api {

// Texts that are made into tokens for their own sake. None waits for them, but they take time.
std::expected<void, Failure> check_text_bytes(size_t bytes, const Settings& settings);

Parsed<std::string> tokenize(const std::string& body, const Settings& settings,
                             const Tokenizer& tokenizer, const ChatTemplate* chat_template);
Parsed<std::string> detokenize(const std::string& body, const Settings& settings,
                               const Tokenizer& tokenizer);
// /tokenizer_info, vLLM's: tokenizer_config.json, with the tokens and the template in use.
std::string tokenizer_info(const Tokenizer& tokenizer, const ChatTemplate* chat_template);

}  // namespace fathom::api
