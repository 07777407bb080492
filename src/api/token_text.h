// Single tokens as text for logprobs.
#pragma once

#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace fathom::api {

// The token's bytes when they are UTF-8 by themselves, else one Latin-1 character per byte, so that
// nothing is lost.
std::string token_text(const Tokenizer& tokenizer, int32_t id);

}  // namespace fathom::api
