#include "csi/stopped_file_system.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "csi/mounter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::ramvol::testing::IsOk;

class StoppedFileSystemTest : public ::testing::Test {
 protected:
  // What the kernel counts for a file system of /dev/nbd3.
  void SetErrors(const std::string& count) const {
    const std::string folder = sys_ + "/fs/ext4/nbd3";
    std::filesystem::create_directories(folder);
    std::ofstream(folder + "/errors_count") << count << '\n';
  }
  bool MayHave(const Mount& mount) const { return MayHaveStopped(mount, sys_); }

  const std::string sys_ = ::testing::TempDir() + "/sys";
  Mount mount_ = {.target = ::testing::TempDir(),
                  .root = "/",
                  .fs_type = "ext4",
                  .source = "/dev/nbd3",
                  .read_only = false,
                  .stopped = false};
};

TEST_F(StoppedFileSystemTest, Ext4CountsItsErrors) {
  EXPECT_FALSE(MayHave(mount_));
  SetErrors("0");
  EXPECT_FALSE(MayHave(mount_));
  SetErrors("12");
  EXPECT_TRUE(MayHave(mount_));
  mount_.source = "/dev/nbd4";
  EXPECT_FALSE(MayHave(mount_));
}

TEST_F(StoppedFileSystemTest, TheOptionsOfTheMountTell) {
  mount_.stopped = true;
  EXPECT_TRUE(MayHave(mount_));
  mount_.fs_type = "btrfs";
  EXPECT_TRUE(MayHave(mount_));
}

TEST_F(StoppedFileSystemTest, NobodyWritesWhereNobodyMay) {
  SetErrors("12");
  mount_.read_only = true;
  EXPECT_FALSE(MayHave(mount_));
}

TEST_F(StoppedFileSystemTest, AFolderThatIsMissingOrOpensIsNoSign) {
  mount_.fs_type = "xfs";
  EXPECT_FALSE(MayHave(mount_));
  mount_.target = "/none/here";
  EXPECT_FALSE(MayHave(mount_));
}

// Of one that has stopped, csi_restart_test makes the error.
TEST_F(StoppedFileSystemTest, WhatSaysNothingOfErrorsWrites) {
  EXPECT_THAT(CheckWrites(::testing::TempDir()), IsOk());
  EXPECT_THAT(CheckWrites("/proc"), IsOk());
  EXPECT_THAT(CheckWrites("/none/here"), IsOk());
}

}  // namespace
}  // namespace ramvol::csi_driver
