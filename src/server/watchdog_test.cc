#include "server/watchdog.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

EngineStats at(int64_t steps, int32_t running) {
  EngineStats stats;
  stats.steps = steps;
  stats.running = running;
  return stats;
}

TEST(Watchdog, OnlyStandingStillWithWorkCounts) {
  Watchdog watchdog(10);
  EXPECT_FALSE(watchdog.stuck(at(5, 0), 0));
  EXPECT_FALSE(watchdog.stuck(at(5, 0), 1000)) << "idle";
  EXPECT_FALSE(watchdog.stuck(at(5, 1), 1009));
  EXPECT_FALSE(watchdog.stuck(at(6, 1), 1018)) << "a step was made";
  EXPECT_FALSE(watchdog.stuck(at(6, 1), 1028));
  EXPECT_TRUE(watchdog.stuck(at(6, 1), 1029));
}

TEST(Watchdog, ZeroIsNever) {
  Watchdog watchdog(0);
  watchdog.stuck(at(1, 1), 0);
  EXPECT_FALSE(watchdog.stuck(at(1, 1), 1e9));
}

}  // namespace
}  // namespace fathom
