// The C++ SDK: manage the volumes of a ramvold server.
//
//   ramvol::Client client({.server = "unix:/run/ramvol.sock"});
//   ramvol::v1::CreateVolumeRequest request;
//   request.set_name("scratch");
//   request.set_size_bytes(int64_t{1} << 30);
//   absl::StatusOr<ramvol::v1::Volume> made = client.CreateVolume(request);
//   absl::StatusOr<ramvol::RemoteVolume> volume = client.Open("scratch");
//   absl::Status written = volume->Write(0, "hello");
#ifndef RAMVOL_CLIENT_CLIENT_H_
#define RAMVOL_CLIENT_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/event_watch.h"
#include "client/image_stream.h"
#include "client/options.h"
#include "client/remote_volume.h"
#include "ramvol/v1/access_service.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol {

// The connection behind a Client. It is an interface, so that users' tests can
// give a Client a mock (client/mocks/mock_client_connection.h).
class ClientConnection;

// Talks to one server. Thread-safe; copies are cheap and share connections.
// Construction does not wait for the server and cannot fail.
//
// Every call returns the server's error with its code and message (GetReason of
// base/reason.h gives its stable reason), UNAVAILABLE when the server
// cannot be reached within reconnect_timeout, DEADLINE_EXCEEDED after timeout.
// All calls but WatchEvents are retried while it is UNAVAILABLE: the reading
// ones are idempotent, CreateVolume, RenameVolume, CreateSnapshot and
// CreateSnapshots are made so by a request_id (drawn at random when the caller
// gives none), UpdateVolume sets values, and a repeated DeleteVolume or
// DeleteSnapshot whose first answer was lost answers OK instead of NOT_FOUND.
// RevertVolume is retried only if it has an etag: a second one would take back
// what was written after the first. When the first answer was lost, it fails
// with ABORTED.
class Client {
 public:
  explicit Client(ClientOptions options = {});
  explicit Client(std::shared_ptr<ClientConnection> connection);

  absl::StatusOr<v1::Volume> CreateVolume(
      v1::CreateVolumeRequest request) const;
  absl::StatusOr<v1::Volume> GetVolume(std::string_view name) const;
  // All volumes, in the order of their names. Asks for one page after the
  // other.
  absl::StatusOr<std::vector<v1::Volume>> ListVolumes() const;
  // One page: the first for "", else the one after which the server gave
  // `page_token`.
  absl::StatusOr<v1::ListVolumesResponse> ListVolumesFrom(
      const std::string& page_token) const;
  absl::StatusOr<v1::Volume> UpdateVolume(
      const v1::UpdateVolumeRequest& request) const;
  // Volumes that are open go on.
  absl::StatusOr<v1::Volume> RenameVolume(
      const v1::RenameVolumeRequest& request) const;
  absl::Status DeleteVolume(const v1::DeleteVolumeRequest& request) const;
  absl::StatusOr<v1::VolumeStats> StatVolume(std::string_view name) const;
  // All clients that have the volume attached, in the order in which they came.
  absl::StatusOr<std::vector<v1::AttachedClient>> ListClients(
      std::string_view name) const;
  // What happens to volumes, see event_watch.h. Errors come from its Next. Only
  // a stream that follows may take longer than `timeout`.
  absl::StatusOr<std::unique_ptr<EventWatch>> WatchEvents(
      const v1::WatchEventsRequest& request) const;

  absl::StatusOr<v1::Snapshot> CreateSnapshot(
      const v1::CreateSnapshotRequest& request) const;
  // All at the same instant, or none; in the order of the request.
  absl::StatusOr<std::vector<v1::Snapshot>> CreateSnapshots(
      const v1::CreateSnapshotsRequest& request) const;
  absl::StatusOr<v1::Snapshot> GetSnapshot(std::string_view name) const;
  // All pages, in order of names; of volumes called `volume`, unless it is
  // empty.
  absl::StatusOr<std::vector<v1::Snapshot>> ListSnapshots(
      std::string_view volume = "") const;
  // One page, as ListVolumesFrom.
  absl::StatusOr<v1::ListSnapshotsResponse> ListSnapshotsFrom(
      std::string_view volume, const std::string& page_token) const;
  absl::Status DeleteSnapshot(const v1::DeleteSnapshotRequest& request) const;
  absl::StatusOr<v1::Volume> RevertVolume(
      const v1::RevertVolumeRequest& request) const;

  // An image of a volume or snapshot, see BlockService.Save and image_stream.h.
  absl::StatusOr<std::unique_ptr<ImageReader>> Save(
      const v1::SaveRequest& request) const;
  // A volume of images, see BlockService.Restore. `volume` has its name, and
  // what is to be other than the image says.
  absl::StatusOr<std::unique_ptr<ImageWriter>> Restore(
      const v1::CreateVolumeRequest& volume) const;

  // Waits for as long as it takes, whatever ClientOptions::timeout is, and is
  // not tried again.
  absl::StatusOr<v1::SaveAllResponse> SaveAll(
      const v1::SaveAllRequest& request) const;

  // Who the server takes this client for, and whether it may do something.
  absl::StatusOr<v1::WhoAmIResponse> WhoAmI() const;
  absl::StatusOr<v1::CheckAccessResponse> CheckAccess(
      const v1::CheckAccessRequest& request) const;

  absl::StatusOr<v1::GetServerInfoResponse> GetServerInfo() const;
  // Asks gRPC's standard health service. FAILED_PRECONDITION when the server
  // answers anything but SERVING, as it does while it stops.
  absl::Status CheckHealth() const;

  // Opens the volume for reading and writing, or the snapshot "@NAME" for
  // reading. NOT_FOUND when there is none.
  absl::StatusOr<RemoteVolume> Open(std::string_view name,
                                    const OpenOptions& options = {}) const;

  // How many streams of open volumes have been opened in place of lost ones.
  uint64_t reconnects() const;
  // How many streams of open volumes are lost and not open again yet.
  uint64_t lost_streams() const;

 private:
  std::shared_ptr<ClientConnection> connection_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CLIENT_H_
