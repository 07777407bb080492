// /tokenize and /detokenize (spec: http-api 13). Body in, body out.
#pragma once

#include <string>

#include "api/errors.h"
#include "api/settings.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace fathom::api {

Parsed<std::string> tokenize(const std::string& body, const Settings& settings,
                             const Tokenizer& tokenizer, const ChatTemplate* chat_template);
Parsed<std::string> detokenize(const std::string& body, const Settings& settings,
                               const Tokenizer& tokenizer);

}  // namespace fathom::api
