#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_line_fixture.h"

namespace ramvol::cli {
namespace {

class WaitCommandTest : public CommandLineTest {};

TEST_F(WaitCommandTest, WaitsForTheServerAndForVolumes) {
  EXPECT_EQ(Run("wait").exit_code, 0);
  const auto late = Run("wait a --within=1ms");
  EXPECT_EQ(late.exit_code, 5);
  EXPECT_EQ(late.err,
            "ramvol: wait: volume \"a\" was not there within 1ms "
            "(DEADLINE_EXCEEDED)\n");
  EXPECT_EQ(Run("wait a --until=gone").exit_code, 0);
  // It comes while it is waited for, and so does the server.
  int asked = 0;
  cli_.server().set_failure(absl::UnavailableError("refused"));
  cli_.context().now = [this, &asked] {
    ++asked;
    if (asked == 2) cli_.server().set_failure(absl::OkStatus());
    if (asked == 3) cli_.AddVolume("a", 4096);
    return absl::UnixEpoch();
  };
  EXPECT_EQ(Run("wait a --within=1h").exit_code, 0);
  EXPECT_EQ(asked, 3);
  cli_.server().stats.set_attached_clients(1);
  cli_.context().now = [this] {
    cli_.server().stats.set_attached_clients(0);
    return absl::UnixEpoch();
  };
  EXPECT_EQ(Run("wait a --until=free").exit_code, 0);
  EXPECT_EQ(Run("wait a").exit_code, 0);
  cli_.server().set_failure(absl::PermissionDeniedError("no"));
  EXPECT_EQ(Run("wait a").exit_code, 1);
  UsageErrorOf("wait a --until=better");
}

}  // namespace
}  // namespace ramvol::cli
