// One call at a time for each volume.
#ifndef RAMVOL_CSI_VOLUME_LOCKS_H_
#define RAMVOL_CSI_VOLUME_LOCKS_H_

#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "csi/volume_handle.h"

namespace ramvol::csi_driver {

// Thread-safe. Must outlive what it gives out.
class VolumeLocks {
 public:
  // Lets go of the volume in the end.
  class Held {
   public:
    Held(VolumeLocks* locks, std::string name)
        : locks_(locks), name_(std::move(name)) {}
    Held(Held&& other) noexcept
        : locks_(std::exchange(other.locks_, nullptr)),
          name_(std::move(other.name_)) {}
    Held& operator=(Held&&) = delete;
    ~Held() {
      if (locks_ != nullptr) locks_->Release(name_);
    }

   private:
    VolumeLocks* locks_;
    const std::string name_;
  };

  // ABORTED when another call has the volume: the specification's code for a
  // call that the container orchestrator should repeat later.
  absl::StatusOr<Held> Take(const std::string& handle) {
    return TakeNamed(NameOfHandle(handle));
  }
  // The same, by the volume's name.
  absl::StatusOr<Held> TakeNamed(const std::string& name)
      ABSL_LOCKS_EXCLUDED(mu_) {
    const MutexLock lock(&mu_);
    if (!held_.insert(name).second) {
      return absl::AbortedError(absl::StrCat("another call for volume \"", name,
                                             "\" is under way; try again"));
    }
    return Held(this, name);
  }

 private:
  void Release(const std::string& name) ABSL_LOCKS_EXCLUDED(mu_) {
    const MutexLock lock(&mu_);
    held_.erase(name);
  }

  Mutex mu_;
  absl::flat_hash_set<std::string> held_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_VOLUME_LOCKS_H_
