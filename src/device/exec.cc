#include "device/exec.h"

#include <fmt/format.h>
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "device/cores.h"

namespace fathom {
namespace {

// Denormal operands make an FMA loop several times slower. Every kernel runs with flush-to-zero and
// denormals-are-zero, on every thread, so that a result does not depend on who computed it (but
// matmul_f8 of avx2.cc, whose weights may be denormal).
class FlushDenormals {
 public:
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(saved_); }
  FlushDenormals(const FlushDenormals&) = delete;

 private:
  unsigned saved_;
};

// How long a thread polls before it sleeps. Steps follow each other within microseconds while
// requests run; an idle server must use no CPU.
constexpr int kSpins = 4000;

// A thread's share is cut into about this many pieces that others may take over, because cores of
// equal rank are not equally fast at every moment. More pieces would cut the long streams that
// kernels read memory in.
constexpr int kPieces = 8;

// What is left of one thread's units. Its owner takes from the front, others from the back, each
// time half of what is left. Units are never put back, so that a range that was read and is still
// there has not changed meanwhile.
class alignas(64) Share {
 public:
  static constexpr int64_t kMost = 0xffffffff;

  // Before the task begins; and by the owner, when nothing is left or nothing more shall be done.
  void set(Range r) { left_.store(pack(r), std::memory_order_relaxed); }
  // At least `least` units, or all that are left.
  Range take_front(int64_t least) { return take(least, true); }
  Range take_back(int64_t least) { return take(least, false); }

 private:
  static uint64_t pack(Range r) {
    return static_cast<uint64_t>(r.begin) << 32 | static_cast<uint64_t>(r.end);
  }

  Range take(int64_t least, bool front) {
    uint64_t seen = left_.load(std::memory_order_relaxed);
    for (;;) {
      const Range left{static_cast<int64_t>(seen >> 32), static_cast<int64_t>(seen & 0xffffffff)};
      if (left.size() == 0) return {};
      const int64_t n = std::min(left.size(), std::max(least, left.size() / 2));
      const int64_t cut = front ? left.begin + n : left.end - n;
      const Range before{left.begin, cut};
      const Range after{cut, left.end};
      if (left_.compare_exchange_weak(seen, pack(front ? after : before),
                                      std::memory_order_relaxed)) {
        return front ? before : after;
      }
    }
  }

  std::atomic<uint64_t> left_{0};
};

class Team final : public Exec {
 public:
  explicit Team(const Options& options) {
    const std::vector<int> allowed = usable_cores();
    const int count = options.threads > 0 ? options.threads : usable_core_count();
    cores_.assign(options.cores.begin(), options.cores.end());
    threads_ = std::max(1, count);
    // Spinning on a core that another member needs only delays it.
    spins_ = threads_ <= static_cast<int>(allowed.size()) ? kSpins : 0;
    shares_ = std::vector<Share>(static_cast<size_t>(threads_));
    try {
      for (int i = 1; i < threads_; ++i) workers_.emplace_back([this, i] { work(i); });
    } catch (const std::exception& error) {
      stop();
      throw std::runtime_error(fmt::format("Only {} of {} threads could be started: {}",
                                           workers_.size() + 1, threads_, error.what()));
    }
  }
  ~Team() override { stop(); }

  int threads() const override { return threads_; }

  void run(int64_t units, Kernel fn, void* context) override {
    start({.fn = fn, .context = context, .units = units, .grain = 0});
  }

  void run_dynamic(int64_t units, int64_t grain, Kernel fn, void* context) override {
    start({.fn = fn, .context = context, .units = units, .grain = std::max<int64_t>(grain, 1)});
  }

