#include "csi/node_volumes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/event_log.h"
#include "client/client.h"
#include "client/mocks/mock_client_connection.h"
#include "csi/condition.h"
#include "csi/file_system.h"
#include "csi/leftovers.h"
#include "csi/mounter.h"
#include "csi/parameters.h"
#include "csi/volume_handle.h"
#include "csi/volumes.h"
#include "csi/wait_until.h"
#include "csi/write_back.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/csi/driver_world.h"
#include "tests/csi/fake_node.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace ramvol::csi_driver {
namespace {

using ::absl::StatusCode;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TempDir;
using ::testing::_;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Return;
using ::testing::SizeIs;
using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

constexpr int64_t kMib = int64_t{1} << 20;

Access Block() {
  Access access;
  access.block = true;
  return access;
}

Access ReadOnly() {
  Access access;
  access.read_only_mount = true;
  return access;
}

Access ForOnePod() {
  Access access;
  access.exclusive = true;
  return access;
}

class NodeVolumesTest : public ::testing::Test {
 protected:
  NodeVolumesTest() { world_.CreateVolume("v", kMib); }

  absl::Status Stage(const Access& access = {}) {
    return node_.Stage("v", staging_, access, Later());
  }
  absl::Status Publish(const std::string& target, const Access& access = {}) {
    return node_.Publish("v", staging_, target, access, Later());
  }
  // An inline volume of 2 MiB at target_.
  absl::Status PublishInline(const std::string& handle) {
    const auto parameters =
        ParseParameters({{"size", "2Mi"}}, /*is_inline=*/true);
    if (!parameters.ok()) return parameters.status();
    return node_.PublishInline(handle, target_, *parameters, {}, Later());
  }
  std::vector<std::string> CleanUp() {
    const auto did = leftovers_.TakeAway(Later());
    EXPECT_THAT(did, IsOk());
    return did.value_or(std::vector<std::string>());
  }
  std::string LabelOfV(const char* key) {
    const auto volume = world_.volumes().Find("v");
    EXPECT_THAT(volume, IsOk());
    return volume.ok() ? LabelOf(*volume, key) : "";
  }
  std::string Formatted() { return LabelOfV(label::kFormatted); }
  // To twice what it has.
  void EnlargeDevice(const std::string& name) {
    const std::string device = absl::StrCat(folder_, "/dev-", name);
    const uint64_t bytes = file_systems_.DeviceBytes(device);
    ASSERT_EQ(truncate(device.c_str(), static_cast<off_t>(2 * bytes)), 0);
  }
  void WriteToDevice(const std::string& name, const std::string& data) {
    std::ofstream(absl::StrCat(folder_, "/dev-", name)) << data;
  }
  static absl::Time Later() { return absl::Now() + absl::Minutes(1); }

