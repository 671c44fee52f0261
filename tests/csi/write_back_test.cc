#include "csi/write_back.h"

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

TEST(WriteBackTest, SaysWhatTheWorkDid) {
  const WriteBack write_back;
  EXPECT_THAT(
      write_back.Run("v", [] { return absl::OkStatus(); }, Later()), IsOk());
  EXPECT_THAT(write_back.Run(
                  "v", [] { return absl::InternalError("full"); }, Later()),
              StatusIs(StatusCode::kInternal, HasSubstr("full")));
}

TEST(WriteBackTest, WaitsNoLongerThanTheDeadline) {
  std::promise<void> server;
  const std::shared_future<void> is_back = server.get_future().share();
  const WriteBack write_back;
  const auto work = [is_back] {
    is_back.wait();
    return absl::OkStatus();
  };
  EXPECT_THAT(write_back.Run("v", work, absl::Now() + absl::Milliseconds(10)),
              StatusIs(StatusCode::kUnavailable, _));
  // No thread is added to the one that waits, and others go on.
  EXPECT_THAT(write_back.Run("v", work, Later()),
              StatusIs(StatusCode::kAborted, HasSubstr("\"v\"")));
  EXPECT_THAT(
      write_back.Run("w", [] { return absl::OkStatus(); }, Later()), IsOk());
  server.set_value();
  EXPECT_TRUE(WaitUntil(
      Later(), [&] { return write_back.Run("v", work, Later()).ok(); }));
}

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
