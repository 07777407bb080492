// The number formats of GGUF tensors. Blocks of 32 or 256 consecutive numbers of a row share
// scales; layouts are those of ggml's block_q8_0, block_q4_K and so on, little-endian.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "tensor/dtype.h"

namespace fathom {

inline constexpr int32_t kMaxBlock = 256;

// One block taken apart: value[i] = scale[g] * code[i] + offset[g] with g = i / group.
struct BlockParts {
  int8_t code[kMaxBlock];
  float scale[kMaxBlock / 16];
  float offset[kMaxBlock / 16];
};

// What the parts of a type look like, and so which form of matrix they fit.
enum class BlockForm {
  kPlain,      // no blocks: `plain` is the element type
  kSymmetric,  // signed codes, every offset is 0: kI8
  kNibbles,    // codes 0 to 15 with offsets: kI4
  kOther,      // codes that fit neither: unpacked at load
  kUnknown,    // known by name and size only
};

struct BlockType {
  uint32_t id;            // ggml's number, as in the file
  std::string_view name;  // "Q4_K"
  int32_t elements;       // of a block
  int32_t bytes;          // of a block
  BlockForm form = BlockForm::kUnknown;
  int32_t group = 0;  // elements that share a scale
  void (*take_apart)(const uint8_t* block, BlockParts& parts) = nullptr;
  std::optional<DType> plain = std::nullopt;
};

// Null: this build has never heard of it.
const BlockType* block_type(uint32_t id);

// Values of one block, as ggml's reference computes them.
void unpack_block(const BlockType& type, const uint8_t* block, float* values);

}  // namespace fathom
