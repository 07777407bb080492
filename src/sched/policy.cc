#include "sched/policy.h"

#include <algorithm>
#include <map>
#include <tuple>

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
    by_descending(waiting, [&](const Sequence& s) { return urgency(options, s); });
  }
}

// With the priority policy the least urgent, then fewest generated tokens, the longest prompt, the latest.
size_t cheapest_to_retract(const SchedulerOptions& options, const RunningBatch& running) {
  const auto key = [&options](const Sequence& s) {
    const int64_t first = options.retraction == RetractionPolicy::kPriority ? urgency(options, s) : 0;
    return std::tuple(first, s.generated(), -s.prompt_tokens, -static_cast<int64_t>(s.arrival));
  };
  size_t best = 0;
  for (size_t i = 1; i < running.size(); ++i) {
    if (key(*running[i]) < key(*running[best])) best = i;
  }
  return best;
}

std::vector<const Sequence*> outranked_by(const SchedulerOptions& options, const Sequence& newcomer,
                                          const RunningBatch& running) {
  std::vector<const Sequence*> lower;
  if (!options.priority_scheduling) return lower;
  const int64_t high = urgency(options, newcomer);
  for (const auto& s : running) {
    const int64_t low = urgency(options, *s);
    if (s->planned_rows > 0 || low >= high) continue;
    // Unsigned: the difference of two priorities may not fit their type.
    const uint64_t distance = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
    if (distance > static_cast<uint64_t>(*options.preemption_threshold)) lower.push_back(s.get());
  }
  std::ranges::sort(lower, [&options](const Sequence* a, const Sequence* b) {
    return std::tuple(urgency(options, *a), b->arrival) < std::tuple(urgency(options, *b), a->arrival);
  });
  return lower;
}

const Sequence* displaced_by(const SchedulerOptions& options, const WaitingQueue& waiting,
                             const SequenceSpec& spec) {
  const Sequence* least = nullptr;
  if (!options.priority_scheduling) return nullptr;
  for (const auto& s : waiting) {
    if (s->aborted || s->spec.health_probe || s->cached_tokens >= 0) continue;
    if (urgency(options, *s) >= urgency(options, spec)) continue;
    if (!least || std::tuple(urgency(options, *s), least->arrival) <
                      std::tuple(urgency(options, *least), s->arrival)) {
      least = s.get();
    }
  }
  return least;
}

}  // namespace fathom
