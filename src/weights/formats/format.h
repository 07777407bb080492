// What a weight format is on the checkpoint's side: which tensors make one matrix, and how they
// become the form that kernels read. One file per format, one row in the registry. Each linear
// layer is judged by its own tensors, so a checkpoint may mix formats.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "device/exec.h"
#include "weights/checkpoint.h"
#include "weights/matrix.h"
#include "weights/quant_config.h"

namespace fathom {

// A linear layer [out, in] of a checkpoint: "model.layers.0.mlp.up_proj".
struct StoredLinear {
  const Checkpoint& checkpoint;
  const std::string& prefix;
  int32_t out;
  int32_t in;
  const QuantConfig& config;

  const StoredTensor* find(std::string_view part) const;  // part: "weight", "qzeros", ...
  std::string name(std::string_view part) const;
  // The error names file, tensor, expected and found; `why` says what the tensor is for.
  Result<const StoredTensor*> require(std::string_view part, std::string_view why) const;
  // "path: prefix.part", to begin a message with.
  std::string where(std::string_view part) const;
};

struct Format {
  std::string_view name;  // "" for plain weights
  // Do this layer's tensors have this format?
  bool (*claims)(const Checkpoint& checkpoint, const std::string& prefix);
  // What load() will give, without its memory: names, types and shapes of all tensors are checked
  // here, from headers alone.
  Result<DescribedMatrix> (*describe)(const StoredLinear& linear);
  // In place where the file's layout is the kernels', else repacked in parallel.
  Result<Matrix> (*load)(const StoredLinear& linear, Exec& exec);
};

std::span<const Format> formats();
extern const Format kPlainFormat;
extern const Format kF8Format;
extern const Format kI8ChannelFormat;
extern const Format kI8BlockFormat;
extern const Format kAwqFormat;
extern const Format kGptqFormat;
extern const Format kPackQuantizedFormat;
extern const Format kNvfp4Format;
extern const Format kGgufFormat;
extern const Format kGgufSplitFormat;

// Which format linear layer `prefix` has, judged by its tensors; null: its weight is missing or of
// a form no format claims.
const Format* detect_format(const Checkpoint& checkpoint, const std::string& prefix);

// What `format` loads, unless the layer has tensors that would change its output and that nothing
// here reads: a bias other than zeros, or scales of its input.
Result<Matrix> load_linear(const Format& format, const StoredLinear& linear, Exec& exec);

// Refuses a part of the layer that holds anything but zeros; fine where it is missing.
Status expect_zeros(const StoredLinear& linear, std::string_view part, std::string_view meaning);

// Every name that a tensor of a linear layer may have after "prefix.": weights, scales, scales of
// activations, which are computed here instead, and what load_linear() looks at.
std::span<const std::string_view> linear_parts();

// Rows [begin, end) of any matrix as exact FP32: [end - begin, in]. Slow; for tests, conversion and
// weights that must be unpacked.
void dequantize(const MatrixView& matrix, int64_t begin, int64_t end, float* out);

// The form in which a matrix is unpacked: BF16, or FP32 when the source is FP32 or FP16, so that
// nothing is rounded that the checkpoint had.
inline WeightFormat unpacked_format(WeightFormat source) {
  return source == WeightFormat::kF32 || source == WeightFormat::kF16 ? WeightFormat::kF32
                                                                      : WeightFormat::kBF16;
}

// Bytes the kernels read per matrix: codes, scales, zero points, column order.
int64_t matrix_bytes(const MatrixView& matrix);
int64_t matrix_bytes(const DescribedMatrix& matrix);

// The tensor's bytes, aligned for its type: in place if the file has them so, else copied to
// `copy`.
Result<const std::byte*> aligned_bytes(const StoredTensor& tensor, Buffer& copy);
// Any float tensor as FP32.
Result<Vector> to_floats(const StoredTensor& tensor, const std::string& name);

}  // namespace fathom
