// Attention over one block of the cache with the BF16 dot product: queries and weights are rounded
// to BF16, sums are FP32. Internal linkage only.
//
// Scores: lanes lie along the width, as in the matmuls. Weighted sums: two positions at a time,
// their latents interleaved in registers, so that the cache needs no transposed copy.
#pragma once

#include "kernels/cpu/avx512/vector.h"

namespace fathom::avx512_bf16 {
namespace {

using avx512::F;
using avx512::V;
using B = __m512bh;

constexpr int kQueries = 6;  // of a tile
constexpr int kKeys = 4;

__m256i to_bf16(F v) {
  return (__m256i)_mm512_cvtneps_pbh(v);
}

// [latent | rope] x scale, zeros to the end of the row.
void attention_query(const float* latent, int32_t n, const float* rope, int32_t rope_n, float scale,
                     void* query, int64_t stride) {
  uint16_t* q = static_cast<uint16_t*>(query);
  __builtin_memset(q, 0, static_cast<size_t>(stride) * 2);
  const auto put = [&](const float* from, int32_t count, uint16_t* to) {
    for (int32_t i = 0; i < count; i += V::kLanes) {
      const int left = count - i < V::kLanes ? count - i : V::kLanes;
      _mm256_mask_storeu_epi16(to + i, V::mask(left),
                               to_bf16(V::mul(V::load_n(from + i, left), V::set1(scale))));
    }
  };
  put(latent, n, q);
  put(rope, rope_n, q + n);
}

// 16 numbers of a stored row, from column i on.
F kv_numbers(const KvLayer& kv, int64_t row, int32_t i, int n) {
  const auto codes = [&] {
    return _mm_maskz_loadu_epi8(V::mask(n), static_cast<const uint8_t*>(kv.data) + row + i);
  };
  if (kv.format == KvFormat::kF8E4M3) return V::mul(avx512::f8_widen(codes()), V::set1(kv.scale));
  const __m256i half = _mm256_slli_epi16(_mm256_cvtepu8_epi16(codes()), 8);
  return V::mul(_mm512_cvtph_ps(half), V::set1(kv.scale));
}

// Pool rows slots[0, n) as BF16 rows, zeros to their ends.
void attention_load(const KvLayer& kv, const int32_t* slots, int32_t n, void* keys,
                    int64_t stride) {
  const int32_t width = kv.latent + kv.rope;
  for (int32_t j = 0; j < n; ++j) {
    uint16_t* key = static_cast<uint16_t*>(keys) + j * stride;
    const int64_t row = int64_t{slots[j]} * width;
    for (int32_t i = 0; i < stride; i += 32) {
      const int left = width - i < 32 ? width - i : 32;
      __m512i v;
      if (kv.format == KvFormat::kBF16) {
        const auto mask = static_cast<__mmask32>((uint64_t{1} << left) - 1);
        v = _mm512_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(kv.data) + row + i);
      } else {
        const int low = left < 16 ? left : 16;
        v = (__m512i)_mm512_cvtne2ps_pbh(kv_numbers(kv, row, i + low, left - low),
                                         kv_numbers(kv, row, i, low));
      }
      _mm512_storeu_si512(key + i, v);
    }
  }
}

// Scores of R queries and four keys.
template <int R>
void scores_of(const AttentionTile& a, int32_t q, int32_t j) {
  const auto* queries = static_cast<const uint16_t*>(a.q) + q * a.stride;
  const auto* keys = static_cast<const uint16_t*>(a.keys) + j * a.stride;
  F acc[R][kKeys];
  for (int r = 0; r < R; ++r) {
    for (int k = 0; k < kKeys; ++k) acc[r][k] = V::zero();
  }
  for (int64_t i = 0; i < a.stride; i += 32) {
    B key[kKeys];
#pragma GCC unroll 8
    for (int k = 0; k < kKeys; ++k) key[k] = (B)_mm512_loadu_si512(keys + k * a.stride + i);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const B v = (B)_mm512_loadu_si512(queries + r * a.stride + i);
#pragma GCC unroll 8
      for (int k = 0; k < kKeys; ++k) acc[r][k] = _mm512_dpbf16_ps(acc[r][k], v, key[k]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const auto pairs = [](F x, F y) {
      return V::add(_mm512_shuffle_ps(x, y, 0x88), _mm512_shuffle_ps(x, y, 0xdd));
    };
    const F four = pairs(pairs(acc[r][0], acc[r][1]), pairs(acc[r][2], acc[r][3]));
    const __m256 two = _mm256_add_ps(_mm512_castps512_ps256(four), _mm512_extractf32x8_ps(four, 1));
    _mm_storeu_ps(a.scores + (q + r) * kKvBlock + j,
                  _mm_add_ps(_mm256_castps256_ps128(two), _mm256_extractf128_ps(two, 1)));
  }
}

template <int R>
void scores_of_some(const AttentionTile& a, int32_t q) {
  if constexpr (R > 1) {
    if (a.queries - q < R) return scores_of_some<R - 1>(a, q);
  }
  for (int32_t j = 0; j < a.positions; j += kKeys) {
    if (q == 0) prefetch_next(a, j, kKeys);
    scores_of<R>(a, q, j);
  }
}

// Scores to BF16 weights exp(score - max), in place; a zero behind an odd number of them.
void attention_weights(const AttentionTile& a, int32_t q) {
  float* scores = a.scores + q * kKvBlock;
  const int32_t limit = a.limits[q];
  F max = V::set1(-__builtin_inff());
  for (int32_t j = 0; j < limit; j += V::kLanes) {
    const int left = limit - j < V::kLanes ? limit - j : V::kLanes;
    max = _mm512_mask_max_ps(max, V::mask(left), max, V::load_n(scores + j, left));
  }
  a.max[q] = V::largest(max);
  F sum = V::zero();
  auto* weights = reinterpret_cast<uint16_t*>(scores);
  for (int32_t j = 0; j < limit; j += V::kLanes) {
    const int left = limit - j < V::kLanes ? limit - j : V::kLanes;
    const F weight = V::exp(V::sub(V::load_n(scores + j, left), V::set1(a.max[q])));
    const __m256i rounded = to_bf16(_mm512_maskz_mov_ps(V::mask(left), weight));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(weights + j), rounded);
    sum = V::add(sum, avx512::Bf16::widen(rounded));
  }
  a.sum[q] = V::sum(sum);
}

// acc[q, i ...] += weights of positions 2 j and 2 j + 1 x their latents, for C / 2 times 32
// columns.
template <int R, int C>
void weighted_sum(const AttentionTile& a, int32_t q, int32_t i) {
  F acc[R][C];
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) acc[r][c] = V::zero();
  }
  const auto* keys = static_cast<const uint16_t*>(a.keys) + i;
  const auto pair = [&](int32_t j, bool both, B(&v)[C]) __attribute__((always_inline)) {
    const uint16_t* even = keys + 2 * j * a.stride;
#pragma GCC unroll 4
    for (int c = 0; c < C; c += 2) {
      const __m512i x = _mm512_loadu_si512(even + 16 * c);
      const __m512i y =
          both ? _mm512_loadu_si512(even + a.stride + 16 * c) : _mm512_setzero_si512();
      v[c] = (B)_mm512_unpacklo_epi16(x, y);
      v[c + 1] = (B)_mm512_unpackhi_epi16(x, y);
    }
  };
  const auto weights = [&](int r, int32_t j) __attribute__((always_inline)) {
    int32_t two;
    __builtin_memcpy(&two, a.scores + (q + r) * kKvBlock + j, 4);
    return (B)_mm512_set1_epi32(two);
  };
  int32_t shared = a.limits[q];
  for (int r = 1; r < R; ++r) shared = a.limits[q + r] < shared ? a.limits[q + r] : shared;
  shared /= 2;
  for (int32_t j = 0; j < shared; ++j) {
    B v[C];
    pair(j, true, v);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const B p = weights(r, j);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) acc[r][c] = _mm512_dpbf16_ps(acc[r][c], p, v[c]);
    }
  }
  const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const int32_t limit = a.limits[q + r];
    for (int32_t j = shared; 2 * j < limit; ++j) {
      B v[C];
      pair(j, 2 * j + 1 < limit, v);
      const B p = weights(r, j);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) acc[r][c] = _mm512_dpbf16_ps(acc[r][c], p, v[c]);
    }
    // The halves of 128-bit lanes back to the order of columns.
    float* out = a.acc + int64_t{q + r} * a.latent + i;
