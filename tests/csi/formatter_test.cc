#include "csi/formatter.h"

#include <stdlib.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/mocks/mock_client_connection.h"
#include "csi/file_system.h"
#include "csi/volume_handle.h"
#include "csi/volumes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/csi/driver_world.h"
#include "tests/csi/fake_node.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::absl::StatusCode;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::NiceMock;
using ::testing::Not;
using ::testing::Return;

constexpr int64_t kMib = int64_t{1} << 20;

// The beginnings of devices that hold these, as far as the driver looks.
std::string Ext4() {
  std::string data(2048, '\0');
  data[1024 + 56] = '\x53';
  data[1024 + 57] = '\xef';
  return data;
}
std::string Btrfs() {
  std::string data(65536 + 4096, '\0');
  data.replace(65536, 4, "\xbe\x19\x0d\x4d");  // The checksum of the rest.
  data.replace(65536 + 64, 8, "_BHRfS_M");
  data[65536 + 136] = '\x01';  // One device.
  return data;
}

// The volume "v" and a file that stands for its device. What is written to one
// is not in the other, as with what is in the device's cache.
class FormatterTest : public ::testing::Test {
 protected:
  FormatterTest() {
    world_.CreateVolume("v", kMib);
    WriteToDevice("");
  }

  absl::StatusOr<FileSystem> Prepare(const WantedFileSystem& wanted = {}) {
    return PrepareVolume("v", wanted);
  }
  absl::StatusOr<FileSystem> PrepareVolume(
      const std::string& handle, const WantedFileSystem& wanted = {}) {
    const auto volume = world_.volumes().Find(handle);
    if (!volume.ok()) return volume.status();
    return formatter_.Prepare(*volume, device_, wanted, Later());
  }
  absl::Status HandOver(const std::string& handle = "v") {
    const auto volume = world_.volumes().Find(handle);
    return volume.ok() ? formatter_.HandOver(*volume) : volume.status();
  }
  // The UUID of the btrfs in it.
  std::string DeviceUuid() const {
    std::ifstream file(device_);
    std::string uuid(16, '\0');
    file.seekg(65536 + 32);
    file.read(uuid.data(), 16);
    return uuid;
  }
  // Of people, or a clone.
  void Create(const std::string& name, const std::string& source) {
    v1::CreateVolumeRequest request;
    request.set_name(name);
    request.set_size_bytes(kMib);
    request.set_source(source);
    ASSERT_THAT(world_.client().CreateVolume(request), IsOk());
  }
  absl::Status Rename(const std::string& name, const std::string& new_name) {
    v1::RenameVolumeRequest request;
    request.set_name(name);
    request.set_new_name(new_name);
    return world_.client().RenameVolume(request).status();
  }
  // "FORMATTING/FORMATTED".
  std::string Labels(const std::string& handle = "v") {
    const auto volume = world_.volumes().Find(handle);
    EXPECT_THAT(volume, IsOk());
    if (!volume.ok()) return "";
    const std::string both =
        absl::StrCat(LabelOf(*volume, label::kFormatting), "/",
                     LabelOf(*volume, label::kFormatted));
    return absl::StrReplaceAll(both, {{"@" + volume->name(), ""}});
  }
  void WriteToDevice(const std::string& data) {
    std::ofstream(device_) << data;
    ASSERT_EQ(truncate(device_.c_str(), kProbeBytes), 0);
  }
  // A mkfs that is interrupted.
  void BeginFormatting() {
    commands_.Fail("mkfs.ext4");
    EXPECT_THAT(Prepare(),
                StatusIs(StatusCode::kInternal, HasSubstr("mkfs.ext4")));
    commands_.Fail("mkfs.ext4", false);
    commands_.Taken();
    WriteToDevice("the half of a file system");
    world_.Write("v", 0, "the half of a file system");
  }
  static absl::Time Later() { return absl::Now() + absl::Seconds(30); }

  const std::string folder_ = getenv("TEST_TMPDIR");
  const std::string device_ = folder_ + "/device";
  const WantedFileSystem not_made_ = {.type = "", .make = false};
  DriverWorld world_;
  FakeCommands commands_{folder_ + "/mountinfo"};
  const FileSystems file_systems_{&commands_};
  const Formatter formatter_{&world_.volumes(), &file_systems_};
};

TEST_F(FormatterTest, AHoleIsFormattedOnce) {
  const auto made = Prepare();
  ASSERT_THAT(made, IsOk());
  EXPECT_EQ(made->type, "ext4");
  EXPECT_EQ(made->size_bytes, UINT64_MAX);
  EXPECT_EQ(Labels(), "/ext4");
  EXPECT_THAT(commands_.Taken(),
              ElementsAre(AllOf(HasSubstr("mkfs.ext4"), HasSubstr(device_),
                                HasSubstr("assume_storage_prezeroed=1"))));
  // Repeated, it only looks whether that is whole.
  const auto found = Prepare();
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->type, "ext4");
  EXPECT_THAT(commands_.Taken(), ElementsAre(HasSubstr("e2fsck -p")));
}

