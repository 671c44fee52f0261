#include "csi/volumes.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/mocks/mock_client_connection.h"
#include "client/remote_volume.h"
#include "csi/parameters.h"
#include "csi/volume_handle.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/csi/driver_world.h"
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
using ::testing::Not;
using ::testing::Return;
using ::testing::SizeIs;

constexpr uint64_t kKib = uint64_t{1} << 10;
constexpr uint64_t kMib = uint64_t{1} << 20;
constexpr uint64_t kGib = uint64_t{1} << 30;
constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();

absl::Time Later() { return absl::Now() + absl::Minutes(1); }
absl::Time Soon() { return absl::Now() + absl::Milliseconds(50); }

TEST(ChooseSizeTest, TakesWhatIsRequiredInWholeBlocks) {
  struct Case {
    SizeRange range;
    uint64_t source_bytes;
    uint64_t want;
  };
  for (const Case& each : std::vector<Case>{
           {{0, 0}, 0, kGib},                // The default.
           {{0, 5000}, 0, 4096},             // Within the limit.
           {{1, 0}, 0, 4096},                // Rounded up.
           {{4096, 4096}, 0, 4096},          //
           {{4097, 0}, 0, 8192},             //
           {{kMib, 0}, 2 * kMib, 2 * kMib},  // No clone is smaller.
           {{0, 0}, 5000, 5000},             // And may be as odd.
           {{5001, 0}, 5000, 8192},          //
       }) {
    const auto bytes = ChooseSize(each.range, each.source_bytes);
    ASSERT_THAT(bytes, IsOk());
    EXPECT_EQ(*bytes, each.want) << each.range.required_bytes;
  }
  for (const SizeRange& range :
       std::vector<SizeRange>{{0, 4095}, {1, 4095}, {4097, 5000}, {kMost, 0}}) {
    EXPECT_THAT(ChooseSize(range, 0), StatusIs(StatusCode::kOutOfRange, _))
        << range.required_bytes;
  }
  EXPECT_THAT(ChooseSize({0, kMib}, 2 * kMib),
              StatusIs(StatusCode::kOutOfRange, _));
}

TEST(VolumesOptionsTest, ANodesNameIsALabelsValue) {
  EXPECT_THAT(VolumesOptions{.node_id = std::string(63, 'n')}.Validate(),
              IsOk());
  EXPECT_THAT(VolumesOptions{}.Validate(),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("required")));
  EXPECT_THAT(
      VolumesOptions{.node_id = std::string(64, 'n')}.Validate(),
      StatusIs(StatusCode::kInvalidArgument,
               AllOf(HasSubstr("64 characters"), HasSubstr("a shorter name"))));
  for (const double overcommit : {0.0, 1001.0, std::nan("")}) {
    EXPECT_THAT(
        (VolumesOptions{.node_id = "n", .overcommit = overcommit}.Validate()),
        StatusIs(StatusCode::kInvalidArgument, HasSubstr("--overcommit")));
  }
}

class VolumesTest : public ::testing::Test {
 protected:
  const Volumes& volumes() { return world_.volumes(); }

  static NewVolume New(const std::string& handle, uint64_t bytes,
                       const ParameterMap& parameters = {}) {
    NewVolume wanted;
    wanted.handle = handle;
    wanted.parameters = *ParseParameters(parameters, /*is_inline=*/false);
    wanted.size.required_bytes = bytes;
    return wanted;
  }
  // Not by the driver.
  void MakeForeign(const std::string& name) {
    v1::CreateVolumeRequest request;
    request.set_name(name);
    request.set_size_bytes(static_cast<int64_t>(kMib));
    ASSERT_THAT(world_.client().CreateVolume(request), IsOk());
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    const auto all = world_.client().ListVolumes();
    EXPECT_THAT(all, IsOk());
    if (!all.ok()) return names;
    for (const v1::Volume& volume : *all) {
      names.push_back(volume.name());
    }
    return names;
  }

  DriverWorld world_;  // 256 MiB, over-commit 3.
};

