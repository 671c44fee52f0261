// The kernel's structs of a split virtqueue, and the barrier that its two sides
// need. C++ cannot compile the functions that are beside them.
#ifndef RAMVOL_VHOST_USER_PROTOCOL_SPLIT_RING_H_
#define RAMVOL_VHOST_USER_PROTOCOL_SPLIT_RING_H_

#ifndef VIRTIO_RING_NO_LEGACY
#define VIRTIO_RING_NO_LEGACY
#endif
#include <linux/virtio_ring.h>  // IWYU pragma: export

#include <atomic>

namespace ramvol::vhost {

// What was stored before is seen by the other side before what follows is
// loaded.
inline void FullBarrier() {
#ifdef RAMVOL_TSAN  // It does not know fences; on x86, this is one.
  thread_local std::atomic<int> own{0};
  own.exchange(1);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_PROTOCOL_SPLIT_RING_H_
