#include "csi/mount_target.h"

#include <sys/stat.h>

#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::absl::StatusCode;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::TempDir;

mode_t TypeOf(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 ? info.st_mode & S_IFMT : 0;
}

TEST(MountTargetTest, ComesWithItsFolderAndGoesWithoutIt) {
  const std::string folder = TempDir() + "/pod";
  for (const TargetKind kind : {TargetKind::kFolder, TargetKind::kFile}) {
    const std::string target = folder + "/volume";
    for (int i = 0; i < 2; ++i) EXPECT_THAT(MakeTarget(target, kind), IsOk());
    EXPECT_EQ(TypeOf(target), kind == TargetKind::kFile ? S_IFREG : S_IFDIR);
    for (int i = 0; i < 2; ++i) EXPECT_THAT(RemoveTarget(target), IsOk());
    EXPECT_EQ(TypeOf(target), 0u);
    EXPECT_EQ(TypeOf(folder), S_IFDIR);
  }
}

TEST(MountTargetTest, WhatHoldsSomethingStays) {
  const std::string target = TempDir() + "/full";
  ASSERT_THAT(MakeTarget(target, TargetKind::kFolder), IsOk());
  std::ofstream(target + "/file") << "data";
  EXPECT_THAT(RemoveTarget(target),
              StatusIs(StatusCode::kInternal, HasSubstr("/full: ")));
  EXPECT_EQ(TypeOf(target + "/file"), S_IFREG);
  EXPECT_THAT(MakeTarget(target, TargetKind::kFile),
              StatusIs(StatusCode::kInternal, HasSubstr("/full: ")));
  EXPECT_THAT(MakeTarget(TempDir() + "/none/none/target", TargetKind::kFolder),
              StatusIs(StatusCode::kInternal, HasSubstr("/none/none: ")));
}

}  // namespace
}  // namespace ramvol::csi_driver
