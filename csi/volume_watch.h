// Looks at all volumes again and again, for the log and for metrics.
#ifndef RAMVOL_CSI_VOLUME_WATCH_H_
#define RAMVOL_CSI_VOLUME_WATCH_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "csi/condition.h"
#include "csi/device_attacher.h"
#include "csi/volumes.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {

// Volumes of the driver that belong together.
struct VolumesOfClass {
  uint64_t volumes = 0;
  uint64_t provisioned_bytes = 0;  // What they promise: their sizes.
};

// What a look found.
struct VolumesSummary {
  // Whether ramvold answered. Otherwise, all below is unknown.
  bool reached = false;
  // By the name of the StorageClass, as far as its parameter "class" says it,
  // else "none"; "inline" for inline volumes. After kMaxClasses, "_other".
  std::map<std::string, VolumesOfClass> classes;
  std::array<uint64_t, kCauses> by_cause = {};
  uint64_t memory_limit_bytes = 0;  // ramvold's.
};

// Logs when a volume's condition becomes abnormal, changes its cause, or is in
// order again. What Kubernetes makes of conditions depends on the cluster; the
// log is there everywhere.
//
// Borrows all that it is given. Thread-safe.
class VolumeWatch {
 public:
  static constexpr size_t kMaxClasses = 50;

  // Of a device, whether its file system has stopped.
  using HasStopped = std::function<bool(const AttachedDevice&)>;

  VolumeWatch(const Volumes* volumes, const DeviceAttacher* attacher,
              HasStopped has_stopped)
      : volumes_(volumes),
        attacher_(attacher),
        has_stopped_(std::move(has_stopped)) {}

  // Takes as long as ramvold lets it wait.
  void Look() ABSL_LOCKS_EXCLUDED(look_mu_, mu_);

  // Of the last look.
  VolumesSummary summary() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Conditions = std::map<std::string, Cause>;
  using Devices = std::map<std::string, AttachedDevice>;

  Condition Examine(const v1::Volume& volume,
                    const absl::StatusOr<v1::GetServerInfoResponse>& server,
                    const Devices& devices) const;
  void LogChange(const std::string& handle, const Condition& condition)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(look_mu_);
  void LogReach(const absl::Status& reached)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(look_mu_);
  void Keep(VolumesSummary summary) ABSL_LOCKS_EXCLUDED(mu_);

  const Volumes* const volumes_;
  const DeviceAttacher* const attacher_;
  const HasStopped has_stopped_;

  // Held for a look. mu_ may follow.
  Mutex look_mu_;
  // Those that were abnormal at the last look, by handle.
  Conditions abnormal_ ABSL_GUARDED_BY(look_mu_);
  bool lost_ ABSL_GUARDED_BY(look_mu_) = false;

  mutable Mutex mu_;
  VolumesSummary summary_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_VOLUME_WATCH_H_
