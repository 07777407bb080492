// What an administrator may ask of a running engine, as plain values.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file_set.h"
#include "sched/scheduler.h"

namespace fathom {

// What happens to requests in flight when generation pauses. New ones always wait.
enum class PauseMode {
  kAbort,    // they end with an abort
  kRetract,  // they give their pages back and wait too
  kInPlace,  // they stop where they are and keep their pages
};

// Changes from the next step on; absent: as it is.
struct EngineTuning {
  std::optional<SchedulePolicy> policy;
  std::optional<int32_t> max_running;  // at most the plan's
  std::optional<double> conservativeness;
  std::optional<int32_t> decode_log_interval;
  std::optional<double> sleep_per_step;  // seconds, a testing aid
};

// Other weights of the same architecture, shapes and quantisation.
struct WeightUpdate {
  std::shared_ptr<const FileSet> files;
  std::string load_format = "auto";
  bool abort_all = false;   // else running requests finish first
  bool flush_cache = true;  // KV of the old weights is forgotten
};

// How many rows the gate sent to each expert since the recording began. Dense layers have zeros.
struct ExpertCounts {
  int32_t experts = 0;
  std::vector<int64_t> counts;  // [layers, experts]
};

// Phases of engine steps, on the steady clock.
struct ProfileEvent {
  const char* phase = "";  // a literal: inbox, schedule, forward, sample, commit
  double start = 0;        // seconds
  double seconds = 0;
  int64_t step = 0;
  int32_t prompt_rows = 0;
  int32_t decode_rows = 0;
};

struct ProfileRequest {
  int64_t start_step = 0;            // steps from now until recording begins
  std::optional<int64_t> num_steps;  // absent: until stopped
  // Gets the events when recording ends; on the engine thread, must not block.
  std::function<void(std::vector<ProfileEvent>)> done;
};

}  // namespace fathom
