#include "vhost_user/virtqueue.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ramvol::vhost {
namespace {

// The guest may write at the same time, so that each number is loaded once.
template <typename T>
T Load(const T* from) {
  return __atomic_load_n(from, __ATOMIC_RELAXED);
}
template <typename T>
T LoadAcquire(const T* from) {
  return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}
template <typename T>
void Store(T* to, T value) {
  __atomic_store_n(to, value, __ATOMIC_RELAXED);
}
template <typename T>
void StoreRelease(T* to, T value) {
  __atomic_store_n(to, value, __ATOMIC_RELEASE);
}

bool Aligned(const void* place, uintptr_t alignment) {
  return reinterpret_cast<uintptr_t>(place) % alignment == 0;
}

// Reads each byte once. A guest may put an indirect table at any address.
vring_desc LoadDescriptor(const char* from) {
  if (Aligned(from, alignof(vring_desc))) {
    const auto* place = reinterpret_cast<const vring_desc*>(from);
    return {Load(&place->addr), Load(&place->len), Load(&place->flags),
            Load(&place->next)};
  }
  std::array<char, sizeof(vring_desc)> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = Load(from + i);
  return std::bit_cast<vring_desc>(bytes);
}

absl::Status Broken(absl::string_view what, uint64_t value) {
  return absl::InvalidArgumentError(
      absl::StrCat("the guest's ring is broken: ", what, " ", value));
}

}  // namespace

absl::Status Virtqueue::SetSize(uint32_t size) {
  if (size == 0 || size > kMaxSize || !std::has_single_bit(size)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a queue of ", size,
                     " entries; it needs a power of two, at most ", kMaxSize));
  }
  size_ = static_cast<uint16_t>(size);
  return absl::OkStatus();
}

absl::Status Virtqueue::FindRings(const GuestMemory& memory,
                                  const Options& options) {
  Stop();
  if (size_ == 0) {
    return absl::InvalidArgumentError("a queue was started without a size");
  }
  // Each ring has an event index behind it.
  const uint64_t available_bytes = sizeof(vring_avail) + 2 * (size_ + 1);
  const uint64_t used_bytes =
      sizeof(vring_used) + size_ * sizeof(vring_used_elem) + 2;
  char* const descriptors =
      memory.AtUser(address_.descriptors, size_ * sizeof(vring_desc));
  char* const available = memory.AtUser(address_.available, available_bytes);
  char* const used = memory.AtUser(address_.used, used_bytes);
  if (descriptors == nullptr || available == nullptr || used == nullptr) {
    return absl::InvalidArgumentError(
        "a ring does not lie in the memory of the guest");
  }
  if (!Aligned(descriptors, VRING_DESC_ALIGN_SIZE) ||
      !Aligned(available, VRING_AVAIL_ALIGN_SIZE) ||
      !Aligned(used, VRING_USED_ALIGN_SIZE)) {
    return absl::InvalidArgumentError("a ring is not aligned");
  }
  memory_ = &memory;
  options_ = options;
  descriptors_ = reinterpret_cast<const vring_desc*>(descriptors);
  available_ = reinterpret_cast<vring_avail*>(available);
  used_ = reinterpret_cast<vring_used*>(used);
  return absl::OkStatus();
}

absl::Status Virtqueue::Start(const GuestMemory& memory,
                              const Options& options) {
  absl::Status found = FindRings(memory, options);
  if (!found.ok()) return found;
  if (inflight_.tracks() && inflight_.size() < size_) {
    Stop();
    return absl::InvalidArgumentError(
        absl::StrCat("in-flight memory for queues of ", inflight_.size(),
                     " entries, and a queue of ", size_));
  }
  next_used_ = LoadAcquire(&used_->idx);
  never_notified_ = true;
  again_.clear();
  for (const uint16_t head : inflight_.Recover(next_used_)) {
    if (head < size_) again_.push_back(head);
  }
  // They were taken from what follows the answered ones.
  if (!again_.empty()) {
    next_available_ = static_cast<uint16_t>(next_used_ + again_.size());
  }
  available_end_ = next_available_;
  return absl::OkStatus();
}

absl::Status Virtqueue::Move(const GuestMemory& memory,
                             const Options& options) {
  return FindRings(memory, options);
}

uint16_t Virtqueue::AvailableIndex() const {
  return LoadAcquire(&available_->idx);
}

absl::StatusOr<bool> Virtqueue::Take(Chain* chain) {
  chain->Clear();
  if (!again_.empty()) {
    chain->head = again_.front();
    again_.pop_front();
    absl::Status walked = Walk(chain->head, chain);
    if (!walked.ok()) return walked;
    return true;
  }
  if (available_end_ == next_available_) {
    const uint16_t index = AvailableIndex();
    const auto more = static_cast<uint16_t>(index - next_available_);
    if (more == 0) return false;
    if (more > size_) return Broken("more chains are available:", more);
    available_end_ = index;
  }
  const uint16_t head = Load(&available_->ring[next_available_ & (size_ - 1)]);
  if (head >= size_) return Broken("there is no descriptor", head);
  chain->head = head;
  inflight_.Took(head);
  ++next_available_;
  Prefetch();
  absl::Status walked = Walk(head, chain);
  if (!walked.ok()) return walked;
  return true;
}