  const TempDir temp_;
  const std::string folder_ = temp_.path();
  const std::string staging_ = folder_ + "/staging";
  const std::string target_ = folder_ + "/target";
  DriverWorld world_;
  FakeCommands commands_{folder_ + "/mountinfo"};
  const Mounter mounter_{&commands_, folder_ + "/mountinfo"};
  const FileSystems file_systems_{&commands_};
  FakeAttacher attacher_{folder_};
  NodeVolumes node_{&world_.volumes(), &attacher_, &mounter_, &file_systems_};
  const WriteBack write_back_{&world_.volumes(), &attacher_, &mounter_};
  Leftovers leftovers_{&world_.volumes(), &attacher_, &mounter_,
                       &world_.locks()};
};

TEST_F(NodeVolumesTest, AFreshVolumeIsFormattedOnceAndMounted) {
  ASSERT_THAT(Stage(), IsOk());
  EXPECT_THAT(commands_.Taken(),
              ElementsAre(HasSubstr("mkfs.ext4"),
                          AllOf(HasSubstr("mount -t ext4 -o discard"),
                                HasSubstr(staging_))));
  EXPECT_EQ(Formatted(), "ext4@v");
  // Repeated, it does nothing.
  ASSERT_THAT(Stage(), IsOk());
  EXPECT_THAT(commands_.Taken(), IsEmpty());
  // And later only mounts what is there.
  ASSERT_THAT(node_.Unstage("v", staging_, Later()), IsOk());
  ASSERT_THAT(node_.Unstage("v", staging_, Later()), IsOk());
  EXPECT_THAT(attacher_.List(), IsEmpty());
  commands_.Taken();
  ASSERT_THAT(Stage(), IsOk());
  EXPECT_THAT(commands_.Taken(), Not(Contains(HasSubstr("mkfs"))));
}

TEST_F(NodeVolumesTest, WhatPodsMayOnlyReadIsNotFormatted) {
  Access access;
  access.read_only = true;
  access.fs_type = "xfs";
  EXPECT_THAT(Stage(access), StatusIs(StatusCode::kFailedPrecondition,
                                      HasSubstr("holds nothing, not xfs")));
  EXPECT_THAT(commands_.Taken(), IsEmpty());
}

TEST_F(NodeVolumesTest, ABlockDeviceIsNoHalfMadeFileSystem) {
  commands_.Fail("mkfs.ext4");
  EXPECT_THAT(Stage(), StatusIs(StatusCode::kInternal, _));
  ASSERT_THAT(Stage(Block()), IsOk());
  EXPECT_EQ(LabelOfV(label::kFormatting), "");
  WriteToDevice("v", "data");
  world_.Write("v", 0, "data");
  commands_.Fail("mkfs.ext4", false);
  commands_.Taken();
  EXPECT_THAT(Stage(), StatusIs(StatusCode::kFailedPrecondition,
                                HasSubstr("holds unknown data")));
  EXPECT_THAT(commands_.Taken(), IsEmpty());
}

TEST_F(NodeVolumesTest, ErrorsOfEachStepLeaveNothingHalf) {
  attacher_.FailWith(absl::DeadlineExceededError("no device"));
  EXPECT_THAT(Stage(), StatusIs(StatusCode::kDeadlineExceeded, _));
  attacher_.FailWith(absl::OkStatus());
  commands_.Fail("mount");
  EXPECT_THAT(Stage(), StatusIs(StatusCode::kInternal, HasSubstr("mount")));
  EXPECT_THAT(mounter_.List(), IsEmpty());
  commands_.Fail("mount", false);
  ASSERT_THAT(Stage(), IsOk());
  commands_.Fail("umount");
  EXPECT_THAT(node_.Unstage("v", staging_, Later()),
              StatusIs(StatusCode::kInternal, HasSubstr("umount")));
  // It is mounted, so the device stays.
  EXPECT_THAT(attacher_.List(), SizeIs(1));
  EXPECT_THAT(node_.Stage("none", staging_ + "2", {}, Later()),
              StatusIs(StatusCode::kNotFound, HasSubstr("none")));
}

TEST_F(NodeVolumesTest, SomethingElseAtTheStagingPathStays) {
  ASSERT_THAT(Stage(), IsOk());
  world_.CreateVolume("other", kMib);
  EXPECT_THAT(node_.Stage("other", staging_, {}, Later()),
              StatusIs(StatusCode::kAlreadyExists, HasSubstr(staging_)));
}

TEST_F(NodeVolumesTest, ADeadDeviceIsReplacedUnlessAPodHasIt) {
  ASSERT_THAT(Stage(), IsOk());
  ASSERT_THAT(Publish(target_), IsOk());
  attacher_.Kill("v");
  EXPECT_THAT(Stage(),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("delete")));
  const auto stats = node_.Stats("v", target_, Later());
  ASSERT_THAT(stats, IsOk());
  EXPECT_TRUE(stats->condition.abnormal());
  EXPECT_THAT(stats->condition.message, HasSubstr("delete the pod"));
  ASSERT_THAT(node_.Unpublish("v", target_, Later()), IsOk());
  commands_.Taken();
  ASSERT_THAT(Stage(), IsOk());
  EXPECT_THAT(commands_.Taken(), Contains(HasSubstr("umount")));
  EXPECT_TRUE(attacher_.List().front().alive);
}

// As after a ramvold that was away for too long, and has all volumes.
TEST_F(NodeVolumesTest, AFileSystemThatHasStoppedIsMountedAnewUnlessAPodHasIt) {
  ASSERT_THAT(Stage(), IsOk());
  ASSERT_THAT(Publish(target_), IsOk());
  commands_.StopFileSystems(attacher_.List().front().device);
  EXPECT_THAT(Stage(), StatusIs(StatusCode::kFailedPrecondition,
                                HasSubstr("has stopped")));
  EXPECT_THAT(Publish(target_ + "2"), StatusIs(StatusCode::kFailedPrecondition,
                                               HasSubstr("delete all pods")));
  const auto stats = node_.Stats("v", target_, Later());
  ASSERT_THAT(stats, IsOk());
  EXPECT_EQ(stats->condition.cause, Cause::kDeadDevice);
  EXPECT_THAT(stats->condition.message, HasSubstr("file system has stopped"));
  ASSERT_THAT(node_.Unpublish("v", target_, Later()), IsOk());
  commands_.Taken();
  ASSERT_THAT(Publish(target_), IsOk());
  EXPECT_THAT(commands_.Taken(),
              ElementsAre(HasSubstr("umount"), HasSubstr("e2fsck"),
                          HasSubstr("mount -t ext4"), HasSubstr("--bind")));
  EXPECT_FALSE(node_.Stats("v", target_, Later())->condition.abnormal());
}

