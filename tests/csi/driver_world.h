// A ramvold in the test's own process, and the driver's services over it, which
// the test calls as a container orchestrator does. Nothing is mounted.
#ifndef RAMVOL_TESTS_CSI_DRIVER_WORLD_H_
#define RAMVOL_TESTS_CSI_DRIVER_WORLD_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "client/client.h"
#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "csi/calls.h"
#include "csi/controller_service.h"
#include "csi/group_controller_service.h"
#include "csi/group_snapshots.h"
#include "csi/identity_service.h"
#include "csi/snapshot_metadata_service.h"
#include "csi/volume_locks.h"
#include "csi/volumes.h"
#include "grpcpp/channel.h"
#include "grpcpp/server.h"
#include "tests/support/test_server.h"

namespace ramvol::csi_driver {

class DriverWorld {
 public:
  explicit DriverWorld(double overcommit = 3);
  ~DriverWorld();

  DriverWorld(const DriverWorld&) = delete;
  DriverWorld& operator=(const DriverWorld&) = delete;

  const Client& client() const { return client_; }
  const Volumes& volumes() const { return volumes_; }
  VolumeLocks& locks() { return locks_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  // The handles whose caches were flushed, in order.
  const std::vector<std::string>& flushed() const { return flushed_; }
  // Flushes from now on, unless it is OK.
  void FailFlushesWith(absl::Status status) {
    flush_failure_ = std::move(status);
  }

  ::csi::v1::Identity::Stub& identity() { return *identity_stub_; }
  ::csi::v1::Controller::Stub& controller() { return *controller_stub_; }
  ::csi::v1::GroupController::Stub& group_controller() {
    return *group_controller_stub_;
  }
  ::csi::v1::SnapshotMetadata::Stub& metadata() { return *metadata_stub_; }

  // A request that is good, for a file system.
  static ::csi::v1::CreateVolumeRequest NewVolume(const std::string& name,
                                                  int64_t bytes);
  // By the driver; a failure fails the test.
  ::csi::v1::Volume CreateVolume(const std::string& name, int64_t bytes);
  ::csi::v1::Snapshot CreateSnapshot(const std::string& name,
                                     const std::string& volume);
  // To ramvold's volume with this handle; the same.
  void Write(const std::string& handle, int64_t offset,
             const std::string& data);
  // Of ramvold's volume or "@SNAPSHOT"; the same.
  std::string Read(const std::string& name, int64_t offset, int64_t length);

 private:
  ControllerService::Flush Flusher();

  testing::TestServer server_;
  const Client client_;
  const Volumes volumes_;
  VolumeLocks locks_;
  Calls calls_;
  std::vector<std::string> flushed_;
  absl::Status flush_failure_;
  IdentityService identity_;
  ControllerService controller_;
  const GroupSnapshots groups_;
  GroupControllerService group_controller_;
  SnapshotMetadataService metadata_;
  std::unique_ptr<grpc::Server> grpc_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<::csi::v1::Identity::Stub> identity_stub_;
  std::unique_ptr<::csi::v1::Controller::Stub> controller_stub_;
  std::unique_ptr<::csi::v1::GroupController::Stub> group_controller_stub_;
  std::unique_ptr<::csi::v1::SnapshotMetadata::Stub> metadata_stub_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_TESTS_CSI_DRIVER_WORLD_H_
