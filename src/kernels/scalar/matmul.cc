// The specification of the matmuls: float data, double sums, K from 0.
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

void convert_f32(const float* x, int64_t x_stride, void* y, int64_t y_stride, int32_t n,
                 int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    float* row = static_cast<float*>(y) + t * y_stride;
    for (int32_t i = 0; i < n; ++i) row[i] = x[t * x_stride + i];
    for (int64_t i = n; i < y_stride; ++i) row[i] = 0;
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

}  // namespace

void add_matmul(Ops& ops) {
  for (MatmulKernel& kernel : ops.matmul) kernel = {ActivationFormat::kF32, matmul};
  ops.convert[static_cast<int>(ActivationFormat::kF32)] = convert_f32;
  ops.convert[static_cast<int>(ActivationFormat::kBF16)] = convert_bf16;
}

}  // namespace fathom::scalar
