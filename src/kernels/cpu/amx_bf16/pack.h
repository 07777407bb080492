// Activations as the B operand of a tile product. Internal linkage only.
#pragma once

#include <immintrin.h>

#include "kernels/ops.h"

namespace fathom::amx_bf16 {
namespace {

// 16 x 16 words: out[j][i] = in[i * stride + j].
inline void transpose(const uint32_t* in, int64_t stride, uint32_t (&out)[16][16]) {
  __m512i a[16];
  __m512i b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(in + i * stride);
  // Words of row pairs, then of fours, then 128-bit lanes twice.
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  // a[4 g + c], lane l: column 4 l + c of rows 4 g ... 4 g + 3.
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512i low0 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88);   // lanes 0, 2
    const __m512i high0 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd);  // lanes 1, 3
    const __m512i low1 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88);
    const __m512i high1 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);
    _mm512_store_si512(out[c], _mm512_shuffle_i32x4(low0, low1, 0x88));
    _mm512_store_si512(out[8 + c], _mm512_shuffle_i32x4(low0, low1, 0xdd));
    _mm512_store_si512(out[4 + c], _mm512_shuffle_i32x4(high0, high1, 0x88));
    _mm512_store_si512(out[12 + c], _mm512_shuffle_i32x4(high0, high1, 0xdd));
  }
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
