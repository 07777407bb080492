// How the text crate is called; owning wrappers of what it hands out, and its errors as Results.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "fathom_text.h"

#ifdef __SANITIZE_THREAD__
extern "C" void __tsan_ignore_thread_begin();
extern "C" void __tsan_ignore_thread_end();
#endif

namespace fathom {

// Calls a function of the crate: rust<ft_error>(&size). The crate is not instrumented, so
// ThreadSanitizer does not see the atomics by which its threads hand values over, only its
// allocations and copies: it looks away meanwhile, from callbacks too. (The macro is gcc's.)
template <auto Function, class... Args>
auto rust(Args&&... args) {
#ifdef __SANITIZE_THREAD__
  struct Unwatched {
    Unwatched() { __tsan_ignore_thread_begin(); }
    ~Unwatched() { __tsan_ignore_thread_end(); }
  } unwatched;
#endif
  return Function(std::forward<Args>(args)...);
}

class RustBuffer {
 public:
  RustBuffer() = default;
  RustBuffer(const RustBuffer&) = delete;
  RustBuffer& operator=(const RustBuffer&) = delete;
  ~RustBuffer() { rust<ft_buffer_free>(buffer_); }
  ft_buffer* out() { return &buffer_; }
  std::string_view text() const {
    return {reinterpret_cast<const char*>(buffer_.data), buffer_.size};
  }
  std::span<const uint8_t> bytes() const { return {buffer_.data, buffer_.size}; }

 private:
  ft_buffer buffer_{nullptr, 0, 0};
};

// The message of the crate's last failure on this thread.
inline std::string rust_error() {
  size_t size = 0;
  const char* message = rust<ft_error>(&size);
  return {message, size};
}

}  // namespace fathom
