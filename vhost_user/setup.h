// What the front-end of a device wants.
#ifndef RAMVOL_VHOST_USER_SETUP_H_
#define RAMVOL_VHOST_USER_SETUP_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "base/small_mutex.h"
#include "vhost_user/config_space.h"
#include "vhost_user/dirty_log.h"
#include "vhost_user/guest_memory.h"
#include "vhost_user/protocol/descriptor.h"
#include "vhost_user/protocol/message.h"
#include "vhost_user/shared_mapping.h"
#include "vhost_user/virtqueue.h"

namespace ramvol::vhost {

// A queue as the front-end wants it.
struct Queue {
  // Of the threads that serve it, beside the device's lock.
  SmallMutex mu;
  Virtqueue ring;
  bool has_address = false;
  bool kicked = false;  // It has a kick descriptor, or was told to do without.
  bool enabled = false;
  // The guest may not have heard of what was answered.
  std::atomic<bool> must_tell{false};
  Descriptor kick;  // Closed: the queue is looked at now and then.
  Descriptor call;  // Closed: the guest looks by itself.
  Descriptor error;
};

// All that the front-end may change.
struct Setup {
  explicit Setup(BrokenFlag* broken) : memory(broken) {}

  uint64_t features = 0;
  GuestMemory memory;
  std::unique_ptr<DirtyLog> log;
  std::unique_ptr<SharedMapping> inflight;
  InflightArea inflight_area = {};
  std::array<std::unique_ptr<Queue>, kMaxQueues> queues;
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_SETUP_H_