TEST_F(FormatterTest, MakesTheTypeThatIsWanted) {
  const auto made = Prepare({.type = "xfs"});
  ASSERT_THAT(made, IsOk());
  EXPECT_EQ(made->type, "xfs");
  EXPECT_EQ(Labels(), "/xfs");
  EXPECT_THAT(commands_.Taken(), ElementsAre(HasSubstr("mkfs.xfs")));
}

TEST_F(FormatterTest, WhatIsEmptyIsFormattedWhoeverMadeIt) {
  Create("people", "");
  EXPECT_THAT(PrepareVolume("people"), IsOk());
  WriteToDevice("");
  Create("clone", "v");
  EXPECT_THAT(PrepareVolume("clone"), IsOk());
  EXPECT_THAT(commands_.Taken(),
              ElementsAre(HasSubstr("mkfs.ext4"), HasSubstr("mkfs.ext4")));
  WriteToDevice("");
  world_.Write("v", kMib / 2, "data");
  Create("full", "v");
  EXPECT_THAT(PrepareVolume("full"),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("\"full\" holds unknown data")));
  EXPECT_THAT(commands_.Taken(), IsEmpty());
}

// As a pod that had it as a block device may have done, or people with ramvol.
TEST_F(FormatterTest, WhatSomebodyWroteIsNeverFormatted) {
  // Beyond what is looked at to see of which type it is: the last block.
  world_.Write("v", kMib - 1, "x");
  EXPECT_THAT(Prepare(), StatusIs(StatusCode::kFailedPrecondition,
                                  HasSubstr("holds unknown data")));
  WriteToDevice("no file system that is known");
  EXPECT_THAT(Prepare(), StatusIs(StatusCode::kFailedPrecondition,
                                  HasSubstr("holds unknown data")));
  EXPECT_EQ(Labels(), "/");
  EXPECT_THAT(commands_.Taken(), IsEmpty());
  // Nor is a file system that somebody made.
  WriteToDevice(Ext4());
  const auto found = Prepare();
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->type, "ext4");
  EXPECT_THAT(commands_.Taken(), ElementsAre(HasSubstr("e2fsck")));
}

// Saved while mkfs was under way, restored under another name, and filled.
TEST_F(FormatterTest, ACopysLabelsSayNothingAboutIt) {
  v1::CreateVolumeRequest copy;
  copy.set_name("copy");
  copy.set_size_bytes(kMib);
  (*copy.mutable_labels())[label::kHandle] = "v";
  (*copy.mutable_labels())[label::kFormatting] = "ext4";
  ASSERT_THAT(world_.client().CreateVolume(copy), IsOk());
  world_.Write("copy", 0, "data");
  WriteToDevice("data");
  EXPECT_THAT(PrepareVolume("copy"), StatusIs(StatusCode::kFailedPrecondition,
                                              HasSubstr("unknown data")));
  EXPECT_THAT(commands_.Taken(), IsEmpty());
}

TEST_F(FormatterTest, AnotherTypeThanTheWantedOneStays) {
  WriteToDevice(Ext4());
  EXPECT_THAT(Prepare({.type = "xfs"}),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("\"v\" holds ext4, not xfs")));
  EXPECT_THAT(commands_.Taken(), IsEmpty());
}

TEST_F(FormatterTest, WhatWasFormattedIsNeverFormattedAgain) {
  ASSERT_THAT(Prepare(), IsOk());
  commands_.Taken();
  WriteToDevice("no file system that is known");
  EXPECT_THAT(Prepare(), StatusIs(StatusCode::kFailedPrecondition,
                                  HasSubstr("holds unknown data")));
  // Not even if its content is gone.
  WriteToDevice("");
  EXPECT_THAT(Prepare(), StatusIs(StatusCode::kFailedPrecondition,
                                  HasSubstr("holds nothing")));
  EXPECT_THAT(commands_.Taken(), IsEmpty());
}

TEST_F(FormatterTest, HalfAFileSystemIsMadeAnew) {
  BeginFormatting();
  EXPECT_EQ(Labels(), "ext4/");
  ASSERT_THAT(Prepare(), IsOk());
  EXPECT_EQ(Labels(), "/ext4");
  // The device is not all zeros then.
  EXPECT_THAT(commands_.Taken(),
              ElementsAre(AllOf(HasSubstr("mkfs.ext4"),
                                Not(HasSubstr("assume_storage_prezeroed")))));
}

