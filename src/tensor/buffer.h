// Owning, 64-byte aligned memory. Zero-initialised by the kernel page by page (anonymous mmap), so
// that the thread which first touches a page places it on its own NUMA node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"

namespace fathom {

class Buffer {
 public:
  Buffer() = default;
  // kExhausted with the numbers when the machine has no room.
  static Result<Buffer> allocate(size_t bytes);
  // For what lives as long as the process, that is weights: side by side in huge pages with others,
  // because a matrix of 1 or 2 MB alone seldom covers one. Memory returns to the system when all
  // that share a slab are gone.
  static Result<Buffer> allocate_packed(size_t bytes);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }
  template <class T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::shared_ptr<Buffer> slab_;  // owns data_; null: this buffer does
};

}  // namespace fathom
