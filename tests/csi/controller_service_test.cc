#include "csi/controller_service.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/csi/driver_world.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_server.h"

namespace ramvol::csi_driver {
namespace {

using ::absl::StatusCode;
using ::csi::v1::CreateVolumeRequest;
using ::csi::v1::VolumeCapability;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TestServer;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Controller = ::csi::v1::Controller::Stub;

constexpr int64_t kMib = int64_t{1} << 20;

class ControllerServiceTest : public ::testing::Test {
 protected:
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(
      grpc::Status (Controller::*method)(grpc::ClientContext*, const Request&,
                                         Response*),
      const Request& request) {
    return TestServer::Call(method, world_.controller(), request);
  }
  static CreateVolumeRequest New(const std::string& name) {
    return DriverWorld::NewVolume(name, kMib);
  }
  void ExpectRefused(const CreateVolumeRequest& request, StatusCode code,
                     const std::string& why) {
    EXPECT_THAT(Call(&Controller::CreateVolume, request),
                StatusIs(code, HasSubstr(why)));
  }
  std::vector<std::string> Listed(int max, std::string* token) {
    ::csi::v1::ListVolumesRequest request;
    request.set_max_entries(max);
    request.set_starting_token(*token);
    const auto response = Call(&Controller::ListVolumes, request);
    EXPECT_THAT(response, IsOk());
    std::vector<std::string> ids;
    for (const auto& entry : response->entries()) {
      ids.push_back(entry.volume().volume_id());
      EXPECT_FALSE(entry.status().volume_condition().abnormal());
    }
    *token = response->next_token();
    return ids;
  }

