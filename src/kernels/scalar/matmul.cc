// The specification of the matmuls: float data, double sums, K from 0; and of the integer ones, to
// the bit.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/ops.h"
#include "kernels/scalar/scalar.h"
#include "kernels/weight_value.h"
#include "tensor/float_formats.h"

namespace fathom::scalar {
namespace {

void matmul(const MatmulArgs& a, int64_t begin, int64_t end, void*) {
  for (int64_t n = begin; n < end; ++n) {
    for (int32_t t = 0; t < a.rows; ++t) {
      const float* x = static_cast<const float*>(a.x) + (a.index ? a.index[t] : t) * a.x_stride;
      double sum = 0;
      for (int32_t k = 0; k < a.w.in; ++k) {
        sum += static_cast<double>(x[k]) * static_cast<double>(weight_value(a.w, n, k));
      }
      a.y[t * a.y_stride + n] = static_cast<float>(sum);
    }
  }
}

void convert_bf16(const float* x, int64_t x_stride, void* y, int64_t y_stride, int32_t n,
                  int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    uint16_t* row = static_cast<uint16_t*>(y) + t * y_stride;
    for (int32_t i = 0; i < n; ++i) row[i] = float_to_bf16(x[t * x_stride + i]);
    for (int64_t i = n; i < y_stride; ++i) row[i] = 0;
  }
}

// Integer code of a stored number, without its scale and zero point.
int32_t code_of(const MatrixView& w, int64_t row, int64_t column) {
  const auto* bytes = static_cast<const uint8_t*>(w.data) + row * w.row_bytes();
  if (w.format == WeightFormat::kI8) return static_cast<int8_t>(bytes[column]);
  const uint8_t code = (bytes[column / 2] >> (column % 2 * 4)) & 15;
  if (w.format == WeightFormat::kI4) return code;
  return static_cast<int32_t>(2 * f4e2m1_to_float(code));
}

// What the code of unit u's columns is multiplied by.
float scale_of(const MatrixView& w, int64_t row, int64_t column) {
  if (w.format == WeightFormat::kFp4) {
    const uint8_t code = w.scale8[row * ((w.in + 15) / 16) + column / 16];
    return f8e4m3_to_float(code) * (0.5f * w.global_scale);
  }
  return w.scale[(row / w.block_out) * w.scale_stride + column / w.block_in];
}

float zero_of(const MatrixView& w, int64_t row, int64_t column) {
  if (w.format != WeightFormat::kI4) return 0;
  if (w.zero == nullptr) return 8;
  return w.zero[(row / w.block_out) * w.scale_stride + column / w.block_in];
}

// Place of column k among the codes of a row.
int64_t place_of(const QuantLayout& q, int64_t k) {
  if (!q.split) return k;
  return k / kQuantStep * kQuantStep + k % kQuantStep / 2 + (k % 2) * (kQuantStep / 2);
}

// The formula of quantized_row.h.
float integer_dot(const MatrixView& w, int64_t n, const QuantLayout& q, const QuantRow& x) {
  const int32_t width = q.unit == 0 ? w.in : q.unit;
  float total[4] = {};
  for (int32_t k = 0; k < w.in; k += width) {
    int32_t dot = 0;
    for (int32_t i = k; i < k + width && i < w.in; ++i) {
      dot += code_of(w, n, i) * x.codes[place_of(q, i)];
    }
    const float scale = scale_of(w, n, k) * x.scales[q.unit == 0 ? 0 : k / kQuantStep];
    if (q.unit == 0) return scale * static_cast<float>(dot);
    const float value = std::fma(-zero_of(w, n, k), x.sums[k / width], static_cast<float>(dot));
    float& chain = total[k % kQuantStep / (width < 32 ? 32 : width)];
    chain = std::fma(scale, value, chain);
  }
  return (total[0] + total[2]) + (total[1] + total[3]);
}

void matmul_integer(const MatmulArgs& a, int64_t begin, int64_t end, void*) {
  const QuantLayout q = quant_layout(a.w);
  for (int64_t n = begin; n < end; ++n) {
    for (int32_t t = 0; t < a.rows; ++t) {
      const QuantRow x = QuantRow::at(q, a.x, a.x_stride, a.index ? a.index[t] : t);
      a.y[t * a.y_stride + n] = integer_dot(a.w, n, q, x);
    }
  }
}

// Codes and scale of n numbers.
float quantize_some(const float* x, int32_t n, int32_t* codes) {
  float amax = 1e-10f;
  bool finite = true;
  for (int32_t i = 0; i < n; ++i) {
    finite = finite && std::isfinite(x[i]);
    amax = std::max(amax, std::abs(x[i]));
  }
  const float factor = 127.0f / amax;
  for (int32_t i = 0; i < n; ++i) {
    codes[i] = finite ? static_cast<int32_t>(std::nearbyint(x[i] * factor)) : 0;
  }
  return finite ? amax / 127.0f : std::numeric_limits<float>::quiet_NaN();
}

void quantize(const QuantLayout& q, const float* x, int64_t x_stride, void* y, int64_t y_stride,
              int64_t begin, int64_t end) {
  std::vector<int32_t> codes(static_cast<size_t>(q.in));  // the specification may allocate
  for (int64_t t = begin; t < end; ++t) {
    auto* row = static_cast<int8_t*>(y) + t * y_stride;
    std::memset(row, 0, static_cast<size_t>(quant_row_bytes(q)));
    auto* scales = reinterpret_cast<float*>(row + quant_scales_at(q));
    const int32_t step = q.unit == 0 ? q.in : kQuantStep;
    for (int32_t k = 0; k < q.in; k += step) {
      scales[k / step] =
          quantize_some(x + t * x_stride + k, std::min(step, q.in - k), codes.data() + k);
    }
    for (int32_t k = 0; k < q.in; ++k) {
      row[place_of(q, k)] = static_cast<int8_t>(codes[static_cast<size_t>(k)]);
    }
    auto* sums = row + quant_sums_at(q);
    if (q.unit == 0) {
      reinterpret_cast<int32_t*>(sums)[0] = std::accumulate(codes.begin(), codes.end(), 0);
      continue;
    }
    for (int32_t k = 0; k < q.in; ++k) {
      reinterpret_cast<float*>(sums)[k / q.unit] +=
          static_cast<float>(codes[static_cast<size_t>(k)]);
    }
  }
}

}  // namespace

void add_matmul(Ops& ops) {
  for (MatmulKernel& kernel : ops.matmul) kernel = {ActivationFormat::kF32, matmul};
  for (MatmulKernel& kernel : ops.float_matmul) kernel = {ActivationFormat::kF32, matmul};
  for (const WeightFormat f : {WeightFormat::kI8, WeightFormat::kI4, WeightFormat::kFp4}) {
    ops.matmul[static_cast<int>(f)] = {ActivationFormat::kI8, matmul_integer};
  }
  ops.convert_bf16 = convert_bf16;
  ops.quantize = quantize;
}

}  // namespace fathom::scalar
