// AVX-512 (F, BW, DQ, VL): FP32 arithmetic, weights widened in registers.
#include "kernels/cpu/avx512/integers.h"
#include "kernels/cpu/avx512/vector.h"

namespace fathom::avx512 {
namespace {

// 6 x 4 accumulators, 6 activations and a weight fill 31 of the 32 registers.
constexpr int kTileRows = 6;
constexpr int kTileWeights = 4;
constexpr int kFloatFewRows = 6;  // up to here weights stream by without being unpacked
// Of attention's sums: 6 x 4 accumulators, 4 values and a weight.
constexpr int kSumRows = 6;
constexpr int kSumColumns = 4;

// Dot products without VNNI. VPMADDUBSW adds pairs with 16 bits: 4-bit codes (at most 24 x 127,
// twice) and |w| (at most 128 x 127, twice) fit, unsigned bytes in general do not.
struct I : Integers {
  static constexpr int kOffset8 = 0;
  static B prepare8(B raw) { return raw; }
  static B dot4(B sum, B w, B x) {
    return add(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(w, x), _mm512_set1_epi16(1)));
  }
  static B dot8(B sum, B w, B x) {
    const B signed_x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), zero(), x);
    return dot4(sum, _mm512_abs_epi8(w), signed_x);
  }
};

#include "kernels/cpu/integer.inl"
#include "kernels/cpu/kernels.inl"

}  // namespace
}  // namespace fathom::avx512

namespace fathom {
void add_avx512(Ops& ops) {
  avx512::add_kernels(ops);
  avx512::add_integer_kernels(ops);
}
}  // namespace fathom
