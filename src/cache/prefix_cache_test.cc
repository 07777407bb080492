// The radix tree against an obviously right model: for each namespace, the set of token strings whose
// KV was handed over. Whatever the order of operations, the books balance and no page has two owners.
#include "cache/prefix_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>

namespace fathom {
namespace {

using Tokens = std::vector<int32_t>;

std::vector<PageId> take(PagePool& pool, int32_t n) {
  std::vector<PageId> pages;
  EXPECT_TRUE(pool.take(n, pages));
  return pages;
}

TEST(PrefixCache, FindsTheLongestPrefixInWholePages) {
  PagePool pool(16, 4);
  PrefixCache cache(pool, true);
  const Tokens tokens = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  std::vector<PageId> pages = take(pool, 3);
  const std::vector<PageId> given = pages;
  PrefixLease lease;
  cache.insert("", tokens, pages, lease, 1);
  EXPECT_EQ(pages, (std::vector<PageId>{given[0], given[1]}));  // the partial last page went back
  EXPECT_EQ(lease.tokens(), 8);
  EXPECT_EQ(pool.available(), 14);

  EXPECT_EQ(cache.peek("", tokens, 10), 8);
  EXPECT_EQ(cache.peek("", tokens, 7), 4);
  EXPECT_EQ(cache.peek("other", tokens, 10), 0);
  const Tokens fork = {1, 2, 3, 4, 5, 6, 0, 0};
  const PrefixMatch match = cache.match("", fork, 8, 2);
  EXPECT_EQ(match.lease.tokens(), 4);
  EXPECT_EQ(match.pages, std::vector<PageId>{given[0]});
}

TEST(PrefixCache, DuplicatesGoBackToThePool) {
  PagePool pool(16, 1);
  PrefixCache cache(pool, true);
  const Tokens tokens = {1, 2, 3};
  std::vector<PageId> first = take(pool, 3);
  std::vector<PageId> second = take(pool, 3);
  PrefixLease a, b;
  cache.insert("", tokens, first, a, 1);
  cache.insert("", tokens, second, b, 2);
  EXPECT_EQ(first, second);
  EXPECT_EQ(pool.available(), 13);
  EXPECT_EQ(cache.cached_pages(), 3);
}

// Three prefixes a, b, c, inserted in this order; says which one an eviction of one page takes.
class Evictions : public testing::Test {
 protected:
  void insert(int32_t first, int32_t pages, int64_t priority = 0) {
    Tokens tokens;
    for (int32_t i = 0; i < pages; ++i) tokens.push_back(first + i);
    std::vector<PageId> taken = take(pool_, pages);
    PrefixLease lease;
    cache_->insert("", tokens, taken, lease, ++now_, priority);
  }
  void hit(int32_t first) { cache_->count_hit(cache_->match("", Tokens{first}, 1, ++now_).lease); }
  bool cached(int32_t first) const { return cache_->peek("", Tokens{first}, 1) == 1; }
  void use(EvictionPolicy policy) { cache_ = std::make_unique<PrefixCache>(pool_, true, policy); }

