#include "cache/prefix_cache.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "base/check.h"

namespace fathom {
namespace {

constexpr int64_t kProtectedHits = 2;

using Tokens = std::span<const int32_t>;

// Children are found by the tokens of their first page.
struct FirstPageLess {
  using is_transparent = void;
  template <class A, class B>
  bool operator()(const A& a, const B& b) const {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
  }
};

// What the policy looks at, then the time of the last use.
using EvictionKey = std::tuple<int64_t, double, uint64_t>;

}  // namespace

struct RadixNode;
// Unleased leaves, the next to evict first.
using EvictableLeaves = std::set<std::pair<EvictionKey, RadixNode*>>;

// A run of whole pages below its parent's. Root nodes (one per namespace) are empty, and live as long
// as something is below them.
struct RadixNode {
  const std::string* root_of = nullptr;  // roots: their namespace; null once forgotten
  std::vector<int32_t> tokens;
  std::vector<PageId> pages;
  RadixNode* parent = nullptr;
  std::map<std::vector<int32_t>, std::unique_ptr<RadixNode>, FirstPageLess> children;
  int32_t leases = 0;  // of this node and everything below it
  int64_t hits = 0;      // sequences that used it
  int64_t priority = 0;  // highest of the sequences that brought it
  int32_t end = 0;       // tokens from the root to its end
  int32_t reach = 0;     // of the longest sequence that was ever inserted through it, kept when ends go
  // When it was last used: by the clock, then by order of use.
  std::pair<double, uint64_t> used;
  // Its entry in the list of evictable leaves while it is not listed: a lease that ends, in a
  // destructor, allocates nothing.
  EvictableLeaves::node_type entry;
};

struct PrefixCache::Impl {
  PagePool& pool;
  bool enabled;
  EvictionPolicy policy;
  TailBudget tail;
  int32_t page_size;
  std::map<std::string, std::unique_ptr<RadixNode>, std::less<>> roots;
  std::vector<std::unique_ptr<RadixNode>> forgotten;  // roots of what only leases hold
  EvictableLeaves evictable_leaves;
  int32_t cached = 0;  // pages in the tree
  int32_t leased = 0;  // of them, in nodes with leases
  uint64_t uses = 0;

  // Pages of `rest` that `node` holds, from its start.
  int32_t common_pages(const RadixNode& node, Tokens rest) const {
    const size_t n = std::min(node.tokens.size(), rest.size());
    const auto differ = std::mismatch(node.tokens.begin(), node.tokens.begin() + static_cast<ptrdiff_t>(n),
                                      rest.begin());
    return static_cast<int32_t>(differ.first - node.tokens.begin()) / page_size;
  }

  RadixNode* child_of(const RadixNode& node, Tokens rest) const {
    if (static_cast<int32_t>(rest.size()) < page_size) return nullptr;
    const auto found = node.children.find(rest.first(static_cast<size_t>(page_size)));
    return found == node.children.end() ? nullptr : found->second.get();
  }

  bool is_evictable_leaf(const RadixNode& node) const {
    return node.parent && node.leases == 0 && node.children.empty();
  }
  // Of a sequence of `length` tokens, how many its next turn needs cached.
  int32_t tail_budget(int32_t length) const {
    return static_cast<int32_t>(
        std::max<int64_t>(int64_t{length} + tail.next_prompt - tail.threshold, 0));
  }
  int64_t worth(const RadixNode& node) const {
    switch (policy) {
      case EvictionPolicy::kLru:
        return 0;
      case EvictionPolicy::kLfu:
        return node.hits;
      case EvictionPolicy::kSegmentedLru:
        return node.hits >= kProtectedHits ? 1 : 0;
      case EvictionPolicy::kPriority:
        return node.priority;
      case EvictionPolicy::kTailLru:
        return node.end - static_cast<int32_t>(node.tokens.size()) >= tail_budget(node.reach) ? 0 : 1;
    }
    return 0;
  }
  EvictionKey eviction_key(const RadixNode& node) const {
    return {worth(node), node.used.first, node.used.second};
  }
  // A listed node's key must not change: unlist first.
  void unlist(RadixNode* node) {
    const auto place = evictable_leaves.find({eviction_key(*node), node});
    if (place != evictable_leaves.end()) node->entry = evictable_leaves.extract(place);
  }
  void list(RadixNode* node) {
    if (!is_evictable_leaf(*node) || node->entry.empty()) return;
    node->entry.value() = {eviction_key(*node), node};
    evictable_leaves.insert(std::move(node->entry));
  }
  static std::unique_ptr<RadixNode> make_node() {
    auto node = std::make_unique<RadixNode>();
    EvictableLeaves one;
    one.emplace(EvictionKey(), node.get());
    node->entry = one.extract(one.begin());
    return node;
  }
  void touch(RadixNode* node, double now) {
    unlist(node);
    node->used = {now, ++uses};
    list(node);
  }

