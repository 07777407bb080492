#include "cache/page_pool.h"

#include "base/check.h"

namespace fathom {

PagePool::PagePool(int32_t pages, int32_t page_size) : page_size_(page_size), total_(pages) {
  free_.reserve(static_cast<size_t>(pages));  // memory that is touched as pages come back
}

bool PagePool::take(int32_t n, std::vector<PageId>& out) {
  if (n > available()) return false;
  for (int32_t i = 0; i < n; ++i) {
    // Fresh ones in ascending order: neighbours in a sequence are neighbours in memory.
    if (free_.empty()) {
      out.push_back(fresh_++);
    } else {
      out.push_back(free_.back());
      free_.pop_back();
    }
  }
  return true;
}

void PagePool::give_back(PageId page) {
  DCHECK(page >= 0 && page < total_);
  free_.push_back(page);
  CHECK_LE(available(), total_);
}

}  // namespace fathom
