// INT8, read in place: symmetric codes with one scale per output channel (`weight_scale`: W8A8,
// also compressed-tensors' int-quantized) or per block (`weight_scale_inv`: blockwise_int8). (spec:
// deepseek-model 8.3, 8.4, 8.9)
#include "weights/formats/scales.h"

namespace fathom {
namespace {

constexpr std::string_view kBlockScale = "weight_scale_inv";
constexpr std::string_view kScale = "weight_scale";

bool has_codes(const Checkpoint& checkpoint, const std::string& prefix) {
  const StoredTensor* weight = checkpoint.find(prefix + ".weight");
  return weight && weight->dtype == DType::kI8;
}

bool claims_blocks(const Checkpoint& checkpoint, const std::string& prefix) {
  return has_codes(checkpoint, prefix) && checkpoint.find(prefix + ".weight_scale_inv");
}
Result<DescribedMatrix> describe_blocks(const StoredLinear& linear) {
  return describe_scaled(linear, WeightFormat::kI8, kBlockScale, /*blocks_only=*/true);
}
Result<Matrix> load_blocks(const StoredLinear& linear, Exec&) {
  return load_scaled(linear, TRY(describe_blocks(linear)).view, kBlockScale);
}

bool claims_channels(const Checkpoint& checkpoint, const std::string& prefix) {
  return has_codes(checkpoint, prefix) && !checkpoint.find(prefix + ".weight_scale_inv");
}
Result<DescribedMatrix> describe_channels(const StoredLinear& linear) {
  return describe_scaled(linear, WeightFormat::kI8, kScale, /*blocks_only=*/false);
}
Result<Matrix> load_channels(const StoredLinear& linear, Exec&) {
  return load_scaled(linear, TRY(describe_channels(linear)).view, kScale);
}

}  // namespace

const Format kI8BlockFormat = {"blockwise_int8", claims_blocks, describe_blocks, load_blocks};
const Format kI8ChannelFormat = {"w8a8_int8", claims_channels, describe_channels, load_channels};

}  // namespace fathom
