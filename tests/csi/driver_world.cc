#include "tests/csi/driver_world.h"

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/options.h"
#include "client/remote_volume.h"
#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "csi/controller_service.h"
#include "csi/volume_handle.h"
#include "grpcpp/server_builder.h"
#include "grpcpp/support/channel_arguments.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_server.h"

namespace ramvol::csi_driver {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::TestServer;

Client MakeClient(TestServer& server) {
  ClientOptions options;
  options.server = server.server().grpc_addresses().front();
  options.channels = 1;
  return Client(options);
}

}  // namespace

DriverWorld::DriverWorld(double overcommit)
    : client_(MakeClient(server_)),
      volumes_(client_, {.node_id = "node-1", .overcommit = overcommit}),
      identity_(&calls_),
      controller_(&volumes_, &locks_, &calls_, {{"attach", "fake"}}, Flusher()),
      groups_(&volumes_),
      group_controller_(&groups_, &locks_, &calls_, Flusher()),
      metadata_(&volumes_, &calls_) {
  grpc::ServerBuilder builder;
  builder.RegisterService(&identity_);
  builder.RegisterService(&controller_);
  builder.RegisterService(&group_controller_);
  builder.RegisterService(&metadata_);
  grpc_ = builder.BuildAndStart();
  channel_ = grpc_->InProcessChannel(grpc::ChannelArguments());
  identity_stub_ = ::csi::v1::Identity::NewStub(channel_);
  controller_stub_ = ::csi::v1::Controller::NewStub(channel_);
  group_controller_stub_ = ::csi::v1::GroupController::NewStub(channel_);
  metadata_stub_ = ::csi::v1::SnapshotMetadata::NewStub(channel_);
}

DriverWorld::~DriverWorld() { grpc_->Shutdown(); }

ControllerService::Flush DriverWorld::Flusher() {
  return [this](const std::string& handle, absl::Time) {
    flushed_.push_back(handle);
    return flush_failure_;
  };
}

::csi::v1::CreateVolumeRequest DriverWorld::NewVolume(const std::string& name,
                                                      int64_t bytes) {
  ::csi::v1::CreateVolumeRequest request;
  request.set_name(name);
  request.mutable_capacity_range()->set_required_bytes(bytes);
  ::csi::v1::VolumeCapability& capability = *request.add_volume_capabilities();
  capability.mutable_mount();
  capability.mutable_access_mode()->set_mode(
      ::csi::v1::VolumeCapability::AccessMode::SINGLE_NODE_WRITER);
  return request;
}

::csi::v1::Volume DriverWorld::CreateVolume(const std::string& name,
                                            int64_t bytes) {
  const auto response =
      TestServer::Call(&::csi::v1::Controller::Stub::CreateVolume, controller(),
                       NewVolume(name, bytes));
  EXPECT_THAT(response, IsOk());
  return response.ok() ? response->volume() : ::csi::v1::Volume();
}

::csi::v1::Snapshot DriverWorld::CreateSnapshot(const std::string& name,
                                                const std::string& volume) {
  ::csi::v1::CreateSnapshotRequest request;
  request.set_name(name);
  request.set_source_volume_id(volume);
  const auto response = TestServer::Call(
      &::csi::v1::Controller::Stub::CreateSnapshot, controller(), request);
  EXPECT_THAT(response, IsOk());
  return response.ok() ? response->snapshot() : ::csi::v1::Snapshot();
}

void DriverWorld::Write(const std::string& handle, int64_t offset,
                        const std::string& data) {
  const absl::StatusOr<RemoteVolume> volume =
      client_.Open(NameOfHandle(handle));
  ASSERT_THAT(volume, IsOk());
  EXPECT_THAT(volume->Write(offset, data), IsOk());
}

std::string DriverWorld::Read(const std::string& name, int64_t offset,
                              int64_t length) {
  const absl::StatusOr<RemoteVolume> volume = client_.Open(name);
  EXPECT_THAT(volume, IsOk());
  if (!volume.ok()) return "";
  const absl::StatusOr<std::string> data = volume->Read(offset, length);
  EXPECT_THAT(data, IsOk());
  return data.value_or("");
}

}  // namespace ramvol::csi_driver
