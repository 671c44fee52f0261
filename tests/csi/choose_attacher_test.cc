#include "csi/choose_attacher.h"

#include <netlink/msg.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/attach/nbd_netlink.h"
#include "client/client.h"
#include "client/mocks/mock_client_connection.h"
#include "csi/device_attacher.h"
#include "csi/mounter.h"
#include "csi/wait_until.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/csi/fake_node.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace ramvol::csi_driver {
namespace {

namespace fs = std::filesystem;

using ::absl::StatusCode;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TempDir;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::NiceMock;
using ::testing::Not;
using ::testing::Return;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

constexpr char kNoDriver[] = "the kernel's nbd driver is not loaded";

// A driver that is there, and does nothing.
class IdleNetlink final : public NbdNetlink {
 public:
  int family() const override { return 29; }
  absl::StatusOr<std::vector<std::string>> Call(nl_msg*) override {
    return absl::UnavailableError("idle");
  }
  absl::Status Listen() override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<std::string>> Events(absl::Duration) override {
    return std::vector<std::string>();
  }
};

// A node outside of any container, without an nbd driver or devices. Folders
// and files stand for /sys and /proc.
class ChooseAttacherTest : public ::testing::Test {
 protected:
  ChooseAttacherTest() {
    node_.sys = folder_ + "/sys";
    node_.proc = folder_ + "/proc";
    for (const char* each :
         {"/sys/block", "/state", "/proc/1/root", "/proc/sys/kernel"}) {
      fs::create_directories(folder_ + each);
    }
    SetKernel("6.1.0-13-amd64");
    fs::create_directories(folder_ + "/proc/self");
    fs::create_directory_symlink(folder_ + "/proc/1/root",
                                 folder_ + "/proc/self/root");
    ON_CALL(*connection_, GetVolume).WillByDefault([this] {
      ++asked_;
      return absl::StatusOr<v1::Volume>(volume_);
    });
  }

  // Its release, as uname tells it.
  void SetKernel(const std::string& release) {
    std::ofstream(folder_ + "/proc/sys/kernel/osrelease") << release << "\n";
  }
  void LoadDriver() {
    node_.open_netlink = []() -> absl::StatusOr<std::unique_ptr<NbdNetlink>> {
      return std::make_unique<IdleNetlink>();
    };
  }
  // Process number 1 has another root, and shows it.
  void EnterContainer() {
    fs::remove(folder_ + "/proc/self/root");
    fs::create_directories(folder_ + "/proc/self/root");
  }
  // The node's cgroups may be entered.
  void ShowCgroups() {
    std::ofstream(folder_ + "/proc/1/mountinfo")
        << "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 none rw\n";
    // Below process number 1's root, in the test's own folder.
    const fs::path cgroup =
        fs::path(folder_) / "proc/1/root" / "sys/fs/cgroup" / "ramvol-csi";
    fs::create_directories(cgroup);
    std::ofstream(cgroup / "cgroup.procs");
  }
  // Devices of an earlier process.
  void AddNbdDevice(const std::string& backend,
                    const std::string& name = "nbd0") {
    const std::string device = folder_ + "/sys/block/" + name;
    fs::create_directories(device);
    std::ofstream(device + "/pid") << "77\n";
    std::ofstream(device + "/backend") << backend << "\n";
  }
  // Not yet made.
  void BeginFuseDevice(const std::string& name) {
    std::ofstream(folder_ + "/state/" + name + "@uid");
  }

  ChosenAttacher Choose(AttachWay way) {
    options_.way = way;
    options_.server = "unix:/run/ramvol.sock";
    options_.state_dir = folder_ + "/state";
    return ChooseAttacher(client_, options_, &commands_, &mounter_, node_);
  }
  // The error of attaching with the driver loaded, once ramvold has found the
  // volume.
  absl::Status AttachByNbd() {
    LoadDriver();
    volume_ = v1::Volume();
    volume_->set_uid("uid");
    const ChosenAttacher chosen = Choose(AttachWay::kNbd);
    return chosen.attacher->Attach({.name = "disk", .uid = "uid"}, Later())
        .status();
  }
  static absl::Time Later() { return absl::Now() + absl::Seconds(30); }

