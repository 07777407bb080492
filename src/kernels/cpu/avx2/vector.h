// AVX2 vectors of FP32 and the conversions to them. Internal linkage only: each file compiled with
// these flags gets its own copy.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace fathom::avx2 {
namespace {

using F = __m256;

struct V {
  static constexpr int kLanes = 8;
  static __m256i mask(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float v) { return _mm256_set1_ps(v); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load_n(const float* p, int n) { return _mm256_maskload_ps(p, mask(n)); }
  static __m128i load_bytes(const void* p) {
    return _mm_loadl_epi64(static_cast<const __m128i*>(p));
  }
  static __m128i load_half_bytes(const void* p) {
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return _mm_cvtsi32_si128(four);
  }
  static F from_i8(__m128i v) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static void store_n(float* p, int n, F v) { _mm256_maskstore_ps(p, mask(n), v); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F abs(F a) { return _mm256_andnot_ps(set1(-0.0f), a); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F swap_pairs(F v) { return _mm256_permute_ps(v, 0xb1); }
  // Each of four numbers twice.
  static F twice(const float* p) {
    const __m256i index = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), index);
  }
  // a * b - c in even lanes, a * b + c in odd ones.
  static F fma_sub_add(F a, F b, F c) { return _mm256_fmaddsub_ps(a, b, c); }
  static float first(F v) { return _mm256_cvtss_f32(v); }
  static float sum(F v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  // Four sums in the same order.
  static void sum4(const F (&v)[4], float* to) {
    __m128 s[4];
    for (int i = 0; i < 4; ++i) {
      s[i] = _mm_add_ps(_mm256_castps256_ps128(v[i]), _mm256_extractf128_ps(v[i], 1));
    }
    const __m128 first = _mm_add_ps(_mm_movelh_ps(s[0], s[1]), _mm_movehl_ps(s[1], s[0]));
    const __m128 second = _mm_add_ps(_mm_movelh_ps(s[2], s[3]), _mm_movehl_ps(s[3], s[2]));
    _mm_storeu_ps(
        to, _mm_add_ps(_mm_shuffle_ps(first, second, 0x88), _mm_shuffle_ps(first, second, 0xdd)));
  }

  static float largest(F v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }

  // exp by 2^n * 2^f, f in [-0.5, 0.5]: relative error below 2e-7. Results under the smallest
  // normal are zero. min and max give their second operand when one is NaN.
  static F exp(F x) {
    const F lowest = set1(-87.3f);
    const F clamped = _mm256_min_ps(set1(88.3f), _mm256_max_ps(lowest, x));
    const F n = _mm256_round_ps(mul(clamped, set1(1.44269504f)), 8);
    F r = _mm256_fnmadd_ps(n, set1(0.693359375f), clamped);
    r = _mm256_fnmadd_ps(n, set1(-2.12194440e-4f), r);
    F p = set1(1.9875691500e-4f);
    p = fma(p, r, set1(1.3981999507e-3f));
    p = fma(p, r, set1(8.3334519073e-3f));
    p = fma(p, r, set1(4.1665795894e-2f));
    p = fma(p, r, set1(1.6666665459e-1f));
    p = fma(p, r, set1(5.0000001201e-1f));
    p = fma(mul(r, r), p, add(r, set1(1.0f)));
    const __m256i power =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    const F value = mul(p, _mm256_castsi256_ps(power));
    // _CMP_NLT_UQ keeps NaN alive.
    return _mm256_and_ps(value, _mm256_cmp_ps(x, lowest, _CMP_NLT_UQ));
  }
};

// Tails are copied into a zeroed vector: AVX2 has no masked loads below 32 bits.
template <class T>
__m128i partial(const T* p, int n) {
  alignas(16) T lanes[16 / sizeof(T)] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return _mm_load_si128(reinterpret_cast<const __m128i*>(lanes));
}

struct Bf16 {
  static F widen(__m128i h) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
  }
  static F full(const uint16_t* p) {
    return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static F part(const uint16_t* p, int n) {
    return n == V::kLanes ? full(p) : widen(partial(p, n));
  }
};

struct F16 {
  static F full(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static F part(const uint16_t* p, int n) { return _mm256_cvtph_ps(partial(p, n)); }
};

// E4M3 codes are FP16 with three bits of mantissa, but for the bias of the exponent: shifted into
// place they are numbers 2^8 too small, subnormals included (F16C never flushes them).
inline F f8_widen(__m128i codes) {
  const __m128i largest = _mm_set1_epi16(0x7f << 7);  // NaN
  const __m128i twice = _mm_slli_epi16(_mm_cvtepi8_epi16(codes), 7);
  const __m128i nan = _mm_cmpeq_epi16(_mm_and_si128(twice, largest), largest);
  const __m128i half = _mm_or_si128(_mm_and_si128(twice, _mm_set1_epi16(~0x4000)), nan);
  return V::mul(_mm256_cvtph_ps(half), V::set1(256));
}
inline F f8_full(const uint8_t* p) {
  return f8_widen(V::load_bytes(p));
}
inline F f8_part(const uint8_t* p, int n) {
  return f8_widen(partial(p, n));
}

}  // namespace
}  // namespace fathom::avx2
