// BF16, FP16 and FP32 weights, read in place.
#include "weights/formats/format.h"

namespace fathom {
namespace {

std::string weight_name(const std::string& prefix) {
  return prefix + ".weight";
}

bool is_plain(DType dtype) {
  return dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF32;
}

bool claims(const Checkpoint& checkpoint, const std::string& prefix) {
  const StoredTensor* weight = checkpoint.find(weight_name(prefix));
  return weight && is_plain(weight->dtype);
}

void names(const std::string& prefix, std::vector<std::string>& out) {
  out.push_back(weight_name(prefix));
}

WeightFormat format_of(DType dtype) {
  if (dtype == DType::kBF16) return WeightFormat::kBF16;
  return dtype == DType::kF16 ? WeightFormat::kF16 : WeightFormat::kF32;
}

Result<Matrix> load(const Checkpoint& checkpoint, const std::string& prefix, int32_t out,
                    int32_t in, const QuantHints&) {
  const StoredTensor& weight = *checkpoint.find(weight_name(prefix));
  if (weight.shape != std::vector<int64_t>{out, in}) {
    return invalid("{}: {}: expected [{}, {}], found {}", weight.file->path, weight_name(prefix),
                   out, in, weight.describe());
  }
  Matrix matrix;
  matrix.view.data = TRY(aligned_bytes(weight, matrix.data));
  matrix.view.out = out;
  matrix.view.in = in;
  matrix.view.format = format_of(weight.dtype);
  return matrix;
}

}  // namespace

const Format kPlainFormat = {"", WeightFormat::kBF16, claims, names, load};

}  // namespace fathom
