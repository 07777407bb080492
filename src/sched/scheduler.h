// Continuous batching: which sequences run in the next step and with how many rows
// (spec: scheduler-and-cache 4). Pure decisions over ids and counts with an injected clock; knows no
// tensor, no text and no thread. The engine thread owns it:
//
//   add() / abort()  ->  plan()  ->  [forward, sample]  ->  commit()  ->  plan() ...
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "cache/prefix_cache.h"
#include "sched/step_plan.h"

namespace fathom {

enum class SchedulePolicy { kFcfs, kLpm, kDfsWeight, kLof, kRandom };
// Whom to retract when the pool is full.
enum class RetractionPolicy { kLength, kPriority };

// Constants of the memory estimate (SGLang's environment variables of these names).
struct OutputEstimate {
  int64_t clip_tokens = 4096;  // SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION
  double initial_ratio = 0.7;  // SGLANG_INIT_NEW_TOKEN_RATIO
  double min_factor = 0.14;    // SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR
  double decay_steps = 600;    // SGLANG_NEW_TOKEN_RATIO_DECAY_STEPS
  int32_t retract_steps = 20;  // SGLANG_RETRACT_DECODE_STEPS
};

struct SchedulerOptions {
  SchedulePolicy policy = SchedulePolicy::kFcfs;
  int32_t max_running = 256;
  std::optional<int32_t> max_queued;      // absent: unlimited
  int32_t chunked_prefill_size = 4096;    // rows of prompt per step; <= 0: no chunking
  int32_t max_prefill_tokens = 16384;
  std::optional<int32_t> prefill_max_requests;
  bool mixed_chunk = true;                // decode rows ride with prompt chunks
  double conservativeness = 1.0;
  bool priority_scheduling = false;
  bool low_priority_values_first = false;
  // A waiting sequence whose priority is more than this above a running one's takes its place when the
  // batch or the pool is full. Absent: never. Needs priority_scheduling.
  std::optional<int64_t> preemption_threshold;
  RetractionPolicy retraction = RetractionPolicy::kLength;
  OutputEstimate estimate;
  uint64_t random_seed = 0;
};

// One token sampled for a sequence of the last plan, or the news that it ends.
struct Committed {
  SequenceId id = 0;
  std::optional<int32_t> token;  // absent when the step only advanced the prompt
  std::span<const int32_t> forced = {};  // tokens that follow it without having been sampled
  bool finished = false;         // stop token, length, error: the engine decided; pages return now
  bool discard_kv = false;       // with finished: its KV is not fit for the prefix cache
};


// How often something took how long; bucket i counts durations up to kEdges[i], the last all others.
struct DurationCounts {
  static constexpr std::array<double, 10> kEdges = {.0001, .0002, .0005, .001, .002,
                                                    .005,  .01,   .02,   .05,  .1};
  std::array<int64_t, kEdges.size() + 1> counts{};
  double seconds = 0;
  void add(double duration) {
    size_t bucket = 0;
    while (bucket < kEdges.size() && duration > kEdges[bucket]) ++bucket;
    ++counts[bucket];
    seconds += duration;
  }
};

struct SchedulerStats {
  int32_t running = 0;
  int32_t queued = 0;
  int64_t queued_tokens = 0;     // still to compute before the queued sequences can decode
  int32_t total_tokens = 0;      // pool size
  int32_t available_tokens = 0;  // free
  int32_t evictable_tokens = 0;  // cached, not leased
  int32_t used_tokens = 0;       // total - available - evictable
  double new_token_ratio = 0;
  int64_t retractions = 0;       // since start
  int64_t retracted_input_tokens = 0, retracted_output_tokens = 0;  // since start
  int64_t evicted_tokens = 0;    // since start
  DurationCounts evictions;
  int64_t context_tokens = 0;    // of all running sequences
};

class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, PagePool& pool, PrefixCache& cache, const Clock& clock);
  ~Scheduler();

  // kUnavailable when the queue is full ("The request queue is full."). While no plan has passed
  // anybody over, arrivals may also take the free places of the batch: a burst at an idle server is
  // not cut to the length of the queue. With priority scheduling the least urgent waiting sequence
  // makes room for a more urgent one: see take_displaced().
  Status add(SequenceSpec spec);

  // The sequence is gone before the next plan; its computed KV goes to the prefix cache. Unknown ids
  // are ignored. Returns whether it was still queued or running.
  bool abort(SequenceId id);

  // What abort() named leaves now. plan() and commit() do it too: this is for when neither comes.
  void drop_aborted();

  // The next step; empty when nothing can run. The reference is valid until the next call.
  const StepPlan& plan();
  // Every sequence of the plan, in its order.
  void commit(std::span<const Committed> results);

  // Sequences that plan() had to give up since the last call (the engine answers them with 500).
  std::vector<SequenceId> take_starved();
  // Waiting sequences that add() dropped for more urgent ones since the last call.
  std::vector<SequenceId> take_displaced();
  // Log lines about retraction since the last call, as SGLang prints them.
  std::vector<std::string> take_messages();

  // All running sequences go back to the queue; nothing is lost but computed rows that the cache drops.
  void retract_all();
  // From the next plan on. max_running must not exceed the one given at the start.
  void set_policy(SchedulePolicy policy);
  void set_max_running(int32_t max_running);
  void set_conservativeness(double conservativeness);

  bool idle() const;  // nothing queued, nothing running
  // Only when idle: forgets the prefix cache. False otherwise.
  bool flush_cache();
  // Whatever is computed so far, nobody else uses it: running sequences go on with what they have,
  // and it does not come (back) into the cache.
  void forget_cache();
  // While held, what runs goes on and what waits keeps waiting.
  void hold_admissions(bool hold);
  SchedulerStats stats() const;

  // free + cached + private = total, every lease accounted for. CHECKs; cheap enough at idle.
  void check_books() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