TEST_F(VolumesTest, AVolumeIsLostWhenItsUidIs) {
  const Client& client = world_.client();
  const auto made = volumes().Create(New("v", kMib));
  ASSERT_THAT(made, IsOk());
  EXPECT_TRUE(*HasVolume(client, "v", made->uid()));
  EXPECT_FALSE(*HasVolume(client, "v", "another"));
  v1::RenameVolumeRequest rename;
  rename.set_name("v");
  rename.set_new_name("w");
  ASSERT_THAT(client.RenameVolume(rename), IsOk());
  EXPECT_TRUE(*HasVolume(client, "v", made->uid()));
  EXPECT_FALSE(*HasVolume(client, "v", "another"));
}

TEST_F(VolumesTest, ARepeatedCreateFindsTheVolume) {
  const NewVolume wanted =
      New("PVC 1", kMib, {{"allocator", "sparse"}, {"class", "fast"}});
  const auto first = volumes().Create(wanted);
  const auto second = volumes().Create(wanted);
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(first->uid(), second->uid());
  EXPECT_EQ(HandleOf(*first), "PVC 1");
  EXPECT_EQ(LabelOf(*first, label::kNode), "node-1");
  EXPECT_EQ(LabelOf(*first, label::kClass), "fast");
  EXPECT_THAT(Names(), ElementsAre(NameOfHandle("PVC 1")));
}

TEST_F(VolumesTest, WhatIsDifferentExistsAlready) {
  MakeForeign("golden");
  ASSERT_THAT(volumes().Create(New("v", kMib, {{"zstdLevel", "3"}})), IsOk());
  NewVolume smaller = New("v", 0);
  smaller.size.limit_bytes = kMib / 2;
  for (const NewVolume& other :
       {New("v", 2 * kMib), smaller, New("v", kMib, {{"zstdLevel", "4"}}),
        New("v", kMib, {{"allocator", "malloc"}}),
        New("v", kMib, {{"image", "golden"}})}) {
    EXPECT_THAT(volumes().Create(other),
                StatusIs(StatusCode::kAlreadyExists, HasSubstr("\"v\"")));
  }
  // What says less fits.
  EXPECT_THAT(volumes().Create(New("v", kMib / 2)), IsOk());
}

TEST_F(VolumesTest, HandlesAreNotNames) {
  ASSERT_THAT(volumes().Create(New("PVC 1", kMib)), IsOk());
  const std::string name = NameOfHandle("PVC 1");
  EXPECT_THAT(volumes().Find("PVC 1"), IsOk());
  // The name of a volume with another handle is no handle.
  EXPECT_THAT(volumes().Find(name), StatusIs(StatusCode::kNotFound, _));
  // Of what the driver did not make, it is.
  MakeForeign("people");
  EXPECT_THAT(volumes().Find("people"), IsOk());
  EXPECT_THAT(volumes().Find("People"),
              StatusIs(StatusCode::kNotFound, HasSubstr("People")));
}

TEST_F(VolumesTest, OnlyItsOwnAreListedAndDeleted) {
  MakeForeign("people");
  ASSERT_THAT(volumes().Create(New("mine", kMib)), IsOk());
  const auto listed = volumes().List();
  ASSERT_THAT(listed, IsOk());
  ASSERT_EQ(listed->size(), 1);
  EXPECT_EQ(HandleOf(listed->front()), "mine");
  EXPECT_THAT(volumes().Delete("people", Soon()),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("people")));
  EXPECT_THAT(volumes().Delete("mine", Later()), IsOk());
  EXPECT_THAT(volumes().Delete("mine", Later()), IsOk());
  EXPECT_THAT(Names(), ElementsAre("people"));
}