  DriverWorld world_;
};

TEST_F(ControllerServiceTest, AVolumeComesWithItsPlaceAndContext) {
  CreateVolumeRequest request = New("PVC 1");
  (*request.mutable_parameters())["fsType"] = "xfs";
  const auto response = Call(&Controller::CreateVolume, request);
  ASSERT_THAT(response, IsOk());
  const auto& volume = response->volume();
  EXPECT_EQ(volume.volume_id(), "PVC 1");
  EXPECT_EQ(volume.capacity_bytes(), kMib);
  ASSERT_EQ(volume.accessible_topology_size(), 1);
  EXPECT_EQ(volume.accessible_topology(0).segments().at(kTopologyKey),
            "node-1");
  EXPECT_EQ(volume.volume_context().at("fsType"), "xfs");
  EXPECT_EQ(volume.volume_context().at("attach"), "fake");
}

TEST_F(ControllerServiceTest, BadRequestsSayWhatIsWrong) {
  ExpectRefused(New(""), StatusCode::kInvalidArgument, "name");
  ExpectRefused(New(std::string(129, 'x')), StatusCode::kInvalidArgument,
                "129 bytes");
  ExpectRefused(New("line\nend"), StatusCode::kInvalidArgument, "printable");
  CreateVolumeRequest request = New("v");
  request.clear_volume_capabilities();
  ExpectRefused(request, StatusCode::kInvalidArgument, "volume_capabilities");
  request = New("v");
  request.mutable_volume_capabilities(0)->mutable_access_mode()->set_mode(
      VolumeCapability::AccessMode::MULTI_NODE_MULTI_WRITER);
  ExpectRefused(request, StatusCode::kInvalidArgument, "ReadWriteOnce");
  request = New("v");
  request.mutable_volume_capabilities(0)->mutable_mount()->set_fs_type("ntfs");
  ExpectRefused(request, StatusCode::kInvalidArgument, "ntfs");
  request = New("v");
  request.mutable_capacity_range()->set_limit_bytes(-1);
  ExpectRefused(request, StatusCode::kInvalidArgument, "negative");
  request = New("v");
  (*request.mutable_parameters())["speed"] = "high";
  ExpectRefused(request, StatusCode::kInvalidArgument, "speed");
  request = New("v");
  // ramvold knows what levels there are.
  (*request.mutable_parameters())["zstdLevel"] = "99";
  ExpectRefused(request, StatusCode::kInvalidArgument, "99");
  request = New("v");
  request.mutable_volume_content_source()->mutable_snapshot()->set_snapshot_id(
      "none");
  ExpectRefused(request, StatusCode::kNotFound, "none");
  std::string token;
  EXPECT_THAT(Listed(0, &token), IsEmpty());
}

TEST_F(ControllerServiceTest, WhatMakesAVolumeAnewIsInItsContext) {
  CreateVolumeRequest request = New("v");
  EXPECT_EQ(Call(&Controller::CreateVolume, request)
                ->volume()
                .volume_context()
                .count("recreate/size"),
            0u);
  (*request.mutable_parameters())["whenLost"] = "recreate";
  const auto volume = Call(&Controller::CreateVolume, request);
  ASSERT_THAT(volume, IsOk());
  const auto& context = volume->volume().volume_context();
  EXPECT_EQ(context.at("recreate/size"),
            std::to_string(volume->volume().capacity_bytes()));
  EXPECT_EQ(context.at("recreate/whenLost"), "recreate");
  // A copy would not be one any more.
  request.set_name("copy");
  request.mutable_volume_content_source()->mutable_volume()->set_volume_id("v");
  const auto copy = Call(&Controller::CreateVolume, request);
  ASSERT_THAT(copy, IsOk());
  EXPECT_EQ(copy->volume().volume_context().count("recreate/size"), 0u);
}

TEST_F(ControllerServiceTest, VolumesForOtherNodesAreRefused) {
  CreateVolumeRequest request = New("v");
  auto& requirement = *request.mutable_accessibility_requirements();
  (*requirement.add_requisite()->mutable_segments())[kTopologyKey] = "node-2";
  ExpectRefused(request, StatusCode::kResourceExhausted, "node-1");
  (*requirement.add_requisite()->mutable_segments())[kTopologyKey] = "node-1";
  EXPECT_THAT(Call(&Controller::CreateVolume, request), IsOk());
}

TEST_F(ControllerServiceTest, SourcesOfOtherNodesSendTheirCopiesElsewhere) {
  CreateVolumeRequest request = New("v");
  auto& requirement = *request.mutable_accessibility_requirements();
  (*requirement.add_requisite()->mutable_segments())[kTopologyKey] = "node-1";
  auto& source = *request.mutable_volume_content_source();
  source.mutable_snapshot()->set_snapshot_id("elsewhere");
  ExpectRefused(request, StatusCode::kResourceExhausted, "on this node");
  source.mutable_volume()->set_volume_id("elsewhere");
  ExpectRefused(request, StatusCode::kResourceExhausted, "on this node");
  // The scheduler is to choose a node that has the image.
  request.clear_volume_content_source();
  (*request.mutable_parameters())["image"] = "golden";
  ExpectRefused(request, StatusCode::kResourceExhausted, "\"golden\"");
  (*request.mutable_parameters())["image"] = "@golden";
  ExpectRefused(request, StatusCode::kResourceExhausted, "golden");
  request.clear_accessibility_requirements();
  ExpectRefused(request, StatusCode::kNotFound, "golden");
}

// The answer to the first call may be lost. Elsewhere there would be a second
// copy.
TEST_F(ControllerServiceTest, ARepeatedCopyAsksForItsSourceNoMore) {
  world_.CreateVolume("a", kMib);
  world_.CreateSnapshot("Snap A", "a");
  CreateVolumeRequest clone = New("clone");
  clone.mutable_volume_content_source()->mutable_volume()->set_volume_id("a");
  CreateVolumeRequest restored = New("restored");
  restored.mutable_volume_content_source()->mutable_snapshot()->set_snapshot_id(
      "Snap A");
  for (CreateVolumeRequest* request : {&clone, &restored}) {
    (*request->mutable_accessibility_requirements()
          ->add_requisite()
          ->mutable_segments())[kTopologyKey] = "node-1";
    ASSERT_THAT(Call(&Controller::CreateVolume, *request), IsOk());
  }
  world_.FailFlushesWith(absl::InternalError("no space left"));
  EXPECT_THAT(Call(&Controller::CreateVolume, clone), IsOk());
  world_.FailFlushesWith(absl::OkStatus());
  ASSERT_THAT(world_.volumes().DeleteSnapshot("Snap A"), IsOk());
  ASSERT_THAT(world_.volumes().Delete("a", absl::InfiniteFuture()), IsOk());
  for (const CreateVolumeRequest* request : {&clone, &restored}) {
    const auto again = Call(&Controller::CreateVolume, *request);
    ASSERT_THAT(again, IsOk());
    EXPECT_TRUE(again->volume().has_content_source());
  }
  // It is of that source, though.
  clone.mutable_volume_content_source()->mutable_volume()->set_volume_id("b");
  ExpectRefused(clone, StatusCode::kAlreadyExists, "source is \"a\"");
}

TEST_F(ControllerServiceTest, CapacityIsOfThisNodeAndThisAllocator) {
  ::csi::v1::GetCapacityRequest request;
  const auto all = Call(&Controller::GetCapacity, request);
  ASSERT_THAT(all, IsOk());
  EXPECT_GT(all->available_capacity(), 0);
  EXPECT_EQ(all->maximum_volume_size().value(), all->available_capacity());
  (*request.mutable_parameters())["allocator"] = "malloc";
  const auto reserved = Call(&Controller::GetCapacity, request);
  ASSERT_THAT(reserved, IsOk());
  EXPECT_LE(reserved->available_capacity(), all->available_capacity() / 2);
  (*request.mutable_accessible_topology()->mutable_segments())[kTopologyKey] =
      "node-2";
  const auto elsewhere = Call(&Controller::GetCapacity, request);
  ASSERT_THAT(elsewhere, IsOk());
  EXPECT_EQ(elsewhere->available_capacity(), 0);
}

TEST_F(ControllerServiceTest, CapacityOfAClassIsThatOfClonesOfItsImage) {
  ::csi::v1::GetCapacityRequest request;
  auto& parameters = *request.mutable_parameters();
  const auto none = Call(&Controller::GetCapacity, request);
  ASSERT_THAT(none, IsOk());
  const int64_t of_none = none->available_capacity();
  for (const char* image : {"golden", "@golden"}) {
    parameters["image"] = image;
    const auto missing = Call(&Controller::GetCapacity, request);
    ASSERT_THAT(missing, IsOk());
    EXPECT_EQ(missing->available_capacity(), 0);
    EXPECT_EQ(missing->maximum_volume_size().value(), 0);
  }
  world_.CreateVolume("golden", of_none);
  world_.CreateSnapshot("golden", "golden");
  for (const char* image : {"golden", "@golden"}) {
    parameters["image"] = image;
    const auto clone = Call(&Controller::GetCapacity, request);
    ASSERT_THAT(clone, IsOk());
    EXPECT_GT(clone->maximum_volume_size().value(), of_none * 3 / 2);
    EXPECT_LE(clone->maximum_volume_size().value(), of_none * 2);
    // It is true.
    CreateVolumeRequest fits = New(std::string("of ") + image);
    (*fits.mutable_parameters())["image"] = image;
    fits.mutable_capacity_range()->set_required_bytes(of_none * 3 / 2);
    EXPECT_THAT(Call(&Controller::CreateVolume, fits), IsOk());
  }
}

TEST_F(ControllerServiceTest, ListsPageByPage) {
  for (const char* name : {"a", "b", "c"}) world_.CreateVolume(name, kMib);
  std::string token;
  EXPECT_THAT(Listed(2, &token), ElementsAre("a", "b"));
  // One that is gone was the last of a page, and still tells where to go on.
  ::csi::v1::DeleteVolumeRequest gone;
  gone.set_volume_id("b");
  ASSERT_THAT(Call(&Controller::DeleteVolume, gone), IsOk());
  EXPECT_THAT(Listed(2, &token), ElementsAre("c"));
  EXPECT_EQ(token, "");
  ::csi::v1::ListVolumesRequest request;
  request.set_starting_token("of somebody else");
  EXPECT_THAT(Call(&Controller::ListVolumes, request),
              StatusIs(StatusCode::kAborted, HasSubstr("starting_token")));
  request.clear_starting_token();
  request.set_max_entries(-1);
  EXPECT_THAT(Call(&Controller::ListVolumes, request),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("negative")));
}

TEST_F(ControllerServiceTest, SnapshotsAreFoundByIdAndBySource) {
  world_.CreateVolume("a", kMib);
  world_.CreateVolume("b", kMib);
  world_.CreateSnapshot("Snap A", "a");
  world_.CreateSnapshot("Snap B", "b");
  EXPECT_THAT(world_.flushed(), ElementsAre("a", "b"));
  ::csi::v1::ListSnapshotsRequest request;
  request.set_source_volume_id("b");
  auto found = Call(&Controller::ListSnapshots, request);
  ASSERT_THAT(found, IsOk());
  ASSERT_EQ(found->entries_size(), 1);
  EXPECT_EQ(found->entries(0).snapshot().snapshot_id(), "Snap B");
  request.set_snapshot_id("Snap A");
  found = Call(&Controller::ListSnapshots, request);
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->entries_size(), 0);
  ::csi::v1::CreateSnapshotRequest bad;
  bad.set_name("Snap C");
  bad.set_source_volume_id("a");
  (*bad.mutable_parameters())["csi.storage.k8s.io/volumesnapshot/name"] = "x";
  EXPECT_THAT(Call(&Controller::CreateSnapshot, bad), IsOk());
  (*bad.mutable_parameters())["compression"] = "best";
  EXPECT_THAT(Call(&Controller::CreateSnapshot, bad),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("compression")));
}

