#include "tensor/buffer.h"

#include <sys/mman.h>

#include <cstring>
#include <mutex>
#include <utility>

namespace fathom {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kSlabBytes = size_t{128} << 20;

}  // namespace

Result<Buffer> Buffer::allocate(size_t bytes) {
  Buffer buffer;
  if (bytes == 0) return buffer;
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) {
    return fail(ErrorCode::kExhausted, "cannot allocate {} bytes: {}", bytes, std::strerror(errno));
  }
  madvise(p, bytes, MADV_HUGEPAGE);
  buffer.data_ = static_cast<std::byte*>(p);
  buffer.size_ = bytes;
  return buffer;
}

Result<Buffer> Buffer::allocate_packed(size_t bytes) {
  static std::mutex mutex;
  static std::weak_ptr<Buffer> current;
  static size_t used = 0;
  const size_t aligned = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (aligned >= kSlabBytes / 4) return allocate(bytes);
  const std::lock_guard lock(mutex);
  std::shared_ptr<Buffer> slab = current.lock();
  if (!slab || used + aligned > slab->size()) {
    slab = std::make_shared<Buffer>(TRY(allocate(kSlabBytes)));
    current = slab;
    used = 0;
  }
  Buffer buffer;
  buffer.data_ = slab->data_ + used;
  buffer.size_ = bytes;
  buffer.slab_ = std::move(slab);
  used += aligned;
  return buffer;
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      slab_(std::move(other.slab_)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(slab_, other.slab_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ && !slab_) munmap(data_, size_);
}

}  // namespace fathom