// As `ramvol restore` makes it, which brings the labels back.
TEST_F(VolumesTest, ACopyWithAllLabelsIsNotListed) {
  for (const std::string handle : {"mine", "PVC 1"}) {
    ASSERT_THAT(volumes().Create(New(handle, kMib)), IsOk());
    ASSERT_THAT(volumes().CreateSnapshot(handle + " snapshot", handle), IsOk());
    v1::CreateVolumeRequest copy;
    copy.set_name("copy-of-" + NameOfHandle(handle));
    copy.set_size_bytes(static_cast<int64_t>(kMib));
    (*copy.mutable_labels())[label::kHandle] = handle;
    ASSERT_THAT(world_.client().CreateVolume(copy), IsOk());
    v1::CreateSnapshotRequest snapshot;
    snapshot.set_volume(copy.name());
    snapshot.set_name("snapshot-" + copy.name());
    (*snapshot.mutable_labels())[label::kHandle] = handle + " snapshot";
    ASSERT_THAT(world_.client().CreateSnapshot(snapshot), IsOk());
  }
  const auto listed = volumes().List();
  ASSERT_THAT(listed, IsOk());
  ASSERT_EQ(listed->size(), 2);
  for (const v1::Volume& volume : *listed) {
    EXPECT_EQ(volume.name(), NameOfHandle(HandleOf(volume)));
  }
  const auto snapshots = volumes().ListSnapshots();
  ASSERT_THAT(snapshots, IsOk());
  ASSERT_EQ(snapshots->size(), 2);
  for (const v1::Snapshot& snapshot : *snapshots) {
    EXPECT_EQ(snapshot.name(), NameOfHandle(HandleOf(snapshot)));
  }
}

// Its labels are the original's, which would end with its pod.
TEST_F(VolumesTest, ACopyUnderAnotherNameIsNobodys) {
  NewVolume original = New("mine", kMib, {{"class", "fast"}});
  original.ephemeral_target = "/pods/x";
  const auto made = volumes().Create(original);
  ASSERT_THAT(made, IsOk());
  v1::CreateVolumeRequest copy;
  copy.set_name("copy");
  copy.set_size_bytes(static_cast<int64_t>(kMib));
  *copy.mutable_labels() = made->labels();
  (*copy.mutable_labels())[label::kFormatted] = "ext4";
  (*copy.mutable_labels())[label::kImage] = "copy";
  (*copy.mutable_labels())["team"] = "a";
  ASSERT_THAT(world_.client().CreateVolume(copy), IsOk());
  const auto found = volumes().Find("copy");
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(HandleOf(*found), "copy");
  EXPECT_THAT(found->labels(), SizeIs(2));
  EXPECT_THAT(volumes().Delete("copy", Soon()),
              StatusIs(StatusCode::kFailedPrecondition, HasSubstr("copy")));
  // What names the copy is the copy's.
  const std::string mark = "xfs@copy";
  const auto relabelled =
      volumes().Relabel(*found, {{label::kFormatting, mark}});
  ASSERT_THAT(relabelled, IsOk());
  EXPECT_EQ(LabelOf(*relabelled, label::kHandle), "mine");
  EXPECT_EQ(LabelOf(*relabelled, label::kEphemeral), "/pods/x");
  const auto noted = volumes().Find("copy");
  ASSERT_THAT(noted, IsOk());
  EXPECT_EQ(LabelOf(*noted, label::kFormatting), mark);
  EXPECT_EQ(LabelOf(*noted, label::kImage), "copy");
  EXPECT_EQ(LabelOf(*noted, "team"), "a");
  EXPECT_THAT(noted->labels(), SizeIs(3));
  const auto listed = volumes().List();
  ASSERT_THAT(listed, IsOk());
  EXPECT_THAT(*listed, SizeIs(1));
  EXPECT_EQ(HandleOf(*volumes().Find("mine")), "mine");
}

// Its content is somebody's.
TEST_F(VolumesTest, WhatPeopleMadeIsNotTakenForANewVolume) {
  MakeForeign("people");
  EXPECT_THAT(volumes().Create(New("people", kMib)),
              StatusIs(StatusCode::kAlreadyExists,
                       HasSubstr("\"people\" exists, and it was not made")));
}

