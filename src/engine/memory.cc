#include "engine/memory.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace fathom {
namespace {

int64_t read_number(const char* path, int64_t otherwise) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value && value > 0 ? value : otherwise;
}

// Of the page cache that counts as used by this cgroup: the kernel gives it back when asked.
int64_t reclaimable() {
  for (const char* path : {"/sys/fs/cgroup/memory.stat", "/sys/fs/cgroup/memory/memory.stat"}) {
    std::ifstream file(path);
    std::string key;
    int64_t value = 0, bytes = 0;
    while (file >> key >> value) {
      if (key == "active_file" || key == "inactive_file") bytes += value;
    }
    if (bytes > 0) return bytes;
  }
  return 0;
}

}  // namespace

HostMemory host_memory() {
  HostMemory memory;
  std::ifstream file("/proc/meminfo");
  std::string key;
  int64_t kib = 0;
  while (file >> key >> kib) {
    if (key == "MemTotal:") memory.total = kib * 1024;
    if (key == "MemAvailable:") memory.available = kib * 1024;
    file.ignore(256, '\n');
  }
  const int64_t limit = std::min(read_number("/sys/fs/cgroup/memory.max", INT64_MAX),
                                 read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes", INT64_MAX));
  if (limit < memory.total) {
    const int64_t used = read_number("/sys/fs/cgroup/memory.current",
                                     read_number("/sys/fs/cgroup/memory/memory.usage_in_bytes", 0));
    memory.total = limit;
    const int64_t kept = std::max<int64_t>(used - reclaimable(), 0);
    memory.available = std::min(memory.available, std::max<int64_t>(limit - kept, 0));
  }
  return memory;
}

}  // namespace fathom
