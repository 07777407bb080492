// The order in which a product with few input rows reads its weights.
//
// Every weight is then read once, from memory. Four rows are computed together; were they
// neighbours, a core would follow four short streams, two of them in one page, and its prefetchers
// lose them at each row's end. So each of the four walks through the consecutive rows of its own
// quarter of a block: long streams, which need no software prefetch. Blocks are bounded because
// streams far apart lose again (docs/performance.md). Results do not depend on any of this.
//
// Files compiled with ISA flags include this: plain data, everything static.
#pragma once

#include <cstdint>

namespace fathom {

// Weight rows first, first + apart, first + 2 * apart, ...
struct Spread {
  int64_t first;
  int64_t apart;
  int64_t row(int64_t j) const { return first + j * apart; }
  Spread from(int64_t j) const { return {row(j), apart}; }
};

// Calls four(spread) for four rows at a time, and rest(spread, count) for what is left at the end
// of a block, until all rows in [begin, end) are done.
template <class Four, class Rest>
static inline void for_each_four(int64_t begin, int64_t end, int64_t row_bytes, Four&& four,
                                 Rest&& rest) {
  constexpr int64_t kBlockBytes = 512 << 10;
  const int64_t fitting = kBlockBytes / (row_bytes > 0 ? row_bytes : 1) / 4 * 4;
  const int64_t block = fitting > 16 ? fitting : 16;
  for (int64_t from = begin; from < end; from += block) {
    const int64_t to = end - from < block ? end : from + block;
    const int64_t quarter = (to - from) / 4;
    for (int64_t i = 0; i < quarter; ++i) four(Spread{from + i, quarter});
    const int64_t left = from + 4 * quarter;
    if (left < to) rest(Spread{left, 1}, to - left);
  }
}

}  // namespace fathom
