// Objects of one size class, packed end to end in units.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_SLAB_CLASS_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_SLAB_CLASS_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "server/engine/memory/memory_account.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/size_class.h"
#include "server/engine/memory/unit_table.h"
#include "server/engine/memory/units_by_fullness.h"

namespace ramvol::engine {

// All slabs of one size class. A slab is a unit; its first bytes are a bitmap
// of its live slots. An allocation takes the lowest free slot of the fullest
// slab, so objects gather at the low end of few slabs. Pages of a slab become
// resident as objects first touch them, and once no live object touches them
// any more they are retained or given back: a slab costs the pages that it
// uses, not the whole unit.
//
// Thread-safe. Borrows `units` and `account`.
class SlabClass {
 public:
  // Makes the class GetSizeClass(index).
  SlabClass(size_t index, UnitTable* units, MemoryAccount* account);

  SlabClass(const SlabClass&) = delete;
  SlabClass& operator=(const SlabClass&) = delete;

  // Memory for one object, or nullptr when it cannot be charged.
  void* Allocate(Priority priority);
  void Free(void* object);
  // As Arena::StartEvacuation and EndEvacuation. Takes out of `*room_bytes`
  // what moving needs before it gives anything back.
  bool ChooseVictims(Evacuation how, uint64_t* room_bytes);
  void ForgetVictims();
  // Gives retained pages back, emptiest slabs first, until the account's
  // retained bytes are at most `retained_bytes` or the class has none left.
  void ReleaseDownTo(uint64_t retained_bytes);

  uint64_t allocated_bytes() const {
    return live_objects_.load(std::memory_order_relaxed) * class_.object_bytes;
  }
  // What the pages that live objects touch hold beside them.
  uint64_t slack_bytes() const {
    const uint64_t occupied =
        occupied_pages_.load(std::memory_order_relaxed) * kPageBytes;
    const uint64_t headers =
        slabs_.load(std::memory_order_relaxed) * class_.header_bytes;
    // They change one after the other.
    return occupied - std::min(occupied, headers + allocated_bytes());
  }

 private:
  struct Place {
    UnitId unit;
    uint32_t slot;
  };

  Place PlaceOf(const void* object) const;
  char* ObjectAt(Place place) const;
  uint64_t* Bitmap(UnitId id) const;
  // The pages that the slot lies in, as a mask.
  uint64_t PagesOf(uint32_t slot) const;
  uint32_t FirstFreeSlotLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool AnyLiveOnPageLocked(UnitId id, size_t page)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Of the pages that the slot, now free, lies in: those that are free too.
  uint64_t PagesFreedLocked(Place place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Sets what is occupied, and keeps the count of the retained.
  void SetOccupiedLocked(UnitId id, uint64_t occupied)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CommitLocked(Place place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RelistLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MarkVictimLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ForgetVictimsLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // What the pages that the slab's objects touch hold beside them.
  uint64_t SlackOfLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void FreeLocked(Place place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Starts a release if the slab retains enough to be worth it.
  bool MaybeStartReleaseLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes the slab out of use, and marks what it retains as releasing.
  void StartReleaseLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Gives back what is marked, and what has come to be worth it meanwhile.
  // False when the kernel refuses.
  bool Release(UnitId id) ABSL_LOCKS_EXCLUDED(mu_);
  // Puts the slab back into use; false when none of it was left, so that it
  // exists no more.
  bool FinishReleaseLocked(UnitId id, bool given_back)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const SizeClass class_;
  const uint8_t index_;

  // Synchronise themselves.
  UnitTable& units_;
  MemoryAccount& account_;
  // Written under mu_, read by anyone.
  std::atomic<uint64_t> live_objects_{0};
  std::atomic<uint64_t> occupied_pages_{0};
  std::atomic<uint64_t> slabs_{0};

  // Guards the entries and bitmaps of its units, too.
  Mutex mu_;
  // Slabs with free slots, and those that retain pages.
  UnitsByFullness partial_ ABSL_GUARDED_BY(mu_);
  UnitsByFullness retaining_ ABSL_GUARDED_BY(mu_);
  // Slabs that are marked as victims; 0 for those that are gone.
  std::vector<UnitId> victims_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_SLAB_CLASS_H_
