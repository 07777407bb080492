// The order in which waiting sequences are considered for admission (spec: scheduler-and-cache 4).
#pragma once

#include <deque>
#include <memory>
#include <random>

#include "sched/running.h"
#include "sched/scheduler.h"

namespace fathom {

using WaitingQueue = std::deque<std::unique_ptr<Sequence>>;

// Reorders `waiting`. With priority scheduling, priority comes first and the policy breaks ties.
void order_waiting(const SchedulerOptions& options, const PrefixCache& cache, std::mt19937_64& random,
                   WaitingQueue& waiting);

}  // namespace fathom
