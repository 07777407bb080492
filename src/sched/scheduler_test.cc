// The scheduler against a simulator that keeps every promise: rows are computed exactly once and in
// order (again only after a retraction), outputs are complete, budgets and limits hold, pages never have
// two owners, nobody starves. No tensors: "KV" is a map from slot to the tokens it was computed from.
#include "sched/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "base/check.h"

namespace fathom {
namespace {

struct World {
  explicit World(SchedulerOptions o, int32_t pages, int32_t page_size, bool cached)
      : options(o), pool(pages, page_size), cache(pool, cached), scheduler(o, pool, cache, clock) {}

  SchedulerOptions options;
  FakeClock clock;
  PagePool pool;
  PrefixCache cache;
  Scheduler scheduler;

  struct Request {
    SequenceSpec spec;
    std::vector<int32_t> tokens;
    int32_t computed = 0;
    int32_t retractions = 0;
  };
  std::map<SequenceId, Request> live;
  std::map<int32_t, std::vector<int32_t>> kv;  // slot -> the prefix its row was computed from
  int64_t finished = 0;
  int64_t steps = 0;
  SequenceId next = 1;
  uint64_t hash = 0;  // of all plans: equal worlds plan equally
  std::set<SequenceId> ran;  // in the last step

  SequenceId add(std::vector<int32_t> prompt, int64_t max_new, const std::string& ns = "") {
    SequenceSpec spec{.id = next++, .prompt = prompt, .max_new_tokens = max_new, .cache_namespace = ns};
    const SequenceId id = spec.id;
    if (!scheduler.add(spec)) return 0;
    live[id] = {std::move(spec), std::move(prompt)};
    return id;
  }
  void abort(SequenceId id) {
    live.erase(id);
    EXPECT_TRUE(scheduler.abort(id));
  }

  // One step; false when there was nothing to do.
  bool step(bool check_books) {
    clock.advance(0.01);
    const StepPlan& plan = scheduler.plan();
    for (const SequenceId id : scheduler.take_starved()) live.erase(id);
    scheduler.take_messages();
    if (check_books) scheduler.check_books();
    if (plan.empty()) return false;
    ++steps;
    ran.clear();

    int32_t prompt_rows = 0, forced_rows = 0;
    std::set<int32_t> written;
    std::vector<Committed> results;
    for (const SequenceStep& s : plan.sequences) {
      Request& r = live.at(s.id);
      ran.insert(s.id);
      if (s.first_position != r.computed) {  // admitted with a cached prefix, or anew after retraction
        CHECK(s.first_step || s.retractions > r.retractions);
        r.retractions = s.retractions;
        r.computed = s.first_position;
      }
      CHECK_GE(s.rows, 1);
      CHECK_LE(s.first_position + s.rows, static_cast<int32_t>(r.tokens.size()));
      for (int32_t i = 0; i < s.rows; ++i) {
        const int32_t position = s.first_position + i;
        CHECK_EQ(s.tokens[i], r.tokens[static_cast<size_t>(position)]);
        CHECK(written.insert(s.slots[position]).second);  // no slot is written twice in a step
        kv[s.slots[position]] = {r.tokens.begin(), r.tokens.begin() + position + 1};
      }
      // Every position that the last row sees holds the KV of exactly this sequence's tokens.
      for (int32_t p = 0; p < s.first_position; ++p) {
        const std::vector<int32_t>& prefix = kv.at(s.slots[p]);
        CHECK_EQ(prefix.size(), static_cast<size_t>(p) + 1);
        CHECK(std::equal(prefix.begin(), prefix.end(), r.tokens.begin()));
      }
      r.computed = s.first_position + s.rows;
      if (s.is_prompt) prompt_rows += s.rows;
      if (!s.is_prompt) forced_rows += s.rows - 1;
      CHECK_EQ(s.samples, r.computed == static_cast<int32_t>(r.tokens.size()));
      Committed result{.id = s.id, .token = std::nullopt, .finished = false};
      if (s.samples) {
        const auto next = [&] {
          r.tokens.push_back(static_cast<int32_t>((s.id * 31 + r.tokens.size() * 7) % 3));
          result.finished = static_cast<int64_t>(r.tokens.size() - r.spec.prompt.size()) >= r.spec.max_new_tokens;
        };
        next();
        result.token = r.tokens.back();
        const size_t sampled = r.tokens.size();
        // Now and then the engine knows what follows: some ids, sometimes more than a chunk.
        const uint64_t luck = s.id * 7 + sampled * 13;
        for (uint64_t n = luck % 5 == 0 ? luck % 19 : 0; n > 0 && !result.finished; --n) next();
        result.forced = std::span<const int32_t>(r.tokens).subspan(sampled);
      }
      hash = hash * 1099511628211u + s.id * 131 + static_cast<uint64_t>(s.first_position * 17 + s.rows);
      results.push_back(result);
    }
    CHECK_EQ(prompt_rows, plan.prompt_rows);
    CHECK_EQ(forced_rows, plan.decode_rows - plan.decoding);
    CHECK_LE(static_cast<int32_t>(plan.sequences.size()), options.max_running);
    if (options.chunked_prefill_size > 0) CHECK_LE(prompt_rows + forced_rows, options.chunked_prefill_size);
    scheduler.commit(results);
    for (const Committed& result : results) {
      if (!result.finished) continue;
      live.erase(result.id);
      ++finished;
    }
    if (check_books) scheduler.check_books();
    return true;
  }

