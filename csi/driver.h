// The whole driver: volumes, devices and services.
#ifndef RAMVOL_CSI_DRIVER_H_
#define RAMVOL_CSI_DRIVER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/door_stats.h"
#include "base/metrics/endpoint.h"
#include "base/ticker.h"
#include "client/client.h"
#include "client/options.h"
#include "csi/calls.h"
#include "csi/choose_attacher.h"
#include "csi/command.h"
#include "csi/controller_service.h"
#include "csi/file_system.h"
#include "csi/group_controller_service.h"
#include "csi/group_snapshots.h"
#include "csi/identity_service.h"
#include "csi/leftovers.h"
#include "csi/mounter.h"
#include "csi/node_service.h"
#include "csi/node_volumes.h"
#include "csi/snapshot_metadata_service.h"
#include "csi/volume_locks.h"
#include "csi/volume_watch.h"
#include "csi/volumes.h"
#include "csi/write_back.h"
#include "grpcpp/server.h"

namespace ramvol::csi_driver {

struct DriverOptions {
  ClientOptions client;
  VolumesOptions volumes;
  AttachOptions attach;
  std::string endpoint;  // As gRPC names it, "unix:PATH".
  // Zero: file systems are not trimmed.
  absl::Duration trim_interval = absl::Minutes(30);
  // "HOST:PORT", or "" for nowhere.
  std::string metrics_listen;
  // Gets a line of each thing that an earlier driver left and this one took
  // away, or could not yet; also later, on another thread.
  std::function<void(const std::string&)> log;
  // How often conditions are looked at: often enough to be told before a memory
  // limit is reached, mostly.
  absl::Duration watch_interval = absl::Seconds(10);
  AttachNode node = {};
};

// Serves from Start to its end, and then leaves volumes attached and mounted.
class Driver {
 public:
  // Takes away what nothing uses, then serves. ramvold need not be there: then
  // that comes later.
  // UNAVAILABLE, INVALID_ARGUMENT: an address cannot be served.
  static absl::StatusOr<std::unique_ptr<Driver>> Start(
      const DriverOptions& options);

  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  // What it serves, and how.
  std::string description() const;

  // Ends calls that last longer than `drain_timeout`. Returns when all have
  // ended. Call it at most once. The destructor also waits for a trim or a
  // clean-up under way, perhaps for minutes.
  void Shutdown(absl::Duration drain_timeout);

 private:
  explicit Driver(const DriverOptions& options);
  absl::Status Serve();
  absl::Status StartMetrics();
  void StartTickers();
  void CleanUp();
  ControllerService::Flush Flush();

  const DriverOptions options_;
  const Volumes volumes_;
  SystemCommands commands_;
  const Mounter mounter_;
  const FileSystems file_systems_;
  const ChosenAttacher attaching_;
  NodeVolumes node_volumes_;
  const WriteBack write_back_;

  Calls calls_;
  VolumeLocks locks_;
  Leftovers leftovers_;
  IdentityService identity_;
  ControllerService controller_;
  const GroupSnapshots groups_;
  GroupControllerService group_controller_;
  SnapshotMetadataService metadata_;
  NodeService node_;

  DoorStats door_;
  VolumeWatch watch_;
  std::unique_ptr<metrics::Endpoint> metrics_;  // Null: nowhere.
  std::unique_ptr<Ticker> trimmer_;             // Null: nothing is trimmed.
  std::unique_ptr<Ticker> watcher_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_DRIVER_H_
