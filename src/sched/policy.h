// Who comes first and who must yield: the order of the queue, retraction, preemption
// (spec: scheduler-and-cache 4).
#pragma once

#include <deque>
#include <memory>
#include <random>

#include "sched/running.h"
#include "sched/scheduler.h"

namespace fathom {

using WaitingQueue = std::deque<std::unique_ptr<Sequence>>;
using RunningBatch = std::vector<std::unique_ptr<Sequence>>;

// Larger is more urgent.
inline int64_t urgency(const SchedulerOptions& options, const SequenceSpec& spec) {
  return options.low_priority_values_first ? ~spec.priority : spec.priority;
}
inline int64_t urgency(const SchedulerOptions& options, const Sequence& s) {
  return urgency(options, s.spec);
}

// Reorders `waiting`. With priority scheduling, priority comes first and the policy breaks ties.
void order_waiting(const SchedulerOptions& options, const PrefixCache& cache, std::mt19937_64& random,
                   WaitingQueue& waiting);

// Index of the running sequence that loses least by a retraction.
size_t cheapest_to_retract(const SchedulerOptions& options, const RunningBatch& running);
// Running sequences without rows in this step whose place `newcomer` may take, the least urgent first.
// Needs options.preemption_threshold; none without priority scheduling.
std::vector<const Sequence*> outranked_by(const SchedulerOptions& options, const Sequence& newcomer,
                                          const RunningBatch& running);
// The waiting sequence that `spec` displaces from a full queue: the least urgent, the latest; never one
// that has run already. nullptr: none, or no priority scheduling.
const Sequence* displaced_by(const SchedulerOptions& options, const WaitingQueue& waiting,
                             const SequenceSpec& spec);

}  // namespace fathom
