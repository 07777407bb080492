#include "device/exec.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <xmmintrin.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "device/cores.h"

namespace fathom {
namespace {

class Team : public testing::TestWithParam<int> {
 protected:
  std::unique_ptr<Exec> exec_ = Exec::create({.threads = GetParam(), .cores = {}});
};

TEST_P(Team, EveryUnitOnceInFewPieces) {
  for (const int64_t units : {0, 1, 2, 3, 5, 64, 1001}) {
    for (int round = 0; round < 50; ++round) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(units));
      std::atomic<int> calls = 0;
      exec_->parallel(units, [&](Range r, int) {
        ++calls;
        for (int64_t i = r.begin; i < r.end; ++i) ++seen[static_cast<size_t>(i)];
      });
      for (const auto& count : seen) EXPECT_EQ(count, 1);
      // A piece holds an eighth of a share, or is the rest of a range that another piece was cut from.
      EXPECT_LE(calls, std::min<int64_t>(units, 2 * 8 * GetParam()));
    }
  }
}

// One thread that cannot go on delays only the piece that it holds.
TEST_P(Team, OthersTakeOverFromASlowThread) {
  if (GetParam() == 1) return;
  std::atomic<int> done = 0;
  std::atomic<bool> late = false;
  exec_->parallel(1000, [&](Range r, int thread) {
    if (thread == 0 && r.begin == 0) {
      // Half of the share of thread 0 is here; the others must do all of the rest meanwhile. The limit
      // is there so that a team that cannot do this fails instead of hanging; no machine is so slow.
      const auto limit = std::chrono::steady_clock::now() + std::chrono::minutes(2);
      while (done < 1000 - r.size() && std::chrono::steady_clock::now() < limit) {
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
      late = done < 1000 - r.size();
    }
    done += static_cast<int>(r.size());
  });
  EXPECT_EQ(done, 1000);
  EXPECT_FALSE(late);
}

TEST_P(Team, AnExceptionReachesTheCallerOnceAllAreDone) {
  for (int64_t bad = 0; bad < 8; ++bad) {
    std::atomic<int> inside = 0;
    auto body = [&](Range r, int) {
      ++inside;
      for (int64_t i = r.begin; i < r.end; ++i) {
        if (i == bad) {
          --inside;
          throw std::runtime_error("unit " + std::to_string(i));
        }
      }
      --inside;
    };
    EXPECT_THROW(exec_->parallel(8, body), std::runtime_error);
    EXPECT_EQ(inside, 0);
    EXPECT_THROW(exec_->parallel_dynamic(8, 1, body), std::runtime_error);
    EXPECT_EQ(inside, 0);
  }
  // Nothing is left over from the units that were not done.
  std::atomic<int64_t> sum = 0;
  EXPECT_THROW(exec_->parallel(1000, [](Range, int) { throw std::runtime_error("all"); }),
               std::runtime_error);
  exec_->parallel(100, [&](Range r, int) { sum += r.size(); });
  EXPECT_EQ(sum, 100);
}

TEST_P(Team, EveryUnitOnceWhenSharedDynamically) {
  for (const int64_t grain : {1, 3, 100}) {
    std::vector<std::atomic<int>> seen(257);
    exec_->parallel_dynamic(257, grain, [&](Range r, int) {
      if (GetParam() > 1) {  // a team of one takes all at once
        EXPECT_LE(r.size(), grain);
      }
      for (int64_t i = r.begin; i < r.end; ++i) ++seen[static_cast<size_t>(i)];
    });
    for (const auto& count : seen) EXPECT_EQ(count, 1);
  }
}

TEST_P(Team, ThreadNumbersAreUniqueAtAnyMoment) {
  std::vector<std::atomic<int>> busy(static_cast<size_t>(GetParam()));
  exec_->parallel_dynamic(500, 1, [&](Range, int thread) {
    EXPECT_EQ(busy[static_cast<size_t>(thread)]++, 0);
    busy[static_cast<size_t>(thread)]--;
  });
}

// What one run wrote, the next run and the caller see; also over pauses long enough to sleep.
TEST_P(Team, RunsFollowEachOther) {
  std::vector<int64_t> values(300, 0);
  for (int round = 0; round < 2000; ++round) {
    if (round % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    exec_->parallel(300, [&](Range r, int) {
      for (int64_t i = r.begin; i < r.end; ++i) {
        values[static_cast<size_t>(i)] += 1;
      }
    });
  }
  for (const int64_t v : values) EXPECT_EQ(v, 2000);
}

TEST_P(Team, DenormalsAreFlushedInsideAndRestoredOutside) {
  const unsigned before = _mm_getcsr();
  std::atomic<int> wrong = 0;
  exec_->parallel(64, [&](Range, int) { wrong += (_mm_getcsr() & 0x8040) != 0x8040; });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(_mm_getcsr(), before);
}

TEST_P(Team, IdleUsesNoCpu) {
  exec_->parallel(64, [](Range, int) {});
  const auto used = [] {
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  // Threads spin for a while before they sleep, longer where they get little time: the last of many
  // windows counts. A thread that never slept would use all of 0.2 s in each, or its share of a busy machine.
  double spent = 1;
  for (int window = 0; window < 100 && spent >= 0.01; ++window) {
    const double before = used();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    spent = used() - before;
  }
  EXPECT_LT(spent, 0.01);
}

INSTANTIATE_TEST_SUITE_P(Threads, Team, testing::Values(1, 2, 3, 4, 7));

TEST(TeamSize, ZeroMeansWhatTheProcessMayUse) {
  EXPECT_EQ(Exec::create({.threads = 0, .cores = {}})->threads(), usable_core_count());
  EXPECT_LE(usable_core_count(), static_cast<int>(usable_cores().size()));
}

}  // namespace
}  // namespace fathom
