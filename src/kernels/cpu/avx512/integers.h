// AVX-512 vectors of bytes and 32-bit integers: all that the integer kernels need but the dot
// products. Internal linkage only: each file compiled with these flags gets its own copy.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/avx512/transpose.h"
#include "kernels/cpu/avx512/vector.h"
#include "kernels/cpu/wide_sums.h"
#include "kernels/quantized_row.h"

namespace fathom::avx512 {
namespace {

using B = __m512i;

struct Integers : WideSums {
  static constexpr int kBytes = 64;
  static constexpr int kPanelVectors = 4;
  static constexpr int kPanelTileRows = 6;  // x 4 vectors: 24 sums, 4 weights, an activation
  static constexpr int kLaneRows = 4;
  static constexpr int kFewRows = 8;
  static constexpr int kFewRows4 = 8;  // 4-bit codes

  static B zero() { return _mm512_setzero_si512(); }
  static B set1(int32_t v) { return _mm512_set1_epi32(v); }
  static B load(const void* p) { return _mm512_loadu_si512(p); }
  static B load_n(const void* p, int n) {
    return _mm512_maskz_loadu_epi8(n >= 64 ? ~__mmask64{0} : (__mmask64{1} << n) - 1, p);
  }
  static void store(void* p, B v) { _mm512_storeu_si512(p, v); }
  static B broadcast4(const int8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return _mm512_set1_epi32(four);
  }
  static B add(B a, B b) { return _mm512_add_epi32(a, b); }
  static F to_float(B v) { return _mm512_cvtepi32_ps(v); }
  static void to_codes(int8_t* to, F v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
  }

  static B low4(B v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
  static B high4(B v) { return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15)); }
  static B lookup(__m128i table, B index) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), index);
  }

  // Even or odd 32-bit lanes of a, then of b, in each 128-bit lane.
  static B even_lanes(B a, B b) {
    return _mm512_castps_si512(
        _mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), 0x88));
  }
  static B odd_lanes(B a, B b) {
    return _mm512_castps_si512(
        _mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), 0xdd));
  }
  // Likewise with 128-bit lanes.
  static B even_quads(B a, B b) { return _mm512_shuffle_i32x4(a, b, 0x88); }
  static B odd_quads(B a, B b) { return _mm512_shuffle_i32x4(a, b, 0xdd); }
  static B sum_neighbours(B v) { return add(v, _mm512_shuffle_i32x4(v, v, 0xb1)); }
  static B sum_lanes(B v) {
    const B two = sum_neighbours(v);
    return add(two, _mm512_shuffle_i32x4(two, two, 0x4e));
  }
  static F four(float a, float b, float c, float d) {
    return _mm512_broadcast_f32x4(_mm_setr_ps(a, b, c, d));
  }
  static __m128 first_four(F v) { return _mm512_castps512_ps128(v); }

  // Numbers of the units of four rows, as their sums lie: [slot][row].
  template <int kUnit>
  static void spread(const float* const (&p)[4], int units, F (&out)[1][2]) {
    const auto mask = static_cast<__mmask8>((1u << units) - 1u);
    if constexpr (kUnit == 16) {
      const auto row = [&](int j) { return _mm256_maskz_loadu_ps(mask, p[j]); };
      spread8(_mm512_insertf32x8(_mm512_castps256_ps512(row(0)), row(1), 1),
              _mm512_insertf32x8(_mm512_castps256_ps512(row(2)), row(3), 1), out);
    } else {
      const auto row = [&](int j) { return _mm_maskz_loadu_ps(mask, p[j]); };
      F all = _mm512_castps128_ps512(row(0));
      all = _mm512_insertf32x4(all, row(1), 1);
      all = _mm512_insertf32x4(all, row(2), 2);
      all = _mm512_insertf32x4(all, row(3), 3);
      const __m512i index =
          kUnit == 32 ? _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
                      : _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 1, 5, 9, 13, 1, 5, 9, 13);
      out[0][0] = _mm512_permutexvar_ps(index, all);
    }
  }
  // Eight units of rows 0 and 1, and of 2 and 3.
  static void spread8(F a, F b, F (&out)[1][2]) {
    const __m512i even =
        _mm512_setr_epi32(0, 8, 16, 24, 2, 10, 18, 26, 4, 12, 20, 28, 6, 14, 22, 30);
    out[0][0] = _mm512_permutex2var_ps(a, even, b);
    out[0][1] = _mm512_permutex2var_ps(a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), b);
  }
  // Eight E4M3 scales of four rows.
  static void spread_f8(const uint8_t* const (&p)[4], int units, F (&out)[1][2]) {
    const auto mask = static_cast<__mmask16>((1u << units) - 1u);
    const auto pair = [&](int j) {
      return f8_widen(_mm_unpacklo_epi64(_mm_maskz_loadu_epi8(mask, p[j]),
                                         _mm_maskz_loadu_epi8(mask, p[j + 1])));
    };
    spread8(pair(0), pair(2), out);
  }
  // Sums of an input row's units, likewise, equal for all weight rows.
  template <int kUnit>
  static void spread_sums(const float* sums, F (&out)[1][2]) {
    if constexpr (kUnit == 16) {
      const F all = _mm512_castps256_ps512(_mm256_loadu_ps(sums));
      const __m512i even = _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6);
      out[0][0] = _mm512_permutexvar_ps(even, all);
      out[0][1] = _mm512_permutexvar_ps(_mm512_add_epi32(even, _mm512_set1_epi32(1)), all);
    } else if constexpr (kUnit == 32) {
      const __m512i index = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
      out[0][0] = _mm512_permutexvar_ps(index, _mm512_castps128_ps512(_mm_loadu_ps(sums)));
    } else {
      const __m256 second = _mm256_set1_ps(sums[1]);
      out[0][0] = _mm512_insertf32x8(_mm512_set1_ps(sums[0]), second, 1);
    }
  }
  // The chains of quantized_row.h added up.
  template <int kUnit>
  static __m128 sum_chains(const F (&total)[1]) {
    const __m256 two =
        _mm256_add_ps(_mm512_castps512_ps256(total[0]), _mm512_extractf32x8_ps(total[0], 1));
    if constexpr (kUnit == 64) return _mm256_castps256_ps128(two);
    return _mm_add_ps(_mm256_castps256_ps128(two), _mm256_extractf128_ps(two, 1));
  }

  static void transpose(const B (&rows)[16], B (&out)[16]) { transpose16(rows, out); }
};

}  // namespace
}  // namespace fathom::avx512
