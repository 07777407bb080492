#include "device/measure_machine.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

// Speeds depend on the machine: only what no machine of our kind could miss.
TEST(MeasureMachine, GivesPlausibleNumbers) {
  auto exec = Exec::create({.threads = 2, .cores = {}});
  const Result<MachineLimits> limits = measure_machine(*exec);
  ASSERT_TRUE(limits.has_value());
  EXPECT_GT(limits->read_bytes_per_second, 1e7);
  EXPECT_LT(limits->read_bytes_per_second, 1e13);
  EXPECT_GT(limits->fma_flops_per_second, 1e7);
  EXPECT_LT(limits->fma_flops_per_second, 1e14);
  RecordProperty("read_GB_per_s", static_cast<int>(limits->read_bytes_per_second / 1e9));
  RecordProperty("fma_GFLOPS", static_cast<int>(limits->fma_flops_per_second / 1e9));
}

}  // namespace
}  // namespace fathom
