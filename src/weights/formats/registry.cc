#include <array>
#include <cstring>

#include "kernels/weight_value.h"
#include "tensor/float_formats.h"
#include "weights/formats/format.h"

namespace fathom {
namespace {

const std::array<Format, 4>& registry() {
  static const std::array<Format, 4> rows = {kGgufSplitFormat, kPlainFormat, kF8BlockFormat,
                                             kGgufFormat};
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
    default: {
      uint16_t bits;
      std::memcpy(&bits, p, sizeof bits);
      return dtype == DType::kF16 ? f16_to_float(bits) : bf16_to_float(bits);
    }
  }
}

bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF64 || dtype == DType::kF16 ||
         dtype == DType::kBF16;
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

void dequantize(const MatrixView& m, int64_t begin, int64_t end, float* out) {
  for (int64_t row = begin; row < end; ++row, out += m.in) {
    for (int64_t k = 0; k < m.in; ++k) out[m.order ? m.order[k] : k] = weight_value(m, row, k);
  }
}

int64_t matrix_bytes(const MatrixView& m) {
  const bool blocks = m.format == WeightFormat::kF8 || m.format == WeightFormat::kI8 ||
                      m.format == WeightFormat::kI4;
  const int64_t scales =
      blocks ? (int64_t{m.out} + m.block_out - 1) / m.block_out * m.scale_stride : 0;
  const int64_t small_scales = m.format == WeightFormat::kFp4 ? m.out * ((m.in + 15) / 16) : 0;
  return m.bytes() + scales * 4 * (m.zero ? 2 : 1) + small_scales + (m.order ? m.in * 4 : 0);
}

Result<const std::byte*> aligned_bytes(const StoredTensor& tensor, Buffer& copy) {
  if (reinterpret_cast<uintptr_t>(tensor.bytes.data()) % size_of(tensor.dtype) == 0) {
    return tensor.bytes.data();
  }
  copy = TRY(Buffer::allocate(tensor.bytes.size()));
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
