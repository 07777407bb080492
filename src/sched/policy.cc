#include "sched/policy.h"

#include <algorithm>
#include <map>

namespace fathom {
namespace {

// Looking every waiting prompt up in the tree costs more than it gains in a long queue.
constexpr size_t kMostForPrefixMatching = 128;

void by_arrival(WaitingQueue& waiting) {
  std::sort(waiting.begin(), waiting.end(),
            [](const auto& a, const auto& b) { return a->arrival < b->arrival; });
}

template <class Key>
void by_descending(WaitingQueue& waiting, Key key) {
  using Keyed = std::pair<int64_t, std::unique_ptr<Sequence>>;
  std::vector<Keyed> items;
  items.reserve(waiting.size());
  for (auto& sequence : waiting) items.emplace_back(key(*sequence), std::move(sequence));
  std::stable_sort(items.begin(), items.end(),
                   [](const Keyed& a, const Keyed& b) { return a.first > b.first; });
  for (size_t i = 0; i < items.size(); ++i) waiting[i] = std::move(items[i].second);
}

void by_longest_prefix(const PrefixCache& cache, WaitingQueue& waiting) {
  by_descending(waiting, [&](const Sequence& s) {
    return cache.peek(s.spec.cache_namespace, s.tokens, static_cast<int32_t>(s.tokens.size()) - 1);
  });
}

// Depth first through the tree, the child with the most waiting sequences first, so that one subtree
// is used up before the next evicts it.
void by_subtree_weight(const PrefixCache& cache, WaitingQueue& waiting) {
  struct Item {
    std::vector<const void*> path;
    std::unique_ptr<Sequence> sequence;
  };
  std::vector<Item> items;
  std::map<const void*, int32_t> weight;
  for (auto& sequence : waiting) {
    Item& item = items.emplace_back();
    item.path = cache.path(sequence->spec.cache_namespace, sequence->tokens);
    for (const void* node : item.path) ++weight[node];
    item.sequence = std::move(sequence);
  }
  std::map<const void*, uint64_t> first_arrival;
  for (const Item& item : items) {
    for (const void* node : item.path) {
      const auto [place, fresh] = first_arrival.emplace(node, item.sequence->arrival);
      if (!fresh) place->second = std::min(place->second, item.sequence->arrival);
    }
  }
  std::stable_sort(items.begin(), items.end(), [&](const Item& a, const Item& b) {
    const auto [x, y] = std::mismatch(a.path.begin(), a.path.end(), b.path.begin(), b.path.end());
    if (x == a.path.end() || y == b.path.end()) {
      if (x == a.path.end() && y == b.path.end()) return a.sequence->arrival < b.sequence->arrival;
      return y == b.path.end();  // the deeper one shares more
    }
    if (weight[*x] != weight[*y]) return weight[*x] > weight[*y];
    return first_arrival[*x] < first_arrival[*y];
  });
  for (size_t i = 0; i < items.size(); ++i) waiting[i] = std::move(items[i].sequence);
}

}  // namespace

void order_waiting(const SchedulerOptions& options, const PrefixCache& cache, std::mt19937_64& random,
                   WaitingQueue& waiting) {
  const bool prefixes = cache.enabled() && waiting.size() <= kMostForPrefixMatching;
  // The queue is kept in order of arrival; other orders start from it.
  if (options.policy != SchedulePolicy::kFcfs || options.priority_scheduling) by_arrival(waiting);
  switch (options.policy) {
    case SchedulePolicy::kFcfs:
      break;
    case SchedulePolicy::kLpm:
      if (prefixes) by_longest_prefix(cache, waiting);
      break;
    case SchedulePolicy::kDfsWeight:
      if (prefixes) by_subtree_weight(cache, waiting);
      break;
    case SchedulePolicy::kLof:
      by_descending(waiting, [](const Sequence& s) { return s.spec.max_new_tokens; });
      break;
    case SchedulePolicy::kRandom:
      std::shuffle(waiting.begin(), waiting.end(), random);
      break;
  }
  if (options.priority_scheduling) {
    const int64_t sign = options.low_priority_values_first ? -1 : 1;
    by_descending(waiting, [&](const Sequence& s) { return sign * s.spec.priority; });
  }
}

}  // namespace fathom
