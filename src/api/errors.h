// What a client sees when its request fails: one HTTP status and one of the body shapes of the API
// (spec: http-api 2).
#pragma once

#include <expected>
#include <string>
#include <utility>

#include "base/result.h"
#include "request/token_event.h"

namespace fathom::api {

enum class Shape {
  kOpenAi,     // A: {"object":"error","message",...} and the same under "error"
  kNative,     // B: {"error":{"message"}}
  kNested,     // C: {"error":{"message","type","param","code"}}
  kAnthropic,  // D: {"type":"error","error":{"type","message"}}
};

struct Failure {
  int status = 400;
  std::string message;
  // The JSON itself is wrong (syntax, type, missing field): shape A also on native routes.
  bool schema = false;

  Failure(int status, std::string message, bool schema = false)
      : status(status), message(std::move(message)), schema(schema) {}
  Failure(const Error& error);  // NOLINT: an Error is a Failure once its status is known
};

template <class T>
using Parsed = std::expected<T, Failure>;

template <class... Args>
std::unexpected<Failure> refuse(fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Failure(400, fmt::format(format, std::forward<Args>(args)...)));
}

// Of a request that the engine ended with an error status.
Failure failure_of(const FinishReason& abort);

std::string error_body(const Failure& failure, Shape shape);
// Error types of Anthropic's API: "invalid_request_error", "overloaded_error"...
std::string_view anthropic_error_type(int status);
// HTTP status names in capitals, as errors inside a stream carry them.
std::string_view stream_error_type(int status);
// The event that ends a stream whose 200 has been sent: `data: {...}\n\n`.
std::string error_event(const Failure& failure);

}  // namespace fathom::api
