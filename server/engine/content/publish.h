// Stores that make a change visible, in an order that survives the process.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_PUBLISH_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_PUBLISH_H_

#include <atomic>

#include "server/engine/memory/kill_point.h"

namespace ramvol::engine {

// The content can outlive the process in shared memory. The process may be
// killed between any two instructions, so what a later process finds is what
// the stores before that point left. This store comes after those before it and
// before those after it. It is one store: there is no half of it.
//
// That needs an order of the compiler's only. A core that was stopped still
// completes the stores that it has carried out.
template <typename T>
void Publish(std::atomic<T>& place, T value) {
  place.store(value, std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  KillPoint();
}
template <typename T>
void Publish(T& place, T value) {
  // NOLINTNEXTLINE(bugprone-sizeof-expression): T may be a pointer.
  static_assert(sizeof(std::atomic<T>) == sizeof(T));
  static_assert(std::atomic<T>::is_always_lock_free);
  Publish(reinterpret_cast<std::atomic<T>&>(place), value);
}

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_PUBLISH_H_
