// The specification of absorbed MLA over one block of the latent cache, and of the merge of blocks.
#include <cmath>
#include <limits>

#include "kernels/scalar/scalar.h"
#include "tensor/float_formats.h"

namespace fathom::scalar {
namespace {

float stored(const KvLayer& kv, int64_t i) {
  switch (kv.format) {
    case KvFormat::kF32:
      return static_cast<const float*>(kv.data)[i];
    case KvFormat::kBF16:
      return bf16_to_float(static_cast<const uint16_t*>(kv.data)[i]);
    case KvFormat::kF8E4M3:
      return f8e4m3_to_float(static_cast<const uint8_t*>(kv.data)[i]) * kv.scale;
    case KvFormat::kF8E5M2:
      return f8e5m2_to_float(static_cast<const uint8_t*>(kv.data)[i]) * kv.scale;
  }
  return 0;
}

void query(const float* latent, int32_t latent_n, const float* rope, int32_t rope_n, float scale,
           void* q, int64_t) {
  float* to = static_cast<float*>(q);
  for (int32_t i = 0; i < latent_n; ++i) to[i] = latent[i] * scale;
  for (int32_t i = 0; i < rope_n; ++i) to[latent_n + i] = rope[i] * scale;
}

void load(const KvLayer& kv, const int32_t* slots, int32_t n, void* keys, int64_t stride) {
  const int64_t width = kv.latent + kv.rope;
  for (int32_t j = 0; j < n; ++j) {
    float* key = static_cast<float*>(keys) + j * stride;
    for (int64_t i = 0; i < width; ++i) key[i] = stored(kv, slots[j] * width + i);
  }
}

void tile(const AttentionTile& a) {
  const int64_t width = a.latent + a.rope;
  for (int32_t q = 0; q < a.queries; ++q) {
    float* scores = a.scores + q * kKvBlock;
    float* acc = a.acc + int64_t{q} * a.latent;
    float max = -std::numeric_limits<float>::infinity();
    for (int32_t j = 0; j < a.limits[q]; ++j) {
      const float* key = static_cast<const float*>(a.keys) + j * a.stride;
      const float* q_row = static_cast<const float*>(a.q) + q * a.stride;
      double s = 0;
      for (int64_t i = 0; i < width; ++i) s += static_cast<double>(q_row[i]) * key[i];
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
        value +=
            static_cast<double>(scores[j]) * static_cast<const float*>(a.keys)[j * a.stride + i];
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
  ops.attention = ops.float_attention = {4, 1, query, load, tile};
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
