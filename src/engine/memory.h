// How much memory this process may use.
#pragma once

#include <cstdint>

namespace fathom {

struct HostMemory {
  int64_t total = 0;      // RAM, cut to the cgroup's limit
  int64_t available = 0;  // of it, free for us now
};
HostMemory host_memory();

}  // namespace fathom
