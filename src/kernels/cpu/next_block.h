// Prefetching for attention. Internal linkage only.
#pragma once

#include "kernels/ops.h"

namespace fathom {

// Rows [first, first + count) of the block of the cache that will be loaded next, to L2.
static inline void prefetch_next(const AttentionTile& a, int32_t first, int32_t count) {
  constexpr int64_t kLine = 64;
  for (int32_t i = first; i < first + count && i < a.next; ++i) {
    const char* row = static_cast<const char*>(a.pool) + a.next_slots[i] * a.pool_row_bytes;
    for (int64_t at = 0; at < a.pool_row_bytes; at += kLine) __builtin_prefetch(row + at, 0, 2);
  }
}

}  // namespace fathom
