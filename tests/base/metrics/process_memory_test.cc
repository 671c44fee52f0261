#include "base/metrics/process_memory.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace ramvol::metrics {
namespace {

// A made-up /proc and /sys.
class AvailableMemoryTest : public ::testing::Test {
 protected:
  AvailableMemoryTest() {
    Put("/proc/meminfo", "MemTotal:        8000000 kB\nMemFree:  1 kB\n");
  }
  void Put(const std::string& path, const std::string& content) {
    const std::filesystem::path full = root_ + path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << content;
  }

  const testing::TempDir temp_;
  const std::string root_ = temp_.path();
};

constexpr uint64_t kRam = uint64_t{8000000} * 1024;

TEST_F(AvailableMemoryTest, WithoutCgroupsIsRam) {
  EXPECT_EQ(AvailableMemoryBytes(root_), kRam);
  Put("/proc/self/cgroup", "0::/\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), kRam);
}

TEST_F(AvailableMemoryTest, TakesTheLeastOfTheGroupAndItsParents) {
  Put("/proc/self/cgroup", "0::/a/b\n");
  Put("/sys/fs/cgroup/a/b/memory.max", "max\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), kRam);
  Put("/sys/fs/cgroup/a/memory.max", "1000000\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), 1000000);
  Put("/sys/fs/cgroup/a/b/memory.max", "900000\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), 900000);
}

TEST_F(AvailableMemoryTest, InAContainerTheMountItselfCounts) {
  Put("/proc/self/cgroup", "0::/host/path/not/seen/here\n");
  Put("/sys/fs/cgroup/memory.max", "12345\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), 12345);
}

TEST_F(AvailableMemoryTest, ReadsVersionOne) {
  Put("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/x\n");
  Put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "777\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), 777);
  // Version one's "no limit".
  Put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(AvailableMemoryBytes(root_), kRam);
}

TEST_F(AvailableMemoryTest, UnknownIsSaid) {
  EXPECT_EQ(AvailableMemoryBytes(root_ + "/nowhere"), std::nullopt);
}

TEST(ResidentBytesTest, IsThisProcess) {
  EXPECT_GT(ResidentBytes(), 100000);
  EXPECT_GT(AvailableMemoryBytes().value(), ResidentBytes());
}

}  // namespace
}  // namespace ramvol::metrics
