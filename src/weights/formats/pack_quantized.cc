// compressed-tensors' pack-quantized, 4 or 8 bits: weight_packed int32 [out, in * bits / 32] along
// the columns, weight_scale [out, groups], optional weight_zero_point int32 [out * bits / 32,
// groups], weight_g_idx [in], weight_shape. Four bits without reordering lie as kernels want them
// where rows are whole steps. (spec: deepseek-model 8.9)
#include "weights/formats/packed_rows.h"
#include "weights/quantize.h"

namespace fathom {
namespace {

bool claims(const Checkpoint& checkpoint, const std::string& prefix) {
  const StoredTensor* codes = checkpoint.find(prefix + ".weight_packed");
  return codes && codes->dtype == DType::kI32;
}

// weight_shape, where it is there, says [out, in].
Status check_shape(const StoredLinear& linear) {
  const StoredTensor* shape = linear.find("weight_shape");
  if (!shape) return {};
  const bool wide = shape->dtype == DType::kI64;
  if ((!wide && shape->dtype != DType::kI32) || shape->shape != std::vector<int64_t>{2}) {
    return invalid("{}: expected I64 [2], found {}", linear.where("weight_shape"),
                   shape->describe());
  }
  const auto size = [&](int64_t i) -> int64_t {
    return wide ? word_at(*shape, 2 * i) | int64_t{word_at(*shape, 2 * i + 1)} << 32
                : int64_t{word_at(*shape, i)};
  };
  if (size(0) == linear.out && size(1) == linear.in) return {};
  return invalid("{}: expected [{}, {}], found [{}, {}]", linear.where("weight_shape"), linear.out,
                 linear.in, size(0), size(1));
}

Result<PackedRows> read(const StoredLinear& linear) {
  const StoredTensor& codes = *linear.find("weight_packed");
  const int64_t out = linear.out, in = linear.in;
  TRY(check_shape(linear));
  PackedRows p;
  p.bits = codes.shape.size() == 2 && codes.shape[1] == (in + 3) / 4 && in > 4 ? 8 : 4;
  const int64_t per_word = 32 / p.bits;
  const int64_t words = (in + per_word - 1) / per_word;
  TRY(expect_tensor(linear, "weight_packed", codes, DType::kI32, {out, words}));
  const StoredTensor* scales =
      TRY(linear.require("weight_scale", "packed weights need a scale per group"));
  if (scales->shape.size() != 2 || scales->shape[0] != out) {
    return invalid("{}: expected [{}, groups], found {}", linear.where("weight_scale"), out,
                   scales->describe());
  }
  p.groups = TRY(column_groups(linear, "weight_scale", scales->shape[1]));
  p.group_of = TRY(group_index(linear, "weight_g_idx", p.groups));
  p.word = [&codes, words](int64_t row, int64_t word) {
    return word_at(codes, row * words + word);
  };

  const StoredTensor* zeros = linear.find("weight_zero_point");
  if (!zeros) return p;
  const int64_t groups = p.groups.count;
  TRY(expect_tensor(linear, "weight_zero_point", *zeros, DType::kI32,
                    {(out + per_word - 1) / per_word, groups}));
  const int bits = p.bits;
  const uint32_t mask = (uint32_t{1} << bits) - 1;
  p.zero_points = true;
  p.uniform_zero = false;
  p.zero = [=](int64_t row, int64_t group) {
    const uint32_t word = word_at(*zeros, row / per_word * groups + group);
    return static_cast<float>((word >> (row % per_word * bits)) & mask);
  };
  return p;
}

Result<DescribedMatrix> describe(const StoredLinear& linear) {
  return describe_packed_rows(linear, TRY(read(linear)));
}

Result<Matrix> load(const StoredLinear& linear, Exec& exec) {
  const PackedRows p = TRY(read(linear));
  const bool in_place =
      p.bits == 4 && p.group_of.empty() && !p.zero_points && linear.in % kI4Step == 0;
  if (!in_place) {
    return load_packed_rows(linear, p, "weight_scale", /*rows_first=*/true, exec);
  }
  Matrix matrix;
  matrix.view = TRY(describe_packed_rows(linear, p)).view;
  matrix.view.data = linear.find("weight_packed")->bytes.data();
  matrix.scales =
      TRY(Buffer::allocate_packed(static_cast<size_t>(linear.out * p.groups.count) * 4));
  TRY(group_scales(linear, "weight_scale", *linear.find("weight_scale"), p.groups.count,
                   /*rows_first=*/true, matrix.scales.as<float>()));
  matrix.view.scale = matrix.scales.as<float>();
  return matrix;
}

}  // namespace

const Format kPackQuantizedFormat = {"pack-quantized", claims, describe, load};

}  // namespace fathom
