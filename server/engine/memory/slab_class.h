// Allocates objects of one size class.
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

// All slabs of one size class. A slab is a unit that begins with a bitmap of
// its live slots. An allocation takes the lowest free slot of the fullest slab,
// so objects gather at the low end of few slabs. A page of a slab becomes
// resident when the first object touches it. When no live object touches it any
// more, it is retained or released. So a slab takes the pages that it uses, not
// the whole unit.
//
// Thread-safe. Borrows `units` and `account`.
class SlabClass {
 public:
  // Serves the class GetSizeClass(index).
  SlabClass(size_t index, UnitTable* units, MemoryAccount* account);

  SlabClass(const SlabClass&) = delete;
  SlabClass& operator=(const SlabClass&) = delete;

  // Memory for one object, or nullptr when it cannot be charged.
  void* Allocate(Priority priority);
  void Free(void* object);
  // For Arena::StartEvacuation and EndEvacuation. Deducts from `*room_bytes`
  // what moving takes before it frees anything.
  bool ChooseVictims(Evacuation how, uint64_t* room_bytes);
  void ForgetVictims();
  // For Arena::ClaimObject. The slab was this class's, and an object's worth of
  // bytes at `object` are in the file.
  Claim ClaimObject(const void* object);
  // Puts a slab of which objects were claimed into use.
  void Adopt(UnitId id);
  // Releases retained pages, emptiest slabs first, until the account has at
  // most `retained_bytes` of them or the class has none.
  void ReleaseDownTo(uint64_t retained_bytes);

  uint64_t allocated_bytes() const {
    return live_objects_.load(std::memory_order_relaxed) * class_.object_bytes;
  }
  // Bytes on pages that live objects touch, outside of these objects.
  uint64_t slack_bytes() const {
    const uint64_t occupied =
        occupied_pages_.load(std::memory_order_relaxed) * kPageBytes;
    const uint64_t headers =
        slabs_.load(std::memory_order_relaxed) * class_.header_bytes;
    // The counters do not change at once, so their difference may be negative.
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
  // A mask of the pages that the slot touches.
  uint64_t PagesOf(uint32_t slot) const;
  uint32_t FirstFreeSlotLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool AnyLiveOnPageLocked(UnitId id, size_t page)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The pages of the slot, which was just freed, that no live object touches.
  uint64_t PagesFreedLocked(Place place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Sets Unit::occupied and updates the count of retained pages.
  void SetOccupiedLocked(UnitId id, uint64_t occupied)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Charges the pages in `missing`. In a file, makes them resident, and more
  // that follow them if there is room; these are retained.
  bool TakePagesLocked(UnitId id, uint64_t missing, Priority priority)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The pages of a file to make resident with those in `missing`.
  uint64_t PagesAheadLocked(UnitId id, uint64_t missing)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CommitLocked(Place place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RelistLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void MarkVictimLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ForgetVictimsLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // slack_bytes() of one slab.
  uint64_t SlackOfLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void FreeLocked(Place place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Starts a release if the slab retains release_batch_pages_.
  bool MaybeStartReleaseLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes the slab out of use, and marks its retained pages as releasing.
  void StartReleaseLocked(UnitId id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Releases the marked pages, and repeats if enough were retained meanwhile.
  // False when the kernel refuses.
  bool Release(UnitId id) ABSL_LOCKS_EXCLUDED(mu_);
  // Puts the slab back into use. False when no page was left; its unit is freed
  // then.
  bool FinishReleaseLocked(UnitId id, bool given_back)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const SizeClass class_;
  const uint8_t index_;
  // A slab releases its retained pages when it has this many: few enough to
  // waste little, enough to be worth a system call.
  const int release_batch_pages_;

  // Thread-safe.
  UnitTable& units_;
  MemoryAccount& account_;
  // Written under mu_, read without it.
  std::atomic<uint64_t> live_objects_{0};
  std::atomic<uint64_t> occupied_pages_{0};
  std::atomic<uint64_t> slabs_{0};

  // Also guards the Unit structs and bitmaps of its units.
  Mutex mu_;
  // Slabs with free slots, and slabs with retained pages.
  UnitsByFullness partial_ ABSL_GUARDED_BY(mu_);
  UnitsByFullness retaining_ ABSL_GUARDED_BY(mu_);
  // Slabs marked as victims; 0 in place of freed ones.
  std::vector<UnitId> victims_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_SLAB_CLASS_H_
