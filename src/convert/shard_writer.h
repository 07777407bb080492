// Writes one safetensors file, tensor by tensor in the order of its header. Until finish() the file
// has another name, so that what is there under its own name is whole, on disk and read back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "base/result.h"
#include "convert/target.h"

namespace fathom::convert {

class ShardWriter {
 public:
  static Result<ShardWriter> create(const std::filesystem::path& path,
                                    std::span<const OutputTensor> tensors);
  ShardWriter(ShardWriter&& other) noexcept;
  ShardWriter(const ShardWriter&) = delete;
  ~ShardWriter();

  // The next bytes of the data.
  Status write(std::span<const std::byte> bytes);
  // Flushes to disk, reads everything back and compares, then gives the file its name.
  Status finish();

 private:
  ShardWriter(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}
  Status check_readback();

  std::filesystem::path path_;
  int fd_ = -1;
  int64_t expected_ = 0;
  int64_t written_ = 0;
  uint64_t sum_ = 0;
};

// A small file in one go: written under another name, flushed, renamed.
Status write_file(const std::filesystem::path& path, std::string_view content);
// Makes the names of a folder's files durable.
Status flush_folder(const std::filesystem::path& folder);

}  // namespace fathom::convert
