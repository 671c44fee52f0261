#include "csi/mounter.h"

#include <cstddef>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::csi_driver {
namespace {

constexpr char kMountinfo[] =
    "21 20 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n"
    "36 21 7:3 / /stage rw,relatime shared:1 master:2 - ext4 /dev/loop3 rw\n"
    "37 21 7:3 / /pod/with\\040space ro,relatime - ext4 /dev/loop3 rw\n"
    "38 21 0:6 /loop4 /block rw,nosuid - devtmpfs devtmpfs rw,mode=755\n"
    "no mount\n"
    "39 21 0:50 / /last rw - tmpfs\n";

TEST(ParseMountsTest, ReadsWhatTheKernelWrites) {
  const std::vector<Mount> mounts = ParseMounts(kMountinfo);
  ASSERT_EQ(mounts.size(), 4);
  EXPECT_EQ(mounts[1].target, "/stage");
  EXPECT_EQ(mounts[1].fs_type, "ext4");
  EXPECT_EQ(mounts[1].source, "/dev/loop3");
  EXPECT_FALSE(mounts[1].read_only);
  EXPECT_EQ(mounts[2].target, "/pod/with space");
  EXPECT_TRUE(mounts[2].read_only);
  EXPECT_EQ(mounts[3].root, "/loop4");
}

TEST(ParseMountsTest, KnowsWhichDeviceIsMounted) {
  const std::vector<Mount> mounts = ParseMounts(kMountinfo);
  EXPECT_TRUE(mounts[1].Holds("/dev/loop3"));
  EXPECT_FALSE(mounts[1].Holds("/dev/loop33"));
  EXPECT_FALSE(mounts[1].Holds(""));
  EXPECT_TRUE(mounts[3].Holds("/dev/loop4"));
  EXPECT_FALSE(mounts[3].Holds("/dev/loop3"));
  EXPECT_FALSE(mounts[0].Holds("/dev/loop3"));
}

// A device that every machine has stands for one with blocks.
TEST(ParseMountsTest, KnowsADeviceWhereDevIsAnyTmpfs) {
  const std::vector<Mount> mounts = ParseMounts(
      "38 21 0:99 /loop4 /dev/null rw - tmpfs tmpfs rw\n"
      "39 21 0:99 / /dev rw - tmpfs tmpfs rw\n"
      "40 21 0:98 /loop4 /dev/null rw - nfs server:/ rw\n");
  ASSERT_EQ(mounts.size(), 3);
  EXPECT_TRUE(mounts[0].Holds("/dev/null"));
  EXPECT_TRUE(mounts[0].Holds("/dev/../dev/null"));
  EXPECT_FALSE(mounts[0].Holds("/dev/zero"));
  EXPECT_FALSE(mounts[0].Holds("/dev/loop4"));
  EXPECT_FALSE(mounts[0].Holds("/none"));
  EXPECT_FALSE(mounts[0].Holds(""));
  EXPECT_FALSE(mounts[1].Holds("/dev/null"));
  EXPECT_FALSE(mounts[1].Holds("/dev"));
  EXPECT_FALSE(mounts[2].Holds("/dev/null"));
}

TEST(ParseMountsTest, KnowsAFileSystemThatHasStopped) {
  const std::vector<Mount> mounts = ParseMounts(
      "36 21 7:3 / /s rw - ext4 /dev/loop3 ro,discard\n"
      "36 21 7:3 / /s rw - ext4 /dev/loop3 rw,emergency_ro\n"
      "36 21 7:3 / /s rw - ext4 /dev/loop3 rw,shutdown,discard\n"
      "36 21 7:3 / /s ro - ext4 /dev/loop3 ro\n"
      "36 21 7:3 / /s rw,errors=ro - ext4 /dev/loop3 rw,errors=remount-ro\n");
  ASSERT_EQ(mounts.size(), 5);
  for (size_t i = 0; i < mounts.size(); ++i) {
    EXPECT_EQ(mounts[i].stopped, i < 3) << i;
  }
}

TEST(ParseMountsTest, NothingIsNothing) {
  EXPECT_TRUE(ParseMounts("").empty());
  EXPECT_TRUE(ParseMounts(" - - - \n\n").empty());
}

// A read that fails ends no call with an exception.
TEST(MounterTest, WhatCannotBeReadIsNothing) {
  for (const char* path : {"/", "/none", "/proc/self/mem"}) {
    EXPECT_TRUE(Mounter(nullptr, path).List().empty()) << path;
  }
}

}  // namespace
}  // namespace ramvol::csi_driver
