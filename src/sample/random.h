// A counter-based generator: a draw is a pure function of (seed, position), so it does not depend on
// what else is in the batch, on threads, or on restarts.
#pragma once

#include <cstdint>

namespace fathom {

// A well-mixed 64-bit hash (the finaliser of SplitMix64).
inline uint64_t mix_bits(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// In [0, 1), 53 random bits.
inline double uniform(uint64_t seed, uint64_t position) {
  return static_cast<double>(mix_bits(mix_bits(seed) ^ mix_bits(~position)) >> 11) * 0x1p-53;
}

}  // namespace fathom
