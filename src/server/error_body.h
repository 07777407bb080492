// The bodies of errors that the server itself finds: one function per shape of the API
// (spec: http-api 2). Errors inside a generation request are made by api/.
#pragma once

#include <string_view>

#include "http/message.h"

namespace fathom {

enum class ErrorShape {
  kDetail,     // {"detail": ...}: pages without a shape of their own
  kFlat,       // A: OpenAI
  kNative,     // B: /generate and its kin
  kNested,     // C: model card, /v1/responses
  kAnthropic,  // D: /v1/messages
};

// 503 carries Retry-After.
http::Response error_response(ErrorShape shape, int status, std::string_view message);

}  // namespace fathom
