#include "grammar/mask_worker.h"

namespace fathom {

MaskWorker::~MaskWorker() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void MaskWorker::begin(std::vector<GrammarState*> states) {
  if (states.empty()) return;
  {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return !busy_; });  // late for the last round, whose work was done for it
    states_ = std::move(states);
    next_ = 0;
    ++round_;
  }
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  wake_.notify_all();
}

void MaskWorker::finish() {
  compute();
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return !busy_; });
  states_.clear();
}

// Each state is taken by whoever comes first.
void MaskWorker::compute() {
  for (size_t i = next_++; i < states_.size(); i = next_++) states_[i]->compute_mask();
}

void MaskWorker::run() {
  uint64_t done = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || round_ != done; });
    if (stopping_) return;
    done = round_;
    busy_ = true;
    lock.unlock();
    compute();
    lock.lock();
    busy_ = false;
    wake_.notify_all();
  }
}

}  // namespace fathom
