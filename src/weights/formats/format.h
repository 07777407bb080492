// What a weight format is on the checkpoint's side: which tensors make one matrix, and how they
// become the form that kernels read. One file per format, one row in the registry.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "weights/checkpoint.h"
#include "weights/matrix.h"

namespace fathom {

// What config.json says about quantised weights, as far as formats need it.
struct QuantHints {
  int32_t block_out = 128;
  int32_t block_in = 128;
};

struct Format {
  std::string_view name;  // as in quantization_config.quant_method; "" for plain weights
  WeightFormat matrix;    // for dummy weights and byte counts
  // Do the tensors of linear layer `prefix` ("model.layers.0.mlp.up_proj") have this format?
  bool (*claims)(const Checkpoint& checkpoint, const std::string& prefix);
  // Names of its tensors.
  void (*names)(const std::string& prefix, std::vector<std::string>& out);
  // Shapes are checked here; the error names tensor, expected and found.
  Result<Matrix> (*load)(const Checkpoint& checkpoint, const std::string& prefix, int32_t out,
                         int32_t in, const QuantHints& hints);
  // Bytes of the loaded matrix, where load() makes another form of the tensors; null: theirs.
  int64_t (*bytes)(const Checkpoint& checkpoint, const std::string& prefix, int32_t out,
                   int32_t in) = nullptr;
};

std::span<const Format> formats();
extern const Format kPlainFormat;
extern const Format kF8BlockFormat;
extern const Format kGgufFormat;
extern const Format kGgufSplitFormat;

// Which format linear layer `prefix` has, judged by its tensors; null: its weight is missing or of
// a form no format claims.
const Format* detect_format(const Checkpoint& checkpoint, const std::string& prefix);

// Rows [begin, end) of any matrix as exact FP32: [end - begin, in]. Slow; for tests, conversion and
// weights that must be unpacked.
void dequantize(const MatrixView& matrix, int64_t begin, int64_t end, float* out);

// The form in which a matrix is unpacked: BF16, or FP32 when the source is FP32 or FP16, so that
// nothing is rounded that the checkpoint had.
inline WeightFormat unpacked_format(WeightFormat source) {
  return source == WeightFormat::kF32 || source == WeightFormat::kF16 ? WeightFormat::kF32
                                                                      : WeightFormat::kBF16;
}

// Bytes the kernels read per matrix, scales included.
int64_t matrix_bytes(const MatrixView& matrix);

// The tensor's bytes, aligned for its type: in place if the file has them so, else copied to
// `copy`.
Result<const std::byte*> aligned_bytes(const StoredTensor& tensor, Buffer& copy);
// Any float tensor as FP32.
Result<Vector> to_floats(const StoredTensor& tensor, const std::string& name);

}  // namespace fathom
