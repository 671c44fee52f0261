#include "server/service/byte_gate.h"

#include <utility>
#include <vector>

namespace ramvol::service {

bool ByteGate::Enter(size_t bytes, std::function<void()> admitted) {
  MutexLock lock(&mu_);
  if (!waiting_.empty() || !HasRoomLocked(bytes)) {
    waiting_.push_back({bytes, std::move(admitted)});
    return false;
  }
  inside_bytes_ += bytes;
  return true;
}

void ByteGate::Leave(size_t bytes) {
  std::vector<std::function<void()>> admitted;
  {
    MutexLock lock(&mu_);
    inside_bytes_ -= bytes;
    while (!waiting_.empty() && HasRoomLocked(waiting_.front().bytes)) {
      inside_bytes_ += waiting_.front().bytes;
      admitted.push_back(std::move(waiting_.front().admitted));
      waiting_.pop_front();
    }
  }
  for (const auto& call : admitted) call();
}

}  // namespace ramvol::service