  void lease(RadixNode* node) {
    for (; node && node->parent; node = node->parent) {
      unlist(node);
      if (node->leases++ == 0) leased += static_cast<int32_t>(node->pages.size());
    }
  }
  void release(RadixNode* last) {
    RadixNode* node = last;
    for (; node->parent; node = node->parent) {
      if (--node->leases == 0) {
        leased -= static_cast<int32_t>(node->pages.size());
        list(node);
      }
    }
    if (!node->root_of) drop(last);
  }
  // Of a forgotten branch, what no other lease holds.
  void drop(RadixNode* leaf) {
    while (is_evictable_leaf(*leaf)) {
      RadixNode* const parent = leaf->parent;
      const bool highest = !parent->parent;
      remove_leaf(leaf);
      if (highest) return;  // its root may be gone
      leaf = parent;
    }
  }

  // Cuts `node` after `pages` pages; returns the upper part, which takes the node's place. Leases
  // hold their node and all above it, so the upper part has as many.
  RadixNode* split(RadixNode* node, int32_t pages) {
    RadixNode* parent = node->parent;
    const size_t cut = static_cast<size_t>(pages) * static_cast<size_t>(page_size);
    const auto key = [this](const RadixNode& n) {
      return std::vector<int32_t>(n.tokens.begin(), n.tokens.begin() + page_size);
    };
    auto place = parent->children.find(key(*node));
    unlist(node);
    auto upper = make_node();
    upper->tokens.assign(node->tokens.begin(), node->tokens.begin() + static_cast<ptrdiff_t>(cut));
    upper->pages.assign(node->pages.begin(), node->pages.begin() + pages);
    upper->parent = parent;
    upper->leases = node->leases;
    upper->hits = node->hits;
    upper->priority = node->priority;
    upper->reach = node->reach;
    upper->end = node->end - static_cast<int32_t>(node->tokens.size() - cut);
    upper->used = node->used;
    node->tokens.erase(node->tokens.begin(), node->tokens.begin() + static_cast<ptrdiff_t>(cut));
    node->pages.erase(node->pages.begin(), node->pages.begin() + pages);
    node->parent = upper.get();
    upper->children.emplace(key(*node), std::move(place->second));
    place->second = std::move(upper);
    list(node);
    return place->second.get();
  }

  // So that a conversation's spare end can go without the rest.
  void cut_tail(RadixNode* leaf) {
    if (policy != EvictionPolicy::kTailLru) return;
    const int32_t begin = leaf->end - static_cast<int32_t>(leaf->tokens.size());
    const int32_t needed = tail_budget(leaf->end) - begin;
    const int32_t pages = (needed + page_size - 1) / page_size;
    if (needed > 0 && pages < static_cast<int32_t>(leaf->pages.size())) split(leaf, pages);
  }

  RadixNode* root(std::string_view ns) {
    const auto found = roots.find(ns);
    if (found != roots.end()) return found->second.get();
    const auto made = roots.emplace(std::string(ns), std::make_unique<RadixNode>()).first;
    made->second->root_of = &made->first;
    return made->second.get();
  }

