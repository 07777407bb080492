// --schedule-policy by name.
#pragma once

#include <optional>
#include <string_view>

#include "sched/scheduler.h"

namespace fathom {

inline std::optional<SchedulePolicy> schedule_policy_of(std::string_view name) {
  if (name == "fcfs") return SchedulePolicy::kFcfs;
  if (name == "lpm") return SchedulePolicy::kLpm;
  if (name == "dfs-weight") return SchedulePolicy::kDfsWeight;
  if (name == "lof") return SchedulePolicy::kLof;
  if (name == "random") return SchedulePolicy::kRandom;
  return std::nullopt;
}

}  // namespace fathom
