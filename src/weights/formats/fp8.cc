// FP8: e4m3 codes, read in place. DeepSeek's own have one FP32 `weight_scale_inv` per block of 128
// x 128 (despite its name it multiplies); ModelOpt and compressed-tensors a `weight_scale` per
// tensor, row or block. (spec: deepseek-model 8.1, 8.8, 8.9)
#include "weights/formats/scales.h"

namespace fathom {
namespace {

constexpr std::string_view kBlockScale = "weight_scale_inv";
constexpr std::string_view kScale = "weight_scale";

std::string_view scale_part(const StoredLinear& linear) {
  return linear.find(kScale) && !linear.find(kBlockScale) ? kScale : kBlockScale;
}

bool claims(const Checkpoint& checkpoint, const std::string& prefix) {
  const StoredTensor* weight = checkpoint.find(prefix + ".weight");
  return weight && weight->dtype == DType::kF8E4M3;
}

Result<DescribedMatrix> describe(const StoredLinear& linear) {
  const std::string_view part = scale_part(linear);
  return describe_scaled(linear, WeightFormat::kF8, part, part == kBlockScale);
}

Result<Matrix> load(const StoredLinear& linear, Exec&) {
  return load_scaled(linear, TRY(describe(linear)).view, scale_part(linear));
}

}  // namespace

const Format kF8Format = {"fp8", claims, describe, load};

}  // namespace fathom
