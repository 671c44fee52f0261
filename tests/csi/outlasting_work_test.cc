#include "csi/outlasting_work.h"

#include <future>
#include <string>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "csi/wait_until.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::absl::StatusCode;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

absl::Time Later() { return absl::Now() + absl::Minutes(1); }

TEST(OutlastingWorkTest, SaysWhatTheWorkDid) {
  const OutlastingWork outlasting;
  EXPECT_THAT(
      outlasting.Run("v", [] { return absl::OkStatus(); }, Later()), IsOk());
  EXPECT_THAT(outlasting.Run(
                  "v", [] { return absl::InternalError("full"); }, Later()),
              StatusIs(StatusCode::kInternal, HasSubstr("full")));
}

TEST(OutlastingWorkTest, WaitsNoLongerThanTheDeadline) {
  std::promise<void> server;
  const std::shared_future<void> is_back = server.get_future().share();
  const OutlastingWork outlasting;
  const auto work = [is_back] {
    is_back.wait();
    return absl::OkStatus();
  };
  EXPECT_THAT(outlasting.Run("v", work, absl::Now() + absl::Milliseconds(510)),
              StatusIs(StatusCode::kUnavailable, _));
  // No thread is added to the one that waits, and others go on.
  EXPECT_THAT(outlasting.Run("v", work, Later()),
              StatusIs(StatusCode::kAborted, HasSubstr("\"v\"")));
  EXPECT_THAT(
      outlasting.Run("w", [] { return absl::OkStatus(); }, Later()), IsOk());
  server.set_value();
  EXPECT_TRUE(WaitUntil(
      Later(), [&] { return outlasting.Run("v", work, Later()).ok(); }));
}

}  // namespace
}  // namespace ramvol::csi_driver