TEST_F(VolumesTest, AnAttachedVolumeStays) {
  ASSERT_THAT(volumes().Create(New("mine", kMib)), IsOk());
  const auto open = world_.client().Open("mine");
  ASSERT_THAT(open, IsOk());
  EXPECT_THAT(volumes().Delete("mine", Soon()),
              StatusIs(StatusCode::kFailedPrecondition, _));
  EXPECT_THAT(Names(), ElementsAre("mine"));
}

TEST_F(VolumesTest, PromisesNoMoreThanTheOvercommitOfWhatIsLeft) {
  const auto info = world_.client().GetServerInfo();
  ASSERT_THAT(info, IsOk());
  const auto left = static_cast<uint64_t>(info->memory_limit_bytes() -
                                          info->memory_used_bytes());
  const auto available = volumes().AvailableBytes(v1::ALLOCATOR_ZSTD);
  ASSERT_THAT(available, IsOk());
  EXPECT_NEAR(static_cast<double>(*available), 3.0 * static_cast<double>(left),
              static_cast<double>(kMib));
  // What is reserved is promised once.
  const auto reserved = volumes().AvailableBytes(v1::ALLOCATOR_MALLOC);
  ASSERT_THAT(reserved, IsOk());
  EXPECT_LE(*reserved, left);
  EXPECT_THAT(
      volumes().Create(New("big", *available + kMib)),
      StatusIs(StatusCode::kResourceExhausted, HasSubstr("--overcommit")));
  EXPECT_THAT(
      volumes().Create(New("big", *reserved + kMib, {{"allocator", "malloc"}})),
      StatusIs(StatusCode::kResourceExhausted, _));
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_THAT(volumes().Create(New("fits", *available - kMib)), IsOk());
}

TEST_F(VolumesTest, ACloneCountsOnlyWhatItHasBeyondItsSource) {
  const auto available = volumes().AvailableBytes(v1::ALLOCATOR_ZSTD);
  ASSERT_THAT(available, IsOk());
  ASSERT_THAT(volumes().Create(New("source", *available - kMib)), IsOk());
  // Memory is used now, so that as much again has no room.
  world_.Write("source", 0, std::string(64 * kKib, 'x'));
  NewVolume clone = New("clone", 0);
  clone.source = "source";
  EXPECT_THAT(volumes().Create(clone), IsOk());
  NewVolume larger = New("larger", 2 * *available);
  larger.source = "source";
  EXPECT_THAT(volumes().Create(larger),
              StatusIs(StatusCode::kResourceExhausted, _));
}

TEST_F(VolumesTest, ImagesAreVolumesOrSnapshots) {
  MakeForeign("golden");
  v1::CreateSnapshotRequest snapshot;
  snapshot.set_volume("golden");
  snapshot.set_name("frozen");
  ASSERT_THAT(world_.client().CreateSnapshot(snapshot), IsOk());
  const auto of_volume = volumes().Create(New("a", 0, {{"image", "golden"}}));
  const auto of_snapshot = volumes().Create(New("b", 0, {{"image", "frozen"}}));
  const auto of_named = volumes().Create(New("c", 0, {{"image", "@frozen"}}));
  ASSERT_THAT(of_volume, IsOk());
  ASSERT_THAT(of_snapshot, IsOk());
  ASSERT_THAT(of_named, IsOk());
  EXPECT_EQ(of_volume->source(), "golden");
  EXPECT_EQ(of_snapshot->source(), "@frozen");
  EXPECT_EQ(of_named->source(), "@frozen");
  EXPECT_EQ(of_volume->size_bytes(), static_cast<int64_t>(kMib));
  EXPECT_THAT(volumes().Create(New("d", 0, {{"image", "none"}})),
              StatusIs(StatusCode::kNotFound, HasSubstr("import the image")));
}