  void run_to_end(int64_t most_steps) {
    while (!scheduler.idle()) {
      ASSERT_TRUE(step(false)) << "waiting requests, but nothing to do";
      ASSERT_LT(steps, most_steps) << "no progress";
    }
    EXPECT_TRUE(live.empty());
    scheduler.check_books();
  }
};

std::vector<int32_t> iota(int32_t n, int32_t first = 0) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int32_t i = 0; i < n; ++i) tokens[static_cast<size_t>(i)] = first + i;
  return tokens;
}

TEST(Scheduler, FirstComeFirstServed) {
  World world({.max_running = 1, .chunked_prefill_size = 64}, 256, 1, true);
  for (int i = 0; i < 5; ++i) world.add(iota(10, i * 1000), 3);
  std::vector<SequenceId> order;
  while (!world.scheduler.idle()) {
    const size_t before = world.live.size();
    const SequenceId first = world.live.begin()->first;
    world.step(true);
    if (world.live.size() < before) order.push_back(first);
  }
  EXPECT_EQ(order, (std::vector<SequenceId>{1, 2, 3, 4, 5}));
}

TEST(Scheduler, LongPromptsAreChunkedAndDecodingGoesOn) {
  World world({.max_running = 4, .chunked_prefill_size = 32}, 1024, 1, true);
  world.add(iota(4), 50);
  world.step(true);
  world.add(iota(100, 500), 2);
  for (int chunk = 0; chunk < 3; ++chunk) {
    const StepPlan& plan = world.scheduler.plan();
    EXPECT_EQ(plan.prompt_rows, 32);
    EXPECT_EQ(plan.decode_rows, 1);
    std::vector<Committed> results;
    for (const SequenceStep& s : plan.sequences) {
      results.push_back({.id = s.id, .token = s.samples ? std::optional(1) : std::nullopt, .finished = false});
    }
    world.scheduler.commit(results);
  }
}

TEST(Scheduler, SecondPromptFindsTheFirst) {
  World world({.max_running = 4, .chunked_prefill_size = 4096}, 4096, 1, true);
  world.add(iota(1000), 1);
  world.run_to_end(10);
  world.add(iota(1000), 1);
  const StepPlan& plan = world.scheduler.plan();
  EXPECT_EQ(plan.prompt_rows, 1);  // at least one row is always computed
  EXPECT_EQ(plan.sequences[0].cached_tokens, 999);
}

TEST(Scheduler, EqualPromptsSubmittedTogetherAreComputedOnce) {
  World world({.max_running = 16, .chunked_prefill_size = 4096}, 4096, 1, true);
  for (int i = 0; i < 8; ++i) world.add(iota(500), 4);
  EXPECT_EQ(world.scheduler.plan().prompt_rows, 500);
}

