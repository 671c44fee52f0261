// The owner of objects in the arena's slabs, as the arena sees it.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_SLAB_TENANT_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_SLAB_TENANT_H_

#include <cstdint>
#include <optional>

namespace ramvol::engine {

// A part of a tenant: keys `first` to `end` - 1. The tenant defines its keys. A
// volume's keys are chunk numbers, and a part is a leaf.
struct TenantPart {
  uint64_t first;
  uint64_t end;
};

// Thread-safe. The calls cannot fail: what cannot be moved stays.
class SlabTenant {
 public:
  virtual ~SlabTenant() = default;

  // The first part that covers `key` or a later one; nullopt at the end.
  virtual std::optional<TenantPart> FindPart(uint64_t key) = 0;
  // Moves those objects of the part at `first` for which Arena::ShouldMove is
  // true.
  virtual void MovePart(uint64_t first) = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_SLAB_TENANT_H_
