#include "csi/nbd_attacher.h"

#include <linux/nbd-netlink.h>
#include <linux/nbd.h>
#include <netlink/msg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "client/attach/nbd_connection.h"
#include "client/attach/nbd_handshake.h"
#include "client/attach/nbd_netlink.h"
#include "csi/device_attacher.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/attach/fake_kernel.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// The attacher's threads have connections of their own.
class LockedNetlink final : public NbdNetlink {
 public:
  LockedNetlink(Mutex* mu, std::unique_ptr<NbdNetlink> netlink)
      : mu_(mu), netlink_(std::move(netlink)) {}

  int family() const override { return netlink_->family(); }
  absl::StatusOr<std::vector<std::string>> Call(nl_msg* message) override {
    const MutexLock lock(mu_);
    return netlink_->Call(message);
  }
  absl::Status Listen() override {
    const MutexLock lock(mu_);
    return netlink_->Listen();
  }
  absl::StatusOr<std::vector<std::string>> Events(
      absl::Duration timeout) override {
    // As if nothing happened for a while.
    absl::SleepFor(std::min(timeout, absl::Milliseconds(2)));
    const MutexLock lock(mu_);
    return netlink_->Events(timeout);
  }

 private:
  Mutex* const mu_;
  const std::unique_ptr<NbdNetlink> netlink_;
};

class NbdAttacherTest : public ::testing::Test {
 protected:
  NbdAttacherTest() {
    mkdir(dev_.c_str(), 0700);
    std::ofstream(dev_ + "/nbd0").close();
  }
  ~NbdAttacherTest() override {
    for (const int fd : server_ends_) close(fd);
  }

  NbdWorld World() {
    NbdWorld world;
    world.open_netlink =
        [this]() -> absl::StatusOr<std::unique_ptr<NbdNetlink>> {
      const MutexLock lock(&mu_);
      return std::make_unique<LockedNetlink>(&mu_, kernel_.Open());
    };
    world.connect =
        [this](const std::string&) -> absl::StatusOr<NbdConnection> {
      int fds[2];
      EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
      const MutexLock lock(&mu_);
      server_ends_.push_back(fds[1]);
      NbdExport description;
      description.size_bytes = 1 << 20;
      description.flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_CAN_MULTI_CONN;
      return NbdConnection(fds[0], description);
    };
    world.find_uid = [this](const std::string&) -> absl::StatusOr<std::string> {
      const MutexLock lock(&mu_);
      return uid_;
    };
    world.has_volume = [this](const std::string&,
                              const std::string& uid) -> absl::StatusOr<bool> {
      const MutexLock lock(&mu_);
      if (!uid_.ok() && !absl::IsNotFound(uid_.status())) return uid_.status();
      return uid_.ok() && *uid_ == uid;
    };
    world.sys = sys_;
    world.dev = dev_;
    world.cpus = 2;
    return world;
  }
  absl::StatusOr<std::string> Attach(NbdAttacher& attacher) {
    return attacher.Attach({.name = "disk", .uid = "uid-1"}, Later());
  }
  // ramvold has another volume of the name by now, or none, or is away.
  void Answer(absl::StatusOr<std::string> uid) {
    const MutexLock lock(&mu_);
    uid_ = std::move(uid);
  }
  void AddDeviceOfPeople(const std::string& backend) {
    const MutexLock lock(&mu_);
    kernel_.AddDevice(0, backend, 1);
  }
  // A device that cannot be flushed.
  void BreakDevice() {
    ASSERT_EQ(unlink((dev_ + "/nbd0").c_str()), 0);
    ASSERT_EQ(mkfifo((dev_ + "/nbd0").c_str(), 0600), 0);
  }
  void HoldOpen(bool held) {
    const MutexLock lock(&mu_);
    kernel_.held_open = held;
  }
  static absl::Time Soon() { return absl::Now() + absl::Milliseconds(50); }
  static absl::Time Later() { return absl::Now() + absl::Minutes(1); }
  void KillConnection() {
    const MutexLock lock(&mu_);
    kernel_.KillConnection(0);
  }
  int Dead() {
    const MutexLock lock(&mu_);
    return kernel_.dead(0);
  }
  bool IsMended() {
    const absl::Time end = absl::Now() + absl::Minutes(1);
    while (Dead() > 0 && absl::Now() < end) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    return Dead() == 0;
  }