TEST(Scheduler, QueueLimit) {
  World world({.max_running = 1, .max_queued = 2}, 256, 1, true);
  ASSERT_NE(world.add(iota(4), 4), 0u);
  world.step(true);
  EXPECT_NE(world.add(iota(4), 4), 0u);
  const SequenceId last = world.add(iota(4), 4);
  EXPECT_NE(last, 0u);
  const Status full = world.scheduler.add({.id = 99, .prompt = {1}, .max_new_tokens = 1});
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(full.error().message, "The request queue is full.");
  EXPECT_TRUE(world.scheduler.add({.id = 100, .prompt = {1}, .max_new_tokens = 1, .health_probe = true}));
  EXPECT_TRUE(world.scheduler.abort(100));
  EXPECT_EQ(world.add(iota(4), 4), 0u);
  world.abort(last);  // its place is free at once
  EXPECT_NE(world.add(iota(4), 4), 0u);
  world.run_to_end(100);
}

TEST(Scheduler, ABurstMayFillTheBatchAndTheQueue) {
  World world({.max_running = 8, .max_queued = 2, .chunked_prefill_size = 64}, 1024, 1, true);
  int taken = 0;
  for (int i = 0; i < 20; ++i) taken += world.add(iota(16, i * 100), 4) != 0;
  EXPECT_EQ(taken, 10);
  world.step(true);  // four prompts fit one step; the other six are queued now, more than may be
  EXPECT_EQ(world.scheduler.stats().queued, 6);
  EXPECT_EQ(world.scheduler.stats().queued_tokens, 6 * 16);
  EXPECT_EQ(world.add(iota(4), 4), 0u);
  world.run_to_end(100);
  EXPECT_EQ(world.finished, 10);
}

TEST(Scheduler, AQueueOfLengthZeroAdmitsWhatCanRun) {
  World world({.max_running = 2, .max_queued = 0}, 256, 1, true);
  EXPECT_NE(world.add(iota(4), 4), 0u);
  EXPECT_NE(world.add(iota(4, 50), 4), 0u);
  EXPECT_EQ(world.add(iota(4, 90), 4), 0u);
  world.run_to_end(100);
}

TEST(Scheduler, AbortTwiceAndOfNobody) {
  World world({.max_running = 1}, 256, 1, true);
  const SequenceId runs = world.add(iota(4), 40);
  world.step(true);
  const SequenceId waits = world.add(iota(4), 40);
  EXPECT_FALSE(world.scheduler.abort(77));
  for (const SequenceId id : {runs, waits}) {
    world.abort(id);
    EXPECT_FALSE(world.scheduler.abort(id));
  }
  EXPECT_FALSE(world.step(true));
  EXPECT_TRUE(world.scheduler.idle());
  EXPECT_FALSE(world.scheduler.abort(runs));
}

TEST(Scheduler, WhatCanNeverRunIsGivenUp) {
  World world({.max_running = 4, .chunked_prefill_size = -1}, 16, 1, true);
  const SequenceId huge = world.add(iota(100), 4);
  const SequenceId small = world.add(iota(4), 4);
  EXPECT_TRUE(world.scheduler.plan().empty());
  EXPECT_EQ(world.scheduler.take_starved(), std::vector<SequenceId>{huge});
  EXPECT_EQ(world.scheduler.plan().sequences.at(0).id, small);
}

TEST(Scheduler, DiscardedKvIsNotFoundAgain) {
  World world({.max_running = 4}, 256, 1, true);
  for (const bool discard : {true, false, true}) {
    const SequenceId id = world.add(iota(50), 4);
    const StepPlan& plan = world.scheduler.plan();
    ASSERT_EQ(plan.sequences.size(), 1u);
    EXPECT_EQ(plan.sequences[0].cached_tokens, 0) << "no earlier one's KV was fit";
    world.scheduler.commit(std::vector<Committed>{{.id = id, .token = 1, .finished = true, .discard_kv = discard}});
    world.scheduler.check_books();
    if (!discard) {
      ASSERT_TRUE(world.scheduler.flush_cache());
    }
  }
  EXPECT_EQ(world.pool.available(), 256);
}

