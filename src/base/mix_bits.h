// A well-mixed 64-bit hash (the finaliser of SplitMix64).
#pragma once

#include <cstdint>

namespace fathom {

inline uint64_t mix_bits(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace fathom
