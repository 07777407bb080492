// E4M3 codes to BF16, exactly. Internal linkage only: each file gets its own copy.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace fathom::f8 {
namespace {

// The two bytes of the eight smallest magnitudes (subnormal: m * 2^-9) as BF16, repeated.
struct SmallTable {
  alignas(64) uint8_t low[64];
  alignas(64) uint8_t high[64];
};
constexpr SmallTable make_small_table() {
  SmallTable table{};
  for (int i = 0; i < 64; ++i) {
    const unsigned m = static_cast<unsigned>(i) & 7;
    const unsigned leading = m >= 4 ? 2 : m >= 2 ? 1 : 0;  // its place, made implicit
    const unsigned bits = m == 0 ? 0 : ((118 + leading) << 7) | ((m << (7 - leading)) & 0x7f);
    table.low[i] = static_cast<uint8_t>(bits);
    table.high[i] = static_cast<uint8_t>(bits >> 8);
  }
  return table;
}
constexpr SmallTable kSmall = make_small_table();

// Bit matrices for GF2P8AFFINEQB: the byte for result bit i stands at place 7 - i, and its bits say
// which bits of the code are summed.
constexpr int64_t bit_matrix(const uint8_t (&of_bit)[8]) {
  uint64_t matrix = 0;
  for (int i = 0; i < 8; ++i) matrix |= uint64_t{of_bit[i]} << (8 * (7 - i));
  return static_cast<int64_t>(matrix);
}
// Code s eeee mmm. BF16's exponent is eeee + 120: 1000 0eee if the top bit is set, else 0111 1eee.
// Low byte: e0 mmm 0000. High byte: s e3 !e3 !e3 !e3 !e3 e2 e1.
constexpr int64_t kLowByte = bit_matrix({0, 0, 0, 0, 0x01, 0x02, 0x04, 0x08});
constexpr int64_t kHighByte = bit_matrix({0x10, 0x20, 0x40, 0x40, 0x40, 0x40, 0x40, 0x80});

// Low and high bytes of 64 codes.
struct Bytes {
  __m512i low;
  __m512i high;
};
inline Bytes bytes(__m512i c) {
  const __m512i magnitude = _mm512_and_si512(c, _mm512_set1_epi8(0x7f));
  __m512i low = _mm512_gf2p8affine_epi64_epi8(c, _mm512_set1_epi64(kLowByte), 0);
  __m512i high = _mm512_gf2p8affine_epi64_epi8(c, _mm512_set1_epi64(kHighByte), 0x3c);
  const __mmask64 small = _mm512_testn_epi8_mask(c, _mm512_set1_epi8(0x78));
  low = _mm512_mask_permutexvar_epi8(low, small, c, _mm512_load_si512(kSmall.low));
  high = _mm512_mask_permutexvar_epi8(high, small, c, _mm512_load_si512(kSmall.high));
  const __mmask64 nan = _mm512_cmpeq_epi8_mask(magnitude, _mm512_set1_epi8(0x7f));
  high = _mm512_mask_mov_epi8(high, nan, _mm512_set1_epi8(0x7f));  // low is 0xf0: a NaN
  // high | (c & 0x80): the small ones lost their sign
  return {low, _mm512_ternarylogic_epi64(high, c, _mm512_set1_epi8(-128), 0xf8)};
}

// 32 codes to 32 BF16.
inline __m512i widen(__m256i codes) {
  // Eight codes to the low half of each 128-bit lane, where unpacklo takes them from.
  const __m512i c = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3),
                                             _mm512_castsi256_si512(codes));
  const Bytes b = bytes(c);
  return _mm512_unpacklo_epi8(b.low, b.high);
}

// 64 codes to 2 x 32 BF16.
inline void widen(__m512i codes, __m512i& first, __m512i& second) {
  const __m512i c = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7), codes);
  const Bytes b = bytes(c);
  first = _mm512_unpacklo_epi8(b.low, b.high);
  second = _mm512_unpackhi_epi8(b.low, b.high);
}

}  // namespace
}  // namespace fathom::f8