// As after new weights: sequences that were paused in place keep what the old ones computed.
TEST(Scheduler, ForgottenKvServesOnlyThoseThatHoldIt) {
  World world({.max_running = 4}, 2048, 1, true);
  const auto cached_of = [&](SequenceId id) {
    const StepPlan& plan = world.scheduler.plan();
    const auto step = std::ranges::find(plan.sequences, id, &SequenceStep::id);
    CHECK(step != plan.sequences.end());
    const int32_t cached = step->cached_tokens;
    std::vector<Committed> results;
    for (const SequenceStep& s : plan.sequences) results.push_back({.id = s.id, .token = 1});
    world.scheduler.commit(results);
    world.scheduler.check_books();
    return cached;
  };
  const SequenceId first = world.add(iota(50), 100);
  cached_of(first);
  const SequenceId second = world.add(iota(50), 100);
  EXPECT_EQ(cached_of(second), 49);
  world.scheduler.forget_cache();
  const SequenceId third = world.add(iota(50), 100);
  EXPECT_EQ(cached_of(third), 0);
  world.abort(first);
  world.abort(second);
  const SequenceId fourth = world.add(iota(55), 100);
  EXPECT_EQ(cached_of(fourth), 50) << "the third one's";
  world.scheduler.check_books();
  world.abort(third);
  world.abort(fourth);
  ASSERT_TRUE(world.scheduler.flush_cache());
  EXPECT_EQ(world.pool.available(), 2048);
}

TEST(Scheduler, LongestOutputFirst) {
  World world({.policy = SchedulePolicy::kLof, .max_running = 1, .chunked_prefill_size = 64}, 512, 1, true);
  for (int64_t n : {3, 9, 6}) world.add(iota(5, static_cast<int32_t>(n) * 100), n);
  EXPECT_EQ(world.scheduler.plan().sequences.at(0).id, 2u);
}

TEST(Scheduler, FirstComeFirstServedAfterAnotherPolicy) {
  World world({.policy = SchedulePolicy::kLof, .max_running = 1, .chunked_prefill_size = 64}, 512,
              1, true);
  for (int64_t n : {3, 9, 6}) world.add(iota(5, static_cast<int32_t>(n) * 100), n);
  world.step(true);
  EXPECT_EQ(world.ran, std::set<SequenceId>{2});
  world.scheduler.set_policy(SchedulePolicy::kFcfs);
  while (world.ran == std::set<SequenceId>{2}) world.step(true);
  EXPECT_EQ(world.ran, std::set<SequenceId>{1});
}

TEST(Scheduler, LongestPrefixFirst) {
  World world({.policy = SchedulePolicy::kLpm, .max_running = 1, .chunked_prefill_size = 512}, 512, 1, true);
  world.add(iota(50), 1);
  world.run_to_end(5);
  world.add(iota(50, 1000), 1);
  const SequenceId known = world.add(iota(50), 1);
  EXPECT_EQ(world.scheduler.plan().sequences.at(0).id, known);
}

TEST(Scheduler, PriorityComesFirst) {
  World world({.max_running = 1, .chunked_prefill_size = 64, .priority_scheduling = true}, 256, 1, true);
  for (int64_t priority : {1, 5, 3}) {
    ASSERT_TRUE(world.scheduler.add({.id = static_cast<SequenceId>(priority), .prompt = {1, 2}, .max_new_tokens = 1,
                                     .priority = priority}));
  }
  EXPECT_EQ(world.scheduler.plan().sequences.at(0).id, 5u);
}

TEST(Scheduler, AFullPoolRetractsAndEverybodyFinishes) {
  World world({.max_running = 32, .chunked_prefill_size = 256, .conservativeness = 0.0}, 200, 1, true);
  for (int i = 0; i < 20; ++i) world.add(iota(5, i * 100), 60);
  world.run_to_end(20000);
  EXPECT_EQ(world.finished, 20);
  EXPECT_GT(world.scheduler.stats().retractions, 0);
}

// Adds a request of that priority, with one step of its own so that it runs.
SequenceId add_with_priority(World& world, int64_t priority, int64_t max_new, int32_t prompt = 4) {
  const SequenceId id = world.next++;
  SequenceSpec spec{.id = id, .prompt = iota(prompt, static_cast<int32_t>(id) * 1000), .max_new_tokens = max_new,
                    .priority = priority};
  if (!world.scheduler.add(spec)) return 0;
  world.live[id] = {spec, spec.prompt};
  return id;
}