TEST_F(ControllerServiceTest, AClonesSourceIsFlushedFirst) {
  world_.CreateVolume("a", kMib);
  CreateVolumeRequest request = New("clone");
  request.mutable_volume_content_source()->mutable_volume()->set_volume_id("a");
  const auto clone = Call(&Controller::CreateVolume, request);
  ASSERT_THAT(clone, IsOk());
  EXPECT_EQ(clone->volume().content_source().volume().volume_id(), "a");
  EXPECT_THAT(world_.flushed(), ElementsAre("a"));
}

// Else a snapshot would be ready that lacks what pods have written.
TEST_F(ControllerServiceTest, NothingIsCopiedThatCouldNotBeFlushed) {
  world_.CreateVolume("a", kMib);
  world_.FailFlushesWith(absl::InternalError("no space left"));
  ::csi::v1::CreateSnapshotRequest snapshot;
  snapshot.set_name("snapshot");
  snapshot.set_source_volume_id("a");
  EXPECT_THAT(Call(&Controller::CreateSnapshot, snapshot),
              StatusIs(StatusCode::kInternal, HasSubstr("no space left")));
  CreateVolumeRequest clone = New("clone");
  clone.mutable_volume_content_source()->mutable_volume()->set_volume_id("a");
  EXPECT_THAT(Call(&Controller::CreateVolume, clone),
              StatusIs(StatusCode::kInternal, HasSubstr("no space left")));
  EXPECT_THAT(world_.volumes().FindSnapshot("snapshot"),
              StatusIs(StatusCode::kNotFound, _));
  EXPECT_THAT(world_.volumes().Find("clone"),
              StatusIs(StatusCode::kNotFound, _));
  world_.FailFlushesWith(absl::OkStatus());
  EXPECT_THAT(Call(&Controller::CreateSnapshot, snapshot), IsOk());
  EXPECT_THAT(Call(&Controller::CreateVolume, clone), IsOk());
}

