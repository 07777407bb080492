#include "device/cores.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

namespace fathom {
namespace {

namespace fs = std::filesystem;

class Quota : public testing::Test {
 protected:
  Quota() {
    root_ = fs::path(testing::TempDir()) /
            ("quota_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(root_);
  }
  ~Quota() override { fs::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  double quota(const std::string& membership) { return cgroup_cpu_quota(root_, membership); }

  fs::path root_;
};

TEST_F(Quota, NoneWhereNothingIsSaid) {
  EXPECT_TRUE(std::isinf(quota("0::/\n")));
  write("cpu.max", "max 100000\n");
  EXPECT_TRUE(std::isinf(quota("0::/\n")));
}

TEST_F(Quota, Version2) {
  write("cpu.max", "150000 100000\n");
  EXPECT_DOUBLE_EQ(quota("0::/\n"), 1.5);
}

TEST_F(Quota, TheTightestOfAllAncestorsCounts) {
  write("cpu.max", "max 100000\n");
  write("pods/cpu.max", "200000 100000\n");
  write("pods/mine/cpu.max", "400000 100000\n");
  EXPECT_DOUBLE_EQ(quota("0::/pods/mine\n"), 2);
  // In a namespace of its own the path may lead nowhere: the root still counts.
  write("cpu.max", "300000 100000\n");
  EXPECT_DOUBLE_EQ(quota("0::/elsewhere\n"), 3);
}

TEST_F(Quota, Version1) {
  write("cpu/cpu.cfs_quota_us", "-1\n");
  write("cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_TRUE(std::isinf(quota("3:cpu,cpuacct:/\n")));
  write("cpu/docker/x/cpu.cfs_quota_us", "250000\n");
  write("cpu/docker/x/cpu.cfs_period_us", "100000\n");
  EXPECT_DOUBLE_EQ(quota("4:memory:/y\n3:cpu,cpuacct:/docker/x\n"), 2.5);
}

TEST_F(Quota, NonsenseIsNoQuota) {
  write("cpu.max", "banana\n");
  EXPECT_TRUE(std::isinf(quota("garbage")));
  write("cpu.max", "100000 0\n");
  EXPECT_TRUE(std::isinf(quota("")));
}

}  // namespace
}  // namespace fathom
