#include "server/stop_signals.h"

#include <csignal>
#include <cstdlib>

#include "base/log.h"

namespace fathom {
namespace {

sigset_t stop_set() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

StopSignals::StopSignals() {
  const sigset_t set = stop_set();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  watcher_ = std::thread([this] { watch(); });
}

StopSignals::~StopSignals() {
  ending_ = true;
  pthread_kill(watcher_.native_handle(), SIGTERM);
  watcher_.join();
  const sigset_t set = stop_set();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void StopSignals::watch() {
  // `timeout` and some supervisors signal the process and then its group: that is one wish.
  constexpr std::chrono::milliseconds kEcho{500};
  std::chrono::steady_clock::time_point first;
  const sigset_t set = stop_set();
  for (int seen = 0;; ++seen) {
    int signal = 0;
    if (sigwait(&set, &signal) != 0) continue;
    if (ending_) return;
    const auto now = std::chrono::steady_clock::now();
    if (seen > 0 && now - first < kEcho) continue;
    if (seen == 0) first = now;
    if (!graceful_ || seen > 0) {
      log::warn("Signal {}: exiting at once.", signal);
      std::_Exit(128 + signal);
    }
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    came_.notify_all();
  }
}

bool StopSignals::wait(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  return came_.wait_for(lock, time, [this] { return stop_; });
}

}  // namespace fathom
