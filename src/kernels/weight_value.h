// What a stored number is: the definition of every weight format, one element at a time. Scalar
// kernels, conversion and tests use it; fast kernels are tested against it.
#pragma once

#include "kernels/matrix.h"
#include "tensor/float_formats.h"

namespace fathom {

// Element (row, column) of the matrix as stored, before `order`.
inline float weight_value(const MatrixView& w, int64_t row, int64_t column) {
  const auto* bytes = static_cast<const uint8_t*>(w.data) + row * w.row_bytes();
  const auto block = [&] { return (row / w.block_out) * w.scale_stride + column / w.block_in; };
  // Two codes in a byte, the even column's in the low half.
  const auto nibble = [&] { return (bytes[column / 2] >> (column % 2 * 4)) & 15; };
  switch (w.format) {
    case WeightFormat::kF32:
      return reinterpret_cast<const float*>(bytes)[column];
    case WeightFormat::kF16:
      return f16_to_float(reinterpret_cast<const uint16_t*>(bytes)[column]);
    case WeightFormat::kBF16:
      return bf16_to_float(reinterpret_cast<const uint16_t*>(bytes)[column]);
    case WeightFormat::kF8:
      return f8e4m3_to_float(bytes[column]) * w.scale[block()];
    case WeightFormat::kI8:
      return static_cast<float>(static_cast<int8_t>(bytes[column])) * w.scale[block()];
    case WeightFormat::kI4:
      return (static_cast<float>(nibble()) - (w.zero ? w.zero[block()] : 8.0f)) * w.scale[block()];
    case WeightFormat::kFp4:
      return f4e2m1_to_float(static_cast<uint8_t>(nibble())) *
             f8e4m3_to_float(w.scale8[row * ((w.in + 15) / 16) + column / 16]) * w.global_scale;
  }
  return 0;
}

}  // namespace fathom
