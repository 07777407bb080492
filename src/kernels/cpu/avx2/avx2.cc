// AVX2 + FMA + F16C: FP32 arithmetic, weights widened in registers.
#include <immintrin.h>

#include "kernels/cpu/next_block.h"
#include "kernels/ops.h"
#include "kernels/streams.h"

namespace fathom::avx2 {
namespace {

using F = __m256;

// 3 x 4 accumulators, 3 activations and a weight fill the 16 registers.
constexpr int kTileRows = 3;
constexpr int kTileWeights = 4;
constexpr int kFloatFewRows = 15;  // up to here weights stream by without being unpacked
// Of attention's sums: 6 x 2 accumulators, two values and a weight.
constexpr int kSumRows = 6;
constexpr int kSumColumns = 2;

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
F f8_widen(__m128i codes) {
  const __m128i largest = _mm_set1_epi16(0x7f << 7);  // NaN
  const __m128i twice = _mm_slli_epi16(_mm_cvtepi8_epi16(codes), 7);
  const __m128i nan = _mm_cmpeq_epi16(_mm_and_si128(twice, largest), largest);
  const __m128i half = _mm_or_si128(_mm_and_si128(twice, _mm_set1_epi16(~0x4000)), nan);
  return V::mul(_mm256_cvtph_ps(half), V::set1(256));
}
F f8_full(const uint8_t* p) {
  return f8_widen(V::load_bytes(p));
}
F f8_part(const uint8_t* p, int n) {
  return f8_widen(partial(p, n));
}

// Weights, where the kernel reads FP32 rows of order_f8. A code is also an FP32 without its lower
// bits, but for the bias: in place it is a number 2^120 too small, a denormal where the code is
// one.
struct F8 {
  static constexpr float kUnit = 0x1p56f;  // of products with rows of order_f8
  static F full(const uint8_t* p) { return V::mul(f8_full(p), V::set1(0x1p-120f)); }
  static F part(const uint8_t* p, int n) { return V::mul(f8_part(p, n), V::set1(0x1p-120f)); }

  // Codes of NaN become numbers here. The largest magnitude tells whether there was one.
  static constexpr int kTogether = 4;
  struct Watch {
    __m256i largest = _mm256_setzero_si256();  // codes without sign, times two
    bool alarm() const {
      const __m256i nan = _mm256_cmpeq_epi8(largest, _mm256_set1_epi8(static_cast<char>(0xfe)));
      return _mm256_movemask_epi8(nan) != 0;
    }
  };
  // 32 columns, in the order of order_f8: no byte leaves its 32 bits, so all is shifts and masks.
  static void together(const uint8_t* p, F (&out)[kTogether], Watch& watch) {
    const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    watch.largest = _mm256_max_epu8(watch.largest, _mm256_add_epi8(codes, codes));
    const __m256i bits = _mm256_set1_epi16(static_cast<int16_t>(0x87f0));
    const __m256i upper = _mm256_set1_epi32(static_cast<int32_t>(0xffff0000));
    const __m256i even = _mm256_and_si256(_mm256_srai_epi16(_mm256_slli_epi16(codes, 8), 4), bits);
    const __m256i odd = _mm256_and_si256(_mm256_srai_epi16(codes, 4), bits);
    out[0] = _mm256_castsi256_ps(_mm256_slli_epi32(even, 16));
    out[1] = _mm256_castsi256_ps(_mm256_slli_epi32(odd, 16));
    out[2] = _mm256_castsi256_ps(_mm256_and_si256(even, upper));
    out[3] = _mm256_castsi256_ps(_mm256_and_si256(odd, upper));
  }
};

// Bytes and 32-bit integers. VPMADDUBSW adds pairs with 16 bits: 4-bit codes (at most 24 x 127,
// twice) and |w| (at most 128 x 127, twice) fit, unsigned bytes in general do not.
using B = __m256i;
struct I {
  static constexpr int kBytes = 32;
  static constexpr int kPanelVectors = 2;
  static constexpr int kPanelTileRows = 4;
  static constexpr int kLaneRows = 3;
  static constexpr int kFewRows = 16;
  static constexpr int kFewRows4 = 10;  // 4-bit codes
  static constexpr int kOffset8 = 0;

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

