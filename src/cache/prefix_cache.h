// Radix tree over token ids: which prefixes are in the KV pool, and in which pages
// (spec: scheduler-and-cache 3). Ids and counts only. Used by the scheduler's thread alone.
//
// Page ownership: a page is free (PagePool), cached (owned by a tree node) or private (owned by a
// Sequence). free + cached + private = total after every operation.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cache/page_pool.h"

namespace fathom {

class PrefixCache;

// Holds a cached prefix against eviction. Move-only; giving it back is its destructor.
class PrefixLease {
 public:
  PrefixLease() = default;
  PrefixLease(PrefixLease&& other) noexcept;
  PrefixLease& operator=(PrefixLease&& other) noexcept;
  ~PrefixLease();

  int32_t tokens() const { return tokens_; }  // multiple of the page size

 private:
  friend class PrefixCache;
  PrefixCache* cache_ = nullptr;
  struct RadixNode* node_ = nullptr;
  int32_t tokens_ = 0;
};

struct PrefixMatch {
  PrefixLease lease;
  std::vector<PageId> pages;  // of the matched tokens, in order
};

// Which unleased leaf goes first; ties always go to the least recently used.
enum class EvictionPolicy {
  kLru,
  kLfu,           // fewest hits
  kSegmentedLru,  // those hit less than twice
  kPriority,      // lowest priority among the sequences that brought it
  kTailLru,       // ends that their next turn can spare: see TailBudget
};

// Tail-optimised LRU (arXiv:2510.15152). A conversation of L tokens whose next prompt adds about
// `next_prompt` needs L + next_prompt - threshold of them cached so that its next prefill computes at
// most `threshold`. What lies beyond goes before everything else; after that it is LRU.
struct TailBudget {
  int32_t threshold = 512;  // tokens
  int32_t next_prompt = 128;
};

class PrefixCache {
 public:
  // disabled: never matches, and insert frees what it is given.
  PrefixCache(PagePool& pool, bool enabled, EvictionPolicy policy = EvictionPolicy::kLru,
              TailBudget tail = {});
  ~PrefixCache();

  // Longest cached prefix of `tokens` in `ns`, rounded down to whole pages, at most max_tokens.
  // `now` refreshes the path for LRU.
  PrefixMatch match(std::string_view ns, std::span<const int32_t> tokens, int32_t max_tokens,
                    double now);
  // The match came to use: a sequence that waits for room matches in every step, and is one hit.
  void count_hit(const PrefixLease& lease);
  // Length that match() would find, without touching anything (for policies).
  int32_t peek(std::string_view ns, std::span<const int32_t> tokens, int32_t max_tokens) const;
  // The nodes on the way of `tokens`, root first, as opaque names (for policies).
  std::vector<const void*> path(std::string_view ns, std::span<const int32_t> tokens) const;

  // Hands computed KV to the tree: `pages` of `tokens`, of which the first `lease.tokens()` are
  // already cached and leased.
  //
  //   pages   | leased by `lease`  | cached meanwhile by others | new              | partial last |
  //   becomes | unchanged          | ours go back to the pool   | owned by a node  | back to pool |
  //
  // Replaces `lease` by one on the whole inserted prefix and `pages` by the tree's pages for it, so
  // that a running sequence can go on using them. To end the sequence, drop the lease. When the cache
  // is disabled, all pages go back to the pool.
  void insert(std::string_view ns, std::span<const int32_t> tokens, std::vector<PageId>& pages,
              PrefixLease& lease, double now, int64_t priority = 0);

  // Frees unleased leaves in the policy's order until `pages` more are free; returns how many it freed.
  int32_t evict(int32_t pages);
  int32_t evictable_pages() const;
  int32_t cached_pages() const;
  // Forgets everything. Nobody finds any more what is leased; it goes with its last lease, which
  // must not be given to insert().
  void flush();

  bool enabled() const;

 private:
  friend class PrefixLease;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
