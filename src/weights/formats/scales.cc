#include "weights/formats/scales.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "weights/quantize.h"

namespace fathom {
namespace {

int64_t block_count(int64_t n, int64_t block) {
  return (n + block - 1) / block;
}

constexpr std::string_view kDamaged =
    "the file is damaged or was written by a broken conversion; download or convert it again";

// Are all codes of the block of scale `index` zeros?
bool block_is_zero(const MatrixView& m, int64_t index) {
  const int64_t first_row = index / m.scale_stride * m.block_out;
  const int64_t first = index % m.scale_stride * m.block_in;
  const int64_t last = std::min<int64_t>(first + m.block_in, m.in);
  const uint8_t sign = m.format == WeightFormat::kF8 ? 0x7f : 0xff;
  for (int64_t n = first_row; n < std::min<int64_t>(first_row + m.block_out, m.out); ++n) {
    const auto* row = static_cast<const uint8_t*>(m.data) + n * m.in;
    for (int64_t k = first; k < last; ++k) {
      if (row[k] & sign) return false;
    }
  }
  return true;
}

// FP32 scales in place where the file has them so, else widened.
Result<const float*> float_scales(const StoredTensor& tensor, const std::string& name,
                                  Buffer& copy) {
  if (tensor.dtype == DType::kF32) {
    return reinterpret_cast<const float*>(TRY(aligned_bytes(tensor, copy)));
  }
  const Vector widened = TRY(to_floats(tensor, name));
  copy = TRY(Buffer::allocate_packed(widened.size() * sizeof(float)));
  std::memcpy(copy.data(), widened.data(), widened.size() * sizeof(float));
  return copy.as<float>();
}

}  // namespace

Status expect_tensor(const StoredLinear& linear, std::string_view part, const StoredTensor& tensor,
                     DType dtype, const std::vector<int64_t>& shape) {
  if (tensor.dtype == dtype && tensor.shape == shape) return {};
  StoredTensor expected;
  expected.dtype = dtype;
  expected.shape = shape;
  return invalid("{}: expected {}, found {}", linear.where(part), expected.describe(),
                 tensor.describe());
}

Status check_scale(const StoredLinear& linear, std::string_view part, int64_t index, float scale,
                   bool zero_is_dead) {
  if (scale > 0 && std::isfinite(scale)) return {};
  if (scale == 0 && zero_is_dead) return {};
  return invalid("{}: scale {} is {}; scales must be positive and finite: {}", linear.where(part),
                 index, scale, kDamaged);
}

Result<float> scalar_scale(const StoredLinear& linear, std::string_view part,
                           std::string_view why) {
  const StoredTensor* tensor = TRY(linear.require(part, why));
  if (tensor->elements() != 1) {
    return invalid("{}: expected a single number, found {}", linear.where(part),
                   tensor->describe());
  }
  const float value = TRY(to_floats(*tensor, linear.name(part)))[0];
  TRY(check_scale(linear, part, 0, value, /*zero_is_dead=*/false));
  return value;
}

Result<DescribedMatrix> describe_scaled(const StoredLinear& linear, WeightFormat format,
                                        std::string_view part, bool blocks_only) {
  const StoredTensor& weight = *linear.find("weight");
  if (weight.shape != std::vector<int64_t>{linear.out, linear.in}) {
    return invalid("{}: expected [{}, {}], found {}", linear.where("weight"), linear.out, linear.in,
                   weight.describe());
  }
  const StoredTensor* scale = TRY(linear.require(part, weight.describe() + " needs its scales"));
  std::vector<int64_t> shape = scale->shape;
  // ModelOpt's FP8_PB_WO: [blocks of rows, 1, blocks of columns, 1].
  if (shape.size() == 4 && shape[1] == 1 && shape[3] == 1) shape = {shape[0], shape[2]};
  const int64_t out = linear.out, in = linear.in;
  const int32_t block_out = linear.config.block_out, block_in = linear.config.block_in;
  const std::vector<int64_t> blocks = {block_count(out, block_out), block_count(in, block_in)};
  QuantTarget target{format, 0, 0};
  const bool is_row = shape == std::vector<int64_t>{out} || shape == std::vector<int64_t>{out, 1};
  const bool is_groups = shape.size() == 2 && shape[0] == out && shape[1] > 1 && in % shape[1] == 0;
  if (shape == blocks) {
    target = {format, block_out, block_in};
  } else if (shape.empty() || shape == std::vector<int64_t>{1}) {
    target = {format, 0, 0};
  } else if (!blocks_only && is_row) {
    target = {format, 1, 0};
  } else if (!blocks_only && is_groups) {
    target = {format, 1, static_cast<int32_t>(in / shape[1])};
  } else if (!blocks_only && scale->elements() == 1) {
    target = {format, 0, 0};
  } else {
    return invalid("{}: expected {}[{}, {}] for blocks of {} x {}, found {}", linear.where(part),
                   blocks_only ? "" : fmt::format("[1], [{}, 1] or ", out), blocks[0], blocks[1],
                   block_out, block_in, scale->describe());
  }
  const bool is_float = scale->dtype == DType::kF32 || scale->dtype == DType::kBF16 ||
                        scale->dtype == DType::kF16 || scale->dtype == DType::kF8E8M0;
  if (!is_float) {
    return invalid("{}: expected a float tensor, found {}", linear.where(part), scale->describe());
  }
  return describe(target, linear.out, linear.in);
}

Result<Matrix> load_scaled(const StoredLinear& linear, const MatrixView& described,
                           std::string_view part) {
  const StoredTensor& weight = *linear.find("weight");
  const StoredTensor& scale = *linear.find(part);
  TRY(expect_zeros(linear, "weight_zero_point", "a zero point"));
  Matrix matrix;
  matrix.view = described;
  matrix.view.data = weight.bytes.data();
  matrix.view.scale = TRY(float_scales(scale, linear.name(part), matrix.scales));
  for (int64_t i = 0; i < scale.elements(); ++i) {
    const float value = matrix.view.scale[i];
    TRY(check_scale(linear, part, i, value, value == 0 && block_is_zero(matrix.view, i)));
  }
  return matrix;
}

Result<Groups> column_groups(const StoredLinear& linear, std::string_view part, int64_t found) {
  const int64_t in = linear.in;
  const int64_t size = linear.config.group_size;
  if (size > 0) {
    if (in % size != 0 && in > size) {
      return invalid("{}: group size {} of {} does not divide the {} input columns",
                     linear.where(part), size, linear.config.source, in);
    }
    const int64_t count = block_count(in, size);
    if (found != count) {
      return invalid("{}: expected {} groups of {} columns ({}), found {}", linear.where(part),
                     count, size, linear.config.source, linear.find(part)->describe());
    }
    return Groups{count, static_cast<int32_t>(count == 1 ? 0 : size)};
  }
  if (found < 1 || in % found != 0) {
    return invalid("{}: {} groups do not divide the {} input columns; found {}", linear.where(part),
                   found, in, linear.find(part)->describe());
  }
  return Groups{found, static_cast<int32_t>(found == 1 ? 0 : in / found)};
}

Status group_scales(const StoredLinear& linear, std::string_view part, const StoredTensor& tensor,
                    int64_t groups, bool rows_first, float* to) {
  const Vector values = TRY(to_floats(tensor, linear.name(part)));
  const int64_t out = linear.out;
  bool any = false;
  for (int64_t n = 0; n < out; ++n) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t i = rows_first ? n * groups + g : g * out + n;
      const float value = values[static_cast<size_t>(i)];
      if (!std::isfinite(value)) {
        return invalid("{}: scale {} is {}; scales must be finite: {}", linear.where(part), i,
                       value, kDamaged);
      }
      any |= value != 0;
      to[n * groups + g] = value;
    }
  }
  if (any) return {};
  return invalid("{}: all scales are zero: {}", linear.where(part), kDamaged);
}

uint32_t word_at(const StoredTensor& tensor, int64_t i) {
  uint32_t word;
  std::memcpy(&word, tensor.bytes.data() + i * 4, sizeof word);
  return word;
}

}  // namespace fathom