  PagePool pool_{2048, 1};
  std::unique_ptr<PrefixCache> cache_;
  double now_ = 0;
};

TEST_F(Evictions, LfuKeepsWhatIsHitOften) {
  use(EvictionPolicy::kLfu);
  for (int32_t first : {10, 20, 30}) insert(first, 1);
  hit(10);
  hit(10);
  hit(30);
  cache_->evict(1);
  EXPECT_FALSE(cached(20));
  cache_->evict(1);
  EXPECT_FALSE(cached(30));
  EXPECT_TRUE(cached(10));
}

TEST_F(Evictions, AMatchThatComesToNoUseIsNoHit) {
  use(EvictionPolicy::kLfu);
  for (int32_t first : {10, 20}) insert(first, 1);
  hit(10);
  for (int i = 0; i < 5; ++i) cache_->match("", Tokens{20}, 1, ++now_);
  cache_->evict(1);
  EXPECT_TRUE(cached(10));
  EXPECT_FALSE(cached(20));
}

TEST_F(Evictions, SegmentedLruKeepsWhatWasHitTwice) {
  use(EvictionPolicy::kSegmentedLru);
  for (int32_t first : {10, 20}) insert(first, 1);
  hit(10);
  hit(10);
  hit(20);  // more recent, but once
  cache_->evict(1);
  EXPECT_TRUE(cached(10));
  EXPECT_FALSE(cached(20));
}

TEST_F(Evictions, PriorityKeepsTheUrgent) {
  use(EvictionPolicy::kPriority);
  insert(10, 1, 5);
  insert(20, 1, -5);
  insert(30, 1, 0);
  cache_->evict(1);
  EXPECT_FALSE(cached(20));
  cache_->evict(1);
  EXPECT_FALSE(cached(30));
}

// With a threshold of 100 and prompts of 20, a conversation of 1,000 tokens needs 920 of them.
TEST_F(Evictions, TailLruTakesTheEndsThatTheNextTurnCanSpare) {
  cache_ = std::make_unique<PrefixCache>(pool_, true, EvictionPolicy::kTailLru, TailBudget{100, 20});
  const auto left = [&](int32_t first, int32_t n) {
    Tokens tokens;
    for (int32_t i = 0; i < n; ++i) tokens.push_back(first + i);
    return cache_->peek("", tokens, n);
  };
  insert(10, 500);      // oldest, but all but its last 80 tokens are needed
  insert(5000, 1000);
  insert(9000, 8);      // newest, and wholly within the threshold
  EXPECT_EQ(cache_->evict(1), 80);
  EXPECT_EQ(left(10, 500), 420);
  EXPECT_EQ(cache_->evict(1), 80);
  EXPECT_EQ(left(5000, 1000), 920);
  EXPECT_EQ(cache_->evict(1), 8);
  EXPECT_FALSE(cached(9000));
  // Nothing is spare any more, also not of what has lost its end: the oldest goes.
  EXPECT_EQ(cache_->evict(1), 420);
  EXPECT_EQ(left(5000, 1000), 920);
}

TEST_F(Evictions, TailLruKnowsALaterTurn) {
  cache_ = std::make_unique<PrefixCache>(pool_, true, EvictionPolicy::kTailLru, TailBudget{100, 0});
  insert(10, 300);
  insert(10, 600);  // the same conversation, one turn later: what was its end is needed now
  insert(5000, 50);
  EXPECT_EQ(cache_->evict(1), 100);
  EXPECT_EQ(cache_->evict(1), 50);
  EXPECT_FALSE(cached(5000));
  EXPECT_TRUE(cached(10));
}

TEST_F(Evictions, ASplitKeepsTheBooks) {
  for (const auto policy : {EvictionPolicy::kLru, EvictionPolicy::kLfu, EvictionPolicy::kSegmentedLru,
                            EvictionPolicy::kPriority, EvictionPolicy::kTailLru}) {
    use(policy);
    insert(10, 50, 3);
    for (int i = 0; i < 5; ++i) cache_->count_hit(cache_->match("", Tokens{10, 11, 12}, 3, ++now_).lease);
    insert(10, 20, 9);
    cache_->flush();
    EXPECT_EQ(cache_->cached_pages(), 0);
    EXPECT_EQ(pool_.available(), pool_.total());
  }
}

TEST(PrefixCache, LeasedPrefixesAreNotEvicted) {
  PagePool pool(8, 1);
  PrefixCache cache(pool, true);
  std::vector<PageId> old_pages = take(pool, 4);
  std::vector<PageId> new_pages = take(pool, 4);
  PrefixLease held, dropped;
  cache.insert("", Tokens{1, 2, 3, 4}, old_pages, held, 1);
  cache.insert("", Tokens{5, 6, 7, 8}, new_pages, dropped, 2);
  dropped = PrefixLease();
  EXPECT_EQ(cache.evictable_pages(), 4);
  EXPECT_EQ(cache.evict(100), 4);
  EXPECT_EQ(cache.peek("", Tokens{1, 2, 3, 4}, 4), 4);
  held = PrefixLease();
  cache.flush();
  EXPECT_EQ(pool.available(), 8);
}

TEST(PrefixCache, WhatIsLeasedIsForgottenTooAndGoesWithItsLastLease) {
  PagePool pool(16, 1);
  PrefixCache cache(pool, true);
  const Tokens tokens = {1, 2, 3, 4};
  std::vector<PageId> pages = take(pool, 4);
  std::vector<PageId> branch = take(pool, 3);
  PrefixLease all, other;
  cache.insert("", tokens, pages, all, 1);
  cache.insert("", Tokens{1, 2, 9}, branch, other, 2);
  cache.flush();
  EXPECT_EQ(cache.peek("", tokens, 4), 0);
  EXPECT_EQ(cache.match("", tokens, 4, 3).pages.size(), 0u);
  EXPECT_EQ(cache.evict(16), 0);

  std::vector<PageId> fresh = take(pool, 4);
  PrefixLease lease;
  cache.insert("", tokens, fresh, lease, 4);
  EXPECT_EQ(pool.available() + cache.cached_pages(), 16);
  EXPECT_EQ(cache.cached_pages(), 9);
  all = PrefixLease();
  EXPECT_EQ(cache.cached_pages(), 7) << "the shared beginning is the other's still";
  cache.flush();
  other = PrefixLease();
  EXPECT_EQ(cache.cached_pages(), 4);
  lease = PrefixLease();
  EXPECT_EQ(pool.available(), 16);
}

TEST(PrefixCache, LeastRecentlyUsedLeafGoesFirst) {
  PagePool pool(4, 1);
  PrefixCache cache(pool, true);
  for (int32_t i = 0; i < 4; ++i) {
    std::vector<PageId> pages = take(pool, 1);
    PrefixLease lease;
    cache.insert("", Tokens{i}, pages, lease, i);
  }
  cache.match("", Tokens{0}, 1, 10);  // refreshed
  EXPECT_EQ(cache.evict(1), 1);
  EXPECT_EQ(cache.peek("", Tokens{0}, 1), 1);
  EXPECT_EQ(cache.peek("", Tokens{1}, 1), 0);
}

TEST(PrefixCache, DisabledNeverMatchesAndKeepsNothing) {
  PagePool pool(4, 1);
  PrefixCache cache(pool, false);
  std::vector<PageId> pages = take(pool, 2);
  PrefixLease lease;
  cache.insert("", Tokens{1, 2}, pages, lease, 1);
  EXPECT_TRUE(pages.empty());
  EXPECT_EQ(pool.available(), 4);
  EXPECT_EQ(cache.match("", Tokens{1, 2}, 2, 1).lease.tokens(), 0);
}

TEST(PrefixCache, NamespacesLeaveNothingBehind) {
  PagePool pool(8, 1);
  PrefixCache cache(pool, true);
  for (int i = 0; i < 1000; ++i) {
    if (pool.available() < 4) cache.evict(4);
    std::vector<PageId> pages = take(pool, 4);
    PrefixLease lease;
    cache.insert(std::to_string(i), Tokens{1, 2, 3, 4}, pages, lease, i);
    EXPECT_EQ(cache.path(std::to_string(i), Tokens{1}).size(), 2u);  // the root and its child
  }
  EXPECT_TRUE(cache.path("0", Tokens{1}).empty()) << "an empty namespace is still known";
  cache.flush();
  EXPECT_TRUE(cache.path("999", Tokens{1}).empty());
}

TEST(PrefixCache, ATreeAsDeepAsALongContext) {
  constexpr int32_t kDeep = 30000;
  PagePool pool(kDeep, 1);
  PrefixCache cache(pool, true);
  Tokens tokens(kDeep, 1);
  std::vector<PageId> pages = take(pool, kDeep);
  PrefixLease lease;
  cache.insert("", tokens, pages, lease, 0);
  for (int32_t n = kDeep - 1; n > 0; --n) cache.match("", tokens, n, 1);  // cuts the edge after n tokens
  EXPECT_EQ(cache.path("", tokens).size(), static_cast<size_t>(kDeep) + 1);
}  // destroyed without as many nested calls

// Random operations on a small alphabet, so that prefixes collide all the time.
class RandomOperations : public testing::TestWithParam<std::tuple<int32_t, int>> {};

TEST_P(RandomOperations, MatchTheModel) {
  const auto [page_size, seed] = GetParam();
  constexpr int32_t kPages = 60;
  PagePool pool(kPages, page_size);
  PrefixCache cache(pool, true);
  std::mt19937 random(static_cast<unsigned>(seed));
  const auto below = [&](int32_t n) { return static_cast<int32_t>(random() % static_cast<unsigned>(n)); };

  struct Held {
    PrefixLease lease;
    std::vector<PageId> pages;
    Tokens tokens;
  };
  std::vector<Held> held;
  // Which tokens a page's KV was computed from: a match must return pages of exactly its tokens.
  std::map<PageId, Tokens> content;
  const auto page_content = [&, size = page_size](const Tokens& tokens, size_t i) {
    return Tokens(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>((i + 1) * static_cast<size_t>(size)));
  };

  for (int step = 0; step < 20000; ++step) {
    Tokens tokens(static_cast<size_t>(1 + below(12 * page_size)));
    for (int32_t& t : tokens) t = below(2);
    const std::string ns = below(4) ? "" : "salt";
    if (ns == "salt") tokens[0] = 7;  // so that page contents tell namespaces apart
    PrefixMatch match = cache.match(ns, tokens, static_cast<int32_t>(tokens.size()), step);
    ASSERT_EQ(match.lease.tokens() % page_size, 0);
    ASSERT_EQ(match.pages.size(), static_cast<size_t>(match.lease.tokens() / page_size));
    for (size_t i = 0; i < match.pages.size(); ++i) {
      ASSERT_EQ(content.at(match.pages[i]), page_content(tokens, i)) << "step " << step;
    }
    ASSERT_EQ(cache.peek(ns, tokens, static_cast<int32_t>(tokens.size())), match.lease.tokens());

    const int32_t need = (static_cast<int32_t>(tokens.size()) + page_size - 1) / page_size -
                         static_cast<int32_t>(match.pages.size());
    if (pool.available() < need) cache.evict(need - pool.available());
    Held h{std::move(match.lease), std::move(match.pages), tokens};
    if (pool.take(need, h.pages)) {
      const size_t whole = tokens.size() / static_cast<size_t>(page_size);
      for (size_t i = 0; i < whole; ++i) {
        if (i >= h.pages.size() - static_cast<size_t>(need)) content[h.pages[i]] = page_content(tokens, i);
      }
      cache.insert(ns, tokens, h.pages, h.lease, step);
      ASSERT_EQ(h.lease.tokens(), static_cast<int32_t>(whole) * page_size);
      for (size_t i = 0; i < h.pages.size(); ++i) ASSERT_EQ(content.at(h.pages[i]), page_content(tokens, i));
      if (below(3) == 0) held.push_back(std::move(h));
    }
    while (!held.empty() && (held.size() > 6 || below(4) == 0)) {
      const auto victim = held.begin() + below(static_cast<int32_t>(held.size()));
      for (size_t i = 0; i < victim->pages.size(); ++i) {  // a leased prefix stayed as it was
        ASSERT_EQ(content.at(victim->pages[i]), page_content(victim->tokens, i));
      }
      held.erase(victim);
    }
    ASSERT_EQ(pool.available() + cache.cached_pages(), kPages) << "step " << step;
    ASSERT_LE(cache.evictable_pages(), cache.cached_pages());
  }
  held.clear();
  EXPECT_EQ(cache.evictable_pages(), cache.cached_pages());
  cache.flush();
  EXPECT_EQ(pool.available(), kPages);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomOperations,
                         testing::Combine(testing::Values(1, 2, 5), testing::Range(0, 4)));

}  // namespace
}  // namespace fathom
