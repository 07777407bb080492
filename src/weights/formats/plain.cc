// BF16, FP16 and FP32 weights, read in place.
#include "weights/formats/format.h"
#include "weights/quantize.h"

namespace fathom {
namespace {

bool claims(const Checkpoint& checkpoint, const std::string& prefix) {
  const StoredTensor* weight = checkpoint.find(prefix + ".weight");
  return weight && (weight->dtype == DType::kBF16 || weight->dtype == DType::kF16 ||
                    weight->dtype == DType::kF32);
}

WeightFormat format_of(DType dtype) {
  if (dtype == DType::kBF16) return WeightFormat::kBF16;
  return dtype == DType::kF16 ? WeightFormat::kF16 : WeightFormat::kF32;
}

Result<DescribedMatrix> describe(const StoredLinear& linear) {
  const StoredTensor& weight = *linear.find("weight");
  if (weight.shape != std::vector<int64_t>{linear.out, linear.in}) {
    return invalid("{}: expected [{}, {}], found {}", linear.where("weight"), linear.out, linear.in,
                   weight.describe());
  }
  return describe(QuantTarget{format_of(weight.dtype)}, linear.out, linear.in);
}

Result<Matrix> load(const StoredLinear& linear, Exec&) {
  Matrix matrix;
  matrix.view = TRY(describe(linear)).view;
  matrix.view.data = TRY(aligned_bytes(*linear.find("weight"), matrix.data));
  return matrix;
}

}  // namespace

const Format kPlainFormat = {"", claims, describe, load};

}  // namespace fathom
