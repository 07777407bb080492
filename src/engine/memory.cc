#include "engine/memory.h"

#include <algorithm>
#include <fstream>
#include <string>

#include "device/cgroup.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

int64_t read_number(const fs::path& path, int64_t otherwise) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value && value > 0 ? value : otherwise;
}

// Of the page cache that counts as used by this cgroup and those in it: the kernel gives it back
// when asked. Version 1 has the cgroup's own under the plain names.
int64_t reclaimable(const fs::path& cgroup, bool v2) {
  const std::string prefix = v2 ? "" : "total_";
  std::ifstream file(cgroup / "memory.stat");
  std::string key;
  int64_t value = 0, bytes = 0;
  while (file >> key >> value) {
    if (key == prefix + "active_file" || key == prefix + "inactive_file") bytes += value;
  }
  return bytes;
}

}  // namespace

HostMemory cut_to_cgroups(HostMemory memory, const fs::path& root, const std::string& membership) {
  const int64_t installed = memory.total;
  for (const auto& [path, v2] : cgroup_folders(root, membership, "memory")) {
    const int64_t limit =
        read_number(path / (v2 ? "memory.max" : "memory.limit_in_bytes"), INT64_MAX);
    if (limit >= installed) continue;  // "max", or version 1's 2^63
    const int64_t used = read_number(path / (v2 ? "memory.current" : "memory.usage_in_bytes"), 0);
    const int64_t kept = std::max<int64_t>(used - reclaimable(path, v2), 0);
    memory.total = std::min(memory.total, limit);
    memory.available = std::min(memory.available, std::max<int64_t>(limit - kept, 0));
  }
  return memory;
}

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
  return cut_to_cgroups(memory, "/sys/fs/cgroup", cgroup_membership());
}

}  // namespace fathom
