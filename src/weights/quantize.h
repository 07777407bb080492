// Float rows to the codes and scales of kernels/matrix.h. Used when weights are quantised on load
// and by `fathom convert`, so both give the same numbers.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "device/exec.h"
#include "weights/matrix.h"

namespace fathom {

// What a matrix is quantised to. block_out x block_in numbers share a scale; 0 means the whole
// dimension, so 128 x 128 is DeepSeek's blocks, 1 x 0 per channel, 0 x 0 per tensor. kI4 has groups
// of block_in columns; kFp4 always has 16.
struct QuantTarget {
  WeightFormat format = WeightFormat::kBF16;
  int32_t block_out = 1;
  int32_t block_in = 0;
  bool zero_points = false;  // kI4 only; without them codes are around 8

  bool operator==(const QuantTarget&) const = default;
};

// What such a matrix will be. kInvalid when the format cannot hold the shape (kFp4 needs `in` to be
// a multiple of 16).
Result<DescribedMatrix> describe(const QuantTarget& target, int32_t out, int32_t in);
// One zeroed buffer for all parts.
Result<Matrix> allocate_matrix(const DescribedMatrix& described);

// Pointers to write a matrix that owns its memory.
struct WritableMatrix {
  uint8_t* data;
  float* scale;     // [ceil(out / block_out), scale_stride] or null
  float* zero;      // likewise
  uint8_t* scale8;  // kFp4: [out, in / 16]
  int32_t* order;   // [in] or null
};
WritableMatrix writable(const Matrix& matrix);

// The whole matrix, in parallel, a band of rows at a time: never a second copy of it as floats.
// `source` may have any format; a target of kBF16 unpacks it.
Result<Matrix> quantize(const MatrixView& source, const QuantTarget& target, Exec& exec);

// ---- One band of `count` rows [count, in] that share their scales, one scale per block_in columns
// (the last block may be partial). Codes are [count, in].

// scale = max|x| / 448; code = e4m3(x / scale).
void quantize_f8(const float* rows, int64_t count, int64_t in, int64_t block_in, uint8_t* codes,
                 float* scales);
// scale = max|x| / 127; code = round(x / scale), ties to even.
void quantize_i8(const float* rows, int64_t count, int64_t in, int64_t block_in, int8_t* codes,
                 float* scales);

// ---- One row of `in` numbers.

// kI4: two codes per byte, even column low. With zeros: scale = (max - min) / 15, zero in 0..15;
// null: scale = max|x| / 7 around 8. Scales are rounded to FP16, as AWQ and GPTQ files keep them.
void quantize_i4(const float* row, int64_t in, int64_t group, uint8_t* codes, float* scales,
                 float* zeros);
// kFp4: in is a multiple of 16. scale8 = e4m3(max|x| / 6 / global_scale).
void quantize_fp4(const float* row, int64_t in, float global_scale, uint8_t* codes,
                  uint8_t* scale8);
// The global scale for a matrix (or several that must share one) of this largest magnitude.
float fp4_global_scale(float largest);

// Of a whole matrix, in parallel: max|x|, and whether no number is NaN or an infinity.
float largest_magnitude(const MatrixView& matrix, Exec& exec);
bool is_finite(const MatrixView& matrix, Exec& exec);

}  // namespace fathom