void Virtqueue::Prefetch() const {
  const auto ahead = static_cast<uint16_t>(available_end_ - next_available_);
  const auto head_at = [&](uint16_t index) {
    return Load(&available_->ring[index & (size_ - 1)]) & (size_ - 1);
  };
  // First the descriptor, then the table or the header that it tells of.
  if (ahead >= 2) {
    __builtin_prefetch(&descriptors_[head_at(next_available_ + 1)]);
  }
  if (ahead >= 1) {
    const uint64_t next = Load(&descriptors_[head_at(next_available_)].addr);
    __builtin_prefetch(memory_->AtGuest(next, 1));
  }
}

absl::Status Virtqueue::Walk(uint16_t head, Chain* chain) const {
  return WalkTable(reinterpret_cast<const char*>(descriptors_), size_, head,
                   /*in_indirect=*/false, chain);
}

absl::Status Virtqueue::WalkTable(const char* table, uint32_t entries,
                                  uint32_t first, bool in_indirect,
                                  Chain* chain) const {
  uint32_t at = first;
  // A chain that is longer than its table goes round in it.
  for (uint32_t length = 0; length < entries; ++length) {
    const vring_desc descriptor =
        LoadDescriptor(table + at * sizeof(vring_desc));
    if ((descriptor.flags & VRING_DESC_F_INDIRECT) != 0) {
      const bool chained = (descriptor.flags & VRING_DESC_F_NEXT) != 0;
      if (in_indirect || !options_.indirect || chained) {
        return Broken("an indirect table where none may be, descriptor", at);
      }
      const uint32_t count = descriptor.len / sizeof(vring_desc);
      if (count == 0 || count > kMaxSize ||
          descriptor.len % sizeof(vring_desc) != 0) {
        return Broken("an indirect table of bytes", descriptor.len);
      }
      const char* inner = memory_->AtGuest(descriptor.addr, descriptor.len);
      if (inner == nullptr) {
        return Broken("no memory for an indirect table at", descriptor.addr);
      }
      return WalkTable(inner, count, 0,
                       /*in_indirect=*/true, chain);
    }
    absl::Status added = AddBuffer(descriptor, chain);
    if (!added.ok()) return added;
    if ((descriptor.flags & VRING_DESC_F_NEXT) == 0) return absl::OkStatus();
    at = descriptor.next;
    if (at >= entries) return Broken("there is no descriptor", at);
  }
  return Broken("a chain that does not end, from descriptor", first);
}

absl::Status Virtqueue::AddBuffer(const vring_desc& descriptor,
                                  Chain* chain) const {
  const bool writable = (descriptor.flags & VRING_DESC_F_WRITE) != 0;
  if (!writable && !chain->writable.empty()) {
    return Broken("a readable buffer behind a writable one, at",
                  descriptor.addr);
  }
  Segments* segments = writable ? &chain->writable : &chain->readable;
  if (!memory_->Find(descriptor.addr, descriptor.len, segments)) {
    return Broken("a buffer without memory, at", descriptor.addr);
  }
  return absl::OkStatus();
}

void Virtqueue::MarkUsed(uint64_t offset, uint64_t bytes) {
  if (options_.log == nullptr || (address_.flags & kVringLog) == 0) return;
  options_.log->Mark(address_.log + offset, bytes);
}

void Virtqueue::Answer(uint16_t head, uint32_t written) {
  inflight_.WillAnswer(head);
  const uint16_t slot = next_used_ & (size_ - 1);
  Store(&used_->ring[slot].id, uint32_t{head});
  Store(&used_->ring[slot].len, written);
  ++next_used_;
  StoreRelease(&used_->idx, next_used_);
  inflight_.Answered(head, next_used_);
  MarkUsed(offsetof(vring_used, ring) + slot * sizeof(vring_used_elem),
           sizeof(vring_used_elem));
  MarkUsed(offsetof(vring_used, idx), sizeof(used_->idx));
}

bool Virtqueue::MustNotify() {
  if (notified_ == next_used_ && !never_notified_) return false;
  // The guest's wish must be read after the used index was written.
  FullBarrier();
  const uint16_t old = notified_;
  const bool first = never_notified_;
  notified_ = next_used_;
  never_notified_ = false;
  if (!options_.event_index) {
    return (Load(&available_->flags) & VRING_AVAIL_F_NO_INTERRUPT) == 0;
  }
  if (first) return true;
  const uint16_t event = Load(UsedEvent());
  // Whether `event` is in [old, next_used_), modulo 2^16.
  return static_cast<uint16_t>(next_used_ - event - 1) <
         static_cast<uint16_t>(next_used_ - old);
}

void Virtqueue::StopKicks() {
  if (options_.event_index) return;  // The index stays where it was.
  Store(&used_->flags, uint16_t{VRING_USED_F_NO_NOTIFY});
  MarkUsed(offsetof(vring_used, flags), sizeof(used_->flags));
}

bool Virtqueue::StartKicks() {
  if (options_.event_index) {
    Store(AvailableEvent(), next_available_);
    MarkUsed(offsetof(vring_used, ring) + size_ * sizeof(vring_used_elem),
             sizeof(uint16_t));
  } else {
    Store(&used_->flags, uint16_t{0});
    MarkUsed(offsetof(vring_used, flags), sizeof(used_->flags));
  }
  // The guest looks at this after it has made chains available.
  FullBarrier();
  return HasWork();
}

}  // namespace ramvol::vhost
