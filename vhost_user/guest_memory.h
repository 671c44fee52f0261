// The memory of a virtual machine.
#ifndef RAMVOL_VHOST_USER_GUEST_MEMORY_H_
#define RAMVOL_VHOST_USER_GUEST_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "vhost_user/protocol/message.h"
#include "vhost_user/shared_mapping.h"

namespace ramvol::vhost {

// A run of the guest's memory that is contiguous here.
struct Segment {
  char* data = nullptr;
  size_t bytes = 0;
  uint64_t guest_address = 0;
};
using Segments = absl::InlinedVector<Segment, 4>;

// Regions that do not overlap, neither in the guest's addresses nor in the
// front-end's. Every look-up checks the whole range.
//
// Thread-compatible: changes need a lock that keeps look-ups, and users of what
// they returned, away.
class GuestMemory {
 public:
  // Front-ends use one for each module of memory that they may plug in.
  static constexpr size_t kMaxRegions = 509;

  // Borrows `broken`; see SharedMapping.
  explicit GuestMemory(BrokenFlag* broken) : broken_(*broken) {}

  // Puts these in the place of all that was there. Each needs its descriptor,
  // in the same order. On an error nothing has changed.
  absl::Status Set(const std::vector<MemoryRegion>& regions,
                   const std::vector<Descriptor>& descriptors);
  // INVALID_ARGUMENT when it overlaps another one or wraps around;
  // RESOURCE_EXHAUSTED beyond kMaxRegions; also SharedMapping::Map's errors.
  absl::Status Add(const MemoryRegion& region, const Descriptor& descriptor);
  // The one with these addresses and size. NOT_FOUND when there is none.
  absl::Status Remove(const MemoryRegion& region);
  void Clear() { regions_.clear(); }

  // The place of a range of the front-end's addresses; null when it does not
  // lie within one region.
  char* AtUser(uint64_t address, uint64_t bytes) const;
  // The same for addresses of the guest.
  char* AtGuest(uint64_t address, uint64_t bytes) const;
  // Adds the range to `*segments`, which may take several. False when a part of
  // it is no memory; `*segments` has then a part of the range.
  [[nodiscard]] bool Find(uint64_t address, uint64_t bytes,
                          Segments* segments) const;

 private:
  struct Region {
    MemoryRegion where;
    std::unique_ptr<SharedMapping> mapping;
  };

  const Region* RegionAt(uint64_t guest_address) const;
  static absl::Status AddTo(std::vector<Region>* regions,
                            const MemoryRegion& region,
                            const Descriptor& descriptor, BrokenFlag* broken);

  BrokenFlag& broken_;
  std::vector<Region> regions_;  // By guest address.
};

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_GUEST_MEMORY_H_
