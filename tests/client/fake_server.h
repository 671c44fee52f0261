// A ramvold in memory, behind the SDK's interface, that can be made to fail.
#ifndef RAMVOL_TESTS_CLIENT_FAKE_SERVER_H_
#define RAMVOL_TESTS_CLIENT_FAKE_SERVER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "client/client_connection.h"
#include "client/event_watch.h"
#include "client/volume_connection.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/client/fake_volume.h"

namespace ramvol {

// Volumes by name. A Client talks to it directly, or through a FakeGrpcServer.
// Thread-safe, but for the public members and what accessors refer to: these
// are for when no call runs.
class FakeServer : public ClientConnection {
 public:
  absl::StatusOr<v1::Volume> CreateVolume(
      const v1::CreateVolumeRequest& request) override;
  absl::StatusOr<v1::Volume> GetVolume(
      const v1::GetVolumeRequest& request) override;
  // Two on a page, so that there are many pages.
  absl::StatusOr<v1::ListVolumesResponse> ListVolumes(
      const v1::ListVolumesRequest& request) override;
  absl::StatusOr<v1::Volume> UpdateVolume(
      const v1::UpdateVolumeRequest& request) override;
  absl::StatusOr<v1::Volume> RenameVolume(
      const v1::RenameVolumeRequest& request) override;
  absl::Status DeleteVolume(const v1::DeleteVolumeRequest& request) override;
  absl::StatusOr<v1::VolumeStats> StatVolume(
      const v1::StatVolumeRequest& request) override;
  // One on a page.
  absl::StatusOr<v1::ListClientsResponse> ListClients(
      const v1::ListClientsRequest& request) override;
  // Makes none.
  absl::StatusOr<v1::CreateSnapshotsResponse> CreateSnapshots(
      const v1::CreateSnapshotsRequest& request) override;
  absl::StatusOr<v1::SaveAllResponse> SaveAll(
      const v1::SaveAllRequest&) override {
    return save_answer;
  }
  absl::StatusOr<v1::WhoAmIResponse> WhoAmI() override { return who; }
  absl::StatusOr<v1::CheckAccessResponse> CheckAccess(
      const v1::CheckAccessRequest& request) override {
    last_access = request;
    return access;
  }
  absl::StatusOr<v1::GetServerInfoResponse> GetServerInfo() override;
  absl::Status CheckHealth() override;
  absl::StatusOr<std::shared_ptr<VolumeConnection>> Open(
      const std::string& name, const OpenOptions& options) override;
  absl::StatusOr<std::unique_ptr<EventWatch>> WatchEvents(
      const v1::WatchEventsRequest& request) override;
  uint64_t reconnects() const override { return 0; }
  uint64_t lost_streams() const override { return 0; }

  // For a server in front: the settings and the data of a volume; NOT_FOUND.
  struct Volume {
    v1::Volume settings;
    std::shared_ptr<FakeVolume> data;
    std::string request_id;
  };
  absl::StatusOr<Volume> Find(const std::string& name) const;

  // Test side.
  // Every call fails so, while it is not OK.
  void set_failure(absl::Status failure);
  // Adds a volume of zeroes, with a uid of its own.
  FakeVolume& Add(const std::string& name, int64_t size_bytes);
  // Forgets all volumes, as ramvold would at its end.
  void Wipe();
  bool Has(const std::string& name) const { return Find(name).ok(); }
  FakeVolume& data(const std::string& name) { return *Find(name)->data; }
  v1::Volume& settings(const std::string& name);

  // Called with every volume that is created.
  std::function<void(FakeVolume&)> on_create;
  v1::VolumeStats stats;  // What StatVolume answers, but for sizes.
  std::vector<v1::AttachedClient> clients;  // What ListClients answers.
  std::vector<std::string> nbd_addresses;
  bool nbd_tls = false;
  std::string vhost_user_dir;
  // What WatchEvents answers; then it waits to be cancelled if it follows, or
  // ends with `events_end`.
  std::vector<v1::WatchEventsResponse> events;
  absl::Status events_end;
  v1::WatchEventsRequest last_watch;
  v1::CreateVolumeRequest last_create;
  v1::UpdateVolumeRequest last_update;
  v1::RenameVolumeRequest last_rename;
  v1::DeleteVolumeRequest last_delete;
  v1::CreateSnapshotsRequest last_snapshots;
  v1::SaveAllResponse save_answer;
  // What it answers, and was asked last.
  v1::WhoAmIResponse who;
  v1::CheckAccessResponse access;
  v1::CheckAccessRequest last_access;
  // Who wants to be alone is refused then.
  bool attached = false;

 private:
  // The volume that a request asks for, with defaults filled in.
  static v1::Volume Describe(const v1::CreateVolumeRequest& request);
  absl::Status CheckUnattached() const;
  // NOT_FOUND, or the failure that was asked for.
  absl::Status CheckLocked(const std::string& name) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, Volume> volumes_ ABSL_GUARDED_BY(mu_);
  int etags_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace ramvol

#endif  // RAMVOL_TESTS_CLIENT_FAKE_SERVER_H_