bool runs_in(const StepPlan& plan, SequenceId id) {
  return std::any_of(plan.sequences.begin(), plan.sequences.end(), [id](const auto& s) { return s.id == id; });
}

TEST(Scheduler, ALittleMorePriorityWaitsForItsTurn) {
  World world({.max_running = 2, .chunked_prefill_size = 64, .priority_scheduling = true, .preemption_threshold = 10},
              256, 1, true);
  add_with_priority(world, 0, 30);
  add_with_priority(world, 5, 30);
  world.step(true);
  add_with_priority(world, 10, 3);  // not more than 10 above the lowest
  world.step(true);
  EXPECT_EQ(world.scheduler.stats().queued, 1);
  EXPECT_EQ(world.scheduler.stats().retractions, 0);
  world.run_to_end(100);
}

TEST(Scheduler, PreemptionIsInvisibleToThePreempted) {
  World world({.max_running = 2, .chunked_prefill_size = 64, .priority_scheduling = true, .preemption_threshold = 10},
              256, 1, true);
  const SequenceId low = add_with_priority(world, 0, 30);
  const SequenceId middle = add_with_priority(world, 5, 30);
  for (int i = 0; i < 4; ++i) world.step(true);
  const SequenceId urgent = add_with_priority(world, 11, 3);
  world.step(true);
  EXPECT_EQ(world.scheduler.stats().running, 2);
  EXPECT_EQ(world.scheduler.stats().retractions, 1);
  EXPECT_EQ(world.ran, (std::set<SequenceId>{middle, urgent})) << "the least urgent goes";
  EXPECT_TRUE(world.live.contains(low));
  world.run_to_end(200);
  EXPECT_EQ(world.finished, 3);
}

TEST(Scheduler, NobodyIsPreemptedForARequestThatWouldNotFitAnyway) {
  World world({.max_running = 8, .chunked_prefill_size = 256, .priority_scheduling = true, .preemption_threshold = 0},
              100, 1, true);
  add_with_priority(world, 100, 40, 40);  // stays: more urgent than the newcomer
  add_with_priority(world, 0, 5, 4);
  world.step(true);
  add_with_priority(world, 50, 40, 50);
  world.step(true);
  EXPECT_EQ(world.scheduler.stats().retractions, 0);
  world.run_to_end(500);
}

TEST(Scheduler, AMoreUrgentRequestDisplacesTheLeastUrgentOfAFullQueue) {
  World world({.max_running = 1, .max_queued = 2, .priority_scheduling = true}, 256, 1, true);
  add_with_priority(world, 9, 8);
  world.step(true);  // it runs; what comes now waits
  const SequenceId first = add_with_priority(world, 3, 4);
  const SequenceId second = add_with_priority(world, 1, 4);
  EXPECT_EQ(add_with_priority(world, 1, 4), 0u) << "not more urgent than any";
  const SequenceId third = add_with_priority(world, 2, 4);
  EXPECT_EQ(world.scheduler.take_displaced(), std::vector<SequenceId>{second});
  world.live.erase(second);
  EXPECT_TRUE(first != 0 && third != 0);
  world.run_to_end(50);
}

TEST(Scheduler, LowValuesFirstTurnsPrioritiesRound) {
  World world({.max_running = 1, .chunked_prefill_size = 64, .priority_scheduling = true,
               .low_priority_values_first = true}, 256, 1, true);
  add_with_priority(world, INT64_MAX, 1);
  const SequenceId urgent = add_with_priority(world, INT64_MIN, 1);
  EXPECT_TRUE(runs_in(world.scheduler.plan(), urgent));
}

TEST(Scheduler, ThePriorityPolicyRetractsTheLeastUrgent) {
  World world({.max_running = 8, .chunked_prefill_size = 256, .conservativeness = 0.0, .priority_scheduling = true,
               .retraction = RetractionPolicy::kPriority}, 60, 1, true);
  const SequenceId urgent = add_with_priority(world, 9, 45, 5);
  add_with_priority(world, 1, 45, 5);
  int64_t steps = 0;
  while (world.scheduler.stats().retractions == 0 && ++steps < 200) ASSERT_TRUE(world.step(true));
  EXPECT_EQ(world.ran, std::set<SequenceId>{urgent});
}