TEST_F(NodeVolumesTest, PublishingAgainMustBeTheSame) {
  ASSERT_THAT(Stage(), IsOk());
  ASSERT_THAT(Publish(target_, ReadOnly()), IsOk());
  EXPECT_THAT(Publish(target_, ReadOnly()), IsOk());
  EXPECT_THAT(Publish(target_),
              StatusIs(StatusCode::kAlreadyExists, HasSubstr("read-only")));
  ASSERT_THAT(node_.Unpublish("v", target_, Later()), IsOk());
  EXPECT_NE(::access(target_.c_str(), F_OK), 0);
  EXPECT_THAT(node_.Unpublish("v", target_, Later()), IsOk());
}

// Between the two programs that it takes.
TEST_F(NodeVolumesTest, AReadOnlyPublishMayBeInterrupted) {
  for (const bool block : {false, true}) {
    Access access = ReadOnly();
    access.block = block;
    ASSERT_THAT(Stage(access), IsOk());
    ASSERT_THAT(
        mounter_.Bind(block ? attacher_.List().front().device : staging_,
                      target_, /*read_only=*/false, Later()),
        IsOk());
    for (int i = 0; i < 2; ++i) EXPECT_THAT(Publish(target_, access), IsOk());
    const auto mount = mounter_.Find(target_);
    ASSERT_TRUE(mount.has_value());
    EXPECT_TRUE(mount->read_only);
    ASSERT_THAT(node_.Unpublish("v", target_, Later()), IsOk());
    ASSERT_THAT(node_.Unstage("v", staging_, Later()), IsOk());
  }
  // What is somebody else's stays as it is.
  ASSERT_THAT(Stage(), IsOk());
  ASSERT_THAT(mounter_.Bind("/dev/other", target_, false, Later()), IsOk());
  EXPECT_THAT(Publish(target_, ReadOnly()),
              StatusIs(StatusCode::kAlreadyExists, HasSubstr("to be written")));
}

TEST_F(NodeVolumesTest, AVolumeForOnePodIsForOnePod) {
  ASSERT_THAT(Stage(), IsOk());
  ASSERT_THAT(Publish(target_, ForOnePod()), IsOk());
  EXPECT_THAT(Publish(target_ + "2", ForOnePod()),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr(target_)));
  EXPECT_THAT(Publish(target_ + "2"), IsOk());
}

TEST_F(NodeVolumesTest, BlockDevicesAreNotFormatted) {
  const Access block = Block();
  ASSERT_THAT(Stage(block), IsOk());
  ASSERT_THAT(Publish(target_, block), IsOk());
  EXPECT_THAT(commands_.Taken(), ElementsAre(HasSubstr("mount --bind")));
  EXPECT_EQ(Formatted(), "");
  ASSERT_THAT(node_.Unpublish("v", target_, Later()), IsOk());
}

TEST_F(NodeVolumesTest, TheDeviceOfALostVolumeStaysWhileAPodHasIt) {
  const Access block = Block();
  ASSERT_THAT(Stage(block), IsOk());
  ASSERT_THAT(Publish(target_, block), IsOk());
  const std::string lost = attacher_.List().front().uid;
  ASSERT_THAT(world_.volumes().Delete("v", Later()), IsOk());
  world_.CreateVolume("v", kMib);
  EXPECT_THAT(Stage(block),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("delete")));
  EXPECT_EQ(attacher_.List().front().uid, lost);
  ASSERT_THAT(node_.Unpublish("v", target_, Later()), IsOk());
  EXPECT_THAT(Stage(block), IsOk());
  EXPECT_NE(attacher_.List().front().uid, lost);
}

TEST_F(NodeVolumesTest, AVolumeThatIsLostIsAbnormalWhereItIsMounted) {
  ASSERT_THAT(Stage(), IsOk());
  ASSERT_THAT(Publish(target_), IsOk());
  EXPECT_FALSE(node_.Stats("v", target_, Later())->condition.abnormal());
  ASSERT_THAT(world_.volumes().Delete("v", Later()), IsOk());
  const auto stats = node_.Stats("v", target_, Later());
  ASSERT_THAT(stats, IsOk());
  EXPECT_EQ(stats->condition.cause, Cause::kDeadDevice);
  EXPECT_THAT(node_.Stats("v", folder_, Later()),
              StatusIs(StatusCode::kNotFound, HasSubstr(folder_)));
}

