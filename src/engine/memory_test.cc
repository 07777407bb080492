#include "engine/memory.h"

#include <gtest/gtest.h>

#include <fstream>

namespace fathom {
namespace {

namespace fs = std::filesystem;

class CgroupMemory : public testing::Test {
 protected:
  CgroupMemory() {
    root_ =
        fs::path(testing::TempDir()) /
        ("memory_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(root_);
  }
  ~CgroupMemory() override { fs::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  // What is left of 1,000 bytes, of which 800 are available: {total, available}.
  std::pair<int64_t, int64_t> left(const std::string& membership) {
    const HostMemory memory = cut_to_cgroups({.total = 1000, .available = 800}, root_, membership);
    return {memory.total, memory.available};
  }
  using Left = std::pair<int64_t, int64_t>;

  fs::path root_;
};

TEST_F(CgroupMemory, NoLimit) {
  EXPECT_EQ(left("0::/\n"), Left(1000, 800));
  write("memory.max", "max\n");
  write("memory.current", "700\n");
  EXPECT_EQ(left("0::/\n"), Left(1000, 800));
}

TEST_F(CgroupMemory, ThePageCacheIsGivenBack) {
  write("memory.max", "500\n");
  write("memory.current", "400\n");
  EXPECT_EQ(left("0::/\n"), Left(500, 100));
  write("memory.stat", "anon 100\nactive_file 120\ninactive_file 80\n");
  EXPECT_EQ(left("0::/\n"), Left(500, 300));
}

// A service of systemd is limited in its own group, not at the root.
TEST_F(CgroupMemory, EveryAncestorCounts) {
  write("system.slice/memory.max", "600\n");
  write("system.slice/memory.current", "550\n");
  write("system.slice/fathom.service/memory.max", "400\n");
  write("system.slice/fathom.service/memory.current", "100\n");
  EXPECT_EQ(left("0::/system.slice/fathom.service\n"), Left(400, 50));
  EXPECT_EQ(left("0::/elsewhere\n"), Left(1000, 800));
}

TEST_F(CgroupMemory, Version1) {
  write("memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("memory/docker/x/memory.limit_in_bytes", "300\n");
  write("memory/docker/x/memory.usage_in_bytes", "250\n");
  EXPECT_EQ(left("4:memory:/docker/x\n3:cpu,cpuacct:/y\n"), Left(300, 50));
  write("memory/docker/x/memory.stat",
        "active_file 1\ninactive_file 2\ntotal_active_file 40\ntotal_inactive_file 60\n");
  EXPECT_EQ(left("4:memory:/docker/x\n3:cpu,cpuacct:/y\n"), Left(300, 150));
}

}  // namespace
}  // namespace fathom
