// Time is injected, so that the scheduler and its tests can run a million steps in a second.
#pragma once

#include <chrono>

namespace fathom {

class Clock {
 public:
  virtual ~Clock() = default;
  // Seconds on a monotonic axis.
  virtual double now() const = 0;
};

class SteadyClock final : public Clock {
 public:
  double now() const override {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

// For tests: time moves only when told.
class FakeClock final : public Clock {
 public:
  double now() const override { return now_; }
  void advance(double seconds) { now_ += seconds; }

 private:
  double now_ = 0;
};

}  // namespace fathom