// Which is when somebody wants to know why a pod waits.
TEST_F(NodeVolumesTest, StatisticsSayThatRamvoldIsAway) {
  const auto away =
      std::make_shared<::testing::NiceMock<MockClientConnection>>();
  const absl::Status no_ramvold = absl::UnavailableError("no ramvold");
  ON_CALL(*away, GetVolume).WillByDefault(Return(no_ramvold));
  ON_CALL(*away, GetServerInfo).WillByDefault(Return(no_ramvold));
  const Volumes volumes(Client(away), {.node_id = "node-1"});
  const NodeVolumes node(&volumes, &attacher_, &mounter_, &file_systems_);
  ASSERT_THAT(Stage(), IsOk());
  ASSERT_THAT(Publish(target_), IsOk());
  const auto stats = node.Stats("v", target_, Later());
  ASSERT_THAT(stats, IsOk());
  EXPECT_EQ(stats->condition.cause, Cause::kUnreachable);
  EXPECT_THAT(stats->condition.message, HasSubstr("no ramvold"));
  EXPECT_GT(stats->bytes.total, 0);
  EXPECT_TRUE(stats->inodes.has_value());
  attacher_.Kill("v");
  EXPECT_EQ(node.Stats("v", target_, Later())->condition.cause,
            Cause::kDeadDevice);
}

TEST_F(NodeVolumesTest, CleansUpItsDevicesOfLostVolumes) {
  ASSERT_THAT(Stage(Block()), IsOk());
  ASSERT_THAT(world_.volumes().Delete("v", Later()), IsOk());
  EXPECT_THAT(CleanUp(), ElementsAre(HasSubstr("detached")));
  EXPECT_THAT(attacher_.List(), IsEmpty());
}

TEST_F(NodeVolumesTest, AnInlineVolumeEndsWhenItIsUnpublished) {
  const auto parameters =
      ParseParameters({{"size", "2Mi"}}, /*is_inline=*/true);
  ASSERT_THAT(parameters, IsOk());
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(
        node_.PublishInline("csi-pod", target_, *parameters, {}, Later()),
        IsOk());
  }
  const auto volume = world_.volumes().Find("csi-pod");
  ASSERT_THAT(volume, IsOk());
  EXPECT_EQ(volume->size_bytes(), 2 * kMib);
  EXPECT_EQ(LabelOf(*volume, label::kEphemeral), target_);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(node_.Unpublish("csi-pod", target_, Later()), IsOk());
  }
  EXPECT_THAT(world_.volumes().Find("csi-pod"),
              StatusIs(StatusCode::kNotFound, _));
  EXPECT_THAT(attacher_.List(), IsEmpty());
}

TEST_F(NodeVolumesTest, AnInlineVolumeMayBeReadOnly) {
  const auto parameters =
      ParseParameters({{"size", "2Mi"}}, /*is_inline=*/true);
  ASSERT_THAT(parameters, IsOk());
  const auto publish = [&](const Access& access) {
    return node_.PublishInline("csi-pod", target_, *parameters, access,
                               Later());
  };
  // As after a call that was interrupted before it was made read-only.
  for (const bool again : {false, true}) {
    if (again) {
      ASSERT_THAT(node_.Unpublish("csi-pod", target_, Later()), IsOk());
      ASSERT_THAT(publish({}), IsOk());
    }
    for (int i = 0; i < 2; ++i) ASSERT_THAT(publish(ReadOnly()), IsOk());
    const auto mount = mounter_.Find(target_);
    ASSERT_TRUE(mount.has_value());
    EXPECT_TRUE(mount->read_only);
  }
}

TEST_F(NodeVolumesTest, OfALostInlineVolumeNothingStays) {
  const auto parameters =
      ParseParameters({{"size", "2Mi"}}, /*is_inline=*/true);
  ASSERT_THAT(parameters, IsOk());
  ASSERT_THAT(node_.PublishInline("csi-pod", target_, *parameters, {}, Later()),
              IsOk());
  // ramvold restarted without its state.
  ASSERT_THAT(world_.volumes().Delete("csi-pod", Later()), IsOk());
  attacher_.Kill(NameOfHandle("csi-pod"));
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(node_.Unpublish("csi-pod", target_, Later()), IsOk());
  }
  EXPECT_THAT(attacher_.List(), IsEmpty());
}

// A kubelet that starts anew may repeat the call.
TEST_F(NodeVolumesTest, ALostInlineVolumeIsNotUnmountedBelowItsPod) {
  const auto publish = [this] { return PublishInline("csi-pod"); };
  ASSERT_THAT(publish(), IsOk());
  ASSERT_THAT(world_.volumes().Delete("csi-pod", Later()), IsOk());
  attacher_.Kill(NameOfHandle("csi-pod"));
  EXPECT_THAT(publish(), StatusIs(StatusCode::kFailedPrecondition,
                                  HasSubstr("delete the pods")));
  EXPECT_TRUE(mounter_.Find(target_).has_value());
  EXPECT_THAT(node_.Unpublish("csi-pod", target_, Later()), IsOk());
  EXPECT_THAT(attacher_.List(), IsEmpty());
  EXPECT_THAT(world_.volumes().Find("csi-pod"),
              StatusIs(StatusCode::kNotFound, _));
}

