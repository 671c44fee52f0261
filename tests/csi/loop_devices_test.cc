#include "csi/loop_devices.h"

#include <string>
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

using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Finds a device of which neither /dev nor /sys knows.
class FakeLosetup final : public CommandRunner {
 public:
  absl::StatusOr<CommandResult> Run(const Command& command,
                                    absl::Time) override {
    ran.push_back(absl::StrJoin(command, " "));
    return CommandResult{.exit_code = 0, .output = "/dev/loop987654"};
  }
  absl::Status Start(const Command&, const std::string&, absl::Time) override {
    return absl::UnimplementedError("not used");
  }

  std::vector<std::string> ran;
};

TEST(LoopDevicesTest, SaysThatADeviceCannotBeReached) {
  FakeLosetup losetup;
  LoopDevices loops(&losetup);
  EXPECT_THAT(loops.Make(::testing::TempDir() + "/file", /*read_only=*/false,
                         absl::InfiniteFuture()),
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(HasSubstr("/dev/loop987654"),
                             HasSubstr("/sys/block/loop987654/dev"),
                             HasSubstr("the node's /dev"))));
  EXPECT_THAT(losetup.ran, ElementsAre("losetup --find"));
}

}  // namespace
}  // namespace ramvol::csi_driver
