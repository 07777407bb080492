// The books of the KV pool: which pages are free. Ids and counts only; no memory, no tensors.
// A page is `page_size` consecutive token slots: slot = page * page_size + offset.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace fathom {

using PageId = int32_t;

class PagePool {
 public:
  PagePool(int32_t pages, int32_t page_size);

  int32_t page_size() const { return page_size_; }
  int32_t total() const { return total_; }
  int32_t available() const { return static_cast<int32_t>(free_.size()) + total_ - fresh_; }

  // n pages appended to `out`, or false and nothing taken.
  bool take(int32_t n, std::vector<PageId>& out);
  void give_back(PageId page);

 private:
  int32_t page_size_;
  int32_t total_;
  PageId fresh_ = 0;          // this page and all behind it were never taken
  std::vector<PageId> free_;  // given back
};

}  // namespace fathom
