// SIGTERM and SIGINT as something a thread can wait for.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace fathom {

// Construct before any other thread: those inherit the blocked signals. One per process at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();

  // Until then a signal ends the process at once: there is nobody to be graceful to.
  void be_graceful() { graceful_ = true; }
  // true as soon as a signal has come. A later signal ends the process at once.
  bool wait(std::chrono::milliseconds time);

 private:
  void watch();

  std::atomic<bool> graceful_{false};
  std::atomic<bool> ending_{false};
  std::mutex mutex_;
  std::condition_variable came_;
  bool stop_ = false;
  std::thread watcher_;
};

}  // namespace fathom
