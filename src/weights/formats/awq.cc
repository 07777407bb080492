// AWQ, 4 bits, "gemm" packing, repacked to kI4: qweight int32 [in, out / 8], qzeros int32 [groups,
// out / 8], scales [groups, out]. Column 8j + c of a row lies in nibble kNibble[c] of word j.
// (spec: deepseek-model 8.5)
#include "weights/formats/scales.h"
#include "weights/quantize.h"

namespace fathom {
namespace {

constexpr int kNibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};

bool claims(const Checkpoint& checkpoint, const std::string& prefix) {
  const StoredTensor* codes = checkpoint.find(prefix + ".qweight");
  if (!codes || kGptqFormat.claims(checkpoint, prefix)) return false;
  return true;
}

Result<DescribedMatrix> describe(const StoredLinear& linear) {
  const int64_t out = linear.out;
  if (out % 8 != 0) {
    return invalid("{}: AWQ packs 8 output columns in a word, but the layer has {}",
                   linear.where("qweight"), out);
  }
  TRY(expect_tensor(linear, "qweight", *linear.find("qweight"), DType::kI32, {linear.in, out / 8}));
  const StoredTensor* scales = TRY(linear.require("scales", "AWQ has a scale per group"));
  if (scales->shape.size() != 2 || scales->shape[1] != out) {
    return invalid("{}: expected [groups, {}], found {}", linear.where("scales"), out,
                   scales->describe());
  }
  const Groups groups = TRY(column_groups(linear, "scales", scales->shape[0]));
  const StoredTensor* zeros = linear.find("qzeros");
  if (zeros) {
    TRY(expect_tensor(linear, "qzeros", *zeros, DType::kI32, {groups.count, out / 8}));
  } else if (linear.config.zero_points) {
    return std::unexpected(linear.require("qzeros", "AWQ has a zero point per group").error());
  }
  return describe(QuantTarget{WeightFormat::kI4, 1, groups.size, zeros != nullptr}, linear.out,
                  linear.in);
}

Result<Matrix> load(const StoredLinear& linear, Exec& exec) {
  const DescribedMatrix plan = TRY(describe(linear));
  const MatrixView& described = plan.view;
  const StoredTensor& codes = *linear.find("qweight");
  const StoredTensor* zeros = linear.find("qzeros");
  Matrix matrix = TRY(allocate_matrix(plan));
  const WritableMatrix w = writable(matrix);
  const int64_t words = linear.out / 8;
  const int64_t groups = described.scale_stride;
  TRY(group_scales(linear, "scales", *linear.find("scales"), groups, /*rows_first=*/false,
                   w.scale));
  exec.parallel(words, [&](Range range, int) {
    for (int64_t j = range.begin; j < range.end; ++j) {
      for (int64_t k = 0; k < linear.in; ++k) {
        const uint32_t word = word_at(codes, k * words + j);
        for (int c = 0; c < 8; ++c) {
          const uint32_t code = (word >> (4 * kNibble[c])) & 15;
          w.data[(8 * j + c) * described.row_bytes() + k / 2] |=
              static_cast<uint8_t>(code << (k % 2 * 4));
        }
      }
      for (int64_t g = 0; zeros && g < groups; ++g) {
        const uint32_t word = word_at(*zeros, g * words + j);
        for (int c = 0; c < 8; ++c) {
          w.zero[(8 * j + c) * groups + g] = static_cast<float>((word >> (4 * kNibble[c])) & 15);
        }
      }
    }
  });
  return matrix;
}

}  // namespace

const Format kAwqFormat = {"awq", claims, describe, load};

}  // namespace fathom
