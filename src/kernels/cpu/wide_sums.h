// What the integer kernels ask of a target whose dot products add with 32 bits: nothing is narrow,
// no sign is split off, and what serves that is declared but never called. Internal linkage only.
#pragma once

#include <cstdint>

namespace fathom {
namespace {

struct WideSums {
  static constexpr bool kNarrow = false;
  template <class B>
  static B first_dot4(B w, B x);
  template <class B>
  static B widen(B sum) {
    return sum;
  }
  static constexpr bool kSplitSigns = false;
  static constexpr int kPlacesTogether = 1;
  template <class B>
  static B split(B w, uint8_t* magnitude, uint8_t* sign, B offset);
  template <class B>
  static B dot8_split(B sum, B magnitude, B sign, B x);
};

}  // namespace
}  // namespace fathom