  const std::string folder_ =
      ::testing::TempDir() + "/" +
      ::testing::UnitTest::GetInstance()->current_test_info()->name();
  const std::string sys_ = folder_ + "-sys";
  const std::string dev_ = folder_ + "-dev";
  Mutex mu_;
  FakeKernel kernel_ ABSL_GUARDED_BY(mu_){sys_};
  std::vector<int> server_ends_ ABSL_GUARDED_BY(mu_);
  absl::StatusOr<std::string> uid_ ABSL_GUARDED_BY(mu_){"uid-1"};
};

TEST_F(NbdAttacherTest, AttachesOnceAndIsFound) {
  NbdAttacher attacher(World());
  EXPECT_THAT(attacher.List(), IsEmpty());
  const auto device = Attach(attacher);
  ASSERT_THAT(device, IsOk());
  EXPECT_EQ(*device, dev_ + "/nbd0");
  const auto again = Attach(attacher);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(*again, *device);
  const std::vector<AttachedDevice> devices = attacher.List();
  ASSERT_THAT(devices, SizeIs(1));
  EXPECT_EQ(devices[0].name, "disk");
  EXPECT_EQ(devices[0].uid, "uid-1");
  EXPECT_EQ(devices[0].device, *device);
}

// Perhaps of another server, which has a volume of the same name.
TEST_F(NbdAttacherTest, DevicesOfPeopleStayAsTheyAre) {
  AddDeviceOfPeople("ramvol:disk:theirs");
  NbdAttacher attacher(World());
  attacher.KeepAll();
  EXPECT_THAT(attacher.List(), IsEmpty());
  EXPECT_THAT(attacher.Detach("disk", Later()), IsOk());
  const auto device = Attach(attacher);
  ASSERT_THAT(device, IsOk());
  EXPECT_EQ(*device, dev_ + "/nbd1");
  ASSERT_THAT(attacher.List(), SizeIs(1));
  EXPECT_EQ(attacher.List()[0].device, *device);
  EXPECT_THAT(attacher.Grow(attacher.List()[0], 2 << 20), IsOk());
  std::ofstream(*device).close();
  EXPECT_THAT(attacher.Detach("disk", Later()), IsOk());
  EXPECT_THAT(attacher.List(), IsEmpty());
  const MutexLock lock(&mu_);
  EXPECT_TRUE(kernel_.Has(0));
  for (const ParsedMessage& call : kernel_.calls) {
    EXPECT_NE(call.Number(NBD_ATTR_INDEX), 0) << call.command;
  }
}

// Each device would have a cache of its own.
TEST_F(NbdAttacherTest, AVolumeThatPeopleHaveAttachedIsRefused) {
  AddDeviceOfPeople("ramvol:disk:uid-1");
  NbdAttacher attacher(World());
  EXPECT_THAT(Attach(attacher),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("run \"ramvol detach /dev/nbd0\"")));
  EXPECT_THAT(attacher.List(), IsEmpty());
  {
    const MutexLock lock(&mu_);
    EXPECT_THAT(kernel_.calls, IsEmpty());
    kernel_.RemoveDevice(0);
  }
  EXPECT_THAT(Attach(attacher), IsOk());
}

TEST_F(NbdAttacherTest, DetachMayBeRepeated) {
  NbdAttacher attacher(World());
  ASSERT_THAT(Attach(attacher), IsOk());
  EXPECT_THAT(attacher.Detach("disk", Later()), IsOk());
  EXPECT_THAT(attacher.List(), IsEmpty());
  EXPECT_THAT(attacher.Detach("disk", Later()), IsOk());
}

