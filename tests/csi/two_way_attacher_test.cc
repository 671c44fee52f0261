#include "csi/two_way_attacher.h"

#include <sys/stat.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/csi/fake_node.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::ramvol::testing::IsOk;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr absl::Time kLater = absl::InfiniteFuture();

std::unique_ptr<FakeAttacher> NewAttacher(const std::string& way) {
  const std::string folder = absl::StrCat(getenv("TEST_TMPDIR"), "/", way);
  mkdir(folder.c_str(), 0700);
  return std::make_unique<FakeAttacher>(folder);
}

class TwoWayAttacherTest : public ::testing::Test {
 protected:
  TwoWayAttacherTest() {
    auto earlier = NewAttacher("earlier");
    earlier_ = earlier.get();
    EXPECT_THAT(earlier->Attach({.name = "old", .uid = "1"}, kLater), IsOk());
    auto present = NewAttacher("present");
    present_ = present.get();
    attacher_ = std::make_unique<TwoWayAttacher>(std::move(present),
                                                 std::move(earlier));
  }
  std::string Attach(const std::string& name, const std::string& uid) {
    const auto device = attacher_->Attach({.name = name, .uid = uid}, kLater);
    EXPECT_THAT(device, IsOk());
    return device.value_or("");
  }

  FakeAttacher* earlier_;
  FakeAttacher* present_;
  std::unique_ptr<TwoWayAttacher> attacher_;
};

TEST_F(TwoWayAttacherTest, WhatIsAttachedStaysInItsWay) {
  EXPECT_THAT(Attach("old", "1"), HasSubstr("/earlier/"));
  EXPECT_THAT(Attach("new", "2"), HasSubstr("/present/"));
  ASSERT_THAT(attacher_->List(), SizeIs(2));
  EXPECT_THAT(present_->List(), SizeIs(1));
  EXPECT_THAT(attacher_->Grow(*attacher_->Find("old"), 10), IsOk());
  EXPECT_THAT(attacher_->Grow(*attacher_->Find("new"), 20), IsOk());
  EXPECT_EQ(earlier_->grown_bytes(), 10);
  EXPECT_EQ(present_->grown_bytes(), 20);
  EXPECT_THAT(attacher_->Detach("new", kLater), IsOk());
  EXPECT_THAT(attacher_->Detach("old", kLater), IsOk());
  EXPECT_THAT(attacher_->List(), IsEmpty());
  EXPECT_THAT(Attach("old", "1"), HasSubstr("/present/"));
}

TEST_F(TwoWayAttacherTest, TheDeviceThatAttachKeepsIsFoundFirst) {
  ASSERT_THAT(present_->Attach({.name = "old", .uid = "1"}, kLater), IsOk());
  ASSERT_THAT(attacher_->List(), SizeIs(2));
  const auto found = attacher_->Find("old");
  ASSERT_TRUE(found.has_value());
  EXPECT_THAT(found->device, HasSubstr("/earlier/"));
  EXPECT_EQ(Attach("old", "1"), found->device);
}

TEST_F(TwoWayAttacherTest, ADeadDeviceIsReplacedInThePresentWay) {
  earlier_->Kill("old");
  // As long as it is in use.
  earlier_->FailWith(absl::FailedPreconditionError("mounted"));
  EXPECT_THAT(attacher_->Attach({.name = "old", .uid = "1"}, kLater),
              Not(IsOk()));
  EXPECT_THAT(present_->List(), IsEmpty());
  earlier_->FailWith(absl::OkStatus());
  EXPECT_THAT(Attach("old", "1"), HasSubstr("/present/"));
  EXPECT_THAT(earlier_->List(), IsEmpty());
}

TEST_F(TwoWayAttacherTest, TheDeviceOfAnEarlierVolumeIsReplaced) {
  EXPECT_THAT(Attach("old", "2"), HasSubstr("/present/"));
  EXPECT_THAT(earlier_->List(), IsEmpty());
}

}  // namespace
}  // namespace ramvol::csi_driver
