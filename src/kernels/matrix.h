// A weight matrix as kernels see it: plain data, lying as in the checkpoint, row-major [out, in].
#pragma once

#include <cstdint>

namespace fathom {

// How the numbers of a weight are stored. One row per format in each target's table (ops.h) and a
// loader in weights/formats. weight_value.h defines each exactly.
enum class WeightFormat : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF8,   // e4m3 codes x one float scale per block
  kI8,   // int8 codes x one float scale per block
  kI4,   // 4-bit codes with a scale and a zero point per group of columns (AWQ, GPTQ)
  kFp4,  // e2m1 codes x an e4m3 scale per 16 columns x a scale of the matrix (NVFP4)
};
inline constexpr int kWeightFormatCount = 7;

// Columns of a kI4 row are stored in steps of this many (64 bytes), the last one padded.
inline constexpr int32_t kI4Step = 128;

struct MatrixView {
  const void* data = nullptr;  // [out, in]; kI4: [out, row_bytes]; kFp4: [out, in / 2]
  int32_t out = 0;
  int32_t in = 0;
  WeightFormat format = WeightFormat::kF32;

  // kF8, kI8, kI4: scale[(row / block_out) * scale_stride + column / block_in] belongs to a number.
  // Blocks are 128 x 128 (DeepSeek), the whole matrix (per tensor), 1 x in (per channel) or 1 x
  // group; the last of either dimension may be partial. kI4: block_out is 1, and block_in divides
  // kI4Step or is a multiple of it.
  const float* scale = nullptr;
  int32_t block_out = 0;
  int32_t block_in = 0;
  int32_t scale_stride = 0;

  // kI4: value = (code - zero) * scale, zero placed like scale; null: 8 everywhere.
  const float* zero = nullptr;

  // kFp4: e4m3 codes [out, in / 16], and the factor of all.
  const uint8_t* scale8 = nullptr;
  float global_scale = 1;

  // Stored column k multiplies input column order[k]; null: column k. (GPTQ with desc_act)
  const int32_t* order = nullptr;

  int64_t row_bytes() const;
  int64_t bytes() const { return out * row_bytes(); }  // of data, without scales
};

inline int64_t MatrixView::row_bytes() const {
  switch (format) {
    case WeightFormat::kF32:
      return int64_t{4} * in;
    case WeightFormat::kF16:
    case WeightFormat::kBF16:
      return int64_t{2} * in;
    case WeightFormat::kF8:
    case WeightFormat::kI8:
      return in;
    case WeightFormat::kI4:
      return (int64_t{in} + kI4Step - 1) / kI4Step * (kI4Step / 2);
    case WeightFormat::kFp4:
      return (int64_t{in} + 1) / 2;
  }
  return 0;
}

}  // namespace fathom
