// E4M3 codes to BF16, exactly. Internal linkage only: each file gets its own copy.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace fathom::f8 {
namespace {

// The two bytes of the BF16 number of each magnitude, NaN included.
struct Tables {
  alignas(64) uint8_t low[128];
  alignas(64) uint8_t high[128];
};
constexpr Tables make_tables() {
  Tables tables{};
  for (unsigned code = 0; code < 128; ++code) {
    unsigned exponent = code >> 3;
    unsigned mantissa = code & 7;
    unsigned bits = ((exponent + 120) << 7) | (mantissa << 4);
    if (exponent == 0) {  // m * 2^-9: the leading bit made implicit
      const unsigned leading = mantissa >= 4 ? 2 : mantissa >= 2 ? 1 : 0;
      bits = mantissa == 0 ? 0 : ((118 + leading) << 7) | ((mantissa << (7 - leading)) & 0x7f);
    }
    if (code == 0x7f) bits = 0x7fc0;
    tables.low[code] = static_cast<uint8_t>(bits);
    tables.high[code] = static_cast<uint8_t>(bits >> 8);
  }
  return tables;
}
constexpr Tables kTables = make_tables();

// Low and high bytes of 64 codes.
struct Bytes {
  __m512i low;
  __m512i high;
};
inline Bytes bytes(__m512i c) {
  // The look-up takes the low seven bits of a code.
  const auto look_up = [&](const uint8_t(&table)[128]) {
    return _mm512_permutex2var_epi8(_mm512_load_si512(table), c, _mm512_load_si512(table + 64));
  };
  // high | (c & 0x80)
  return {look_up(kTables.low),
          _mm512_ternarylogic_epi64(look_up(kTables.high), c, _mm512_set1_epi8(-128), 0xf8)};
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
