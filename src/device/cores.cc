#include "device/cores.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>

#include "device/cgroup.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

// "<quota> <period>" of cgroup v2; "max" and anything unreadable is no limit.
double quota_v2(const fs::path& folder) {
  std::ifstream file(folder / "cpu.max");
  double quota = 0;
  double period = 0;
  return file >> quota >> period && quota > 0 && period > 0 ? quota / period : kUnlimited;
}

double quota_v1(const fs::path& folder) {
  std::ifstream quota_file(folder / "cpu.cfs_quota_us");
  std::ifstream period_file(folder / "cpu.cfs_period_us");
  double quota = 0;
  double period = 0;
  const bool read = quota_file >> quota && period_file >> period;
  return read && quota > 0 && period > 0 ? quota / period : kUnlimited;
}

}  // namespace

double cgroup_cpu_quota(const fs::path& root, const std::string& membership) {
  double tightest = kUnlimited;
  for (const CgroupFolder& folder : cgroup_folders(root, membership, "cpu")) {
    tightest = std::min(tightest, folder.v2 ? quota_v2(folder.path) : quota_v1(folder.path));
  }
  return tightest;
}

std::vector<int> usable_cores() {
  cpu_set_t mask;
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) {
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &mask)) cores.push_back(core);
    }
  }
  if (cores.empty()) cores.push_back(0);
  return cores;
}

int usable_core_count() {
  const double quota = std::ceil(cgroup_cpu_quota("/sys/fs/cgroup", cgroup_membership()) - 1e-9);
  const double cores = static_cast<double>(usable_cores().size());
  return std::max(1, static_cast<int>(std::min(cores, quota)));
}

void pin_this_thread(int core) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  CPU_SET(core, &mask);
  sched_setaffinity(0, sizeof mask, &mask);
}

}  // namespace fathom
