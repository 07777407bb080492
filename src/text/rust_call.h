// Owning wrappers of what the text crate hands out, and its errors as Results.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "fathom_text.h"

namespace fathom {

class RustBuffer {
 public:
  RustBuffer() = default;
  RustBuffer(const RustBuffer&) = delete;
  RustBuffer& operator=(const RustBuffer&) = delete;
  ~RustBuffer() { ft_buffer_free(buffer_); }
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
  const char* message = ft_error(&size);
  return {message, size};
}

}  // namespace fathom