TEST_F(NodeVolumesTest, ALostVolumeIsMadeAnewIfItsClassWantsIt) {
  const auto parameters = ParseParameters(
      {{"whenLost", "recreate"}, {"class", "scratch"}}, /*is_inline=*/false);
  ASSERT_THAT(parameters, IsOk());
  Access access;
  access.recreate = *parameters;
  access.recreate->size_bytes = 2 * kMib;
  // One that is there stays as it is.
  ASSERT_THAT(Stage(access), IsOk());
  ASSERT_THAT(Publish(target_, access), IsOk());
  EXPECT_EQ(node_.recreated(), 0u);
  EXPECT_EQ(LabelOfV(label::kRecreated), "");
  EXPECT_EQ(world_.volumes().Find("v")->size_bytes(), kMib);
  ASSERT_THAT(node_.Unpublish("v", target_, Later()), IsOk());
  // ramvold restarted without its state.
  ASSERT_THAT(world_.volumes().Delete("v", Later()), IsOk());
  attacher_.Kill("v");
  EXPECT_THAT(Stage(), StatusIs(StatusCode::kNotFound, HasSubstr("\"v\"")));
  EXPECT_THAT(Publish(target_), StatusIs(StatusCode::kNotFound, _));
  EventLog::OfProcess().Configure({.program = "test"});
  CaptureStderr();
  ASSERT_THAT(Stage(access), IsOk());
  ASSERT_THAT(Publish(target_, access), IsOk());
  EventLog::OfProcess().Flush(absl::Minutes(1));
  EXPECT_THAT(GetCapturedStderr(),
              HasSubstr("error data_loss volume=v reason=recreated: ramvold "
                        "has no such volume, so it is made anew: empty"));
  EXPECT_EQ(LabelOfV(label::kRecreated), "true");
  EXPECT_EQ(node_.recreated(), 1u);
  const auto volume = world_.volumes().Find("v");
  ASSERT_THAT(volume, IsOk());
  EXPECT_EQ(volume->size_bytes(), 2 * kMib);
  EXPECT_EQ(LabelOf(*volume, label::kClass), "scratch");
  EXPECT_EQ(LabelOf(*volume, label::kEphemeral), "");
  EXPECT_EQ(Formatted(), "ext4@v");
}

TEST_F(NodeVolumesTest, CleansUpWhatNothingUses) {
  ASSERT_THAT(Stage(), IsOk());
  world_.CreateVolume("forgotten", kMib);
  ASSERT_THAT(node_.Stage("forgotten", folder_ + "/f", Block(), Later()),
              IsOk());
  ASSERT_THAT(PublishInline("csi-gone"), IsOk());
  // As after a restart of the node.
  ASSERT_THAT(mounter_.Unmount(target_, Later()), IsOk());
  EXPECT_THAT(CleanUp(),
              ElementsAre(HasSubstr("csi-gone"), HasSubstr("forgotten"),
                          HasSubstr("deleted inline volume csi-gone")));
  std::vector<std::string> left;
  for (const auto& device : attacher_.List()) left.push_back(device.name);
  EXPECT_THAT(left, ElementsAre("v"));
  EXPECT_THAT(CleanUp(), IsEmpty());
  EXPECT_EQ(leftovers_.counts().devices, 2);
  EXPECT_EQ(leftovers_.counts().volumes, 1);
  EXPECT_EQ(leftovers_.counts().failures, 0);
}

TEST_F(NodeVolumesTest, WhatCannotBeCleanedUpIsTriedAgainAndSaidOnce) {
  ASSERT_THAT(Stage(Block()), IsOk());
  attacher_.FailWith(absl::InternalError("stuck"));
  absl::Duration pause = Leftovers::kMinPause;
  for (int i = 0; i < 10; ++i) {
    const absl::Time before = absl::Now();
    const std::vector<std::string> said = CleanUp();
    if (i == 0) {
      EXPECT_THAT(said, ElementsAre("cannot detach volume v, which nothing "
                                    "uses: stuck; trying again"));
    } else {
      EXPECT_THAT(said, IsEmpty());
    }
    EXPECT_GE(leftovers_.next_try(), before + pause);
    EXPECT_LE(leftovers_.next_try(), absl::Now() + pause);
    pause = std::min(2 * pause, Leftovers::kMaxPause);
  }
  EXPECT_EQ(leftovers_.counts().failures, 10);
  // What came since is none of this.
  attacher_.FailWith(absl::OkStatus());
  world_.CreateVolume("later", kMib);
  ASSERT_THAT(node_.Stage("later", folder_ + "/l", Block(), Later()), IsOk());
  EXPECT_THAT(CleanUp(), ElementsAre("cleaned up: detached volume v, which "
                                     "nothing used"));
  EXPECT_THAT(attacher_.List(), SizeIs(1));
  EXPECT_EQ(leftovers_.next_try(), absl::InfiniteFuture());
}

