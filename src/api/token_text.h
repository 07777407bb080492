// Single tokens as text, and their logprobs in OpenAI's form.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "api/json_writer.h"
#include "request/token_event.h"
#include "text/tokenizer.h"

namespace fathom::api {

// The token's bytes when they are UTF-8 by themselves, else one Latin-1 character per byte, so that
// nothing is lost.
std::string token_text(const Tokenizer& tokenizer, int32_t id);

// [{"token","bytes","logprob","top_logprobs":[{"token","bytes","logprob"}...]}...]
void write_token_logprobs(JsonWriter& out, const Tokenizer& tokenizer,
                          std::span<const PositionLogprobs> positions);

}  // namespace fathom::api
