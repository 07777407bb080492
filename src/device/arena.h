// Bump allocator for the activations of one step: sized at start-up, reset at each step, no
// allocation while serving. Owned by one rank, used by its thread only.
#pragma once

#include "base/check.h"
#include "tensor/buffer.h"

namespace fathom {

class Arena {
 public:
  explicit Arena(Buffer buffer) : buffer_(std::move(buffer)) {}

  // n elements of T, 64-byte aligned, uninitialised. Valid until reset() or the Scope ends.
  template <class T>
  T* take(int64_t n) {
    const size_t bytes = (static_cast<size_t>(n) * sizeof(T) + 63) & ~size_t{63};
    CHECK_LE(used_ + bytes, buffer_.size());
    T* p = reinterpret_cast<T*>(buffer_.data() + used_);
    used_ += bytes;
    return p;
  }
  void reset() { used_ = 0; }
  size_t used() const { return used_; }
  size_t capacity() const { return buffer_.size(); }

  // Gives back at its end what was taken since its start.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), mark_(arena.used_) {}
    ~Scope() { arena_.used_ = mark_; }
    Scope(const Scope&) = delete;

   private:
    Arena& arena_;
    size_t mark_;
  };

 private:
  Buffer buffer_;
  size_t used_ = 0;
};

}  // namespace fathom