// Its super block may be written first.
TEST_F(FormatterTest, HalfAFileSystemIsNotMistakenForAWholeOne) {
  BeginFormatting();
  WriteToDevice(Ext4());
  ASSERT_THAT(Prepare(), IsOk());
  EXPECT_THAT(commands_.Taken(), ElementsAre(HasSubstr("mkfs.ext4")));
}

TEST_F(FormatterTest, WhatMayNotBeMadeIsOnlyRepaired) {
  EXPECT_THAT(Prepare(not_made_), StatusIs(StatusCode::kFailedPrecondition,
                                           HasSubstr("\"v\" holds nothing, not "
                                                     "a known file system")));
  BeginFormatting();
  EXPECT_THAT(Prepare(not_made_),
              StatusIs(StatusCode::kFailedPrecondition,
                       HasSubstr("\"v\" holds half a file system")));
  EXPECT_EQ(Labels(), "ext4/");
  EXPECT_THAT(commands_.Taken(), IsEmpty());
  ASSERT_THAT(HandOver(), IsOk());
  WriteToDevice(Ext4());
  EXPECT_THAT(Prepare(not_made_), IsOk());
  EXPECT_THAT(commands_.Taken(), ElementsAre(HasSubstr("e2fsck")));
}

TEST_F(FormatterTest, WhatNobodyMayWriteStaysAsItIs) {
  auto volume = world_.volumes().Find("v");
  ASSERT_THAT(volume, IsOk());
  volume->set_read_only(true);
  for (const std::string& data : {Ext4(), Btrfs()}) {
    WriteToDevice(data);
    EXPECT_THAT(formatter_.Prepare(*volume, device_, not_made_, Later()),
                IsOk());
  }
  EXPECT_EQ(DeviceUuid(), std::string(16, '\0'));
  EXPECT_EQ(Labels(), "/");
  EXPECT_THAT(commands_.Taken(), IsEmpty());
}

TEST_F(FormatterTest, WhatIsHandedOverIsNoHalfMadeFileSystem) {
  EXPECT_THAT(HandOver(), IsOk());
  BeginFormatting();
  ASSERT_THAT(HandOver(), IsOk());
  EXPECT_EQ(Labels(), "/");
  EXPECT_THAT(Prepare(), StatusIs(StatusCode::kFailedPrecondition,
                                  HasSubstr("holds unknown data")));
  EXPECT_THAT(commands_.Taken(), IsEmpty());
}

// Saved while mkfs was under way, restored under another name, given to a pod,
// and given the original's name.
TEST_F(FormatterTest, WhatIsHandedOverUnderAnotherNameStaysSo) {
  BeginFormatting();
  ASSERT_THAT(Rename("v", "copy"), IsOk());
  ASSERT_THAT(HandOver("copy"), IsOk());
  ASSERT_THAT(Rename("copy", "v"), IsOk());
  EXPECT_EQ(Labels(), "/");
  EXPECT_THAT(Prepare(), StatusIs(StatusCode::kFailedPrecondition,
                                  HasSubstr("holds unknown data")));
  EXPECT_THAT(commands_.Taken(), IsEmpty());
  // And it is the driver's again.
  EXPECT_THAT(world_.volumes().Delete("v", Later()), IsOk());
}

// The same, once mkfs had ended, as a file system. And the other labels stay.
TEST_F(FormatterTest, WhatIsMountedUnderAnotherNameIsNeverFormatted) {
  BeginFormatting();
  ASSERT_THAT(Rename("v", "copy"), IsOk());
  WriteToDevice(Ext4());
  ASSERT_THAT(PrepareVolume("copy"), IsOk());
  EXPECT_THAT(commands_.Taken(), ElementsAre(HasSubstr("e2fsck")));
  ASSERT_THAT(Rename("copy", "v"), IsOk());
  EXPECT_EQ(Labels(), "/");
  ASSERT_THAT(Prepare(), IsOk());
  EXPECT_THAT(commands_.Taken(), ElementsAre(HasSubstr("e2fsck")));
  EXPECT_THAT(world_.volumes().Delete("v", Later()), IsOk());
}

// What the driver makes under another name it knows there, and is the
// original's driver's still.
TEST_F(FormatterTest, WhatIsFormattedUnderAnotherNameStaysTheDrivers) {
  ASSERT_THAT(Rename("v", "copy"), IsOk());
  commands_.Fail("mkfs.ext4");
  EXPECT_THAT(PrepareVolume("copy"), StatusIs(StatusCode::kInternal, _));
  EXPECT_EQ(Labels("copy"), "ext4/");
  commands_.Fail("mkfs.ext4", false);
  WriteToDevice("the half of a file system");
  ASSERT_THAT(PrepareVolume("copy"), IsOk());
  EXPECT_EQ(Labels("copy"), "/ext4");
  WriteToDevice("");
  EXPECT_THAT(PrepareVolume("copy"), StatusIs(StatusCode::kFailedPrecondition,
                                              HasSubstr("holds nothing")));
  // Under a third one it is a copy.
  ASSERT_THAT(Rename("copy", "third"), IsOk());
  EXPECT_EQ(Labels("third"), "/");
  ASSERT_THAT(Rename("third", "v"), IsOk());
  EXPECT_THAT(world_.volumes().Delete("v", Later()), IsOk());
}

