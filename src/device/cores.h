// Which cores this process may use, and pinning.
#pragma once

#include <vector>

namespace fathom {

// Cores in the affinity mask, ascending.
std::vector<int> usable_cores();
// As many threads as make sense: the affinity mask, cut to the cgroup's CPU quota (v2 and v1),
// so that a container is never oversubscribed. At least 1.
int usable_core_count();
void pin_this_thread(int core);

}  // namespace fathom
