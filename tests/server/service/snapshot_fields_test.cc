#include "server/service/snapshot_fields.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/types/options.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::IsInvalidField;
using ::ramvol::testing::IsOk;

TEST(SnapshotNameTest, MayBeginWithAnAt) {
  EXPECT_TRUE(NamesSnapshot("@monday"));
  EXPECT_FALSE(NamesSnapshot("monday"));
  EXPECT_FALSE(NamesSnapshot(""));
  EXPECT_EQ(BareName("@monday"), "monday");
  EXPECT_EQ(BareName("monday"), "monday");
}

TEST(ChooseNameTest, HasTheVolumeAndTheTime) {
  const absl::Time now = absl::FromUnixSeconds(1769903999);
  EXPECT_EQ(ChooseName("disk", now, 1), "disk-20260131-235959");
  EXPECT_EQ(ChooseName("disk", now, 12), "disk-20260131-235959-12");
}

TEST(ChooseNameTest, IsAlwaysAName) {
  std::string longest(63, '.');
  longest.front() = longest.back() = 'v';
  EXPECT_THAT(engine::ValidateName(longest), IsOk());
  EXPECT_THAT(engine::ValidateName(ChooseName(longest, absl::Now(), 99999)),
              IsOk());
}

TEST(CheckCreateSnapshotsTest, BoundsTheirNumber) {
  v1::CreateSnapshotsRequest request;
  EXPECT_THAT(CheckCreateSnapshots(request), IsInvalidField("snapshots"));
  for (int i = 0; i < kMaxSnapshotsAtOnce; ++i) {
    request.add_snapshots()->set_volume(absl::StrCat("v", i));
  }
  EXPECT_THAT(CheckCreateSnapshots(request), IsOk());
  request.add_snapshots()->set_volume("more");
  EXPECT_THAT(CheckCreateSnapshots(request), IsInvalidField("snapshots"));
}

TEST(CheckCreateSnapshotsTest, ChecksEachOne) {
  v1::CreateSnapshotsRequest request;
  v1::CreateSnapshotRequest& one = *request.add_snapshots();
  EXPECT_THAT(CheckCreateSnapshots(request), IsInvalidField("volume"));
  one.set_volume("disk");
  one.set_name("@monday");
  EXPECT_THAT(CheckCreateSnapshots(request), IsOk());
  one.set_name("@@monday");
  EXPECT_THAT(CheckCreateSnapshots(request), IsInvalidField("name"));
  one.set_name("");
  (*one.mutable_labels())["Bad Key"] = "x";
  EXPECT_THAT(CheckCreateSnapshots(request), IsInvalidField("labels"));
  one.clear_labels();
  one.set_request_id("its own");
  EXPECT_THAT(CheckCreateSnapshots(request), IsInvalidField("snapshots"));
  one.clear_request_id();
  request.set_request_id(std::string(129, 'x'));
  EXPECT_THAT(CheckCreateSnapshots(request), IsInvalidField("request_id"));
}

}  // namespace
}  // namespace ramvol::service