TEST_F(FormatterTest, AClonesUuidIsRenewedOnceAlsoUnderAnotherName) {
  const auto clone = world_.volumes().Create({.handle = "clone",
                                              .parameters = {},
                                              .size = {.required_bytes = kMib},
                                              .source = "v"});
  ASSERT_THAT(clone, IsOk());
  ASSERT_THAT(Rename("clone", "other"), IsOk());
  WriteToDevice(Btrfs());
  ASSERT_THAT(PrepareVolume("other"), IsOk());
  const std::string renewed = DeviceUuid();
  EXPECT_NE(renewed, std::string(16, '\0'));
  ASSERT_THAT(PrepareVolume("other"), IsOk());
  EXPECT_EQ(DeviceUuid(), renewed);
  ASSERT_THAT(Rename("other", "clone"), IsOk());
  EXPECT_EQ(Labels("clone"), "/btrfs@other");
  EXPECT_THAT(world_.volumes().Delete("clone", Later()), IsOk());
}

TEST_F(FormatterTest, ACopyGetsAUuidOfItsOwnOnce) {
  const std::string old(16, '\0');
  Create("clone", "v");
  // The driver's own "v" has no source; what it holds and the driver has not
  // made is a copy, too.
  for (const std::string name : {"clone", "v"}) {
    WriteToDevice(Btrfs());
    EXPECT_THAT(PrepareVolume(name, not_made_), IsOk());
    EXPECT_EQ(Labels(name), "/btrfs");
    const std::string renewed = DeviceUuid();
    EXPECT_NE(renewed, old);
    EXPECT_THAT(PrepareVolume(name), IsOk());
    EXPECT_EQ(DeviceUuid(), renewed);
  }
  Create("people", "");
  WriteToDevice(Btrfs());
  EXPECT_THAT(PrepareVolume("people"), IsOk());
  EXPECT_EQ(DeviceUuid(), old);
  EXPECT_EQ(Labels("people"), "/");
}

TEST_F(FormatterTest, WhatCannotBeRepairedIsAnError) {
  WriteToDevice(Ext4());
  commands_.Fail("e2fsck");
  EXPECT_THAT(Prepare(), StatusIs(StatusCode::kInternal, HasSubstr("e2fsck")));
}

TEST_F(FormatterTest, ADeviceThatCannotBeReadIsNotTakenForEmpty) {
  ASSERT_EQ(unlink(device_.c_str()), 0);
  EXPECT_THAT(Prepare(), StatusIs(StatusCode::kInternal, HasSubstr(device_)));
  EXPECT_THAT(commands_.Taken(), IsEmpty());
}

// Else a mkfs that is interrupted would leave what nothing may format any more,
// or what something may that is whole.
TEST_F(FormatterTest, NothingIsFormattedThatRamvoldDoesNotNote) {
  const auto connection = std::make_shared<NiceMock<MockClientConnection>>();
  const Volumes volumes(Client(connection), {.node_id = "node-1"});
  const Formatter formatter(&volumes, &file_systems_);
  v1::Volume volume;
  volume.set_name("v");
  ON_CALL(*connection, GetVolume).WillByDefault(Return(volume));
  const auto prepare = [&] {
    return formatter.Prepare(volume, device_, {}, Later());
  };
  ON_CALL(*connection, StatVolume)
      .WillByDefault(Return(absl::UnavailableError("stat")));
  EXPECT_THAT(prepare(), StatusIs(StatusCode::kUnavailable, "stat"));
  // A volume of which something is still read back is not empty.
  v1::VolumeStats stats;
  stats.set_restoring_bytes(1);
  ON_CALL(*connection, StatVolume).WillByDefault(Return(stats));
  EXPECT_THAT(prepare(), StatusIs(StatusCode::kFailedPrecondition, _));
  stats.clear_restoring_bytes();
  ON_CALL(*connection, StatVolume).WillByDefault(Return(stats));
  ON_CALL(*connection, UpdateVolume)
      .WillByDefault(Return(absl::UnavailableError("update")));
  EXPECT_THAT(prepare(), StatusIs(StatusCode::kUnavailable, "update"));
  EXPECT_THAT(commands_.Taken(), IsEmpty());
}

}  // namespace
}  // namespace ramvol::csi_driver
