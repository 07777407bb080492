// The control groups that this process is in.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

struct CgroupFolder {
  std::filesystem::path path;
  bool v2 = true;
};

// The process's own groups and all above them, of version 2 and of version 1's `controller`.
// root: /sys/fs/cgroup. membership: the text of /proc/self/cgroup. In a namespace of its own the
// path may lead nowhere, so not every folder exists.
std::vector<CgroupFolder> cgroup_folders(const std::filesystem::path& root,
                                         const std::string& membership,
                                         std::string_view controller);
std::string cgroup_membership();  // of this process

}  // namespace fathom