TEST_F(NodeVolumesTest, WhatAPodHasByNowIsNotCleanedUp) {
  ASSERT_THAT(Stage(Block()), IsOk());
  attacher_.FailWith(absl::InternalError("stuck"));
  EXPECT_THAT(CleanUp(), SizeIs(1));
  attacher_.FailWith(absl::OkStatus());
  ASSERT_THAT(Publish(target_, Block()), IsOk());
  EXPECT_THAT(CleanUp(), IsEmpty());
  EXPECT_THAT(attacher_.List(), SizeIs(1));
  EXPECT_EQ(leftovers_.next_try(), absl::InfiniteFuture());
}

// Which is staged, and not published yet.
TEST_F(NodeVolumesTest, ALaterVolumeOfTheNameIsNotCleanedUp) {
  ASSERT_THAT(Stage(Block()), IsOk());
  attacher_.FailWith(absl::InternalError("stuck"));
  EXPECT_THAT(CleanUp(), SizeIs(1));
  attacher_.FailWith(absl::OkStatus());
  ASSERT_THAT(world_.volumes().Delete("v", Later()), IsOk());
  world_.CreateVolume("v", kMib);
  ASSERT_THAT(Stage(Block()), IsOk());
  EXPECT_THAT(CleanUp(), IsEmpty());
  EXPECT_THAT(attacher_.List(), SizeIs(1));
  EXPECT_EQ(leftovers_.next_try(), absl::InfiniteFuture());
}

TEST_F(NodeVolumesTest, CleansUpOnlyWhenRamvoldSaysWhatThereIs) {
  ASSERT_THAT(Stage(Block()), IsOk());
  const auto away =
      std::make_shared<::testing::NiceMock<MockClientConnection>>();
  ON_CALL(*away, ListVolumes)
      .WillByDefault(Return(absl::UnavailableError("no ramvold")));
  const Volumes volumes(Client(away), {.node_id = "node-1"});
  Leftovers leftovers(&volumes, &attacher_, &mounter_, &world_.locks());
  EXPECT_THAT(leftovers.TakeAway(Later()),
              StatusIs(StatusCode::kUnavailable, "no ramvold"));
  EXPECT_THAT(attacher_.List(), SizeIs(1));
  EXPECT_EQ(leftovers.counts().failures, 1);
}

// By then calls come, and what they have begun looks as if nothing used it.
TEST_F(NodeVolumesTest, CleansUpNothingThatACallHas) {
  const std::string handle = "by no name of ramvold's";
  ASSERT_THAT(PublishInline(handle), IsOk());
  ASSERT_THAT(mounter_.Unmount(target_, Later()), IsOk());
  ASSERT_THAT(Stage(Block()), IsOk());
  {
    const auto call = world_.locks().Take(handle);
    const auto other = world_.locks().Take("v");
    EXPECT_THAT(CleanUp(), IsEmpty());
  }
  EXPECT_THAT(attacher_.List(), SizeIs(2));
  EXPECT_THAT(CleanUp(), SizeIs(3));
  EXPECT_THAT(attacher_.List(), IsEmpty());
}

TEST_F(NodeVolumesTest, GrowthReachesTheDevice) {
  ASSERT_THAT(Stage(), IsOk());
  commands_.Taken();
  const SizeRange twice = {.required_bytes = 2 << 20};
  const auto bytes = node_.Expand("v", staging_, twice, Later());
  ASSERT_THAT(bytes, IsOk());
  EXPECT_EQ(*bytes, 2 << 20);
  EXPECT_EQ(attacher_.grown_bytes(), 2 << 20);
  EXPECT_THAT(commands_.Taken(), ElementsAre(HasSubstr("resize2fs")));
  EXPECT_THAT(node_.Expand("v", folder_ + "/elsewhere", twice, Later()),
              StatusIs(StatusCode::kNotFound, _));
  attacher_.FailWith(absl::FailedPreconditionError("with the next staging"));
  EXPECT_THAT(node_.Expand("v", staging_, {.required_bytes = 4 << 20}, Later()),
              StatusIs(StatusCode::kFailedPrecondition, _));
}