// The answer may have been lost, and the image replaced by another one since.
TEST_F(VolumesTest, ARepeatedCreateNeedsNoImage) {
  v1::DeleteVolumeRequest gone;
  gone.set_name("golden");
  MakeForeign("golden");
  const auto of_volume = volumes().Create(New("a", 0, {{"image", "golden"}}));
  ASSERT_THAT(of_volume, IsOk());
  ASSERT_THAT(world_.client().DeleteVolume(gone), IsOk());
  const auto again = volumes().Create(New("a", 0, {{"image", "golden"}}));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->uid(), of_volume->uid());
  MakeForeign("people");
  v1::CreateSnapshotRequest snapshot;
  snapshot.set_volume("people");
  snapshot.set_name("golden");
  ASSERT_THAT(world_.client().CreateSnapshot(snapshot), IsOk());
  EXPECT_THAT(volumes().Create(New("a", 0, {{"image", "golden"}})), IsOk());
  for (const char* other : {"@golden", "people"}) {
    EXPECT_THAT(volumes().Create(New("a", 0, {{"image", other}})),
                StatusIs(StatusCode::kAlreadyExists, HasSubstr("golden")));
  }
  ASSERT_THAT(volumes().Create(New("b", 0, {{"image", "golden"}})), IsOk());
  EXPECT_THAT(volumes().Create(New("b", 0, {{"image", "@golden"}})), IsOk());
}

// Whoever may write a pod names the image of an inline volume.
TEST_F(VolumesTest, InlineVolumesCloneOnlyWhatIsOffered) {
  const auto make = [this](const std::string& handle,
                           const std::string& image) {
    NewVolume wanted = New(handle, 0, {{"image", image}});
    wanted.ephemeral_target = "/pods/x";
    return volumes().Create(wanted).status();
  };
  const auto snapshot = [this](const std::string& name,
                               const std::string& offered) {
    v1::CreateSnapshotRequest request;
    request.set_volume("people");
    request.set_name(name);
    (*request.mutable_labels())[label::kImage] = offered;
    ASSERT_THAT(world_.client().CreateSnapshot(request), IsOk());
  };
  ASSERT_THAT(volumes().Create(New("claim", kMib)), IsOk());
  ASSERT_THAT(volumes().CreateSnapshot("claims-snapshot", "claim"), IsOk());
  MakeForeign("people");
  snapshot("kept", "false");
  snapshot("given", "given");
  // Labels travel with what is saved and restored, or copied.
  snapshot("copied", "given");
  for (const std::string image :
       {"claim", "claims-snapshot", "@claims-snapshot", "people", "kept",
        "@kept", "copied", "@copied"}) {
    const std::string name = image[0] == '@' ? image.substr(1) : image;
    EXPECT_THAT(make("v", image),
                StatusIs(StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr("\"" + image + "\""),
                               HasSubstr("csi-image=" + name + ","))));
  }
  EXPECT_THAT(volumes().Find("v"), StatusIs(StatusCode::kNotFound, _));
  EXPECT_THAT(make("v", "@none"), StatusIs(StatusCode::kNotFound, _));
  EXPECT_THAT(make("v1", "given"), IsOk());
  EXPECT_THAT(make("v2", "@given"), IsOk());
  v1::UpdateVolumeRequest offer;
  offer.set_name("people");
  (*offer.mutable_volume()->mutable_labels())[label::kImage] = "people";
  offer.mutable_update_mask()->add_paths("labels");
  ASSERT_THAT(world_.client().UpdateVolume(offer), IsOk());
  EXPECT_THAT(make("v3", "people"), IsOk());
  // A clone of what is offered is not.
  EXPECT_THAT(make("v4", "v3"), StatusIs(StatusCode::kFailedPrecondition, _));
  // What was cloned stays when the image is offered no more.
  (*offer.mutable_volume()->mutable_labels())[label::kImage] = "false";
  ASSERT_THAT(world_.client().UpdateVolume(offer), IsOk());
  EXPECT_THAT(make("v3", "people"), IsOk());
  EXPECT_THAT(make("v5", "people"),
              StatusIs(StatusCode::kFailedPrecondition, _));
}

