// AVX_VNNI, for processors without AVX-512: VPDPBUSD multiplies unsigned weight bytes with signed
// input bytes, four per lane.
#include "kernels/cpu/avx2/integers.h"
#include "kernels/cpu/avx2/vector.h"
#include "kernels/cpu/wide_sums.h"
#include "kernels/ops.h"
#include "kernels/streams.h"

namespace fathom::avx_vnni {
namespace {

using avx2::B;
using avx2::F;
using avx2::f8_part;
using avx2::V;

struct I : avx2::Integers, WideSums {
  static constexpr int kPanelTileRows = 6;  // x 2 vectors: 12 sums, 2 weights, an activation
  static constexpr int kFewRows = 8;
  static constexpr int kFewRows4 = 8;
  static constexpr int kOffset8 = 128;  // INT8 codes are made unsigned

  static B prepare8(B raw) { return _mm256_xor_si256(raw, _mm256_set1_epi8(-128)); }
  static B dot4(B sum, B w, B x) { return _mm256_dpbusd_avx_epi32(sum, w, x); }
  static B dot8(B sum, B w, B x) { return _mm256_dpbusd_avx_epi32(sum, w, x); }
};

#include "kernels/cpu/integer.inl"

}  // namespace
}  // namespace fathom::avx_vnni

namespace fathom {
void add_avx_vnni(Ops& ops) {
  avx_vnni::add_integer_kernels(ops);
}
}  // namespace fathom
