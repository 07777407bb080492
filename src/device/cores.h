// Which cores this process may use, and pinning.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace fathom {

// Cores in the affinity mask, ascending.
std::vector<int> usable_cores();
// As many threads as make sense: the affinity mask, cut to the cgroup's CPU quota (v2 and v1),
// so that a container is never oversubscribed. At least 1.
int usable_core_count();
// Cores that the cgroups below `root` (/sys/fs/cgroup) grant, infinity without a limit. membership:
// the text of /proc/self/cgroup. The tightest of the process's own group and all above it.
double cgroup_cpu_quota(const std::filesystem::path& root, const std::string& membership);
void pin_this_thread(int core);

}  // namespace fathom
