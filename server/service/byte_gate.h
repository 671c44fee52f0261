// Bounds the memory of messages under way, which the memory limit does not
// count.
#ifndef RAMVOL_SERVER_SERVICE_BYTE_GATE_H_
#define RAMVOL_SERVER_SERVICE_BYTE_GATE_H_

#include <cstddef>
#include <deque>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "proto/base/mutex.h"

namespace ramvol::service {

// Lets in who needs so many bytes while there is room, in the order of arrival;
// when nobody is inside, also who needs more than the limit. Thread-safe.
class ByteGate {
 public:
  explicit ByteGate(size_t limit_bytes) : limit_bytes_(limit_bytes) {}

  ByteGate(const ByteGate&) = delete;
  ByteGate& operator=(const ByteGate&) = delete;

  // True: the caller is inside. False: it will be when `admitted` is called, on
  // the thread of a Leave, for which it must be short. Leave has to follow.
  [[nodiscard]] bool Enter(size_t bytes, std::function<void()> admitted);
  // All bytes, or a part of them.
  void Leave(size_t bytes);

 private:
  struct Waiting {
    size_t bytes;
    std::function<void()> admitted;
  };

  bool HasRoomLocked(size_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return inside_bytes_ == 0 || inside_bytes_ + bytes <= limit_bytes_;
  }

  const size_t limit_bytes_;
  Mutex mu_;
  size_t inside_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<Waiting> waiting_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_BYTE_GATE_H_
