// What this process uses of the machine right now.
#pragma once

#include <cstdint>

namespace fathom {

struct ProcessUsage {
  int64_t resident_bytes = 0;
  int64_t virtual_bytes = 0;
  int open_files = 0;
  double cpu_seconds = 0;  // user and system, all threads
};

ProcessUsage process_usage();

}  // namespace fathom
