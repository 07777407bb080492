// How much memory this process may use.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace fathom {

struct HostMemory {
  int64_t total = 0;      // RAM, cut to the tightest limit of our cgroups
  int64_t available = 0;  // of it, free for us now
};
HostMemory host_memory();

// What the cgroups below `root` (/sys/fs/cgroup) leave of it: the process's own one and all above
// it. membership: the text of /proc/self/cgroup.
HostMemory cut_to_cgroups(HostMemory memory, const std::filesystem::path& root,
                          const std::string& membership);

}  // namespace fathom
