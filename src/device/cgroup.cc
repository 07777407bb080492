#include "device/cgroup.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <sstream>

namespace fathom {

namespace fs = std::filesystem;

std::vector<CgroupFolder> cgroup_folders(const fs::path& root, const std::string& membership,
                                         std::string_view controller) {
  std::vector<CgroupFolder> folders = {{root, true}, {root / controller, false}};
  std::istringstream lines(membership);
  for (std::string line; std::getline(lines, line);) {  // <id>:<controllers>:<path>
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && fmt::format(",{},", controllers).find(fmt::format(",{},", controller)) ==
                   std::string::npos) {
      continue;
    }
    fs::path folder = v2 ? root : root / controller;
    for (const fs::path& part : fs::path(line.substr(second + 1)).relative_path()) {
      folder /= part;
      folders.push_back({folder, v2});
    }
  }
  return folders;
}

std::string cgroup_membership() {
  std::ifstream file("/proc/self/cgroup");
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace fathom
