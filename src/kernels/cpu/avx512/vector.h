// The AVX-512 vector of FP32 and the widening loads. Internal linkage only: each file compiled with
// these flags gets its own copy.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/next_block.h"
#include "kernels/ops.h"
#include "kernels/streams.h"

namespace fathom::avx512 {
namespace {

using F = __m512;

struct V {
  static constexpr int kLanes = 16;
  static __mmask16 mask(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float v) { return _mm512_set1_ps(v); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load_n(const float* p, int n) { return _mm512_maskz_loadu_ps(mask(n), p); }
  static __m128i load_bytes(const void* p) {
    return _mm_loadu_si128(static_cast<const __m128i*>(p));
  }
  static __m128i load_half_bytes(const void* p) {
    return _mm_loadl_epi64(static_cast<const __m128i*>(p));
  }
  static F from_i8(__m128i v) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(v)); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static void store_n(float* p, int n, F v) { _mm512_mask_storeu_ps(p, mask(n), v); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F abs(F a) { return _mm512_abs_ps(a); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F swap_pairs(F v) { return _mm512_permute_ps(v, 0xb1); }
  // Each of eight numbers twice.
  static F twice(const float* p) {
    const __m512i index = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
  }
  // a * b - c in even lanes, a * b + c in odd ones.
  static F fma_sub_add(F a, F b, F c) { return _mm512_fmaddsub_ps(a, b, c); }
  static float first(F v) { return _mm512_cvtss_f32(v); }
  static float sum(F v) { return _mm512_reduce_add_ps(v); }
  static void sum4(const F (&v)[4], float* to) {
    for (int i = 0; i < 4; ++i) to[i] = sum(v[i]);
  }
  static float largest(F v) { return _mm512_reduce_max_ps(v); }

  // exp by 2^n * 2^f, f in [-0.5, 0.5]: relative error below 2e-7. Results under the smallest
  // normal are zero. min and max give their second operand when one is NaN.
  static F exp(F x) {
    const F clamped = _mm512_min_ps(set1(88.7f), _mm512_max_ps(set1(-104.0f), x));
    const F n = _mm512_roundscale_ps(mul(clamped, set1(1.44269504f)), 8);
    F r = _mm512_fnmadd_ps(n, set1(0.693359375f), clamped);
    r = _mm512_fnmadd_ps(n, set1(-2.12194440e-4f), r);
    F p = set1(1.9875691500e-4f);
    p = fma(p, r, set1(1.3981999507e-3f));
    p = fma(p, r, set1(8.3334519073e-3f));
    p = fma(p, r, set1(4.1665795894e-2f));
    p = fma(p, r, set1(1.6666665459e-1f));
    p = fma(p, r, set1(5.0000001201e-1f));
    p = fma(mul(r, r), p, add(r, set1(1.0f)));
    return _mm512_scalef_ps(p, n);
  }
};

struct Bf16 {
  static F widen(__m256i h) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
  }
  static F full(const uint16_t* p) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F part(const uint16_t* p, int n) { return widen(_mm256_maskz_loadu_epi16(V::mask(n), p)); }
};

struct F16 {
  static F full(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F part(const uint16_t* p, int n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(V::mask(n), p));
  }
};

// E4M3 codes to FP32. Subnormals come from a table, because denormals are flushed here.
inline F f8_widen(__m128i codes) {
  const __m512i c = _mm512_cvtepu8_epi32(codes);
  const __m512i magnitude = _mm512_and_si512(c, _mm512_set1_epi32(0x7f));
  const __m512i normal =
      _mm512_add_epi32(_mm512_slli_epi32(magnitude, 20), _mm512_set1_epi32(120 << 23));
  const __mmask16 subnormal = _mm512_cmplt_epu32_mask(magnitude, _mm512_set1_epi32(8));
  const __mmask16 nan = _mm512_cmpeq_epu32_mask(magnitude, _mm512_set1_epi32(0x7f));
  const F table = _mm512_setr_ps(0, 0x1p-9f, 0x2p-9f, 0x3p-9f, 0x4p-9f, 0x5p-9f, 0x6p-9f, 0x7p-9f,
                                 0, 0, 0, 0, 0, 0, 0, 0);
  F value = _mm512_mask_permutexvar_ps(_mm512_castsi512_ps(normal), subnormal, magnitude, table);
  value = _mm512_mask_mov_ps(value, nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
  const __m512i sign = _mm512_slli_epi32(_mm512_and_si512(c, _mm512_set1_epi32(0x80)), 24);
  return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(value), sign));
}
inline F f8_full(const uint8_t* p) {
  return f8_widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline F f8_part(const uint8_t* p, int n) {
  return f8_widen(_mm_maskz_loadu_epi8(V::mask(n), p));
}
struct F8 {
  static constexpr float kUnit = 1;
  static F full(const uint8_t* p) { return f8_full(p); }
  static F part(const uint8_t* p, int n) { return f8_part(p, n); }
  static constexpr int kTogether = 2;
  struct Watch {
    bool alarm() const { return false; }  // NaN is widened to NaN
  };
  static void together(const uint8_t* p, F (&out)[kTogether], Watch&) {
    for (int i = 0; i < kTogether; ++i) out[i] = f8_full(p + i * V::kLanes);
  }
};

}  // namespace
}  // namespace fathom::avx512
