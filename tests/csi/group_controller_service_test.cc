#include "csi/group_controller_service.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "csi/volume_handle.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/csi/driver_world.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_server.h"

namespace ramvol::csi_driver {
namespace {

using ::absl::StatusCode;
using ::csi::v1::VolumeGroupSnapshot;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TestServer;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Groups = ::csi::v1::GroupController::Stub;
using Controller = ::csi::v1::Controller::Stub;

constexpr int64_t kMib = int64_t{1} << 20;
// Kubernetes' names are like this, and no names of ramvold's.
constexpr char kData[] = "pvc-Data";
constexpr char kLog[] = "pvc-log";

std::vector<std::string> IdsOf(const VolumeGroupSnapshot& group) {
  std::vector<std::string> ids;
  for (const auto& snapshot : group.snapshots()) {
    ids.push_back(snapshot.snapshot_id());
  }
  return ids;
}

class GroupControllerServiceTest : public ::testing::Test {
 protected:
  GroupControllerServiceTest() {
    world_.CreateVolume(kData, kMib);
    world_.CreateVolume(kLog, 2 * kMib);
  }

  absl::StatusOr<VolumeGroupSnapshot> Create(
      const std::string& name, const std::vector<std::string>& volumes) {
    ::csi::v1::CreateVolumeGroupSnapshotRequest request;
    request.set_name(name);
    *request.mutable_source_volume_ids() = {volumes.begin(), volumes.end()};
    const auto response = TestServer::Call(&Groups::CreateVolumeGroupSnapshot,
                                           world_.group_controller(), request);
    if (!response.ok()) return response.status();
    return response->group_snapshot();
  }
  absl::StatusOr<VolumeGroupSnapshot> Get(
      const std::string& id, const std::vector<std::string>& snapshots) {
    ::csi::v1::GetVolumeGroupSnapshotRequest request;
    request.set_group_snapshot_id(id);
    *request.mutable_snapshot_ids() = {snapshots.begin(), snapshots.end()};
    const auto response = TestServer::Call(&Groups::GetVolumeGroupSnapshot,
                                           world_.group_controller(), request);
    if (!response.ok()) return response.status();
    return response->group_snapshot();
  }
  absl::Status Delete(const std::string& id,
                      const std::vector<std::string>& snapshots) {
    ::csi::v1::DeleteVolumeGroupSnapshotRequest request;
    request.set_group_snapshot_id(id);
    *request.mutable_snapshot_ids() = {snapshots.begin(), snapshots.end()};
    return TestServer::Call(&Groups::DeleteVolumeGroupSnapshot,
                            world_.group_controller(), request)
        .status();
  }
  absl::Status DeleteSnapshot(const std::string& id) {
    ::csi::v1::DeleteSnapshotRequest request;
    request.set_snapshot_id(id);
    return TestServer::Call(&Controller::DeleteSnapshot, world_.controller(),
                            request)
        .status();
  }
  std::vector<std::string> Snapshots() {
    const auto all = world_.client().ListSnapshots();
    EXPECT_THAT(all, IsOk());
    std::vector<std::string> names;
    for (const v1::Snapshot& snapshot : *all) names.push_back(snapshot.name());
    return names;
  }

