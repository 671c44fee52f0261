#include "csi/loop_devices.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "csi/command.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Finds a device, and lays it over nothing.
class FakeLosetup final : public CommandRunner {
 public:
  explicit FakeLosetup(std::string device) : device_(std::move(device)) {}

  absl::StatusOr<CommandResult> Run(const Command& command,
                                    absl::Time) override {
    ran.push_back(absl::StrJoin(command, " "));
    if (command[1] == "--find") {
      return CommandResult{.exit_code = 0, .output = device_};
    }
    const bool fails = failures_left > 0;
    if (fails) --failures_left;
    return CommandResult{.exit_code = fails ? 1 : 0, .output = "busy"};
  }
  absl::Status Start(const Command&, const std::string&, absl::Time) override {
    return absl::UnimplementedError("not used");
  }

  std::vector<std::string> ran;
  int failures_left = 0;

 private:
  const std::string device_;
};

// Of which neither /dev nor /sys knows.
TEST(LoopDevicesTest, SaysThatADeviceCannotBeReached) {
  FakeLosetup losetup("/dev/loop987654");
  LoopDevices loops(&losetup);
  EXPECT_THAT(loops.Make(::testing::TempDir() + "/file", /*read_only=*/false,
                         absl::InfiniteFuture()),
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(HasSubstr("/dev/loop987654"),
                             HasSubstr("/sys/block/loop987654/dev"),
                             HasSubstr("the node's /dev"))));
  EXPECT_THAT(losetup.ran, ElementsAre("losetup --find"));
}

// Which is free for /sys, and always there for /dev.
constexpr char kFreeDevice[] = "/dev/loop-control";

TEST(LoopDevicesTest, TriesAgainIfAnotherProgramHadTheDevice) {
  FakeLosetup losetup(kFreeDevice);
  losetup.failures_left = 19;
  const absl::StatusOr<std::string> made =
      LoopDevices(&losetup).Make(::testing::TempDir() + "/file",
                                 /*read_only=*/false, absl::InfiniteFuture());
  ASSERT_THAT(made, IsOk());
  EXPECT_EQ(*made, kFreeDevice);
  EXPECT_THAT(losetup.ran, SizeIs(40));
}

TEST(LoopDevicesTest, GivesUpOnAFreeDeviceThatFails) {
  FakeLosetup losetup(kFreeDevice);
  losetup.failures_left = 100;
  EXPECT_THAT(
      LoopDevices(&losetup).Make(::testing::TempDir() + "/file",
                                 /*read_only=*/false, absl::InfiniteFuture()),
      StatusIs(absl::StatusCode::kInternal, HasSubstr("busy")));
  EXPECT_THAT(losetup.ran, SizeIs(40));
}

}  // namespace
}  // namespace ramvol::csi_driver
