// Time for measurements of speed: of the calling thread where it works alone, so that other users
// of the machine do not count, else by the wall clock.
#pragma once

#include <time.h>

#include "device/exec.h"

namespace fathom {

inline double seconds_for(const Exec& exec) {
  timespec time{};
  clock_gettime(exec.threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace fathom
