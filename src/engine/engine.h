// The engine as the server sees it: submit requests, receive token events, abort, ask for state.
// All methods may be called from any thread; they only put a message into the engine's inbox.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "engine/arrivals.h"
#include "engine/control.h"
#include "engine/parts.h"
#include "engine/plan.h"
#include "request/request.h"
#include "request/token_event.h"

namespace fathom {

// Called on the engine thread, once per step with news; must not block (post to your executor).
using OnTokens = std::function<void(TokenEvent&&)>;

// A request in flight. Destroying it before the finish event aborts the request: its pages return
// within one step, and no event follows but one that is being delivered just then. Move-only.
class TokenStream {
 public:
  TokenStream() = default;
  TokenStream(TokenStream&&) noexcept;
  TokenStream& operator=(TokenStream&&) noexcept;
  ~TokenStream();
  // Ends generation early because the text layer saw a stop string; as its destruction.
  void stop();

 private:
  friend class Engine;
  struct State;
  std::shared_ptr<State> state_;
};

struct EngineStats {
  int32_t running = 0;
  int32_t queued = 0;
  int64_t queued_tokens = 0;  // prompt tokens of queued requests
  int64_t total_tokens = 0, available_tokens = 0, evictable_tokens = 0, used_tokens = 0;
  double token_usage = 0;
  double gen_throughput = 0;      // tokens/s of the last decode report
  double cache_hit_rate = 0;
  double new_token_ratio = 0;
  int64_t retractions = 0;
  int64_t evicted_tokens = 0;
  int64_t steps = 0;
  double last_step_seconds_ago = 0;
  bool paused = false;
  int64_t context_tokens = 0;  // of all running requests
  // Since start:
  int64_t prefill_compute_tokens = 0, prefill_cache_tokens = 0, decode_tokens = 0;
  int64_t first_prefill_compute_tokens = 0;  // without what retractions made us compute again
  int64_t retracted_input_tokens = 0, retracted_output_tokens = 0;
  // Forward passes with only prompt rows, only decode rows, or both.
  struct Passes {
    int64_t count = 0;
    double seconds = 0;
  };
  Passes prefill_passes, decode_passes, mixed_passes;
  double idle_seconds = 0;
  DurationCounts evictions;
};

class Engine {
 public:
  // Loads the model and starts the engine thread. Slow; logs SGLang's load lines.
  static Result<std::unique_ptr<Engine>> create(const Plan& plan);
  // The second half of create(): for a model that is there already.
  static std::unique_ptr<Engine> start(const Plan& plan, EngineParts parts);
  ~Engine();

  // Checks the length rules (spec: http-api 15, rulings "Lengths"), then queues. The error texts are
  // the ones clients see. Duplicate rid in flight: kInvalid. Shutting down: kUnavailable. A full queue
  // shows later, as a finish event with status 503.
  Result<TokenStream> submit(GenerateRequest request, OnTokens on_tokens);

  // Aborts, also those of pause() and update_weights(), mean those on the way to submit() too.
  Arrivals& arrivals();
  void abort_prefix(std::string rid_prefix);
  void abort_all();
  // Waits up to timeout_seconds for idleness; false: requests are pending, nothing done.
  bool flush_cache(double timeout_seconds);
  // The same, without waiting here: `done` gets the answer on the engine thread, or at once while
  // shutting down.
  void flush_cache(double timeout_seconds, std::function<void(bool flushed)> done);

  void pause(PauseMode mode);
  void resume();
  void tune(EngineTuning tuning);
  void start_profile(ProfileRequest request);
  void stop_profile();  // the profile's `done` follows
  void start_expert_record();  // from zero
  void stop_expert_record();   // the counts stay
  // Blocks for at most a step. Empty before the first recording, and while shutting down.
  ExpertCounts expert_counts();
  // Blocks until the weights are in use or have been refused; the old ones stay in use then.
  Status update_weights(WeightUpdate update);

  EngineStats stats() const;
  const Plan& plan() const;
  const ModelConfig& model_config() const;
  int32_t context_length() const;
  int64_t max_total_tokens() const;
  int64_t max_request_tokens() const;  // min(context, pool)
  struct MemoryUse {
    int64_t weights = 0, kv = 0, scratch = 0;
    int64_t available = 0;  // of the machine, right now
  };
  MemoryUse memory() const;

  // Runs until nothing is queued or running, or the time is over; the rest ends with status 503.
  // Returns when the engine thread has ended.
  void shutdown(double grace_seconds);

 private:
  Engine();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
