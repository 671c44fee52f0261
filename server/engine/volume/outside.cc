#include "server/engine/volume/outside.h"

#include <algorithm>

namespace ramvol::engine {

bool Outside::Begin(std::shared_ptr<OutsideSource> source, Below below,
                    uint64_t room_bytes, Priority priority) {
  if (!arena_.Reserve(room_bytes, priority)) return false;
  MutexLock lock(&mu_);
  room_bytes_.fetch_add(room_bytes, std::memory_order_relaxed);
  source_ = std::move(source);
  below_ = std::move(below);
  active_.store(true, std::memory_order_relaxed);
  return true;
}

void Outside::End() {
  active_.store(false, std::memory_order_relaxed);
  UseRoom(~uint64_t{0});
  std::shared_ptr<OutsideSource> last;
  MutexLock lock(&mu_);
  last.swap(source_);
  below_.clear();
}

std::shared_ptr<OutsideSource> Outside::source() const {
  MutexLock lock(&mu_);
  return source_;
}

std::shared_ptr<ChunkLoader> Outside::BelowOf(uint32_t image) const {
  MutexLock lock(&mu_);
  return image < below_.size() ? below_[image].lock() : nullptr;
}

bool Outside::Enter(const Frame* frame) {
  MutexLock lock(&mu_);
  if (entered_.insert(frame).second) return true;
  while (entered_.contains(frame)) left_.Wait(&mu_);
  return false;
}

void Outside::Leave(const Frame* frame) {
  MutexLock lock(&mu_);
  entered_.erase(frame);
  left_.SignalAll();
}

void Outside::UseRoom(uint64_t bytes) {
  uint64_t left = room_bytes_.load(std::memory_order_relaxed);
  while (left > 0 &&
         !room_bytes_.compare_exchange_weak(left, left - std::min(left, bytes),
                                            std::memory_order_relaxed)) {
  }
  if (left > 0) arena_.Unreserve(std::min(left, bytes));
}

}  // namespace ramvol::engine