TEST_F(VolumesTest, GrowsButNeverShrinks) {
  ASSERT_THAT(volumes().Create(New("v", 2 * kMib)), IsOk());
  const auto same = volumes().Expand("v", {.required_bytes = kMib});
  ASSERT_THAT(same, IsOk());
  EXPECT_EQ(same->size_bytes(), static_cast<int64_t>(2 * kMib));
  const auto grown = volumes().Expand("v", {.required_bytes = 3 * kMib});
  ASSERT_THAT(grown, IsOk());
  EXPECT_EQ(grown->size_bytes(), static_cast<int64_t>(3 * kMib));
  EXPECT_THAT(volumes().Expand("v", {.limit_bytes = kMib}),
              StatusIs(StatusCode::kOutOfRange, _));
  EXPECT_THAT(volumes().Expand("v", {.required_bytes = 2 * kGib}),
              StatusIs(StatusCode::kResourceExhausted, _));
  EXPECT_THAT(volumes().Expand("none", {.required_bytes = kMib}),
              StatusIs(StatusCode::kNotFound, _));
}

TEST_F(VolumesTest, SnapshotsAreOfTheVolumeThatWasNamed) {
  ASSERT_THAT(volumes().Create(New("a", kMib)), IsOk());
  ASSERT_THAT(volumes().Create(New("b", kMib)), IsOk());
  const auto first = volumes().CreateSnapshot("Snap", "a");
  const auto second = volumes().CreateSnapshot("Snap", "a");
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(first->uid(), second->uid());
  EXPECT_THAT(volumes().CreateSnapshot("Snap", "b"),
              StatusIs(StatusCode::kAlreadyExists, _));
  EXPECT_THAT(volumes().CreateSnapshot("Other", "none"),
              StatusIs(StatusCode::kNotFound, _));
  // Snapshots of people are not the driver's.
  v1::CreateSnapshotRequest foreign;
  foreign.set_volume("a");
  foreign.set_name("people");
  ASSERT_THAT(world_.client().CreateSnapshot(foreign), IsOk());
  EXPECT_THAT(volumes().FindSnapshot("people"),
              StatusIs(StatusCode::kNotFound, _));
  EXPECT_THAT(volumes().DeleteSnapshot("people"), IsOk());
  EXPECT_THAT(world_.client().GetSnapshot("people"), IsOk());
  EXPECT_THAT(volumes().DeleteSnapshot("Snap"), IsOk());
  EXPECT_THAT(volumes().DeleteSnapshot("Snap"), IsOk());
}

TEST_F(VolumesTest, RelabelKeepsTheOtherLabels) {
  const auto made = volumes().Create(New("v", kMib));
  ASSERT_THAT(made, IsOk());
  const auto begun = volumes().Relabel(*made, {{label::kFormatting, "xfs"}});
  ASSERT_THAT(begun, IsOk());
  EXPECT_EQ(LabelOf(*begun, label::kFormatting), "xfs");
  ASSERT_THAT(volumes().Relabel(*begun, {{label::kFormatting, ""},
                                         {label::kFormatted, "xfs"}}),
              IsOk());
  const auto found = volumes().Find("v");
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->labels().count(label::kFormatting), 0u);
  EXPECT_EQ(LabelOf(*found, label::kFormatted), "xfs");
  EXPECT_EQ(LabelOf(*found, label::kHandle), "v");
  // Nor is anything written that is so already.
  const auto again = volumes().Relabel(
      *found, {{label::kFormatting, ""}, {label::kFormatted, "xfs"}});
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->etag(), found->etag());
}

// Labels give rights, too.
TEST_F(VolumesTest, RelabelUndoesNothingThatCameBetween) {
  const auto made = volumes().Create(New("v", kMib));
  ASSERT_THAT(made, IsOk());
  v1::UpdateVolumeRequest between;
  between.set_name("v");
  *between.mutable_volume()->mutable_labels() = made->labels();
  (*between.mutable_volume()->mutable_labels())["team"] = "a";
  between.mutable_update_mask()->add_paths("labels");
  ASSERT_THAT(world_.client().UpdateVolume(between), IsOk());
  EXPECT_THAT(volumes().Relabel(*made, {{label::kFormatting, "xfs"}}),
              StatusIs(StatusCode::kAborted, HasSubstr("changed since")));
  const auto found = volumes().Find("v");
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(LabelOf(*found, "team"), "a");
  EXPECT_EQ(LabelOf(*found, label::kFormatting), "");
  EXPECT_THAT(volumes().Relabel(*found, {{label::kFormatting, "xfs"}}), IsOk());
}