  // Walks down as far as `tokens` reach, splitting where they end inside an edge; appends the pages.
  RadixNode* descend(RadixNode* node, Tokens tokens, double now, std::vector<PageId>& pages) {
    for (Tokens rest = tokens;;) {
      RadixNode* child = child_of(*node, rest);
      if (!child) return node;
      const int32_t common = common_pages(*child, rest);
      if (common < static_cast<int32_t>(child->pages.size())) child = split(child, common);
      touch(child, now);
      pages.insert(pages.end(), child->pages.begin(), child->pages.end());
      rest = rest.subspan(child->tokens.size());
      node = child;
    }
  }

  void remove_leaf(RadixNode* leaf) {
    unlist(leaf);
    for (const PageId page : leaf->pages) pool.give_back(page);
    cached -= static_cast<int32_t>(leaf->pages.size());
    RadixNode* parent = leaf->parent;
    const auto first = Tokens(leaf->tokens).first(static_cast<size_t>(page_size));
    parent->children.erase(parent->children.find(first));
    list(parent);
    if (parent->parent || !parent->children.empty()) return;
    if (parent->root_of) {
      roots.erase(roots.find(*parent->root_of));
    } else {
      std::erase_if(forgotten, [parent](const auto& root) { return root.get() == parent; });
    }
  }
};

PrefixLease::PrefixLease(PrefixLease&& other) noexcept { *this = std::move(other); }

PrefixLease& PrefixLease::operator=(PrefixLease&& other) noexcept {
  std::swap(cache_, other.cache_);
  std::swap(node_, other.node_);
  std::swap(tokens_, other.tokens_);
  return *this;
}

PrefixLease::~PrefixLease() {
  if (cache_) cache_->impl_->release(node_);
}

PrefixCache::PrefixCache(PagePool& pool, bool enabled, EvictionPolicy policy, TailBudget tail)
    : impl_(new Impl{
          .pool = pool, .enabled = enabled, .policy = policy, .tail = tail, .page_size = pool.page_size()}) {}

// Leaf by leaf: a tree may be as deep as a context is long, too deep for nested destructors.
PrefixCache::~PrefixCache() {
  CHECK_EQ(impl_->leased, 0);
  flush();
}

bool PrefixCache::enabled() const { return impl_->enabled; }
int32_t PrefixCache::cached_pages() const { return impl_->cached; }
int32_t PrefixCache::evictable_pages() const { return impl_->cached - impl_->leased; }

PrefixMatch PrefixCache::match(std::string_view ns, Tokens tokens, int32_t max_tokens, double now) {
  PrefixMatch match;
  if (!impl_->enabled || max_tokens <= 0) return match;
  const auto root = impl_->roots.find(ns);
  if (root == impl_->roots.end()) return match;
  const size_t limit = std::min(tokens.size(), static_cast<size_t>(max_tokens));
  RadixNode* node = impl_->descend(root->second.get(), tokens.first(limit), now, match.pages);
  if (match.pages.empty()) return match;
  impl_->lease(node);  // from here on none of them is listed
  match.lease.cache_ = this;
  match.lease.node_ = node;
  match.lease.tokens_ = static_cast<int32_t>(match.pages.size()) * impl_->page_size;
  return match;
}

// Leased nodes are not listed: their keys may change.
void PrefixCache::count_hit(const PrefixLease& lease) {
  for (RadixNode* hit = lease.node_; hit && hit->parent; hit = hit->parent) ++hit->hits;
}

int32_t PrefixCache::peek(std::string_view ns, Tokens tokens, int32_t max_tokens) const {
  const auto root = impl_->roots.find(ns);
  if (!impl_->enabled || max_tokens <= 0 || root == impl_->roots.end()) return 0;
  Tokens rest = tokens.first(std::min(tokens.size(), static_cast<size_t>(max_tokens)));
  int32_t pages = 0;
  const RadixNode* node = root->second.get();
  while (const RadixNode* child = impl_->child_of(*node, rest)) {
    const int32_t common = impl_->common_pages(*child, rest);
    pages += common;
    if (common < static_cast<int32_t>(child->pages.size())) break;
    rest = rest.subspan(child->tokens.size());
    node = child;
  }
  return pages * impl_->page_size;
}

std::vector<const void*> PrefixCache::path(std::string_view ns, Tokens tokens) const {
  std::vector<const void*> nodes;
  const auto root = impl_->roots.find(ns);
  if (!impl_->enabled || root == impl_->roots.end()) return nodes;
  const RadixNode* node = root->second.get();
  nodes.push_back(node);
  while (const RadixNode* child = impl_->child_of(*node, tokens)) {
    nodes.push_back(child);
    if (impl_->common_pages(*child, tokens) < static_cast<int32_t>(child->pages.size())) break;
    tokens = tokens.subspan(child->tokens.size());
    node = child;
  }
  return nodes;
}

void PrefixCache::insert(std::string_view ns, Tokens tokens, std::vector<PageId>& pages,
                         PrefixLease& lease, double now, int64_t priority) {
  const int32_t leased = lease.tokens() / impl_->page_size;
  const auto give_back = [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) impl_->pool.give_back(pages[i]);
  };
  if (!impl_->enabled) {
    give_back(static_cast<size_t>(leased), pages.size());
    pages.clear();
    return;
  }
  const size_t whole = tokens.size() / static_cast<size_t>(impl_->page_size);
  CHECK_GE(pages.size(), whole);
  CHECK_LE(static_cast<size_t>(leased), whole);
  const Tokens kept = tokens.first(whole * static_cast<size_t>(impl_->page_size));

