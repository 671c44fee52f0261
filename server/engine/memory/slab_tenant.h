// Who has objects in the arena's slabs, seen from the arena's side.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_SLAB_TENANT_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_SLAB_TENANT_H_

#include <cstdint>
#include <optional>

namespace ramvol::engine {

// A part of a tenant: its keys `first` to `end` - 1. What a key means is the
// tenant's affair (a volume's are numbers of chunks, a part is a leaf of them).
struct TenantPart {
  uint64_t first;
  uint64_t end;
};

// Thread-safe. Neither call can fail: what cannot be moved stays.
class SlabTenant {
 public:
  virtual ~SlabTenant() = default;

  // The first part that covers `key` or a later one; nullopt at the end.
  virtual std::optional<TenantPart> FindPart(uint64_t key) = 0;
  // Moves the objects of the part that begins with `first` where
  // Arena::ShouldMove says so.
  virtual void MovePart(uint64_t first) = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_SLAB_TENANT_H_