TEST(Scheduler, RetractAllKeepsWhatWasGenerated) {
  World world({.max_running = 4, .chunked_prefill_size = 64}, 256, 1, true);
  for (int i = 0; i < 3; ++i) world.add(iota(5, i * 100), 100);
  for (int i = 0; i < 5; ++i) world.step(true);
  world.scheduler.retract_all();
  EXPECT_EQ(world.scheduler.stats().running, 0);
  EXPECT_EQ(world.scheduler.stats().queued, 3);
  world.scheduler.hold_admissions(true);
  EXPECT_TRUE(world.scheduler.plan().empty());
  world.scheduler.hold_admissions(false);
  world.run_to_end(200);
  EXPECT_EQ(world.finished, 3);
}

TEST(Scheduler, AHundredThousandTinyRequests) {
  World world({.max_running = 256, .chunked_prefill_size = 4096}, 100000, 1, true);
  for (int i = 0; i < 100000; ++i) world.add({i % 50, i % 7}, 1);
  world.run_to_end(200000);
  EXPECT_EQ(world.finished, 100000);
}

TEST(Scheduler, ManyRequestsOfTheFullContext) {
  World world({.max_running = 64, .chunked_prefill_size = 512}, 2100, 16, false);
  for (int i = 0; i < 60; ++i) world.add(iota(900, i * 1000), 100);
  world.run_to_end(100000);
  EXPECT_EQ(world.finished, 60);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int64_t kSteps = 5000;
#else
constexpr int64_t kSteps = 25000;
#endif

// The million steps: random worlds, random requests and aborts, books checked in the small ones.
class RandomWorlds : public testing::TestWithParam<int> {};

TEST_P(RandomWorlds, KeepEveryPromise) {
  std::mt19937 random(static_cast<unsigned>(GetParam()));
  const auto below = [&](int32_t n) { return static_cast<int32_t>(random() % static_cast<unsigned>(n)); };
  const int32_t page_size = std::vector<int32_t>{1, 2, 16}[static_cast<size_t>(below(3))];
  SchedulerOptions options{.policy = static_cast<SchedulePolicy>(GetParam() % 5),
                           .max_running = 1 + below(12),
                           .chunked_prefill_size = below(4) ? page_size * (1 + below(8)) : -1,
                           .max_prefill_tokens = 64 + below(64),
                           .mixed_chunk = below(2) == 0,
                           .conservativeness = below(3) * 0.5};
  const int32_t pages = 128 / page_size + below(256 / page_size);
  World world(options, pages, page_size, below(4) != 0);
  while (world.steps < kSteps) {
    if (world.live.size() < 20 && below(3) == 0) {
      std::vector<int32_t> prompt(static_cast<size_t>(1 + below(40)));
      for (int32_t& t : prompt) t = below(2);
      world.add(prompt, 1 + below(30), below(5) ? "" : "salt");
    }
    if (!world.live.empty() && below(25) == 0) {
      auto victim = world.live.begin();
      std::advance(victim, below(static_cast<int32_t>(world.live.size())));
      world.abort(victim->first);
    }
    const bool worked = world.step(true);
    ASSERT_TRUE(worked || world.live.empty()) << "stuck with " << world.live.size() << " requests";
  }
  world.run_to_end(kSteps + 100000);
  ASSERT_TRUE(world.scheduler.flush_cache());
  EXPECT_EQ(world.pool.available(), pages);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomWorlds, testing::Range(0, 40));

TEST(Scheduler, TheSameInputsGiveTheSamePlans) {
  uint64_t hashes[2];
  for (uint64_t& hash : hashes) {
    World world({.policy = SchedulePolicy::kRandom, .max_running = 4, .chunked_prefill_size = 16, .random_seed = 5}, 120, 1, true);
    for (int i = 0; i < 50; ++i) world.add(iota(1 + i % 30, i % 3), 1 + i % 9);
    world.run_to_end(100000);
    hash = world.hash;
  }
  EXPECT_EQ(hashes[0], hashes[1]);
}

}  // namespace
}  // namespace fathom
