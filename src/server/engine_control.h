// What admin, health and information routes ask of the engine. Tests give a fake.
#pragma once

#include <memory>
#include <string>

#include "engine/engine.h"
#include "http/server.h"

namespace fathom {

class EngineControl {
 public:
  virtual ~EngineControl() = default;
  // Any thread, at once.
  virtual EngineStats stats() const = 0;
  virtual void abort_prefix(std::string rid_prefix) = 0;
  virtual void abort_all() = 0;
  // Waits up to timeout_seconds for idleness; false: requests are pending, nothing done.
  virtual http::asio::awaitable<bool> flush_cache(http::asio::any_io_executor executor,
                                                  double timeout_seconds) = 0;
  virtual void pause(PauseMode mode) = 0;
  virtual void resume() = 0;
  virtual void tune(const EngineTuning& tuning) = 0;
  virtual void start_profile(ProfileRequest request) = 0;
  virtual void stop_profile() = 0;
  virtual void start_expert_record() = 0;
  virtual void stop_expert_record() = 0;
  virtual ExpertCounts expert_counts() = 0;  // blocks the calling thread
  // Blocks the calling thread until the weights are in use or refused.
  virtual Status update_weights(WeightUpdate update) = 0;
  // Asks for one token. true when the engine answered, or made any step, in time.
  virtual http::asio::awaitable<bool> probe(http::asio::any_io_executor executor,
                                            double timeout_seconds) = 0;
};

// `engine` outlives the result.
std::unique_ptr<EngineControl> control_of(Engine& engine);

}  // namespace fathom
