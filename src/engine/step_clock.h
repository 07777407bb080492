// Times the phases of engine steps: always their sums, and while a profile is recorded every one.
// Engine thread only.
#pragma once

#include <utility>

#include "base/clock.h"
#include "engine/control.h"

namespace fathom {

class StepClock {
 public:
  explicit StepClock(const Clock& clock) : clock_(clock), last_(clock.now()) {}

  // The phase since the last call is over; returns its seconds.
  double lap(const char* phase, int64_t step, int32_t prompt_rows = 0, int32_t decode_rows = 0) {
    const double now = clock_.now();
    const double start = std::exchange(last_, now);
    if (recording_ && skip_ == 0 && events_.size() < kMostEvents) {
      events_.push_back({phase, start, now - start, step, prompt_rows, decode_rows});
    }
    return now - start;
  }
  void step_done() {
    if (!recording_) return;
    if (skip_ > 0) {
      --skip_;
    } else if (left_ && --*left_ <= 0) {
      stop();
    }
  }

  bool recording() const { return recording_; }
  void start(ProfileRequest request) {
    if (recording_) stop();
    recording_ = true;
    skip_ = request.start_step;
    left_ = request.num_steps;
    done_ = std::move(request.done);
  }
  void stop() {
    if (!std::exchange(recording_, false)) return;
    if (done_) done_(std::exchange(events_, {}));
    events_.clear();
  }

 private:
  static constexpr size_t kMostEvents = 1u << 20;  // 48 MiB; later ones are dropped

  const Clock& clock_;
  double last_;
  bool recording_ = false;
  int64_t skip_ = 0;
  std::optional<int64_t> left_;
  std::function<void(std::vector<ProfileEvent>)> done_;
  std::vector<ProfileEvent> events_;
};

}  // namespace fathom
