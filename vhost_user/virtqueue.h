// A split virtqueue of virtio 1.2, as the device sees it.
#ifndef RAMVOL_VHOST_USER_VIRTQUEUE_H_
#define RAMVOL_VHOST_USER_VIRTQUEUE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "vhost_user/dirty_log.h"
#include "vhost_user/guest_memory.h"
#include "vhost_user/inflight.h"
#include "vhost_user/protocol/message.h"
#include "vhost_user/protocol/split_ring.h"

namespace ramvol::vhost {

// A request: a chain of descriptors, found in the guest's memory.
struct Chain {
  uint16_t head = 0;
  Segments readable;  // By the device.
  Segments writable;

  void Clear() {
    readable.clear();
    writable.clear();
  }
};

// Takes chains and answers them. The guest may change all that this reads at
// any time, so each number is read once and checked; what it says wrong makes
// Take fail, and the device should end then.
//
// Thread-compatible.
class Virtqueue {
 public:
  // Also the longest chain.
  static constexpr uint16_t kMaxSize = 1024;

  struct Options {
    bool event_index = false;
    bool indirect = false;
    // Marks what this writes to the used ring. Null: nothing does. Borrowed.
    DirtyLog* log = nullptr;
  };

  // --- Setting up, in any order ---

  // INVALID_ARGUMENT unless a power of two up to kMaxSize.
  absl::Status SetSize(uint32_t size);
  uint16_t size() const { return size_; }
  void SetAddress(const VringAddress& address) { address_ = address; }
  void SetBase(uint16_t base) { next_available_ = base; }
  // Where the next chain is taken.
  uint16_t base() const { return next_available_; }
  void SetInflight(const Inflight& inflight) { inflight_ = inflight; }

  // Finds the rings in the guest's memory, and goes on with what an earlier
  // back-end left unanswered. Borrows `memory`. INVALID_ARGUMENT when the rings
  // are no memory or not aligned.
  absl::Status Start(const GuestMemory& memory, const Options& options);
  // The same when memory or options changed under a queue that runs.
  absl::Status Move(const GuestMemory& memory, const Options& options);
  void Stop() { available_ = nullptr; }
  bool running() const { return available_ != nullptr; }

  // --- Running ---

  // Whether Take would find something.
  bool HasWork() const {
    return waiting() != 0 || AvailableIndex() != next_available_;
  }
  // Chains that were seen and not taken. There may be more.
  size_t waiting() const {
    return again_.size() +
           static_cast<uint16_t>(available_end_ - next_available_);
  }
  // Takes the next chain. False when there is none. INVALID_ARGUMENT when the
  // guest broke a rule.
  absl::StatusOr<bool> Take(Chain* chain);
  // Answers a chain into which `written` bytes were written.
  void Answer(uint16_t head, uint32_t written);
  // Whether the guest wants to be told of what was answered since this was
  // called last.
  bool MustNotify();

  // While this looks by itself, the guest need not kick.
  void StopKicks();
  // From now on it does. True when there is work already.
  [[nodiscard]] bool StartKicks();

 private:
  absl::Status FindRings(const GuestMemory& memory, const Options& options);
  uint16_t AvailableIndex() const;
  // Has the processor fetch what Take will read of the next chains.
  void Prefetch() const;
  absl::Status Walk(uint16_t head, Chain* chain) const;
  absl::Status WalkTable(const char* table, uint32_t entries, uint32_t first,
                         bool in_indirect, Chain* chain) const;
  absl::Status AddBuffer(const vring_desc& descriptor, Chain* chain) const;
  void MarkUsed(uint64_t offset, uint64_t bytes);
  uint16_t* UsedEvent() const { return available_->ring + size_; }
  uint16_t* AvailableEvent() const {
    return reinterpret_cast<uint16_t*>(used_->ring + size_);
  }

  uint16_t size_ = 0;
  VringAddress address_ = {};
  Inflight inflight_;

  const GuestMemory* memory_ = nullptr;
  Options options_;
  const vring_desc* descriptors_ = nullptr;
  vring_avail* available_ = nullptr;
  vring_used* used_ = nullptr;

  uint16_t next_available_ = 0;
  // Where the available ring ended when it was looked at last: its index is in
  // a cache line that the guest writes.
  uint16_t available_end_ = 0;
  uint16_t next_used_ = 0;
  // The used index when the guest was last told.
  uint16_t notified_ = 0;
  bool never_notified_ = true;
  // Heads that an earlier back-end took.
  std::deque<uint16_t> again_;
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_VIRTQUEUE_H_