  const TempDir temp_;
  const std::string folder_ = temp_.path();
  AttachOptions options_;
  AttachNode node_ = {
      .open_netlink = []() -> absl::StatusOr<std::unique_ptr<NbdNetlink>> {
        return absl::FailedPreconditionError(kNoDriver);
      },
      .sys = "",
      .proc = ""};
  // Set before there are threads.
  absl::StatusOr<v1::Volume> volume_ = absl::UnavailableError("away");
  std::atomic<int> asked_ = 0;
  const std::shared_ptr<NiceMock<MockClientConnection>> connection_ =
      std::make_shared<NiceMock<MockClientConnection>>();
  const Client client_{connection_};
  FakeCommands commands_{folder_ + "/mountinfo"};
  const Mounter mounter_{&commands_, folder_ + "/mountinfo"};
};

// The two devices would have caches of their own.
TEST_F(ChooseAttacherTest, InNoWayAVolumeIsAttachedThatPeopleHave) {
  AddNbdDevice("ramvol:disk:uid");
  LoadDriver();
  for (const AttachWay way : {AttachWay::kNbd, AttachWay::kFuse}) {
    const ChosenAttacher chosen = Choose(way);
    EXPECT_THAT(
        chosen.attacher->Attach({.name = "disk", .uid = "uid"}, Later()),
        StatusIs(absl::StatusCode::kFailedPrecondition,
                 HasSubstr("run \"ramvol detach /dev/nbd0\"")));
    EXPECT_THAT(chosen.attacher->List(), IsEmpty());
  }
}

TEST_F(ChooseAttacherTest, ByItselfItTakesTheKernelsDriverWhereThatIs) {
  LoadDriver();
  const ChosenAttacher chosen = Choose(AttachWay::kAuto);
  EXPECT_EQ(chosen.attacher->way(), "nbd");
  EXPECT_EQ(chosen.reason, "the kernel's nbd driver is loaded");
}

TEST_F(ChooseAttacherTest, ByItselfItTakesFuseElsewhereAndSaysWhy) {
  const ChosenAttacher chosen = Choose(AttachWay::kAuto);
  EXPECT_EQ(chosen.attacher->way(), "fuse");
  EXPECT_EQ(chosen.reason, std::string("no nbd: ") + kNoDriver);
}

// Their drivers do not tell what devices hold, so none would be found again.
TEST_F(ChooseAttacherTest, ByItselfItTakesFuseWhereKernelsAreOld) {
  LoadDriver();
  for (const char* release : {"5.10.0-28-amd64", "4.18.0-553.el8", "5.13.19"}) {
    SetKernel(release);
    const ChosenAttacher chosen = Choose(AttachWay::kAuto);
    EXPECT_EQ(chosen.attacher->way(), "fuse");
    EXPECT_THAT(chosen.reason, AllOf(StartsWith("no nbd: "), HasSubstr(release),
                                     HasSubstr("5.14")));
    EXPECT_THAT(Choose(AttachWay::kNbd)
                    .attacher->Attach({.name = "v", .uid = "uid"}, Later()),
                StatusIs(StatusCode::kFailedPrecondition, HasSubstr(release)));
  }
  for (const char* release : {"5.14.0-70.el9", "5.14", "5.15.0", "10.0-rc1"}) {
    SetKernel(release);
    EXPECT_EQ(Choose(AttachWay::kAuto).attacher->way(), "nbd") << release;
  }
  SetKernel("what?");
  EXPECT_THAT(Choose(AttachWay::kAuto).reason, HasSubstr("\"what?\""));
}

TEST_F(ChooseAttacherTest, AWayThatIsAskedForIsTaken) {
  for (const bool loaded : {false, true}) {
    if (loaded) LoadDriver();
    const ChosenAttacher nbd = Choose(AttachWay::kNbd);
    EXPECT_EQ(nbd.attacher->way(), "nbd");
    EXPECT_THAT(nbd.reason, StartsWith("--attach=nbd"));
    const ChosenAttacher fuse = Choose(AttachWay::kFuse);
    EXPECT_EQ(fuse.attacher->way(), "fuse");
    EXPECT_EQ(fuse.reason, "--attach=fuse");
  }
}

TEST_F(ChooseAttacherTest, AttachSaysThatTheWayAskedForIsNotToBeHad) {
  const ChosenAttacher chosen = Choose(AttachWay::kNbd);
  EXPECT_THAT(chosen.attacher->Attach({.name = "v", .uid = "uid"}, Later()),
              StatusIs(StatusCode::kFailedPrecondition, kNoDriver));
}

// Requests of pods wait in processes, which a container takes with it.
TEST_F(ChooseAttacherTest, FuseTellsWhatTheContainersEndDoesToDevices) {
  EnterContainer();
  EXPECT_EQ(Choose(AttachWay::kFuse).reason,
            "--attach=fuse; devices end with this container: the node has no "
            "cgroups at /sys/fs/cgroup");
  ShowCgroups();
  EXPECT_EQ(Choose(AttachWay::kFuse).reason,
            "--attach=fuse; devices outlive this container");
  EXPECT_THAT(Choose(AttachWay::kAuto).reason,
              AllOf(StartsWith("no nbd: "),
                    EndsWith("; devices outlive this container")));
  options_.was_init = true;
  EXPECT_EQ(Choose(AttachWay::kFuse).reason,
            "--attach=fuse; devices end with this container: it has process "
            "numbers of its own");
  // The kernel's driver needs no process.
  LoadDriver();
  EXPECT_THAT(Choose(AttachWay::kAuto).reason, Not(HasSubstr("container")));
}

TEST_F(ChooseAttacherTest, DevicesOfTheOtherWayStay) {
  LoadDriver();
  AddNbdDevice("ramvol-csi:one:uid");
  EXPECT_EQ(Choose(AttachWay::kFuse).reason,
            "--attach=fuse; 1 device stays attached by nbd until its end");
  AddNbdDevice("ramvol-csi:two:uid", "nbd1");
  BeginFuseDevice("three");
  const ChosenAttacher chosen = Choose(AttachWay::kFuse);
  EXPECT_EQ(chosen.attacher->way(), "fuse");
  EXPECT_EQ(chosen.reason,
            "--attach=fuse; 2 devices stay attached by nbd until its end");
  EXPECT_THAT(chosen.attacher->List(),
              UnorderedElementsAre(Field(&AttachedDevice::way, "fuse"),
                                   Field(&AttachedDevice::way, "nbd"),
                                   Field(&AttachedDevice::way, "nbd")));
}

// The call that began it was interrupted, and nothing else cleans up after it.
TEST_F(ChooseAttacherTest, WhatWasBegunInTheOtherWayIsKeptAndNotCounted) {
  LoadDriver();
  BeginFuseDevice("one");
  const ChosenAttacher chosen = Choose(AttachWay::kAuto);
  EXPECT_EQ(chosen.attacher->way(), "nbd");
  EXPECT_EQ(chosen.reason, "the kernel's nbd driver is loaded");
  ASSERT_THAT(chosen.attacher->List(), SizeIs(1));
  EXPECT_EQ(chosen.attacher->List()[0].name, "one");
}

TEST_F(ChooseAttacherTest, DevicesOfTheSameWayOrOfOthersAreNoMatter) {
  LoadDriver();
  AddNbdDevice("ramvol-csi:one:uid");
  EXPECT_EQ(Choose(AttachWay::kAuto).reason,
            "the kernel's nbd driver is loaded");
  AddNbdDevice("somebody else's");
  const ChosenAttacher chosen = Choose(AttachWay::kFuse);
  EXPECT_EQ(chosen.reason, "--attach=fuse");
  EXPECT_THAT(chosen.attacher->List(), IsEmpty());
}

// In whichever way it attaches by now.
TEST_F(ChooseAttacherTest, ConnectionsOfDevicesAreCaredFor) {
  AddNbdDevice("ramvol-csi:one:uid");
  {
    const ChosenAttacher without_driver = Choose(AttachWay::kAuto);
    EXPECT_THAT(without_driver.reason, HasSubstr("1 device stays"));
  }
  EXPECT_EQ(asked_, 0);
  LoadDriver();
  for (const AttachWay way : {AttachWay::kAuto, AttachWay::kFuse}) {
    asked_ = 0;
    const ChosenAttacher chosen = Choose(way);
    EXPECT_TRUE(WaitUntil(Later(), [this] { return asked_ > 0; }));
  }
}

TEST_F(ChooseAttacherTest, NbdIsWhereTheFlagSays) {
  EXPECT_CALL(*connection_, GetServerInfo).Times(0);
  options_.nbd = "unix:/no/such/nbd.sock";
  EXPECT_THAT(AttachByNbd(),
              StatusIs(StatusCode::kUnknown, HasSubstr("/no/such/nbd.sock")));
  options_.nbd = "nowhere";
  EXPECT_THAT(AttachByNbd(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("nowhere")));
}

TEST_F(ChooseAttacherTest, ElseNbdIsWhereRamvoldSays) {
  v1::GetServerInfoResponse info;
  EXPECT_CALL(*connection_, GetServerInfo)
      .WillOnce(Return(absl::UnavailableError("no ramvold")))
      .WillOnce(Return(info))
      .WillOnce([&info] {
        info.add_nbd_addresses("unix:/no/such/nbd.sock");
        return info;
      });
  EXPECT_THAT(AttachByNbd(), StatusIs(StatusCode::kUnavailable, "no ramvold"));
  EXPECT_THAT(AttachByNbd(),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("NBD")));
  EXPECT_THAT(AttachByNbd(),
              StatusIs(StatusCode::kUnknown, HasSubstr("/no/such/nbd.sock")));
}

}  // namespace
}  // namespace ramvol::csi_driver
