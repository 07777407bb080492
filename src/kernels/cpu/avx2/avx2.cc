// AVX2 + FMA + F16C: FP32 arithmetic, weights widened in registers.
#include "kernels/cpu/avx2/integers.h"
#include "kernels/cpu/avx2/vector.h"
#include "kernels/cpu/next_block.h"
#include "kernels/ops.h"
#include "kernels/streams.h"

namespace fathom::avx2 {
namespace {

// 3 x 4 accumulators, 3 activations and a weight fill the 16 registers.
constexpr int kTileRows = 3;
constexpr int kTileWeights = 4;
constexpr int kFloatFewRows = 15;  // up to here weights stream by without being unpacked
// Of attention's sums: 6 x 2 accumulators, two values and a weight.
constexpr int kSumRows = 6;
constexpr int kSumColumns = 2;

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

// Dot products without VNNI. VPMADDUBSW adds pairs with 16 bits: 4-bit codes (at most 24 x 127,
// twice) and |w| (at most 128 x 127, twice) fit, unsigned bytes in general do not.
struct I : Integers {
  static constexpr int kPanelTileRows = 4;
  static constexpr int kFewRows = 16;
  static constexpr int kFewRows4 = 10;  // 4-bit codes
  static constexpr int kOffset8 = 0;

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