#pragma GCC unroll 4
    for (int c = 0; c < C; c += 2) {
      const __m512i x = _mm512_castps_si512(acc[r][c]);
      const __m512i y = _mm512_castps_si512(acc[r][c + 1]);
      const int left = a.latent - i - 16 * c;
      const auto put = [&](int at, __m512i v) {
        const int n = left - at < 0 ? 0 : left - at < V::kLanes ? left - at : V::kLanes;
        V::store_n(out + 16 * c + at, n, _mm512_castsi512_ps(v));
      };
      put(0, _mm512_permutex2var_epi64(x, low, y));
      put(16, _mm512_permutex2var_epi64(x, high, y));
    }
  }
}

template <int R>
void weighted_sums(const AttentionTile& a, int32_t q) {
  if constexpr (R > 1) {
    if (a.queries - q < R) return weighted_sums<R - 1>(a, q);
  }
  int32_t i = 0;
  for (; i + 64 <= a.latent; i += 64) weighted_sum<R, 4>(a, q, i);
  for (; i < a.latent; i += 32) weighted_sum<R, 2>(a, q, i);
}

void attention_tile(const AttentionTile& a) {
  for (int32_t q = 0; q < a.queries; q += kQueries) scores_of_some<kQueries>(a, q);
  for (int32_t q = 0; q < a.queries; ++q) attention_weights(a, q);
  for (int32_t q = 0; q < a.queries; q += kQueries) weighted_sums<kQueries>(a, q);
}

}  // namespace
}  // namespace fathom::avx512_bf16
