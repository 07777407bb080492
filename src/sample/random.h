// A counter-based generator: a draw is a pure function of (seed, position), so it does not depend on
// what else is in the batch, on threads, or on restarts.
#pragma once

#include <cstdint>

#include "base/mix_bits.h"

namespace fathom {

// In [0, 1), 53 random bits.
inline double uniform(uint64_t seed, uint64_t position) {
  return static_cast<double>(mix_bits(mix_bits(seed) ^ mix_bits(~position)) >> 11) * 0x1p-53;
}

}  // namespace fathom
