// AVX2 vectors of bytes and 32-bit integers: all that the integer kernels need but the dot
// products. Internal linkage only: each file compiled with these flags gets its own copy.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/avx2/vector.h"
#include "kernels/quantized_row.h"

namespace fathom::avx2 {
namespace {

using B = __m256i;
struct Integers {
  static constexpr int kBytes = 32;
  static constexpr int kPanelVectors = 2;
  static constexpr int kLaneRows = 3;

  static B zero() { return _mm256_setzero_si256(); }
  static B set1(int32_t v) { return _mm256_set1_epi32(v); }
  static B load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static B load_n(const void* p, int n) {
    alignas(32) uint8_t bytes[32] = {};
    __builtin_memcpy(bytes, p, static_cast<size_t>(n));
    return load(bytes);
  }
  static void store(void* p, B v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
  static B broadcast4(const int8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return _mm256_set1_epi32(four);
  }
  static B add(B a, B b) { return _mm256_add_epi32(a, b); }
  static F to_float(B v) { return _mm256_cvtepi32_ps(v); }
  static void to_codes(int8_t* to, F v) {
    const B words = _mm256_cvtps_epi32(v);
    const __m128i halves =
        _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packs_epi16(halves, halves));
  }

  static B low4(B v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
  static B high4(B v) { return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15)); }
  static B lookup(__m128i table, B index) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), index);
  }

  // Even or odd 32-bit lanes of a, then of b, in each 128-bit lane.
  static B even_lanes(B a, B b) {
    return _mm256_castps_si256(
        _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88));
  }
  static B odd_lanes(B a, B b) {
    return _mm256_castps_si256(
        _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0xdd));
  }
  // Likewise with 128-bit lanes.
  static B even_quads(B a, B b) { return _mm256_permute2x128_si256(a, b, 0x20); }
  static B odd_quads(B a, B b) { return _mm256_permute2x128_si256(a, b, 0x31); }
  static B sum_neighbours(B v) { return add(v, _mm256_permute2x128_si256(v, v, 1)); }
  static B sum_lanes(B v) { return sum_neighbours(v); }
  static F four(float a, float b, float c, float d) {
    return _mm256_setr_ps(a, b, c, d, a, b, c, d);
  }
  static __m128 first_four(F v) { return _mm256_castps256_ps128(v); }

  // Numbers of the units of four rows, as their sums lie: [slot][row].
  template <int kUnit>
  static void spread(const float* const (&p)[4], int units, F (&out)[2][2]) {
    F row[4];
    for (int j = 0; j < 4; ++j) row[j] = V::load_n(p[j], units);
    if constexpr (kUnit == 16) return spread8(row, out);
    // Units 0 ... 3 stand in the lower half.
    F unit[4];
    turn(row, unit);
    for (int u = 0; u < 4; ++u) unit[u] = _mm256_permute2f128_ps(unit[u], unit[u], 0);
    for (int h = 0; h < 2; ++h) {
      out[h][0] = kUnit == 32 ? _mm256_blend_ps(unit[2 * h], unit[2 * h + 1], 0xf0) : unit[h];
    }
  }
  // unit[u]: units u and u + 4 of rows 0 ... 3.
  static void turn(const F (&row)[4], F (&unit)[4]) {
    const auto pd = [](F v) { return _mm256_castps_pd(v); };
    const F low01 = _mm256_unpacklo_ps(row[0], row[1]);
    const F low23 = _mm256_unpacklo_ps(row[2], row[3]);
    const F high01 = _mm256_unpackhi_ps(row[0], row[1]);
    const F high23 = _mm256_unpackhi_ps(row[2], row[3]);
    unit[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(pd(low01), pd(low23)));
    unit[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(pd(low01), pd(low23)));
    unit[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(pd(high01), pd(high23)));
    unit[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(pd(high01), pd(high23)));
  }
  static void spread8(const F (&row)[4], F (&out)[2][2]) {
    F unit[4];
    turn(row, unit);
    for (int odd = 0; odd < 2; ++odd) {
      out[0][odd] = _mm256_permute2f128_ps(unit[odd], unit[2 + odd], 0x20);
      out[1][odd] = _mm256_permute2f128_ps(unit[odd], unit[2 + odd], 0x31);
    }
  }
  // Eight E4M3 scales of four rows.
  static void spread_f8(const uint8_t* const (&p)[4], int units, F (&out)[2][2]) {
    F row[4];
    for (int j = 0; j < 4; ++j) row[j] = units == 8 ? f8_full(p[j]) : f8_part(p[j], units);
    spread8(row, out);
  }
  // Sums of an input row's units, likewise, equal for all weight rows.
  template <int kUnit>
  static void spread_sums(const float* sums, F (&out)[2][2]) {
    constexpr int kSlot = kUnit == 16 ? 2 : 1;  // units per slot of 32 columns
    for (int h = 0; h < 2; ++h) {
      for (int odd = 0; odd < kSlot; ++odd) {
        const float first = kUnit == 64 ? sums[h] : sums[2 * h * kSlot + odd];
        const float second = kUnit == 64 ? sums[h] : sums[(2 * h + 1) * kSlot + odd];
        out[h][odd] = _mm256_set_m128(_mm_set1_ps(second), _mm_set1_ps(first));
      }
    }
  }
  // The chains of quantized_row.h added up.
  template <int kUnit>
  static __m128 sum_chains(const F (&total)[2]) {
    const F two = V::add(total[0], total[1]);
    if constexpr (kUnit == 64) return _mm256_castps256_ps128(two);
    return _mm_add_ps(_mm256_castps256_ps128(two), _mm256_extractf128_ps(two, 1));
  }

  // out[j], word i = rows[i], word j.
  static void transpose(const B (&rows)[8], B (&out)[8]) {
    B b[8];
    B a[8];
    for (int i = 0; i < 8; i += 2) {
      b[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
      b[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      a[i] = _mm256_unpacklo_epi64(b[i], b[i + 2]);
      a[i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 2]);
      a[i + 2] = _mm256_unpacklo_epi64(b[i + 1], b[i + 3]);
      a[i + 3] = _mm256_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    for (int c = 0; c < 4; ++c) {
      out[c] = _mm256_permute2x128_si256(a[c], a[4 + c], 0x20);
      out[4 + c] = _mm256_permute2x128_si256(a[c], a[4 + c], 0x31);
    }
  }
};

}  // namespace
}  // namespace fathom::avx2
