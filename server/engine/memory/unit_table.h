// The arena's address range, cut into units of 64 pages, and who owns which.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_UNIT_TABLE_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_UNIT_TABLE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "server/engine/memory/mapping.h"
#include "server/engine/memory/memory_account.h"
#include "server/engine/memory/memory_types.h"

namespace ramvol::engine {

// Names a unit. 0 names none.
using UnitId = uint32_t;

inline constexpr size_t kUnitPages = 64;
inline constexpr size_t kUnitBytes = kUnitPages * kPageBytes;

// What is known of one unit. All but `owner` belongs to the unit's owner and is
// guarded by the owner's mutex; bit p of a mask is the unit's page p.
//
// A page that is resident but not occupied is *retained*: it can be had again
// without a page fault, or be given back.
struct Unit {
  uint64_t occupied = 0;  // Handed out, or touched by a live object.
  uint64_t resident = 0;  // Backed by memory, and charged.
  // Being given back outside of the lock; no one may use them meanwhile.
  uint64_t releasing = 0;
  // Of the lists that the unit is in.
  struct Link {
    UnitId prev = 0;
    UnitId next = 0;
    uint8_t list = 0;  // Which, or 0: none.
  };
  Link links[2] = {};
  // Slabs: objects alive, and where the search for a free slot begins.
  uint32_t live_objects = 0;
  uint16_t search_word = 0;
  // Index of the size class, or kSizeClasses and up: of the page pool. Set by
  // Take, constant until Put.
  uint8_t owner = 0;
  // Slabs: to be emptied, so nothing new comes in. Read without lock.
  std::atomic<bool> is_victim{false};

  uint64_t retained() const { return resident & ~occupied & ~releasing; }
};

// Hands out units, holds what is known about them, and makes their pages
// resident no more.
//
// Thread-safe. Borrows `account`, to which it charges its own tables: 312
// bytes for each unit, once it was first used.
class UnitTable {
 public:
  // Units for `bytes` of memory. RESOURCE_EXHAUSTED as Mapping::Create.
  static absl::StatusOr<std::unique_ptr<UnitTable>> Create(
      uint64_t bytes, MemoryAccount* account);

  // Everything in the range is gone, whether it was freed or not.
  ~UnitTable();

  UnitTable(const UnitTable&) = delete;
  UnitTable& operator=(const UnitTable&) = delete;

  // A unit of zeroes, none of it resident, for size class `owner`; 0 when all
  // are in use, or when its place in the tables cannot be charged.
  UnitId Take(uint8_t owner, Priority priority);
  // Takes a unit back. None of it may be resident.
  void Put(UnitId id);

  Unit& unit(UnitId id) { return units()[id]; }
  const Unit& unit(UnitId id) const { return units()[id]; }
  char* data(UnitId id) const { return range_.data() + id * kUnitBytes; }

  // Inverse of data(); `address` may lie anywhere in the unit.
  UnitId UnitOf(const void* address) const {
    return static_cast<UnitId>(
        (static_cast<const char*>(address) - range_.data()) / kUnitBytes);
  }
  char* page_data(PageId page) const {
    return range_.data() + size_t{page} * kPageBytes;
  }
  // References to a page; for the owners of units of pages.
  std::atomic<uint32_t>& page_refs(PageId page) const {
    return reinterpret_cast<std::atomic<uint32_t>*>(page_refs_.data())[page];
  }

  // Gives the unit's pages in `mask` back to the kernel. False when the kernel
  // refused some: count them all as resident then, their content unspecified.
  // The caller makes sure that no one uses them meanwhile.
  bool GiveBack(UnitId id, uint64_t mask) const;

 private:
  UnitTable(Mapping range, Mapping units, Mapping page_refs,
            MemoryAccount* account);

  Unit* units() const { return reinterpret_cast<Unit*>(units_.data()); }

  const Mapping range_;
  const Mapping units_;
  const Mapping page_refs_;
  MemoryAccount& account_;

  Mutex mu_;
  // Units that were used before, linked by links[0].next.
  UnitId free_ ABSL_GUARDED_BY(mu_) = 0;
  // Units from here on were never used. Unit 0 never is, so that 0 names none.
  UnitId first_unused_ ABSL_GUARDED_BY(mu_) = 1;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_UNIT_TABLE_H_
