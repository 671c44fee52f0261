#include "csi/write_back.h"

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

TEST(SyncTest, SaysWhatCannotBeWritten) {
  const auto is_it = [] { return true; };
  EXPECT_THAT(Sync("/proc", /*is_device=*/false, is_it), IsOk());
  EXPECT_THAT(Sync("/dev/null", /*is_device=*/true, is_it),
              StatusIs(StatusCode::kInternal, HasSubstr("/dev/null")));
  EXPECT_THAT(Sync("/none/here", /*is_device=*/false, is_it),
              StatusIs(StatusCode::kInternal, HasSubstr("/none/here: No")));
}

TEST(SyncTest, SaysThatItOpenedSomethingElse) {
  EXPECT_THAT(Sync("/proc", /*is_device=*/false, [] { return false; }),
              StatusIs(StatusCode::kUnavailable, HasSubstr("unmounted")));
}

}  // namespace
}  // namespace ramvol::csi_driver
