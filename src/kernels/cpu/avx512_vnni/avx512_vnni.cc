// AVX512_VNNI: VPDPBUSD multiplies unsigned weight bytes with signed input bytes, four per lane.
#include "kernels/cpu/avx512/integers.h"

namespace fathom::avx512_vnni {
namespace {

using avx512::B;
using avx512::F;
using avx512::f8_part;
using avx512::V;

struct I : avx512::Integers {
  static constexpr int kOffset8 = 128;  // INT8 codes are made unsigned
  static B prepare8(B raw) { return _mm512_xor_si512(raw, _mm512_set1_epi8(-128)); }
  static B dot4(B sum, B w, B x) { return _mm512_dpbusd_epi32(sum, w, x); }
  static B dot8(B sum, B w, B x) { return _mm512_dpbusd_epi32(sum, w, x); }
};

#include "kernels/cpu/integer.inl"

}  // namespace
}  // namespace fathom::avx512_vnni

namespace fathom {
void add_avx512_vnni(Ops& ops) {
  avx512_vnni::add_integer_kernels(ops);
}
}  // namespace fathom
