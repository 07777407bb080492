// The engine thread's world: scheduler, model, sampler, and the requests in flight. Nothing here is
// shared; other threads talk to it through the Inbox and read the published EngineStats.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "engine/inbox.h"
#include "engine/parts.h"
#include "engine/runner.h"
#include "engine/step_clock.h"
#include "grammar/mask_worker.h"
#include "sample/sampler.h"
#include "sample/thoughts.h"
#include "sched/scheduler.h"

namespace fathom {

// A request between add and its last event.
struct InFlight {
  uint64_t id = 0;
  GenerateRequest request;
  OnTokens on_tokens;
  GeneratedCounts generated;
  std::unique_ptr<GrammarState> grammar;  // null: nothing binds the output
  Thoughts thoughts;  // borrows request.sampling
  uint64_t seed = 0;
  double arrival = 0;
  bool admitted = false;
  double queue_seconds = 0;
  int32_t cached_tokens = 0;
  int32_t retractions = 0;
  int32_t next_input_logprob = 0;  // first prompt position whose entry is still to come
  std::string failure;             // of the grammar in this step
  bool broken = false;             // prompt logprobs or the embedding are not finite
  TokenEvent event;                // the next one; prompt logprobs gather here chunk by chunk
};

// Who holds which pages. One piece: start_over() replaces it as a whole.
struct Books {
  Books(const Plan& plan, const SchedulerOptions& options, const Clock& clock)
      : pages(static_cast<int32_t>(plan.total_tokens / plan.options.page_size), plan.options.page_size),
        cache(pages, !plan.options.disable_radix_cache, plan.options.eviction,
              plan.options.tail_budget),
        scheduler(options, pages, cache, clock) {}
  PagePool pages;
  PrefixCache cache;
  Scheduler scheduler;
};

class EngineLoop {
 public:
  EngineLoop(const Plan& plan, EngineParts parts, Inbox& inbox);

  // Until the inbox is closed and nothing is in flight, or the time of finish_by() has come; then
  // closes the inbox and ends what is left.
  void run();
  // Any thread.
  EngineStats stats() const;
  void finish_by(std::chrono::steady_clock::time_point time) { finish_by_.store(time); }
  int64_t weight_bytes() const { return weight_bytes_; }

  // Engine thread only, through a Control message.
  void pause(PauseMode mode);
  void resume();
  void tune(const EngineTuning& tuning);
  void start_profile(ProfileRequest request);
  void stop_profile();
  void start_expert_record();
  void stop_expert_record();
  const ExpertCounts& expert_counts() const { return expert_counts_; }
  void request_update(WeightUpdate update, std::shared_ptr<std::promise<Status>> done);

 private:
  using TimePoint = std::chrono::steady_clock::time_point;

  // One turn of the loop; false when there is nothing left to wait for.
  bool turn();
  void start_over(const std::string& why);
  void drain_inbox();
  void handle(AddRequest& message);
  void handle(DropRequest& message);
  void handle(AbortRequests& message);
  void handle(FlushCache& message);
  void handle(Control& message);
  void refuse(Message& message, const std::string& why);
  InFlight& take_up(AddRequest& message);
  void update_weights();
  Status load_weights(const WeightUpdate& update);
  void drop_overdue();
  void sleep_after_step() const;

  void step(const StepPlan& plan);
  void sample(const StepPlan& plan);
  void collect_prompt_logprobs(const SequenceStep& step, int32_t first_row, InFlight& r);
  // Judges the token of one row and says what the scheduler shall know of it.
  Committed conclude(const SequenceStep& step, SampleRow* row, InFlight& r);
  // r's output goes on with `token`; afterwards r.event says whether it ends with it.
  void append(InFlight& r, int32_t token);
  // The tokens that r's grammar allows next; failure ends r in conclude().
  std::span<const uint32_t> allowed_by_grammar(InFlight& r);
  void begin_masks(const StepPlan& plan);
  void fail_step(const StepPlan& plan, const std::string& why);
  void finish(InFlight& r, FinishReason reason);
  void refuse_rest();
  void post_events();
  bool deliver(InFlight& r, TokenEvent&& event);
  void answer_flushes();
  void report(const StepPlan& plan);
  void count_pass(const StepPlan& plan, double seconds);
  void publish();

  Scheduler& scheduler() const { return books_->scheduler; }

  const Plan plan_;
  SteadyClock clock_;
  std::unique_ptr<Exec> exec_;
  std::unique_ptr<Compute> compute_;
  std::unique_ptr<Model> model_;
  Runner runner_;
  SchedulerOptions scheduler_options_;  // the plan's, as tuned since
  std::unique_ptr<Books> books_;        // never null
  Sampler sampler_;
  MaskWorker masks_;
  Inbox& inbox_;
  std::atomic<TimePoint> finish_by_{TimePoint::max()};

  std::unordered_map<uint64_t, std::unique_ptr<InFlight>> in_flight_;
  std::vector<SampleRow> rows_;          // of the step, in plan order
  std::vector<Committed> committed_;
  std::vector<FlushCache> flushes_;
  struct PendingUpdate {
    WeightUpdate update;
    std::shared_ptr<std::promise<Status>> done;
  };
  std::vector<PendingUpdate> updates_;
  bool paused_ = false;
  int32_t decode_log_interval_;
  double sleep_per_step_ = 0;
  double next_overdue_check_ = 0;
  StepClock step_clock_{clock_};
  ExpertCounts expert_counts_;
  bool counts_experts_ = false;  // now
  const int64_t weight_bytes_;
  uint64_t requests_ = 0;

  // For log lines and stats.
  mutable std::mutex stats_mutex_;
  EngineStats stats_;
  EngineStats next_;
  double last_step_ = 0;
  int64_t decode_steps_ = 0;
  int64_t generated_since_report_ = 0;
  double last_decode_report_ = 0;
  double last_prefill_report_ = 0;
};

}  // namespace fathom