// The answer to the first call may be lost, and memory be full by now.
TEST_F(ControllerServiceTest, ASnapshotThatIsThereIsNotFlushedAgain) {
  world_.CreateVolume("a", kMib);
  const auto first = world_.CreateSnapshot("Snap A", "a");
  world_.FailFlushesWith(absl::InternalError("no space left"));
  ::csi::v1::CreateSnapshotRequest request;
  request.set_name("Snap A");
  request.set_source_volume_id("a");
  const auto again = Call(&Controller::CreateSnapshot, request);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->snapshot().creation_time().nanos(),
            first.creation_time().nanos());
  EXPECT_THAT(world_.flushed(), ElementsAre("a"));
  request.set_source_volume_id("b");
  EXPECT_THAT(Call(&Controller::CreateSnapshot, request),
              StatusIs(StatusCode::kAlreadyExists, _));
}

TEST_F(ControllerServiceTest, OneCallAtATimeForAVolume) {
  const auto held = world_.locks().Take("v");
  ASSERT_THAT(held, IsOk());
  ExpectRefused(New("v"), StatusCode::kAborted, "under way");
  ::csi::v1::DeleteVolumeRequest gone;
  gone.set_volume_id("v");
  EXPECT_THAT(Call(&Controller::DeleteVolume, gone),
              StatusIs(StatusCode::kAborted, _));
  EXPECT_THAT(Call(&Controller::CreateVolume, New("w")), IsOk());
}

TEST_F(ControllerServiceTest, ValidationConfirmsOnlyWhatIsPossible) {
  world_.CreateVolume("v", kMib);
  ::csi::v1::ValidateVolumeCapabilitiesRequest request;
  request.set_volume_id("v");
  *request.mutable_volume_capabilities() = New("v").volume_capabilities();
  auto answer = Call(&Controller::ValidateVolumeCapabilities, request);
  ASSERT_THAT(answer, IsOk());
  EXPECT_TRUE(answer->has_confirmed());
  request.mutable_volume_capabilities(0)->mutable_access_mode()->set_mode(
      VolumeCapability::AccessMode::MULTI_NODE_READER_ONLY);
  answer = Call(&Controller::ValidateVolumeCapabilities, request);
  ASSERT_THAT(answer, IsOk());
  EXPECT_FALSE(answer->has_confirmed());
  EXPECT_THAT(answer->message(), HasSubstr("access mode"));
}

}  // namespace
}  // namespace ramvol::csi_driver
