// Element types of checkpoints and buffers, and their names in safetensors files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace fathom {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8E4M3,  // OCP E4M3FN: bias 7, max 448, no infinities, NaN = 0x7f / 0xff
  kF8E5M2,
  kI64,
  kI32,
  kI16,
  kI8,
  kU8,
  kBool,
  kF64,
  kBlocks,  // quantised blocks of a GGUF file, counted in bytes; never in safetensors
  kF8E8M0,  // scales only: 2^(code - 127)
};

// Bytes per element.
size_t size_of(DType dtype);
// "BF16", "F8_E4M3", ... as safetensors spells them.
std::string_view name_of(DType dtype);
std::optional<DType> dtype_from_safetensors(std::string_view name);

}  // namespace fathom