  static B prepare8(B raw) { return raw; }
  // Sums of 4-bit codes: 16 bits, each of even and odd products, widened after Codes::kRun dots.
  static constexpr bool kNarrow = true;
  static B first_dot4(B w, B x) { return _mm256_maddubs_epi16(w, x); }
  static B dot4(B sum, B w, B x) {
    B more = _mm256_add_epi16(sum, first_dot4(w, x));
    asm("" : "+x"(more));  // or gcc adds in another order and runs out of registers
    return more;
  }
  static B widen(B sum) { return _mm256_madd_epi16(sum, _mm256_set1_epi16(1)); }
  static B dot8(B sum, B w, B x) {
    return add(sum, widen(first_dot4(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))));
  }
  // In a panel (integer_panel.inl): a sign is turned by any port, VPSIGNB waits for two of four.
  static constexpr bool kSplitSigns = true;
  static constexpr int kPlacesTogether = 2;
  static B split(B w, uint8_t* magnitude, uint8_t* sign, B offset) {
    const B size = _mm256_abs_epi8(w);
    const B negative = _mm256_cmpgt_epi8(zero(), w);
    store(magnitude, size);
    store(sign, negative);
    return _mm256_sub_epi32(offset, widen(first_dot4(size, negative)));
  }
  static B dot8_split(B sum, B magnitude, B sign, B x) {
    return add(sum, widen(first_dot4(magnitude, _mm256_xor_si256(x, sign))));
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

#include "kernels/cpu/integer.inl"
#include "kernels/cpu/kernels.inl"

// Elsewhere denormals are flushed to zero (device/exec.cc). Here small codes are denormals, about
// one weight in ten thousand where blocks are scaled to 448, and must count. Zen 3 multiplies them
// at full speed; Intel may need an assist for each, which was not measured.
void matmul_f8(const MatmulArgs& a, int64_t begin, int64_t end, void* scratch) {
  constexpr unsigned kFlush = 0x8040;
  const unsigned mode = _mm_getcsr();
  _mm_setcsr(mode & ~kFlush);
  matmul<CodedRows<F8Decode>>(a, begin, end, scratch);
  _mm_setcsr(mode);
}

void order_f8(const float* x, int64_t x_stride, float* y, int64_t y_stride, int32_t n,
              int32_t block, int64_t begin, int64_t end) {
  constexpr int32_t kColumns = F8::kTogether * V::kLanes;
  const F unit = V::set1(0x1p64f);
  for (int64_t t = begin; t < end; ++t) {
    const float* from = x + t * x_stride;
    float* to = y + t * y_stride;
    for (int32_t k = 0; k < n;) {
      const int32_t stop = n - k < block ? n : k + block;
      for (; k + kColumns <= stop; k += kColumns) {
        F quads[4];  // columns 4q ... 4q + 3 and 16 more than these
        for (int q = 0; q < 4; ++q) {
          const float* p = from + k + 4 * q;
          quads[q] = V::mul(_mm256_loadu2_m128(p + 16, p), unit);
        }
        F out[4];
        I::turn(quads, out);
        for (int i = 0; i < 4; ++i) V::store(to + k + i * V::kLanes, out[i]);
      }
      for (; k < stop; ++k) to[k] = from[k] * 0x1p64f;
    }
  }
}

}  // namespace
}  // namespace fathom::avx2

namespace fathom {
void add_avx2(Ops& ops) {
  avx2::add_kernels(ops);
  avx2::add_integer_kernels(ops);
  ops.order_f8 = avx2::order_f8;
  constexpr auto kF8 = static_cast<size_t>(WeightFormat::kF8);
  ops.matmul[kF8] = ops.float_matmul[kF8] = {ActivationFormat::kF8Order, avx2::matmul_f8};
}
}  // namespace fathom