TEST_F(VolumesTest, OneByteIsNotNothing) {
  const auto made = volumes().Create(New("v", kMib));
  ASSERT_THAT(made, IsOk());
  EXPECT_EQ(volumes().HoldsNothing(*made).value_or(false), true);
  world_.Write("v", kMib - 1, "x");
  EXPECT_EQ(volumes().HoldsNothing(*made).value_or(true), false);
}

// Over a connection that says what the test wants.
class BrokenVolumesTest : public ::testing::Test {
 protected:
  BrokenVolumesTest() {
    ON_CALL(*connection_, GetVolume)
        .WillByDefault(Return(absl::NotFoundError("no such volume")));
  }

  const std::shared_ptr<::testing::NiceMock<MockClientConnection>> connection_ =
      std::make_shared<::testing::NiceMock<MockClientConnection>>();
  const Volumes volumes_{Client(connection_), {.node_id = "node-1"}};
};

TEST_F(BrokenVolumesTest, NothingIsMadeWhenTheRoomIsUnknown) {
  ON_CALL(*connection_, GetServerInfo)
      .WillByDefault(Return(absl::UnavailableError("gone")));
  EXPECT_CALL(*connection_, CreateVolume).Times(0);
  NewVolume wanted;
  wanted.handle = "v";
  EXPECT_THAT(volumes_.Create(wanted), StatusIs(StatusCode::kUnavailable, _));
  EXPECT_THAT(volumes_.AvailableBytes(v1::ALLOCATOR_ZSTD),
              StatusIs(StatusCode::kUnavailable, _));
}

TEST_F(BrokenVolumesTest, AServerOverItsLimitHasNoRoom) {
  v1::GetServerInfoResponse info;
  info.set_memory_limit_bytes(100);
  info.set_memory_used_bytes(200);
  ON_CALL(*connection_, GetServerInfo).WillByDefault(Return(info));
  const auto available = volumes_.AvailableBytes(v1::ALLOCATOR_ZSTD);
  ASSERT_THAT(available, IsOk());
  EXPECT_EQ(*available, 0);
}

TEST_F(BrokenVolumesTest, WhatCannotBeLookedUpIsNotTakenForGone) {
  ON_CALL(*connection_, GetVolume)
      .WillByDefault(Return(absl::UnavailableError("gone")));
  ON_CALL(*connection_, GetSnapshot)
      .WillByDefault(Return(absl::UnavailableError("gone")));
  EXPECT_CALL(*connection_, CreateVolume).Times(0);
  EXPECT_CALL(*connection_, CreateSnapshot).Times(0);
  NewVolume wanted;
  wanted.handle = "v";
  EXPECT_THAT(volumes_.Create(wanted), StatusIs(StatusCode::kUnavailable, _));
  EXPECT_THAT(volumes_.Delete("v", Soon()),
              StatusIs(StatusCode::kUnavailable, _));
  EXPECT_THAT(volumes_.CreateSnapshot("s", "v"),
              StatusIs(StatusCode::kUnavailable, _));
  EXPECT_THAT(volumes_.DeleteSnapshot("s"),
              StatusIs(StatusCode::kUnavailable, _));
}

TEST_F(BrokenVolumesTest, SomebodyElseMayDeleteFirst) {
  v1::Volume volume;
  volume.set_name("v");
  (*volume.mutable_labels())[label::kHandle] = "v";
  ON_CALL(*connection_, GetVolume).WillByDefault(Return(volume));
  ON_CALL(*connection_, DeleteVolume)
      .WillByDefault(Return(absl::NotFoundError("no such volume")));
  EXPECT_THAT(volumes_.Delete("v", Later()), IsOk());
}

}  // namespace
}  // namespace ramvol::csi_driver
