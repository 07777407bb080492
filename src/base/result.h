// Errors as values. Anything that comes from outside (requests, flags, files, peers) returns a
// Result; our own bugs are CHECKs (base/check.h). Library exceptions are caught at the wrapper of
// their library and never cross a folder.
#pragma once

#include <fmt/format.h>

#include <expected>
#include <string>
#include <utility>

namespace fathom {

// Whose fault it is and what a caller can do. src/api maps each code to one HTTP status.
enum class ErrorCode {
  kInvalid,      // the input is wrong: fix it (400)
  kNotFound,     // what was named does not exist (404)
  kUnavailable,  // try again later: queue full, starting, shutting down (503)
  kExhausted,    // memory or pool too small for this (500 in a request)
  kUnsupported,  // valid, but not offered by this build (400, exit 1)
  kInternal,     // something failed that should not (500)
};

// The message names the field or tensor, what was found, what was expected and what to do.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

template <class T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

template <class... Args>
std::unexpected<Error> fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}
template <class... Args>
std::unexpected<Error> invalid(fmt::format_string<Args...> format, Args&&... args) {
  return fail(ErrorCode::kInvalid, format, std::forward<Args>(args)...);
}

}  // namespace fathom

// TRY(expr): the value of a Result, or return its error from this function. Reads as one line. Never
// among other temporaries (an initializer list, later arguments): gcc leaks them when it returns.
#define TRY(expr)                                                         \
  __extension__({                                                         \
    auto&& try_result_ = (expr);                                          \
    if (!try_result_) return std::unexpected(std::move(try_result_).error()); \
    std::move(try_result_).operator*();                                   \
  })