  DriverWorld world_;
};

TEST_F(GroupControllerServiceTest, IsAmongThePluginsServices) {
  const auto response = TestServer::Call(
      &::csi::v1::Identity::Stub::GetPluginCapabilities, world_.identity(),
      ::csi::v1::GetPluginCapabilitiesRequest());
  ASSERT_THAT(response, IsOk());
  const auto& all = response->capabilities();
  EXPECT_TRUE(std::any_of(all.begin(), all.end(), [](const auto& each) {
    return each.service().type() ==
           ::csi::v1::PluginCapability::Service::GROUP_CONTROLLER_SERVICE;
  }));
}

TEST_F(GroupControllerServiceTest, KeepsNothingThatCouldNotBeFlushed) {
  world_.FailFlushesWith(absl::UnavailableError("ramvold is away"));
  EXPECT_THAT(Create("group", {kData, kLog}),
              StatusIs(StatusCode::kUnavailable, HasSubstr("ramvold is away")));
  const auto snapshots = world_.volumes().ListSnapshots();
  ASSERT_THAT(snapshots, IsOk());
  EXPECT_THAT(*snapshots, IsEmpty());
}

TEST_F(GroupControllerServiceTest, KeepsWhatAllVolumesHeldAtOneInstant) {
  world_.Write(kData, 0, "before");
  world_.Write(kLog, 0, "before");
  const auto group = Create("Group 1", {kData, kLog});
  ASSERT_THAT(group, IsOk());
  // Caches came first.
  EXPECT_THAT(world_.flushed(), ElementsAre(kData, kLog));
  world_.Write(kData, 0, "after!");
  EXPECT_EQ(group->group_snapshot_id(), "Group 1");
  EXPECT_TRUE(group->ready_to_use());
  ASSERT_THAT(group->snapshots(), SizeIs(2));
  for (const auto& snapshot : group->snapshots()) {
    EXPECT_EQ(snapshot.group_snapshot_id(), "Group 1");
    EXPECT_EQ(snapshot.creation_time().seconds(),
              group->creation_time().seconds());
    EXPECT_EQ(snapshot.creation_time().nanos(), group->creation_time().nanos());
    EXPECT_EQ(world_.Read("@" + snapshot.snapshot_id(), 0, 6), "before");
  }
  EXPECT_EQ(group->snapshots(0).source_volume_id(), kData);
  EXPECT_EQ(group->snapshots(1).source_volume_id(), kLog);
  EXPECT_EQ(group->snapshots(1).size_bytes(), 2 * kMib);
}

TEST_F(GroupControllerServiceTest, RepeatedCallsFindWhatTheFirstOneMade) {
  const auto first = Create("group", {kData, kLog});
  ASSERT_THAT(first, IsOk());
  // Nothing is flushed for what is there: that may fail by now.
  world_.FailFlushesWith(absl::InternalError("no space left"));
  const auto second = Create("group", {kLog, kData});
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT(world_.flushed(), ElementsAre(kData, kLog));
  EXPECT_EQ(second->creation_time().nanos(), first->creation_time().nanos());
  EXPECT_THAT(Snapshots(), SizeIs(2));
  const auto found = Get("group", IdsOf(*first));
  ASSERT_THAT(found, IsOk());
  EXPECT_THAT(found->snapshots(), SizeIs(2));
  EXPECT_THAT(Create("group", {kData}),
              StatusIs(StatusCode::kAlreadyExists, _));
  EXPECT_THAT(Delete("group", IdsOf(*first)), IsOk());
  EXPECT_THAT(Delete("group", IdsOf(*first)), IsOk());
  EXPECT_THAT(Snapshots(), IsEmpty());
}

TEST_F(GroupControllerServiceTest, AllSnapshotsOrNone) {
  EXPECT_THAT(Create("group", {kData, "none"}),
              StatusIs(StatusCode::kNotFound, HasSubstr("none")));
  // The name of the second one is taken.
  const auto group = Create("other", {kLog});
  ASSERT_THAT(group, IsOk());
  v1::CreateSnapshotRequest taken;
  taken.set_volume("pvc-log");
  taken.set_name(HandleOfMember("group", kLog));
  ASSERT_THAT(world_.client().CreateSnapshot(taken), IsOk());
  EXPECT_THAT(Create("group", {kData, kLog}),
              StatusIs(StatusCode::kAlreadyExists, _));
  EXPECT_THAT(Snapshots(), SizeIs(2));
  EXPECT_THAT(Get("group", {}), StatusIs(StatusCode::kNotFound, _));
}

TEST_F(GroupControllerServiceTest, MembersGoOnlyWithTheirGroup) {
  const auto group = Create("group", {kData, kLog});
  ASSERT_THAT(group, IsOk());
  EXPECT_THAT(DeleteSnapshot(group->snapshots(0).snapshot_id()),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("group")));
  // But they are snapshots as others.
  ::csi::v1::CreateVolumeRequest clone =
      DriverWorld::NewVolume("clone", 2 * kMib);
  clone.mutable_volume_content_source()->mutable_snapshot()->set_snapshot_id(
      group->snapshots(1).snapshot_id());
  EXPECT_THAT(
      TestServer::Call(&Controller::CreateVolume, world_.controller(), clone),
      IsOk());
}

TEST_F(GroupControllerServiceTest, ADeletionThatWasInterruptedGoesOn) {
  const auto group = Create("group", {kData, kLog});
  ASSERT_THAT(group, IsOk());
  v1::DeleteSnapshotRequest half;
  half.set_name(group->snapshots(0).snapshot_id());
  ASSERT_THAT(world_.client().DeleteSnapshot(half), IsOk());
  // What is left is no group to be used.
  EXPECT_THAT(Get("group", IdsOf(*group)),
              StatusIs(StatusCode::kInvalidArgument, _));
  EXPECT_THAT(Create("group", {kData, kLog}),
              StatusIs(StatusCode::kAlreadyExists, _));
  EXPECT_THAT(Delete("group", IdsOf(*group)), IsOk());
  EXPECT_THAT(Snapshots(), IsEmpty());
}

TEST_F(GroupControllerServiceTest, MembersThatDoNotFitChangeNothing) {
  const auto group = Create("group", {kData, kLog});
  const auto other = Create("other", {kLog});
  ASSERT_THAT(group, IsOk());
  ASSERT_THAT(other, IsOk());
  std::vector<std::string> too_many = IdsOf(*group);
  too_many.push_back(other->snapshots(0).snapshot_id());
  for (const auto& ids : {std::vector<std::string>(),
                          too_many,
                          {group->snapshots(0).snapshot_id()}}) {
    EXPECT_THAT(Delete("group", ids),
                StatusIs(StatusCode::kInvalidArgument, _));
    EXPECT_THAT(Get("group", ids), StatusIs(StatusCode::kInvalidArgument, _));
  }
  EXPECT_THAT(Snapshots(), SizeIs(3));
}

TEST_F(GroupControllerServiceTest, BadRequestsSayWhatIsMissing) {
  EXPECT_THAT(Create("", {kData}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("name")));
  EXPECT_THAT(Create("group", {}), StatusIs(StatusCode::kInvalidArgument,
                                            HasSubstr("source_volume_ids")));
  EXPECT_THAT(Create("group", {kData, kData}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("twice")));
  EXPECT_THAT(Get("", {}), StatusIs(StatusCode::kInvalidArgument,
                                    HasSubstr("group_snapshot_id")));
  EXPECT_THAT(Delete("", {}), StatusIs(StatusCode::kInvalidArgument,
                                       HasSubstr("group_snapshot_id")));
  EXPECT_THAT(Delete("none", {}), IsOk());
  const auto held = world_.locks().Take("\ngroup");
  ASSERT_THAT(held, IsOk());
  EXPECT_THAT(Create("group", {kData}), StatusIs(StatusCode::kAborted, _));
}

}  // namespace
}  // namespace ramvol::csi_driver
