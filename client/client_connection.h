// The interface below a Client.
#ifndef RAMVOL_CLIENT_CLIENT_CONNECTION_H_
#define RAMVOL_CLIENT_CLIENT_CONNECTION_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/event_watch.h"
#include "client/image_stream.h"
#include "client/options.h"
#include "client/volume_connection.h"
#include "ramvol/v1/access_service.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol {

// The calls of a Client, one virtual function each. An implementation is
// thread-safe, retries calls that may be repeated, and ends every call after a
// bounded time. Client adds only convenience. Users' tests implement this
// interface with client/mocks/mock_client_connection.h.
class ClientConnection {
 public:
  virtual ~ClientConnection() = default;

  virtual absl::StatusOr<v1::Volume> CreateVolume(
      const v1::CreateVolumeRequest& request) = 0;
  virtual absl::StatusOr<v1::Volume> GetVolume(
      const v1::GetVolumeRequest& request) = 0;
  // One page.
  virtual absl::StatusOr<v1::ListVolumesResponse> ListVolumes(
      const v1::ListVolumesRequest& request) = 0;
  virtual absl::StatusOr<v1::Volume> UpdateVolume(
      const v1::UpdateVolumeRequest& request) = 0;
  // Not pure, as ListClients.
  virtual absl::StatusOr<v1::Volume> RenameVolume(
      const v1::RenameVolumeRequest& request);
  virtual absl::Status DeleteVolume(const v1::DeleteVolumeRequest& request) = 0;
  virtual absl::StatusOr<v1::VolumeStats> StatVolume(
      const v1::StatVolumeRequest& request) = 0;
  // One page. Not pure, for mocks that were made before it was there.
  virtual absl::StatusOr<v1::ListClientsResponse> ListClients(
      const v1::ListClientsRequest& request);
  // Not pure, as ListClients. Does not wait for the server, and tries nothing
  // again.
  virtual absl::StatusOr<std::unique_ptr<EventWatch>> WatchEvents(
      const v1::WatchEventsRequest& request);
  // Not pure either. ListSnapshots is one page.
  virtual absl::StatusOr<v1::Snapshot> CreateSnapshot(
      const v1::CreateSnapshotRequest& request);
  virtual absl::StatusOr<v1::CreateSnapshotsResponse> CreateSnapshots(
      const v1::CreateSnapshotsRequest& request);
  virtual absl::StatusOr<v1::Snapshot> GetSnapshot(
      const v1::GetSnapshotRequest& request);
  virtual absl::StatusOr<v1::ListSnapshotsResponse> ListSnapshots(
      const v1::ListSnapshotsRequest& request);
  virtual absl::Status DeleteSnapshot(const v1::DeleteSnapshotRequest& request);
  virtual absl::StatusOr<v1::Volume> RevertVolume(
      const v1::RevertVolumeRequest& request);
  virtual absl::StatusOr<v1::WhoAmIResponse> WhoAmI();
  virtual absl::StatusOr<v1::CheckAccessResponse> CheckAccess(
      const v1::CheckAccessRequest& request);
  // Not pure, as ListClients. Save waits for the first message.
  virtual absl::StatusOr<std::unique_ptr<ImageReader>> Save(
      const v1::SaveRequest& request);
  virtual absl::StatusOr<std::unique_ptr<ImageWriter>> Restore(
      const v1::CreateVolumeRequest& volume);
  // Not pure, as ListClients.
  virtual absl::StatusOr<v1::SaveAllResponse> SaveAll(
      const v1::SaveAllRequest& request);
  virtual absl::StatusOr<v1::GetServerInfoResponse> GetServerInfo() = 0;
  virtual absl::Status CheckHealth() = 0;

  // Waits until the volume is open. Never returns a null pointer.
  virtual absl::StatusOr<std::shared_ptr<VolumeConnection>> Open(
      const std::string& name, const OpenOptions& options) = 0;

  // How many streams of open volumes have been opened in place of lost ones.
  virtual uint64_t reconnects() const = 0;
  // How many streams of open volumes are lost and not open again yet.
  virtual uint64_t lost_streams() const = 0;
};

// Connects to a ramvold over gRPC, without waiting for the server. An option
// outside its range becomes the nearest value inside.
std::shared_ptr<ClientConnection> MakeGrpcClientConnection(
    ClientOptions options);

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CLIENT_CONNECTION_H_
