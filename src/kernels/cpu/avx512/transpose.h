// 16 x 16 words turned in registers. Internal linkage only.
#pragma once

#include <immintrin.h>

namespace fathom::avx512 {
namespace {

// out[j], word i = rows[i], word j.
inline void transpose16(const __m512i (&rows)[16], __m512i (&out)[16]) {
  __m512i a[16];
  __m512i b[16];
  // Words of row pairs, then of fours, then 128-bit lanes twice.
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
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
    out[c] = _mm512_shuffle_i32x4(low0, low1, 0x88);
    out[8 + c] = _mm512_shuffle_i32x4(low0, low1, 0xdd);
    out[4 + c] = _mm512_shuffle_i32x4(high0, high1, 0x88);
    out[12 + c] = _mm512_shuffle_i32x4(high0, high1, 0xdd);
  }
}

}  // namespace
}  // namespace fathom::avx512
