#include "csi/fuse_attacher.h"

#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "csi/command.h"
#include "csi/device_attacher.h"
#include "csi/mounter.h"
#include "csi/wait_until.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace ramvol::csi_driver {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TempDir;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

absl::Time In(absl::Duration duration) { return absl::Now() + duration; }

// Without root: what is started in place of the process that serves the file
// mounts nothing.
class FuseAttacherTest : public ::testing::Test {
 protected:
  // A shell with this script, which notes its number.
  Command Shell(const std::string& script) const {
    return {"sh", "-c", "echo $$ >>" + pids_ + "; " + script};
  }
  // Starts it.
  FuseAttacher Attacher(const std::string& script) {
    return {&commands_, &mounter_, dir_.path(), Shell(script)};
  }
  // The numbers of all processes that were started.
  std::vector<pid_t> Started() const {
    std::vector<pid_t> pids;
    std::ifstream file(pids_);
    for (pid_t pid = 0; file >> pid;) pids.push_back(pid);
    return pids;
  }
  // Waits until they have noted their numbers.
  bool HaveStarted(size_t count) const {
    return WaitUntil(In(absl::Minutes(1)),
                     [&] { return Started().size() >= count; });
  }

  const DeviceVolume volume_ = {.name = "disk", .uid = "uid"};
  const TempDir dir_;
  SystemCommands commands_;

 private:
  const TempDir temp_;
  const std::string pids_ = temp_.path() + "/pids";
  const Mounter mounter_{&commands_};
};

// A process that starts its program has no command line by which it would be
// found. Neither has this one.
TEST_F(FuseAttacherTest, StartsNoSecondProcessBesideOneThatIsAboutToBegin) {
  FuseAttacher attacher = Attacher("exec sleep 1000");
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(attacher.Attach(volume_, In(absl::Seconds(1))),
                StatusIs(absl::StatusCode::kDeadlineExceeded,
                         HasSubstr("cannot serve volume \"disk\"")));
  }
  EXPECT_TRUE(HaveStarted(1));
  const std::vector<pid_t> started = Started();
  EXPECT_THAT(started, SizeIs(1));
  for (const pid_t pid : started) kill(pid, SIGKILL);
}

TEST_F(FuseAttacherTest, SaysWhyAProcessEnded) {
  FuseAttacher attacher = Attacher("echo no such volume; exit 1");
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(
        attacher.Attach(volume_, In(absl::Minutes(1))),
        StatusIs(absl::StatusCode::kInternal, HasSubstr("no such volume")));
  }
  EXPECT_THAT(Started(), SizeIs(2));
  EXPECT_THAT(attacher.Detach("disk", In(absl::Minutes(1))), IsOk());
  EXPECT_THAT(attacher.List(), IsEmpty());
}

TEST_F(FuseAttacherTest, EndsAProcessThatDoesNotBegin) {
  FuseAttacher attacher = Attacher("kill -STOP $$");
  EXPECT_THAT(attacher.Attach(volume_, In(absl::Seconds(1))),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("disk")));
  EXPECT_THAT(attacher.Detach("disk", In(absl::Minutes(1))), IsOk());
  EXPECT_THAT(attacher.List(), IsEmpty());
}

// Pods' processes are there as well, where numbers are the node's, and may be
// called anything.
TEST_F(FuseAttacherTest, EndsNoOtherProcessThatIsCalledSo) {
  const std::string log = ::testing::TempDir() + "/other.log";
  Command other = Shell("kill -STOP $$");
  other.insert(other.end(),
               {"sh", "--serve_file=" + dir_.path() + "/disk@uid"});
  ASSERT_THAT(commands_.Start(other, log, In(absl::Minutes(1))), IsOk());
  FuseAttacher attacher = Attacher("kill -STOP $$");
  EXPECT_THAT(attacher.Attach(volume_, In(absl::Seconds(1))),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("disk")));
  EXPECT_TRUE(HaveStarted(2));
  EXPECT_THAT(attacher.Detach("disk", In(absl::Minutes(1))), IsOk());
  EXPECT_TRUE(IsStarted(log));
  const std::vector<pid_t> started = Started();
  ASSERT_THAT(started, SizeIs(2));
  kill(started[0], SIGKILL);
}

}  // namespace
}  // namespace ramvol::csi_driver
