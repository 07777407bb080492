// Reads the header of a safetensors file: 8 bytes little-endian header length, JSON, data.
// Hardened: every length, offset and product is checked against the file before it is used.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file_set.h"
#include "base/result.h"
#include "tensor/dtype.h"

namespace fathom {

struct BlockType;

struct StoredTensor {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // inside the mapped file
  const BlockType* block = nullptr;  // of kBlocks (gguf/block_types.h)
  const FileBytes* file = nullptr;   // set by Checkpoint; for messages

  int64_t elements() const;
  std::string describe() const;  // "BF16 [256, 128]"
};

// Errors name the file, the tensor, what was found and what is allowed.
Result<std::map<std::string, StoredTensor>> read_safetensors(std::span<const std::byte> bytes,
                                                             const std::string& path);

}  // namespace fathom
