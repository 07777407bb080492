// Activations as the B operand of a tile product. Internal linkage only.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/avx512/transpose.h"
#include "kernels/ops.h"

namespace fathom::amx_bf16 {
namespace {

// 16 x 16 words: out[j][i] = in[i * stride + j].
inline void transpose(const uint32_t* in, int64_t stride, uint32_t (&out)[16][16]) {
  __m512i rows[16];
  __m512i turned[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) rows[i] = _mm512_loadu_si512(in + i * stride);
  avx512::transpose16(rows, turned);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm512_store_si512(out[i], turned[i]);
}

// Tile products that a block of K takes: 32 K each, the last one padded.
inline int64_t steps_per_block(const MatrixView& w) {
  return (w.block_in + 31) / 32;
}

// Tile products that a row of w takes.
inline int64_t padded_steps(const MatrixView& w) {
  if (w.format != WeightFormat::kF8) return (w.in + 31) / 32;
  return (w.in + w.block_in - 1) / w.block_in * steps_per_block(w);
}

// Pairs of K of a packed row, with room for the last step of a block that starts anywhere.
inline int64_t packed_pairs(int32_t in) {
  return ((in + 31) / 32 + 1) * 16;
}

// Rows [t, t + n) of x to packed[pair][n]; zeros behind their end. Rows of x are padded with zeros
// to a multiple of 32.
inline void pack(const MatmulArgs& a, int32_t t, int32_t n, int64_t pairs, uint32_t* packed) {
  const int64_t stored = (a.w.in + 31) / 32 * 16;
  const uint32_t* rows[16];
  for (int32_t i = 0; i < 16; ++i) {
    const int32_t r = t + (i < n ? i : 0);
    rows[i] = static_cast<const uint32_t*>(a.x) + (a.index ? a.index[r] : r) * (a.x_stride / 2);
  }
  if (n == 1) {
    __builtin_memcpy(packed, rows[0], static_cast<size_t>(stored) * 4);
  } else {
    alignas(64) uint32_t block[16][16];
    alignas(64) uint32_t turned[16][16];
    const auto mask = static_cast<__mmask16>((1u << n) - 1u);
    for (int64_t p = 0; p < stored; p += 16) {
      for (int i = 0; i < 16; ++i) _mm512_store_si512(block[i], _mm512_loadu_si512(rows[i] + p));
      transpose(block[0], 16, turned);
      for (int j = 0; j < 16; ++j) {
        _mm512_mask_storeu_epi32(packed + (p + j) * n, mask, _mm512_load_si512(turned[j]));
      }
    }
  }
  __builtin_memset(packed + stored * n, 0, static_cast<size_t>((pairs - stored) * n) * 4);
}

}  // namespace
}  // namespace fathom::amx_bf16
