// The specification of the row-wise operations.
#include <cmath>

#include "kernels/scalar/scalar.h"
#include "tensor/float_formats.h"

namespace fathom::scalar {
namespace {

void embed(const EmbedArgs& a, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const int64_t row = int64_t{a.ids[t]} * a.table.in;
    for (int32_t i = 0; i < a.table.in; ++i) {
      float value = 0;
      if (a.table.format == WeightFormat::kF32) {
        value = static_cast<const float*>(a.table.data)[row + i];
      } else if (a.table.format == WeightFormat::kF16) {
        value = f16_to_float(static_cast<const uint16_t*>(a.table.data)[row + i]);
      } else {
        value = bf16_to_float(static_cast<const uint16_t*>(a.table.data)[row + i]);
      }
      a.y[t * a.y_stride + i] = value;
    }
  }
}

void rms_norm(const RmsNormArgs& a, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const float* x = a.x + t * a.x_stride;
    float* y = a.y + t * a.y_stride;
    double sum = 0;
    for (int32_t i = 0; i < a.n; ++i) sum += static_cast<double>(x[i]) * x[i];
    const float factor = static_cast<float>(1.0 / std::sqrt(sum / a.n + a.eps));
    for (int32_t i = 0; i < a.n; ++i) y[i] = x[i] * factor * a.weight[i];
  }
}

void add(const AddArgs& a, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    float* x = a.x + t * a.x_stride;
    const float* delta = a.delta + t * a.delta_stride;
    for (int32_t i = 0; i < a.n; ++i) x[i] += delta[i];
  }
}

void rope(const RopeArgs& a, int64_t begin, int64_t end) {
  const int32_t pairs = a.n / 2;
  for (int64_t t = begin; t < end; ++t) {
    const float* cos = a.cos + int64_t{a.positions[t]} * pairs;
    const float* sin = a.sin + int64_t{a.positions[t]} * pairs;
    for (int32_t h = 0; h < a.heads; ++h) {
      float* x = a.x + t * a.row_stride + h * a.head_stride;
      for (int32_t i = 0; i < pairs; ++i) {
        const float even = x[2 * i];
        const float odd = x[2 * i + 1];
        x[2 * i] = even * cos[i] - odd * sin[i];
        x[2 * i + 1] = even * sin[i] + odd * cos[i];
      }
    }
  }
}

void silu_mul(const SiluMulArgs& a, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const float* gate = a.gate + t * a.gate_stride;
    const float* up = a.up + t * a.up_stride;
    float* y = a.y + t * a.y_stride;
    for (int32_t i = 0; i < a.n; ++i) y[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
  }
}

void combine(const CombineArgs& a, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    float* y = a.y + t * a.y_stride;
    for (int32_t i = 0; i < a.n; ++i) {
      float sum = a.base ? a.base[t * a.n + i] : 0.0f;
      for (int32_t k = 0; k < a.top_k; ++k) {
        const int64_t row = a.slots[t * a.top_k + k];
        sum += a.weights[t * a.top_k + k] * a.rows[row * a.n + i];
      }
      y[i] = sum;
    }
  }
}

void kv_store(const KvStoreArgs& a, int64_t begin, int64_t end) {
  const int64_t width = a.kv.latent + a.kv.rope;
  for (int64_t t = begin; t < end; ++t) {
    const float* c = a.c + t * a.c_stride;
    const float* k_pe = a.k_pe + t * a.k_pe_stride;
    const int64_t row = a.slots[t] * width;
    for (int64_t i = 0; i < width; ++i) {
      const float value = i < a.kv.latent ? c[i] : k_pe[i - a.kv.latent];
      switch (a.kv.format) {
        case KvFormat::kF32:
          static_cast<float*>(a.kv.data)[row + i] = value;
          break;
        case KvFormat::kBF16:
          static_cast<uint16_t*>(a.kv.data)[row + i] = float_to_bf16(value);
          break;
        case KvFormat::kF8E4M3:
          static_cast<uint8_t*>(a.kv.data)[row + i] = float_to_f8e4m3(value / a.kv.scale);
          break;
        case KvFormat::kF8E5M2:
          static_cast<uint8_t*>(a.kv.data)[row + i] = float_to_f8e5m2(value / a.kv.scale);
          break;
      }
    }
  }
}

}  // namespace

void add_rows(Ops& ops) {
  ops.embed = embed;
  ops.rms_norm = rms_norm;
  ops.add = add;
  ops.rope = rope;
  ops.silu_mul = silu_mul;
  ops.combine = combine;
  ops.kv_store = kv_store;
}

}  // namespace fathom::scalar
