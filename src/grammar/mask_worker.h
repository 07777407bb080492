// A thread that computes masks while the model runs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "grammar/grammar.h"

namespace fathom {

class MaskWorker {
 public:
  MaskWorker() = default;
  ~MaskWorker();

  // Starts on the masks of `states`; until finish() they are the worker's.
  void begin(std::vector<GrammarState*> states);
  // Helps with what is left and returns when all masks are there.
  void finish();

 private:
  void run();
  void compute();

  std::vector<GrammarState*> states_;
  std::atomic<size_t> next_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  uint64_t round_ = 0;  // begun
  bool busy_ = false;   // the thread is in compute()
  bool stopping_ = false;
  std::thread thread_;  // from the first begin() on
};

}  // namespace fathom