// As a clone that is larger than its source, when the call that mounted it was
// interrupted before it let the file system grow.
TEST_F(NodeVolumesTest, AMountThatDoesNotFillItsDeviceGrows) {
  ASSERT_THAT(Stage(), IsOk());
  const std::string device = attacher_.List().front().device;
  const auto is_growth = HasSubstr("resize2fs " + device);
  for (const bool is_publish : {false, true}) {
    EnlargeDevice("v");
    commands_.Taken();
    Access read_only;
    read_only.read_only = true;
    EXPECT_THAT(Stage(read_only), IsOk());
    EXPECT_THAT(commands_.Taken(), IsEmpty());
    EXPECT_THAT(is_publish ? Publish(target_) : Stage(), IsOk());
    EXPECT_THAT(commands_.Taken(), Contains(is_growth));
    EXPECT_THAT(Stage(), IsOk());
    EXPECT_THAT(commands_.Taken(), IsEmpty());
  }
  // A kernel that does not let it grow while it is mounted. Pods go on beside
  // the one that has it.
  EnlargeDevice("v");
  commands_.Fail("resize2fs");
  EXPECT_THAT(Stage(), IsOk());
  EXPECT_THAT(Publish(target_ + "2"), IsOk());
  EXPECT_THAT(commands_.Taken(), ElementsAre(HasSubstr("--bind")));
  ASSERT_THAT(node_.Unpublish("v", target_ + "2", Later()), IsOk());
  // Without a pod, it is staged anew.
  ASSERT_THAT(node_.Unpublish("v", target_, Later()), IsOk());
  commands_.Taken();
  EXPECT_THAT(Stage(), StatusIs(StatusCode::kInternal, is_growth));
  EXPECT_THAT(commands_.Taken(),
              ElementsAre(is_growth, HasSubstr("umount"), HasSubstr("e2fsck"),
                          HasSubstr("mount"), is_growth, HasSubstr("umount"),
                          HasSubstr("e2fsck -f"), is_growth));
  commands_.Fail("resize2fs", false);
  EXPECT_THAT(Stage(), IsOk());
}

// As of a ramvold that went away just now: a call must not wait for as long as
// pods do.
TEST_F(NodeVolumesTest, ADeviceThatDoesNotAnswerStaysMounted) {
  ASSERT_THAT(Stage(), IsOk());
  const std::string device = attacher_.List().front().device;
  ASSERT_EQ(rename(device.c_str(), (device + "-kept").c_str()), 0);
  ASSERT_EQ(mkfifo(device.c_str(), 0600), 0);
  commands_.Taken();
  // The second call finds the first one's read under way.
  bool aborted = false;
  int writer = -1;
  EXPECT_TRUE(WaitUntil(Later(), [&] {
    const absl::Time soon = absl::Now() + absl::Seconds(1);
    const absl::Status staged = node_.Stage("v", staging_, {}, soon);
    aborted = aborted || absl::IsAborted(staged);
    EXPECT_TRUE(aborted || absl::IsUnavailable(staged)) << staged;
    if (aborted) writer = open(device.c_str(), O_WRONLY | O_NONBLOCK);
    return writer >= 0;
  }));
  EXPECT_THAT(commands_.Taken(), IsEmpty());
  ASSERT_EQ(rename((device + "-kept").c_str(), device.c_str()), 0);
  close(writer);
  EXPECT_TRUE(WaitUntil(Later(), [this] { return Stage().ok(); }));
  EXPECT_THAT(commands_.Taken(), IsEmpty());
}

TEST_F(NodeVolumesTest, AnInlineVolumeThatDoesNotFillItsDeviceGrows) {
  const auto publish = [this] { return PublishInline("csi-pod"); };
  ASSERT_THAT(publish(), IsOk());
  EnlargeDevice(NameOfHandle("csi-pod"));
  // Its pod may have it by now.
  commands_.Fail("resize2fs");
  EXPECT_THAT(publish(),
              StatusIs(StatusCode::kInternal, HasSubstr("resize2fs")));
  EXPECT_TRUE(mounter_.Find(target_).has_value());
  commands_.Fail("resize2fs", false);
  commands_.Taken();
  EXPECT_THAT(publish(), IsOk());
  EXPECT_THAT(commands_.Taken(), ElementsAre(HasSubstr("resize2fs")));
}

TEST_F(NodeVolumesTest, TimesOnlyWhatIsAttachedAnew) {
  ASSERT_THAT(Stage(), IsOk());
  ASSERT_THAT(Stage(), IsOk());
  ASSERT_THAT(Publish(target_), IsOk());
  EXPECT_EQ(node_.attach_times().count(), 1);
}

// Else one that takes all of the time would keep those behind it from being
// trimmed for ever.
TEST_F(NodeVolumesTest, TrimsGoOnWhereTheLastRoundEnded) {
  for (const std::string name : {"a", "b", "c"}) {
    world_.CreateVolume(name, kMib);
    ASSERT_THAT(node_.Stage(name, staging_ + name, {}, Later()), IsOk());
  }
  world_.CreateVolume("block", kMib);
  ASSERT_THAT(node_.Stage("block", staging_, Block(), Later()), IsOk());
  const auto trim = [&](const std::string& last) {
    commands_.Taken();
    return node_.TrimAll(last, Later());
  };
  const std::string prefix = "fstrim " + staging_;
  EXPECT_EQ(trim(""), "c");
  EXPECT_THAT(commands_.Taken(),
              ElementsAre(prefix + "a", prefix + "b", prefix + "c"));
  EXPECT_EQ(trim("a"), "a");
  EXPECT_THAT(commands_.Taken(),
              ElementsAre(prefix + "b", prefix + "c", prefix + "a"));
  // Also when it is gone, or could not be trimmed.
  attacher_.Kill("c");
  commands_.Fail("fstrim");
  EXPECT_EQ(trim("bz"), "block");
  EXPECT_THAT(commands_.Taken(), ElementsAre(prefix + "a", prefix + "b"));
  EXPECT_EQ(node_.TrimAll("b", absl::InfinitePast()), "b");
  EXPECT_THAT(commands_.Taken(), IsEmpty());
}

