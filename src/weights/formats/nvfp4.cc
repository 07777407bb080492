// NVFP4, read in place: two e2m1 codes per byte (even column low), an e4m3 scale per 16 columns,
// one FP32 scale per matrix. ModelOpt calls them weight, weight_scale, weight_scale_2;
// compressed-tensors weight_packed, weight_scale and weight_global_scale, which divides.
// (spec: deepseek-model 8.8, 8.9)
#include <atomic>

#include "weights/formats/scales.h"
#include "weights/quantize.h"

namespace fathom {
namespace {

constexpr std::string_view kBlockScale = "weight_scale";
constexpr std::string_view kScale = "weight_scale_2";
constexpr std::string_view kInverseScale = "weight_global_scale";

std::string_view codes_part(const StoredLinear& linear) {
  return linear.find("weight_packed") ? "weight_packed" : "weight";
}

bool claims(const Checkpoint& checkpoint, const std::string& prefix) {
  for (const char* part : {".weight", ".weight_packed"}) {
    const StoredTensor* codes = checkpoint.find(prefix + part);
    if (codes && codes->dtype == DType::kU8) return true;
  }
  return false;
}

Result<DescribedMatrix> describe(const StoredLinear& linear) {
  const std::string_view part = codes_part(linear);
  const auto matrix = describe(QuantTarget{WeightFormat::kFp4, 1, 16}, linear.out, linear.in);
  if (!matrix) return invalid("{}: {}", linear.where(part), matrix.error().message);
  TRY(expect_tensor(linear, part, *linear.find(part), DType::kU8, {linear.out, linear.in / 2}));
  const StoredTensor* scale =
      TRY(linear.require(kBlockScale, "NVFP4 keeps a scale per 16 columns"));
  TRY(expect_tensor(linear, kBlockScale, *scale, DType::kF8E4M3, {linear.out, linear.in / 16}));
  return matrix;
}

// Index of the first code that is NaN or negative, or -1.
int64_t first_bad_scale(const StoredTensor& scale, Exec& exec) {
  const auto* codes = reinterpret_cast<const uint8_t*>(scale.bytes.data());
  const auto n = static_cast<int64_t>(scale.bytes.size());
  std::atomic<int64_t> first{n};
  exec.parallel(n, [&](Range range, int) {
    uint8_t worst = 0;
    for (int64_t i = range.begin; i < range.end; ++i) worst = std::max(worst, codes[i]);
    if (worst < 0x7f) return;
    int64_t i = range.begin;
    while (codes[i] < 0x7f) ++i;
    int64_t known = first;
    while (i < known && !first.compare_exchange_weak(known, i)) {
    }
  });
  return first < n ? first.load() : -1;
}

Result<Matrix> load(const StoredLinear& linear, Exec& exec) {
  Matrix matrix;
  matrix.view = TRY(describe(linear)).view;
  matrix.view.data = linear.find(codes_part(linear))->bytes.data();
  const StoredTensor& scale = *linear.find(kBlockScale);
  matrix.view.scale8 = reinterpret_cast<const uint8_t*>(scale.bytes.data());
  constexpr std::string_view kWhy = "NVFP4 needs the scale of the whole matrix";
  matrix.view.global_scale = linear.find(kInverseScale)
                                 ? 1 / TRY(scalar_scale(linear, kInverseScale, kWhy))
                                 : TRY(scalar_scale(linear, kScale, kWhy));
  const int64_t bad = first_bad_scale(scale, exec);
  if (bad >= 0) {
    return invalid(
        "{}: scale {} is NaN or negative (code {:#x}); the file is damaged or was written by a "
        "broken conversion; download or convert it again",
        linear.where(kBlockScale), bad, matrix.view.scale8[bad]);
  }
  return matrix;
}

}  // namespace

const Format kNvfp4Format = {"modelopt_fp4", claims, describe, load};

}  // namespace fathom
