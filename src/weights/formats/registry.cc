#include <array>
#include <cstring>

#include "tensor/float_formats.h"
#include "weights/formats/format.h"

namespace fathom {
namespace {

const std::array<Format, 2>& registry() {
  static const std::array<Format, 2> rows = {kPlainFormat, kF8BlockFormat};
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
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t k = 0; k < m.in; ++k, ++out) {
      const int64_t i = row * m.in + k;
      switch (m.format) {
        case WeightFormat::kF32:
          *out = static_cast<const float*>(m.data)[i];
          break;
        case WeightFormat::kF16:
          *out = f16_to_float(static_cast<const uint16_t*>(m.data)[i]);
          break;
        case WeightFormat::kBF16:
          *out = bf16_to_float(static_cast<const uint16_t*>(m.data)[i]);
          break;
        case WeightFormat::kF8Block:
          *out = f8e4m3_to_float(static_cast<const uint8_t*>(m.data)[i]) *
                 m.scale[(row / m.block_out) * m.scale_stride + k / m.block_in];
          break;
      }
    }
  }
}

int64_t matrix_bytes(const MatrixView& m) {
  if (m.format != WeightFormat::kF8Block) return m.bytes();
  return m.bytes() + (int64_t{m.out} + m.block_out - 1) / m.block_out * m.scale_stride * 4;
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