 private:
  struct Task {
    Kernel fn = nullptr;
    void* context = nullptr;
    int64_t units = 0;
    int64_t grain = 0;  // 0: a share for each thread
  };

  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void start(const Task& task) {
    if (task.units <= 0) return;
    const FlushDenormals flush;
    if (threads_ == 1 || task.units == 1) {
      task.fn(task.context, {0, task.units}, 0);
      return;
    }
    task_ = task;
    if (task.grain == 0 && task.units <= Share::kMost) deal_out(task.units);
    next_.store(0, std::memory_order_relaxed);
    pending_.store(threads_ - 1, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_seq_cst);
    if (sleeping_.load(std::memory_order_seq_cst) > 0) {
      std::lock_guard lock(mutex_);
      wake_.notify_all();
    }
    execute(0);
    for (int spin = 0; pending_.load(std::memory_order_acquire) > 0; ++spin) {
      if (spin < spins_) {
        _mm_pause();
      } else {
        std::this_thread::yield();
      }
    }
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

  Range share_of(int thread, int64_t units) const {
    return {units * thread / threads_, units * (thread + 1) / threads_};
  }

  // Not left to each thread: the share of one that is late to begin could not be taken over.
  void deal_out(int64_t units) {
    for (int i = 0; i < threads_; ++i) shares_[static_cast<size_t>(i)].set(share_of(i, units));
  }

  // The others may still be at work on the task's context: nobody leaves it early.
  void execute(int thread) noexcept {
    try {
      execute_share(thread);
    } catch (...) {
      shares_[static_cast<size_t>(thread)].set({});  // the next task must not find the rest
      std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }

  void execute_share(int thread) {
    const Task& task = task_;
    if (task.grain == 0) return execute_own_then_others(task, thread);
    for (;;) {
      const int64_t begin = next_.fetch_add(task.grain, std::memory_order_relaxed);
      if (begin >= task.units) return;
      task.fn(task.context, {begin, std::min(begin + task.grain, task.units)}, thread);
    }
  }

  void execute_own_then_others(const Task& task, int thread) {
    if (task.units > Share::kMost) {  // bytes to fill, say: nothing that is waited for
      const Range own = share_of(thread, task.units);
      if (own.size() > 0) task.fn(task.context, own, thread);
      return;
    }
    const int64_t least = std::max<int64_t>(1, task.units / (threads_ * kPieces));
    Share& share = shares_[static_cast<size_t>(thread)];
    for (;;) {
      for (Range piece = share.take_front(least); piece.size() > 0;
           piece = share.take_front(least)) {
        task.fn(task.context, piece, thread);
      }
      Range stolen;
      for (int k = 1; k < threads_ && stolen.size() == 0; ++k) {
        stolen = shares_[static_cast<size_t>((thread + k) % threads_)].take_back(least);
      }
      if (stolen.size() == 0) return;
      share.set(stolen);
    }
  }

  void work(int thread) {
    if (!cores_.empty()) pin_this_thread(cores_[static_cast<size_t>(thread) % cores_.size()]);
    const FlushDenormals flush;
    uint64_t seen = 0;
    for (;;) {
      seen = wait_for_task(seen);
      if (stopping_.load(std::memory_order_acquire)) return;
      execute(thread);
      pending_.fetch_sub(1, std::memory_order_release);
    }
  }

  uint64_t wait_for_task(uint64_t seen) {
    for (int spin = 0; spin < spins_; ++spin) {
      const uint64_t now = generation_.load(std::memory_order_acquire);
      if (now != seen) return now;
      _mm_pause();
    }
    std::unique_lock lock(mutex_);
    sleeping_.fetch_add(1, std::memory_order_seq_cst);
    wake_.wait(lock, [&] { return generation_.load(std::memory_order_seq_cst) != seen; });
    sleeping_.fetch_sub(1, std::memory_order_seq_cst);
    return generation_.load(std::memory_order_acquire);
  }

  int threads_ = 1;
  int spins_ = kSpins;
  std::vector<int> cores_;
  std::vector<std::thread> workers_;
  Task task_;
  std::vector<Share> shares_;   // per thread, of a task without grain
  std::exception_ptr failure_;  // the first of this task
  alignas(64) std::atomic<uint64_t> generation_{0};
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<int> pending_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace

std::unique_ptr<Exec> Exec::create(const Options& options) {
  return std::make_unique<Team>(options);
}

}  // namespace fathom
