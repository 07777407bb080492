// AVX2 + FMA + F16C: FP32 arithmetic, weights widened in registers.
#include <immintrin.h>

#include "kernels/ops.h"

namespace fathom::avx2 {
namespace {

using F = __m256;

// 2 x 4 accumulators, 4 weights and one activation fill 13 of the 16 registers.
constexpr int kTileRows = 2;
constexpr int kTileWeights = 4;

struct V {
  static constexpr int kLanes = 8;
  static __m256i mask(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float v) { return _mm256_set1_ps(v); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load_n(const float* p, int n) { return _mm256_maskload_ps(p, mask(n)); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static void store_n(float* p, int n, F v) { _mm256_maskstore_ps(p, mask(n), v); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static float first(F v) { return _mm256_cvtss_f32(v); }
  static float sum(F v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
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

// E4M3 codes to FP32. Subnormals come from a table, because denormals are flushed here.
F f8_widen(__m128i codes) {
  const __m256i c = _mm256_cvtepu8_epi32(codes);
  const __m256i magnitude = _mm256_and_si256(c, _mm256_set1_epi32(0x7f));
  const F normal = _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_slli_epi32(magnitude, 20), _mm256_set1_epi32(120 << 23)));
  const F table = _mm256_setr_ps(0, 0x1p-9f, 0x2p-9f, 0x3p-9f, 0x4p-9f, 0x5p-9f, 0x6p-9f, 0x7p-9f);
  const F small = _mm256_permutevar8x32_ps(table, magnitude);
  const __m256i subnormal = _mm256_cmpgt_epi32(_mm256_set1_epi32(8), magnitude);
  const __m256i nan = _mm256_cmpeq_epi32(magnitude, _mm256_set1_epi32(0x7f));
  F value = _mm256_blendv_ps(normal, small, _mm256_castsi256_ps(subnormal));
  value = _mm256_blendv_ps(value, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)),
                           _mm256_castsi256_ps(nan));
  const __m256i sign = _mm256_slli_epi32(_mm256_and_si256(c, _mm256_set1_epi32(0x80)), 24);
  return _mm256_or_ps(value, _mm256_castsi256_ps(sign));
}
F f8_full(const uint8_t* p) {
  return f8_widen(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
F f8_part(const uint8_t* p, int n) {
  return f8_widen(partial(p, n));
}

#include "kernels/cpu/kernels.inl"

}  // namespace
}  // namespace fathom::avx2

namespace fathom {
void add_avx2(Ops& ops) {
  avx2::add_kernels(ops);
}
}  // namespace fathom
