// What happens to volumes on their way into pods: devices, file systems,
// mounts.
#ifndef RAMVOL_CSI_NODE_VOLUMES_H_
#define RAMVOL_CSI_NODE_VOLUMES_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/duration_histogram.h"
#include "csi/condition.h"
#include "csi/device_attacher.h"
#include "csi/file_system.h"
#include "csi/formatter.h"
#include "csi/mounter.h"
#include "csi/outlasting_work.h"
#include "csi/parameters.h"
#include "csi/volumes.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {

// How a pod wants a volume.
struct Access {
  bool block = false;   // The device itself, else a file system.
  std::string fs_type;  // "": ext4, or what a clone has.
  std::vector<std::string> mount_options;
  // For all pods, so a block device itself is, too.
  bool read_only = false;
  // For this pod alone.
  bool read_only_mount = false;
  // No other pod may have it.
  bool exclusive = false;
  // What the volume is made of if the node has lost it; nullopt: it is not.
  std::optional<Parameters> recreate;
};

// Of a file system's bytes and inodes, or of a device's bytes alone.
struct Usage {
  uint64_t total = 0;
  uint64_t used = 0;
  uint64_t available = 0;
};
struct NodeStats {
  Usage bytes;
  std::optional<Usage> inodes;
  Condition condition;
};

// Remembers nothing: the system's mounts and devices, and labels of ramvold's
// volumes, say how far a volume is. So each call can be repeated, after
// whatever ended the last one. Borrows all that it is given.
//
// Thread-safe for different volumes; the caller calls one at a time for each.
class NodeVolumes {
 public:
  NodeVolumes(const Volumes* volumes, DeviceAttacher* attacher,
              const Mounter* mounter, const FileSystems* file_systems)
      : volumes_(volumes),
        attacher_(attacher),
        mounter_(mounter),
        file_systems_(file_systems),
        formatter_(volumes, file_systems) {}

  // Attaches the volume, and mounts its file system at `staging` unless it is
  // wanted as a block device. Makes the file system in a new volume, gives one
  // in a copy a UUID of its own, and lets it grow to the volume's size. A
  // volume that the node has lost is made anew, if `access` says of what.
  //
  // NOT_FOUND: there is no such volume. ALREADY_EXISTS: something else is
  // mounted there. FAILED_PRECONDITION: the volume holds another file system,
  // or none that is known, or it has stopped, or its device is dead, and pods
  // have it. UNAVAILABLE, ABORTED: a mounted one does not answer in time.
  absl::Status Stage(const std::string& handle, const std::string& staging,
                     const Access& access, absl::Time deadline);
  // Unmounts and detaches; nothing to do is OK, also without ramvold.
  // UNAVAILABLE: ramvold is away, so that what was written would be lost.
  absl::Status Unstage(const std::string& handle, const std::string& staging,
                       absl::Time deadline);

  // Lets the staged volume appear at `target`, which is made. Stages it anew if
  // its device was lost meanwhile.
  //
  // The errors of Stage. ALREADY_EXISTS: something else is there, or it is
  // there to be read only and is wanted to be written. The other way round, it
  // becomes read-only.
  // FAILED_PRECONDITION: another pod has it.
  absl::Status Publish(const std::string& handle, const std::string& staging,
                       const std::string& target, const Access& access,
                       absl::Time deadline);
  // Makes a volume that lives as long as it is published, and does all of the
  // above with it.
  absl::Status PublishInline(const std::string& handle,
                             const std::string& target,
                             const Parameters& parameters, const Access& access,
                             absl::Time deadline);
  // Takes it and the target away, and an inline volume as a whole. UNAVAILABLE,
  // of an inline volume: ramvold is away.
  absl::Status Unpublish(const std::string& handle, const std::string& target,
                         absl::Time deadline);

  // Lets the volume grow to what is required, then device and file system to
  // the volume's size, and returns it. NOT_FOUND: it is not at `path`.
  // Otherwise the errors of Volumes::Expand.
  absl::StatusOr<uint64_t> Expand(const std::string& handle,
                                  const std::string& path,
                                  const SizeRange& size, absl::Time deadline);
  // Also without ramvold, of which the condition tells then. NOT_FOUND: it is
  // not at `path`.
  absl::StatusOr<NodeStats> Stats(const std::string& handle,
                                  const std::string& path,
                                  absl::Time deadline) const;

  // Whether the kernel has stopped a file system in the device after errors, as
  // far as it shows that, or tells it in time.
  bool HasStopped(const AttachedDevice& attached, absl::Time deadline) const;

  // Trims mounted file systems until the deadline: one round, by the volumes'
  // names, that begins after `last`. Returns where the next one is to go on,
  // also where this one was stopped: the name of the volume that came last.
  std::string TrimAll(std::string last, absl::Time deadline) const;

  // Volumes that were made anew so far.
  uint64_t recreated() const { return recreated_; }
  // Of volumes that were no devices before.
  DurationHistogram::Snapshot attach_times() const {
    return attach_times_.Get();
  }

 private:
  absl::StatusOr<v1::Volume> FindOrRecreate(const std::string& handle,
                                            const Access& access);
  absl::StatusOr<std::string> Attach(const v1::Volume& volume, bool read_only,
                                     absl::Time deadline);
  absl::Status Mount(const v1::Volume& volume, const std::string& device,
                     const std::string& target, const Access& access,
                     absl::Time deadline);
  // Mounter::Unmount, unless that would have to wait for ramvold: UNAVAILABLE.
  absl::Status Unmount(const std::string& handle, const std::string& path,
                       absl::Time deadline) const;
  // Whether the kernel has stopped the mounted file system after errors.
  // UNAVAILABLE, ABORTED: that cannot be told in time.
  absl::StatusOr<bool> IsStopped(const csi_driver::Mount& mount,
                                 absl::Time deadline) const;
  // Whether the file system is mounted there and works; unmounts one that has
  // stopped or whose device is dead, unless pods have it.
  absl::StatusOr<bool> IsStaged(const v1::Volume& volume,
                                const std::string& staging,
                                absl::Time deadline) const;
  // The device.
  absl::StatusOr<std::string> EnsureStaged(const v1::Volume& volume,
                                           const std::string& staging,
                                           const Access& access,
                                           absl::Time deadline);
  // Lets the mounted file system grow to its device's size. UNAVAILABLE,
  // ABORTED: that cannot be told in time.
  absl::Status FillDevice(const csi_driver::Mount& mount,
                          absl::Time deadline) const;
  // Whether pods may have what is mounted at `staging`, which is the target of
  // an inline volume's pod.
  bool IsTaken(const v1::Volume& volume, const std::string& device,
               const std::string& staging) const;
  absl::StatusOr<AttachedDevice> FindAt(const std::string& handle,
                                        const std::string& path) const;
  absl::Status CheckExclusive(const std::string& device,
                              const std::string& staging,
                              const std::string& target) const;

  const Volumes* const volumes_;
  DeviceAttacher* const attacher_;
  const Mounter* const mounter_;
  const FileSystems* const file_systems_;
  const Formatter formatter_;
  std::atomic<uint64_t> recreated_ = 0;
  DurationHistogram attach_times_;
  // What mounted file systems are asked for.
  const OutlastingWork checks_;
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_NODE_VOLUMES_H_
