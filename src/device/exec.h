// The one driver that threads every kernel: a persistent team of pinned workers.
//
// Kernels know no threads: they compute a range of work units. A unit's result must not depend on
// how units are grouped or who computes them (row purity), so any team size gives the same bits.
// One thread (the rank's) calls run(); it takes part in the work and returns when all is done.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"

namespace fathom {

// Half-open range of work units.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

class Exec {
 public:
  struct Options {
    int threads = 0;             // 0: all cores this process may use (affinity and cgroup quota)
    std::span<const int> cores;  // pin thread i to cores[i]; empty: do not pin
  };
  static std::unique_ptr<Exec> create(const Options& options);
  virtual ~Exec() = default;

  virtual int threads() const = 0;

  // Calls fn(context, range, thread) on the team until [0, units) is covered, each unit once. The
  // first exception that a share throws is thrown here, after all threads are done.
  // Each thread has a contiguous, proportional share, so that a core reads its own part of a
  // weight, and takes it in a few pieces from the front; one that is done helps others from the
  // back. thread is in [0, threads()) and unique among concurrent calls: index per-thread scratch
  // by it.
  using Kernel = void (*)(void* context, Range range, int thread);
  virtual void run(int64_t units, Kernel fn, void* context) = 0;

  // As run, but units are handed out in order, `grain` at a time: for uneven work.
  virtual void run_dynamic(int64_t units, int64_t grain, Kernel fn, void* context) = 0;

  template <class F>
  void parallel(int64_t units, F&& body) {
    run(
        units,
        [](void* c, Range r, int t) { (*static_cast<std::remove_reference_t<F>*>(c))(r, t); },
        &body);
  }
  template <class F>
  void parallel_dynamic(int64_t units, int64_t grain, F&& body) {
    run_dynamic(
        units, grain,
        [](void* c, Range r, int t) { (*static_cast<std::remove_reference_t<F>*>(c))(r, t); },
        &body);
  }
};

}  // namespace fathom
