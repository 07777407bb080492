// A weight matrix as kernels see it: plain data, lying as in the checkpoint, row-major [out, in].
#pragma once

#include <cstdint>

namespace fathom {

// How the numbers of a weight are stored. One row per format in each target's table (ops.h) and one
// file per format in weights/formats.
enum class WeightFormat : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8Block,  // e4m3 codes x one float scale per block (usually 128 x 128)
};
inline constexpr int kWeightFormatCount = 4;

struct MatrixView {
  const void* data = nullptr;  // [out, in]
  int32_t out = 0;
  int32_t in = 0;
  WeightFormat format = WeightFormat::kF32;

  // kF8Block: value = code * scale[(row / block_out) * scale_stride + column / block_in].
  // The last block of either dimension may be partial.
  const float* scale = nullptr;
  int32_t block_out = 0;
  int32_t block_in = 0;
  int32_t scale_stride = 0;

  int64_t bytes() const;  // of data, without scales
};

}  // namespace fathom
