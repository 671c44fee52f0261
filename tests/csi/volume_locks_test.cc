#include "csi/volume_locks.h"

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::HasSubstr;

TEST(VolumeLocksTest, OneCallAtATimeForEachVolume) {
  VolumeLocks locks;
  {
    auto a = locks.Take("a");
    ASSERT_THAT(a, IsOk());
    EXPECT_THAT(locks.Take("a"), StatusIs(absl::StatusCode::kAborted,
                                          HasSubstr("volume \"a\"")));
    EXPECT_THAT(locks.Take("b"), IsOk());
    // Passed on, it stays held.
    const VolumeLocks::Held passed = *std::move(a);
    EXPECT_FALSE(locks.Take("a").ok());
  }
  EXPECT_THAT(locks.Take("a"), IsOk());
}

}  // namespace
}  // namespace ramvol::csi_driver
