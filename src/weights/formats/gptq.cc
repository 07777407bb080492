// GPTQ, 4 or 8 bits: qweight int32 [in * bits / 32, out], qzeros int32 [groups, out * bits / 32]
// holding zero - 1 (gptq_v2: zero), scales [groups, out], g_idx int32 [in]: each column's group,
// which under desc_act is not column / group_size. (spec: deepseek-model 8.6)
#include "weights/formats/packed_rows.h"

namespace fathom {
namespace {

bool claims(const Checkpoint& checkpoint, const std::string& prefix) {
  const StoredTensor* codes = checkpoint.find(prefix + ".qweight");
  if (!codes) return false;
  if (checkpoint.find(prefix + ".g_idx")) return true;
  // Some writers leave g_idx out. Unlike AWQ's, GPTQ's words run along the input.
  const StoredTensor* scales = checkpoint.find(prefix + ".scales");
  return scales && scales->shape.size() == 2 && codes->shape.size() == 2 &&
         scales->shape[1] == codes->shape[1];
}

Result<PackedRows> read(const StoredLinear& linear) {
  const StoredTensor& codes = *linear.find("qweight");
  const int64_t out = linear.out, in = linear.in;
  PackedRows p;
  p.bits = codes.shape.size() == 2 && codes.shape[0] * 4 == in ? 8 : 4;
  const int64_t per_word = 32 / p.bits;
  if (in % per_word != 0 || out % per_word != 0) {
    return invalid("{}: GPTQ packs {} numbers in a word, which must divide [{}, {}]",
                   linear.where("qweight"), per_word, out, in);
  }
  TRY(expect_tensor(linear, "qweight", codes, DType::kI32, {in / per_word, out}));
  const StoredTensor* scales = TRY(linear.require("scales", "GPTQ has a scale per group"));
  if (scales->shape.size() != 2 || scales->shape[1] != out) {
    return invalid("{}: expected [groups, {}], found {}", linear.where("scales"), out,
                   scales->describe());
  }
  p.groups = TRY(column_groups(linear, "scales", scales->shape[0]));
  p.group_of = TRY(group_index(linear, "g_idx", p.groups));
  p.word = [&codes, out](int64_t row, int64_t word) { return word_at(codes, word * out + row); };

  const StoredTensor* zeros = linear.find("qzeros");
  if (!zeros) return p;  // symmetric
  TRY(expect_tensor(linear, "qzeros", *zeros, DType::kI32, {p.groups.count, out / per_word}));
  const int bits = p.bits;
  const uint32_t mask = (uint32_t{1} << bits) - 1;
  const float offset = linear.config.zeros_minus_one ? 1 : 0;
  p.zero_points = true;
  p.zero = [=](int64_t row, int64_t group) {
    const uint32_t word = word_at(*zeros, group * (out / per_word) + row / per_word);
    return static_cast<float>((word >> (row % per_word * bits)) & mask) + offset;
  };
  for (int64_t g = 0; g < p.groups.count && p.uniform_zero; ++g) {
    for (int64_t n = 0; n < out && p.uniform_zero; ++n) {
      p.uniform_zero = p.zero(n, g) == (bits == 4 ? 8 : 128);
    }
  }
  return p;
}

Result<DescribedMatrix> describe(const StoredLinear& linear) {
  return describe_packed_rows(linear, TRY(read(linear)));
}

Result<Matrix> load(const StoredLinear& linear, Exec& exec) {
  return load_packed_rows(linear, TRY(read(linear)), "scales", /*rows_first=*/false, exec);
}

}  // namespace

const Format kGptqFormat = {"gptq", claims, describe, load};

}  // namespace fathom
