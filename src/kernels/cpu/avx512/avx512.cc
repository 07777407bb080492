// AVX-512 (F, BW, DQ, VL): FP32 arithmetic, weights widened in registers.
#include "kernels/cpu/avx512/vector.h"

namespace fathom::avx512 {
namespace {

// 6 x 4 accumulators, 4 weights and one activation fill 29 of the 32 registers.
constexpr int kTileRows = 6;
constexpr int kTileWeights = 4;

#include "kernels/cpu/kernels.inl"

}  // namespace
}  // namespace fathom::avx512

namespace fathom {
void add_avx512(Ops& ops) {
  avx512::add_kernels(ops);
}
}  // namespace fathom
