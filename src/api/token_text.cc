#include "api/token_text.h"

#include <simdjson.h>

namespace fathom::api {
namespace {

void write_token(JsonWriter& out, const Tokenizer& tokenizer, const TokenLogprob& token) {
  out.key("token").string(token_text(tokenizer, token.id));
  out.key("bytes").begin_array();
  for (const char c : tokenizer.token_bytes(token.id)) {
    out.integer(static_cast<unsigned char>(c));
  }
  out.end_array();
  out.key("logprob").number(token.logprob.value_or(0.0f));
}

}  // namespace

std::string token_text(const Tokenizer& tokenizer, int32_t id) {
  const std::string_view bytes = tokenizer.token_bytes(id);
  if (simdjson::validate_utf8(bytes.data(), bytes.size())) return std::string(bytes);
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      text += c;
    } else {
      text += static_cast<char>(0xC0 | (byte >> 6));
      text += static_cast<char>(0x80 | (byte & 0x3F));
    }
  }
  return text;
}

void write_token_logprobs(JsonWriter& out, const Tokenizer& tokenizer,
                          std::span<const PositionLogprobs> positions) {
  out.begin_array();
  for (const PositionLogprobs& position : positions) {
    out.begin_object();
    write_token(out, tokenizer, position.token);
    out.key("top_logprobs").begin_array();
    for (const TokenLogprob& token : position.top) {
      out.begin_object();
      write_token(out, tokenizer, token);
      out.end_object();
    }
    out.end_array().end_object();
  }
  out.end_array();
}

}  // namespace fathom::api
