#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/weight_value.h"
#include "tensor/float_formats.h"
#include "weights/formats/format.h"

namespace fathom {
namespace {

// Formats whose tensors look alike stand in the order in which they claim.
const std::array<Format, 10>& registry() {
  static const std::array<Format, 10> rows = {
      kGgufSplitFormat, kPlainFormat, kF8Format,    kI8BlockFormat,       kI8ChannelFormat,
      kGptqFormat,      kAwqFormat,   kNvfp4Format, kPackQuantizedFormat, kGgufFormat};
  return rows;
}

float element(DType dtype, const std::byte* p) {
  switch (dtype) {
    case DType::kF32: {
      float value;
      std::memcpy(&value, p, sizeof value);
      return value;
    }
    case DType::kF64: {
      double value;
      std::memcpy(&value, p, sizeof value);
      return static_cast<float>(value);
    }
    case DType::kF8E8M0:
      return f8e8m0_to_float(static_cast<uint8_t>(*p));
    default: {
      uint16_t bits;
      std::memcpy(&bits, p, sizeof bits);
      return dtype == DType::kF16 ? f16_to_float(bits) : bf16_to_float(bits);
    }
  }
}

bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF64 || dtype == DType::kF16 ||
         dtype == DType::kBF16 || dtype == DType::kF8E8M0;
}

int64_t bytes_of(const MatrixView& m, bool zero_points, bool order) {
  const bool blocks = m.format == WeightFormat::kF8 || m.format == WeightFormat::kI8 ||
                      m.format == WeightFormat::kI4;
  const int64_t scales =
      blocks ? (int64_t{m.out} + m.block_out - 1) / m.block_out * m.scale_stride : 0;
  const int64_t small_scales =
      m.format == WeightFormat::kFp4 ? m.out * ((int64_t{m.in} + 15) / 16) : 0;
  return m.bytes() + scales * 4 * (zero_points ? 2 : 1) + small_scales +
         (order ? int64_t{m.in} * 4 : 0);
}

}  // namespace

std::span<const Format> formats() {
  return registry();
}

const Format* detect_format(const Checkpoint& checkpoint, const std::string& prefix) {
  for (const Format& format : formats()) {
    if (format.claims(checkpoint, prefix)) return &format;
  }
  return nullptr;
}

Result<Matrix> load_linear(const Format& format, const StoredLinear& linear, Exec& exec) {
  TRY(expect_zeros(linear, "bias", "a bias"));
  if (linear.find("pre_quant_scale")) {
    return fail(ErrorCode::kUnsupported,
                "{}: scales of a layer's input are not supported; multiply them into the norm or "
                "layer before it",
                linear.where("pre_quant_scale"));
  }
  return format.load(linear, exec);
}

Status expect_zeros(const StoredLinear& linear, std::string_view part, std::string_view meaning) {
  const StoredTensor* tensor = linear.find(part);
  if (!tensor || std::ranges::all_of(tensor->bytes, [](std::byte b) { return b == std::byte{}; })) {
    return {};
  }
  return fail(ErrorCode::kUnsupported, "{}: {} other than zeros is not supported, found {}",
              linear.where(part), meaning, tensor->describe());
}

std::span<const std::string_view> linear_parts() {
  static constexpr std::string_view kParts[] = {
      "weight",
      "weight_v",
      "weight_scale_inv",
      "weight_scale",
      "weight_scale_2",
      "weight_packed",
      "weight_shape",
      "weight_global_scale",
      "weight_zero_point",
      "weight_g_idx",
      "qweight",
      "qzeros",
      "scales",
      "g_idx",
      "input_scale",
      "input_global_scale",
      "input_zero_point",
      "bias",
      "pre_quant_scale",
  };
  return kParts;
}

const StoredTensor* StoredLinear::find(std::string_view part) const {
  return checkpoint.find(name(part));
}

std::string StoredLinear::name(std::string_view part) const {
  return prefix + "." + std::string(part);
}

std::string StoredLinear::where(std::string_view part) const {
  const StoredTensor* tensor = find(part);
  return (tensor && tensor->file ? tensor->file->path + ": " : "") + name(part);
}

Result<const StoredTensor*> StoredLinear::require(std::string_view part,
                                                  std::string_view why) const {
  const StoredTensor* tensor = find(part);
  if (tensor) return tensor;
  return invalid("{} is missing: {}; the checkpoint is incomplete or was converted wrongly",
                 name(part), why);
}

void dequantize(const MatrixView& m, int64_t begin, int64_t end, float* out) {
  for (int64_t row = begin; row < end; ++row, out += m.in) {
    for (int64_t k = 0; k < m.in; ++k) out[m.order ? m.order[k] : k] = weight_value(m, row, k);
  }
}

int64_t matrix_bytes(const MatrixView& m) {
  return bytes_of(m, m.zero != nullptr, m.order != nullptr);
}

int64_t matrix_bytes(const DescribedMatrix& m) {
  return bytes_of(m.view, m.zero_points, m.order);
}

Result<const std::byte*> aligned_bytes(const StoredTensor& tensor, Buffer& copy) {
  if (reinterpret_cast<uintptr_t>(tensor.bytes.data()) % size_of(tensor.dtype) == 0) {
    return tensor.bytes.data();
  }
  copy = TRY(Buffer::allocate_packed(tensor.bytes.size()));
  std::memcpy(copy.data(), tensor.bytes.data(), tensor.bytes.size());
  return copy.data();
}

Result<Vector> to_floats(const StoredTensor& tensor, const std::string& name) {
  if (!is_float(tensor.dtype)) {
    return invalid("{}: {}: expected a float tensor, found {}", tensor.file->path, name,
                   tensor.describe());
  }
  Vector values(static_cast<size_t>(tensor.elements()));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = element(tensor.dtype, tensor.bytes.data() + i * size_of(tensor.dtype));
  }
  return values;
}

}  // namespace fathom