  if (whole == 0) {
    give_back(0, pages.size());
    pages.clear();
    return;
  }
  std::vector<PageId> in_tree;
  RadixNode* node = impl_->descend(impl_->root(ns), kept, now, in_tree);
  CHECK_GE(in_tree.size(), static_cast<size_t>(leased));
  give_back(static_cast<size_t>(leased), in_tree.size());
  give_back(whole, pages.size());
  if (in_tree.size() < whole) {
    auto leaf = Impl::make_node();
    const auto first_token = static_cast<ptrdiff_t>(in_tree.size()) * impl_->page_size;
    leaf->tokens.assign(kept.begin() + first_token, kept.end());
    leaf->pages.assign(pages.begin() + static_cast<ptrdiff_t>(in_tree.size()),
                       pages.begin() + static_cast<ptrdiff_t>(whole));
    leaf->parent = node;
    leaf->priority = priority;
    leaf->end = static_cast<int32_t>(kept.size());
    leaf->reach = leaf->end;
    impl_->cached += static_cast<int32_t>(leaf->pages.size());
    in_tree.insert(in_tree.end(), leaf->pages.begin(), leaf->pages.end());
    std::vector<int32_t> key(leaf->tokens.begin(), leaf->tokens.begin() + impl_->page_size);
    impl_->unlist(node);
    RadixNode* made = leaf.get();
    node->children.emplace(std::move(key), std::move(leaf));
    impl_->touch(made, now);
    impl_->cut_tail(made);
    node = made;
  }
  impl_->lease(node);
  for (RadixNode* n = node; n->parent; n = n->parent) {
    n->priority = std::max(n->priority, priority);
    n->reach = std::max(n->reach, node->end);
  }
  PrefixLease fresh;
  fresh.cache_ = this;
  fresh.node_ = node;
  fresh.tokens_ = static_cast<int32_t>(whole) * impl_->page_size;
  lease = std::move(fresh);  // the old one is released when `fresh`, which now holds it, ends
  pages.assign(in_tree.begin(), in_tree.end());  // keeps the room that its owner has reserved
}

int32_t PrefixCache::evict(int32_t pages) {
  int32_t freed = 0;
  while (freed < pages && !impl_->evictable_leaves.empty()) {
    RadixNode* leaf = impl_->evictable_leaves.begin()->second;
    freed += static_cast<int32_t>(leaf->pages.size());
    impl_->remove_leaf(leaf);
  }
  return freed;
}

void PrefixCache::flush() {
  evict(impl_->cached);
  for (auto& [ns, root] : impl_->roots) {
    root->root_of = nullptr;
    impl_->forgotten.push_back(std::move(root));
  }
  impl_->roots.clear();
}

}  // namespace fathom
