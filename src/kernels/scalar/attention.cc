// The specification of absorbed MLA over one block of the latent cache, and of the merge of blocks.
#include <cmath>
#include <limits>

#include "kernels/scalar/scalar.h"
#include "tensor/float_formats.h"

namespace fathom::scalar {
namespace {

void kv_load(const KvLayer& kv, const int32_t* slots, int32_t n, float* keys) {
  const int64_t width = kv.latent + kv.rope;
  for (int32_t j = 0; j < n; ++j) {
    const int64_t row = slots[j] * width;
    for (int64_t i = 0; i < width; ++i) {
      keys[j * width + i] = kv.format == KvFormat::kF32
                                ? static_cast<const float*>(kv.data)[row + i]
                                : bf16_to_float(static_cast<const uint16_t*>(kv.data)[row + i]);
    }
  }
}

void tile(const AttentionTile& a) {
  const int64_t width = a.latent + a.rope;
  for (int32_t q = 0; q < a.queries; ++q) {
    float* scores = a.scores + q * kKvBlock;
    float* acc = a.acc + int64_t{q} * a.latent;
    float max = -std::numeric_limits<float>::infinity();
    for (int32_t j = 0; j < a.limits[q]; ++j) {
      const float* key = a.keys + j * width;
      double s = 0;
      for (int64_t i = 0; i < width; ++i) s += static_cast<double>(a.q[q * width + i]) * key[i];
      scores[j] = static_cast<float>(s);
      max = scores[j] > max ? scores[j] : max;
    }
    double sum = 0;
    for (int32_t j = 0; j < a.limits[q]; ++j) {
      scores[j] = std::exp(scores[j] - max);
      sum += scores[j];
    }
    for (int32_t i = 0; i < a.latent; ++i) {
      double value = 0;
      for (int32_t j = 0; j < a.limits[q]; ++j) {
        value += static_cast<double>(scores[j]) * a.keys[j * width + i];
      }
      acc[i] = static_cast<float>(value);
    }
    a.max[q] = max;
    a.sum[q] = static_cast<float>(sum);
  }
}

void merge(const AttentionMerge& a) {
  if (a.block_sum == 0) return;
  const float max = *a.max > a.block_max ? *a.max : a.block_max;
  const float keep = *a.sum == 0 ? 0.0f : std::exp(*a.max - max);
  const float take = std::exp(a.block_max - max);
  for (int32_t i = 0; i < a.latent; ++i) a.acc[i] = a.acc[i] * keep + a.block_acc[i] * take;
  *a.sum = *a.sum * keep + a.block_sum * take;
  *a.max = max;
}

}  // namespace

void add_attention(Ops& ops) {
  ops.kv_load = kv_load;
  ops.attention_tile = tile;
  ops.attention_merge = merge;
}

}  // namespace fathom::scalar

namespace fathom {

void add_scalar(Ops& ops) {
  scalar::add_matmul(ops);
  scalar::add_rows(ops);
  scalar::add_gate(ops);
  scalar::add_attention(ops);
}

}  // namespace fathom
