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
  // Blocks the calling thread; false: requests are pending, nothing done.
  virtual bool flush_cache(double timeout_seconds) = 0;
  // Asks for one token. true when the engine answered, or made any step, in time.
  virtual http::asio::awaitable<bool> probe(http::asio::any_io_executor executor,
                                            double timeout_seconds) = 0;
};

// `engine` outlives the result.
std::unique_ptr<EngineControl> control_of(Engine& engine);

}  // namespace fathom
