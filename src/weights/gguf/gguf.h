// Reads a GGUF file (versions 2 and 3, little-endian): metadata, tensor table, data. The format is
// that of ggml's docs/gguf.md. Hardened like the safetensors reader: every count, length and offset
// is checked against the file before it is used, and nothing is allocated on a file's word alone.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "weights/gguf/block_types.h"

namespace fathom {

// Integers of all widths are int64_t (a uint64 above its range is refused), floats are double.
// Strings point into the file.
using GgufValue = std::variant<int64_t, double, bool, std::string_view, std::vector<int64_t>,
                               std::vector<double>, std::vector<std::string_view>>;

struct GgufTensor {
  std::string name;
  const BlockType* type = nullptr;
  std::vector<int64_t> shape;        // outermost first, as everywhere here; files say it reversed
  std::span<const std::byte> bytes;  // inside the file
};

struct GgufFile {
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<GgufTensor> tensors;

  // The value of `key` if it is there and of that kind.
  template <class T>
  const T* find(std::string_view key) const {
    const auto found = metadata.find(key);
    return found == metadata.end() ? nullptr : std::get_if<T>(&found->second);
  }
};

// Errors name the file, the key or tensor, what was found and what is allowed.
Result<GgufFile> read_gguf(std::span<const std::byte> bytes, const std::string& path);

}  // namespace fathom
