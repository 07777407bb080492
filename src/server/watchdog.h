// Notices an engine that makes no step although work waits. Pure: the caller brings the time.
#pragma once

#include "engine/engine.h"

namespace fathom {

class Watchdog {
 public:
  // timeout_seconds <= 0: never.
  explicit Watchdog(double timeout_seconds) : timeout_(timeout_seconds) {}

  // To be asked every second or so.
  bool stuck(const EngineStats& stats, double now) {
    const bool pending = stats.running + stats.queued > 0 && !stats.paused;
    if (!pending || stats.steps != steps_ || since_ < 0) {
      steps_ = stats.steps;
      since_ = now;
    }
    return timeout_ > 0 && now - since_ > timeout_;
  }

 private:
  const double timeout_;
  int64_t steps_ = -1;
  double since_ = -1;  // when the last step was seen
};

}  // namespace fathom
