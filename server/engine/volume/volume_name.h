// The name of a volume, which can change.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_VOLUME_NAME_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_VOLUME_NAME_H_

#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"

namespace ramvol::engine {

// Thread-safe. Its lock is the last. Requests that succeed do not look at it.
class VolumeName {
 public:
  explicit VolumeName(std::string name) : name_(std::move(name)) {}

  std::string Get() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return name_;
  }
  void Set(std::string name) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    name_ = std::move(name);
  }

 private:
  mutable Mutex mu_;
  std::string name_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_VOLUME_NAME_H_
