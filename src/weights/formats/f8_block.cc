// DeepSeek's FP8: e4m3 codes with one FP32 `weight_scale_inv` per block of 128 x 128. Despite its
// name the scale multiplies. (spec: deepseek-model 8.1)
#include <cmath>
#include <cstring>

#include "weights/formats/format.h"

namespace fathom {
namespace {

std::string weight_name(const std::string& prefix) {
  return prefix + ".weight";
}
std::string scale_name(const std::string& prefix) {
  return prefix + ".weight_scale_inv";
}

bool claims(const Checkpoint& checkpoint, const std::string& prefix) {
  const StoredTensor* weight = checkpoint.find(weight_name(prefix));
  return weight && weight->dtype == DType::kF8E4M3;
}

void names(const std::string& prefix, std::vector<std::string>& out) {
  out.push_back(weight_name(prefix));
  out.push_back(scale_name(prefix));
}

Result<Matrix> load(const Checkpoint& checkpoint, const std::string& prefix, int32_t out,
                    int32_t in, const QuantHints& hints) {
  const StoredTensor& weight = *checkpoint.find(weight_name(prefix));
  const StoredTensor* scale = checkpoint.find(scale_name(prefix));
  if (weight.shape != std::vector<int64_t>{out, in}) {
    return invalid("{}: {}: expected [{}, {}], found {}", weight.file->path, weight_name(prefix),
                   out, in, weight.describe());
  }
  if (!scale) {
    return invalid("{}: {} is {} but {} is missing; FP8 weights need their block scales",
                   weight.file->path, weight_name(prefix), weight.describe(), scale_name(prefix));
  }
  const int64_t rows = (int64_t{out} + hints.block_out - 1) / hints.block_out;
  const int64_t columns = (int64_t{in} + hints.block_in - 1) / hints.block_in;
  if (scale->shape != std::vector<int64_t>{rows, columns}) {
    return invalid("{}: {}: expected [{}, {}] for blocks of {} x {}, found {}", scale->file->path,
                   scale_name(prefix), rows, columns, hints.block_out, hints.block_in,
                   scale->describe());
  }
  Matrix matrix;
  const int64_t blocks = rows * columns;
  const float* values = nullptr;
  if (scale->dtype == DType::kF32) {
    values = reinterpret_cast<const float*>(TRY(aligned_bytes(*scale, matrix.scales)));
  } else {
    const Vector widened = TRY(to_floats(*scale, scale_name(prefix)));
    matrix.scales = TRY(Buffer::allocate(widened.size() * sizeof(float)));
    std::memcpy(matrix.scales.data(), widened.data(), widened.size() * sizeof(float));
    values = matrix.scales.as<float>();
  }
  for (int64_t i = 0; i < blocks; ++i) {
    if (!std::isfinite(values[i])) {
      return invalid("{}: {}: scale {} is {}; the file is damaged", scale->file->path,
                     scale_name(prefix), i, values[i]);
    }
  }
  matrix.view = {.data = weight.bytes.data(),
                 .out = out,
                 .in = in,
                 .format = WeightFormat::kF8,
                 .scale = values,
                 .block_out = hints.block_out,
                 .block_in = hints.block_in,
                 .scale_stride = static_cast<int32_t>(columns)};
  return matrix;
}

}  // namespace

const Format kF8BlockFormat = {"fp8", WeightFormat::kF8, claims, names, load};

}  // namespace fathom