TEST_F(NbdAttacherTest, ReplacesDeadConnectionsAlsoOfAnEarlierProcess) {
  {
    NbdAttacher earlier(World());
    ASSERT_THAT(Attach(earlier), IsOk());
  }
  NbdAttacher attacher(World());
  attacher.KeepAll();
  KillConnection();
  EXPECT_TRUE(IsMended());
  EXPECT_THAT(attacher.Detach("disk", Later()), IsOk());
}

TEST_F(NbdAttacherTest, ADeviceThatCannotBeDetachedKeepsItsConnections) {
  NbdAttacher attacher(World());
  ASSERT_THAT(Attach(attacher), IsOk());
  ASSERT_EQ(unlink((dev_ + "/nbd0").c_str()), 0);
  EXPECT_THAT(attacher.Detach("disk", Later()), Not(IsOk()));
  KillConnection();
  EXPECT_TRUE(IsMended());
  std::ofstream(dev_ + "/nbd0").close();
  EXPECT_THAT(attacher.Detach("disk", Later()), IsOk());
  EXPECT_THAT(attacher.List(), IsEmpty());
}

// Connections cannot be replaced any more, so it must not count as usable.
TEST_F(NbdAttacherTest, ADeviceThatOthersHaveOpenIsNotDetached) {
  NbdAttacher attacher(World());
  ASSERT_THAT(Attach(attacher), IsOk());
  HoldOpen(true);
  EXPECT_THAT(attacher.Detach("disk", Soon()),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       AllOf(HasSubstr("/nbd0"), HasSubstr("open"))));
  // It was flushed, and cannot be any more.
  BreakDevice();
  EXPECT_THAT(attacher.Detach("disk", Soon()),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("open")));
  HoldOpen(false);
  EXPECT_THAT(attacher.Detach("disk", Later()), IsOk());
  EXPECT_THAT(attacher.List(), IsEmpty());
}

TEST_F(NbdAttacherTest, TheDeviceOfALostVolumeIsDetachedWithoutFlush) {
  NbdAttacher attacher(World());
  ASSERT_THAT(Attach(attacher), IsOk());
  BreakDevice();
  EXPECT_THAT(attacher.Detach("disk", Later()), Not(IsOk()));
  Answer(absl::UnavailableError("away"));
  EXPECT_THAT(attacher.Detach("disk", Later()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("away")));
  EXPECT_THAT(attacher.List(), SizeIs(1));
  Answer(absl::NotFoundError("lost"));
  EXPECT_THAT(attacher.Detach("disk", Later()), IsOk());
  EXPECT_THAT(attacher.List(), IsEmpty());
}

TEST_F(NbdAttacherTest, TheDeviceOfALostVolumeIsReplaced) {
  NbdAttacher attacher(World());
  ASSERT_THAT(Attach(attacher), IsOk());
  BreakDevice();
  Answer("uid-2");
  ASSERT_THAT(attacher.Attach({.name = "disk", .uid = "uid-2"}, Later()),
              IsOk());
  const std::vector<AttachedDevice> devices = attacher.List();
  ASSERT_THAT(devices, SizeIs(1));
  EXPECT_EQ(devices[0].uid, "uid-2");
  // It is cared for.
  KillConnection();
  EXPECT_TRUE(IsMended());
}

TEST_F(NbdAttacherTest, TellsTheDriverTheNewSize) {
  NbdAttacher attacher(World());
  ASSERT_THAT(Attach(attacher), IsOk());
  const std::vector<AttachedDevice> devices = attacher.List();
  ASSERT_THAT(devices, SizeIs(1));
  EXPECT_THAT(attacher.Grow(devices[0], 2 << 20), IsOk());
  const MutexLock lock(&mu_);
  ASSERT_FALSE(kernel_.calls.empty());
  bool told = false;
  for (const ParsedMessage& call : kernel_.calls) {
    told = told || (call.command == NBD_CMD_RECONFIGURE &&
                    call.Number(NBD_ATTR_SIZE_BYTES) == 2 << 20);
  }
  EXPECT_TRUE(told);
}

}  // namespace
}  // namespace ramvol::csi_driver