TEST_F(NodeVolumesTest, AFlushSaysWhatCouldNotBeWrittenBack) {
  EXPECT_THAT(write_back_.Flush("v", Later()), IsOk());  // It is not attached.
  attacher_.BeginToAttach({.name = "v", .uid = "u"}, /*alive=*/true);
  EXPECT_THAT(write_back_.Flush("v", Later()), IsOk());
  ASSERT_THAT(Stage(Block()), IsOk());
  EXPECT_THAT(write_back_.Flush("v", Later()), IsOk());
  ASSERT_THAT(Stage(), IsOk());
  EXPECT_THAT(write_back_.Flush("v", Later()), IsOk());
  ASSERT_EQ(rmdir(staging_.c_str()), 0);
  EXPECT_THAT(write_back_.Flush("v", Later()),
              StatusIs(StatusCode::kInternal,
                       AllOf(HasSubstr("\"v\""), HasSubstr(staging_))));
}

// Else the call would wait for as long as pods do, in the kernel.
TEST_F(NodeVolumesTest, TheLastMountStaysWhileRamvoldIsAway) {
  ASSERT_THAT(Stage(), IsOk());
  ASSERT_THAT(Publish(target_), IsOk());
  const auto away =
      std::make_shared<::testing::NiceMock<MockClientConnection>>();
  ON_CALL(*away, GetServerInfo)
      .WillByDefault(Return(absl::UnavailableError("no ramvold")));
  const Volumes volumes(Client(away), {.node_id = "node-1"});
  NodeVolumes node(&volumes, &attacher_, &mounter_, &file_systems_);
  EXPECT_THAT(node.Unpublish("v", target_, Later()), IsOk());
  commands_.Taken();
  EXPECT_THAT(node.Unstage("v", staging_, Later()),
              StatusIs(StatusCode::kUnavailable,
                       AllOf(HasSubstr(staging_), HasSubstr("no ramvold"))));
  EXPECT_THAT(commands_.Taken(), IsEmpty());
  EXPECT_THAT(attacher_.List(), SizeIs(1));
  // Nothing gets through from a dead device.
  attacher_.Kill("v");
  EXPECT_THAT(node.Unstage("v", staging_, Later()), IsOk());
  EXPECT_THAT(commands_.Taken(), ElementsAre(HasSubstr("umount")));
  EXPECT_THAT(attacher_.List(), IsEmpty());
  EXPECT_THAT(node.Unstage("v", staging_, Later()), IsOk());
}

TEST_F(NodeVolumesTest, TheMountOfAnInlineVolumeStaysWhileRamvoldIsAway) {
  const auto parameters =
      ParseParameters({{"size", "2Mi"}}, /*is_inline=*/true);
  ASSERT_THAT(parameters, IsOk());
  ASSERT_THAT(node_.PublishInline("csi-pod", target_, *parameters, {}, Later()),
              IsOk());
  const auto away =
      std::make_shared<::testing::NiceMock<MockClientConnection>>();
  ON_CALL(*away, GetServerInfo)
      .WillByDefault(Return(absl::UnavailableError("no ramvold")));
  const Volumes volumes(Client(away), {.node_id = "node-1"});
  NodeVolumes node(&volumes, &attacher_, &mounter_, &file_systems_);
  EXPECT_THAT(node.Unpublish("csi-pod", target_, Later()),
              StatusIs(StatusCode::kUnavailable, HasSubstr("no ramvold")));
  EXPECT_TRUE(mounter_.Find(target_).has_value());
}

// Which would wait for as long as pods do.
TEST_F(NodeVolumesTest, NothingIsFlushedWhileRamvoldIsAway) {
  ASSERT_THAT(Stage(), IsOk());
  const auto away =
      std::make_shared<::testing::NiceMock<MockClientConnection>>();
  ON_CALL(*away, GetServerInfo)
      .WillByDefault(Return(absl::UnavailableError("no ramvold")));
  const Volumes volumes(Client(away), {.node_id = "node-1"});
  const WriteBack write_back(&volumes, &attacher_, &mounter_);
  EXPECT_THAT(write_back.Flush("v", Later()),
              StatusIs(StatusCode::kUnavailable,
                       AllOf(HasSubstr("\"v\""), HasSubstr("no ramvold"))));
  // Nothing is left to be written to a dead device.
  attacher_.Kill("v");
  EXPECT_THAT(write_back.Flush("v", Later()), IsOk());
}

}  // namespace
}  // namespace ramvol::csi_driver
