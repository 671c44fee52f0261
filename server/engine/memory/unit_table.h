// The arena's address range, divided into units of 64 pages.
#ifndef RAMVOL_SERVER_ENGINE_MEMORY_UNIT_TABLE_H_
#define RAMVOL_SERVER_ENGINE_MEMORY_UNIT_TABLE_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "server/engine/memory/mapping.h"
#include "server/engine/memory/memory_account.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/state_file.h"
#include "server/engine/memory/state_header.h"

namespace ramvol::engine {

// The state of one unit. The mutex of the unit's owner guards all fields but
// `owner` and `is_victim`. Bit p of a mask stands for the unit's page p.
//
// A page that is resident but not occupied is *retained*: it can be reused
// without a page fault, or be released to the kernel.
struct Unit {
  uint64_t occupied = 0;  // Allocated, or touched by a live object.
  uint64_t resident = 0;  // Backed by memory and charged.
  // Being released, or made resident, without the lock; must not be used
  // meanwhile.
  uint64_t releasing = 0;
  // Links of the lists that the unit is in.
  struct Link {
    UnitId prev = 0;
    UnitId next = 0;
    uint8_t list = 0;  // The list's number; 0: in none.
  };
  Link links[2] = {};
  // Slabs only: live objects, and where the search for a free slot begins.
  uint32_t live_objects = 0;
  uint16_t search_word = 0;
  // The index of the size class, or kSizeClasses + that of the page pool.
  // Constant from Take to Put.
  uint8_t owner = 0;
  // Slabs only: to be emptied, so nothing is allocated in it. Read without a
  // lock.
  std::atomic<bool> is_victim{false};

  uint64_t retained() const { return resident & ~occupied & ~releasing; }
};

// The bytes of the pages in a mask.
inline int64_t BytesIn(uint64_t pages) {
  return int64_t{std::popcount(pages)} * static_cast<int64_t>(kPageBytes);
}

// Allocates units, holds their state, and releases their pages to the kernel.
//
// Thread-safe. Borrows `account`, and charges it for its tables: 312 bytes for
// each unit that was ever used.
class UnitTable {
 public:
  // Makes units for `bytes` of memory. RESOURCE_EXHAUSTED as Mapping::Create.
  static absl::StatusOr<std::unique_ptr<UnitTable>> Create(
      uint64_t bytes, MemoryAccount* account);
  // Makes the units of `file`, whose range it takes. Until FinishRecovery there
  // are none to take. Borrows `file`. RESOURCE_EXHAUSTED as above; UNKNOWN when
  // a system call fails.
  static absl::StatusOr<std::unique_ptr<UnitTable>> Create(
      StateFile* file, MemoryAccount* account);

  // Unmaps the whole range, whether units are in use or not.
  ~UnitTable();

  UnitTable(const UnitTable&) = delete;
  UnitTable& operator=(const UnitTable&) = delete;

  // A zeroed unit for `owner` (see Unit::owner), with no page resident. 0 when
  // all are in use, or when its part of the tables cannot be charged.
  UnitId Take(uint8_t owner, Priority priority);
  // Frees a unit. No page may be resident.
  void Put(UnitId id);

  Unit& unit(UnitId id) { return units()[id]; }
  const Unit& unit(UnitId id) const { return units()[id]; }
  char* data(UnitId id) const { return range_.data() + id * kUnitBytes; }

  // The inverse of data(); `address` may lie anywhere in the unit.
  UnitId UnitOf(const void* address) const {
    return static_cast<UnitId>(
        (static_cast<const char*>(address) - range_.data()) / kUnitBytes);
  }
  char* page_data(PageId page) const {
    return range_.data() + size_t{page} * kPageBytes;
  }
  // The reference count of a page; for page pools.
  std::atomic<uint32_t>& page_refs(PageId page) const {
    return reinterpret_cast<std::atomic<uint32_t>*>(page_refs_.data())[page];
  }

  // Releases the unit's pages in `mask` to the kernel. False when the kernel
  // refused some: count all as resident then, with unspecified content. The
  // caller must make sure that nothing uses them meanwhile.
  bool GiveBack(UnitId id, uint64_t mask) const;

  // ---- Units of a file ----

  // Whether pages must be filled before they are touched.
  bool is_file() const { return range_.is_file(); }
  // Makes the unit's pages in `mask`, none of which is resident, resident and
  // zeroed. When that fails, none is.
  bool Fill(UnitId id, uint64_t mask) const;

  // Until FinishRecovery, and by one thread: `resident` of each unit says which
  // of its pages the file holds, all else is zero.

  // The unit in which all of [start, start + bytes) lies on pages that the file
  // holds; 0 when there is none. For any address.
  UnitId UnitHolding(const void* start, size_t bytes) const;
  // Who took the unit last, as in Unit::owner; -1: nobody did.
  int RecordedOwner(UnitId id) const;
  // Releases what no unit has as occupied, calls `adopt` for each unit with
  // occupied pages, and frees the others. Charges what is resident.
  void FinishRecovery(absl::FunctionRef<void(UnitId)> adopt);

 private:
  UnitTable(Mapping range, Mapping units, Mapping page_refs, UnitId first_unit,
            MemoryAccount* account);

  // Makes the tables of `range`.
  static absl::StatusOr<std::unique_ptr<UnitTable>> CreateOver(
      Mapping range, UnitId first_unit, MemoryAccount* account);

  Unit* units() const { return reinterpret_cast<Unit*>(units_.data()); }
  // The table of owners in the file.
  std::atomic<uint8_t>* owners() const {
    return reinterpret_cast<std::atomic<uint8_t>*>(data(kFirstOwnerUnit));
  }
  UnitId count() const {
    return static_cast<UnitId>(range_.size_bytes() / kUnitBytes);
  }
  void AddResident(uint64_t first_page, uint64_t end_page);
  void GiveBackUnoccupied();
  // False when the table of owners has no memory for it.
  bool RecordOwner(UnitId id, uint8_t owner, Priority priority);

  const Mapping range_;
  const Mapping units_;
  const Mapping page_refs_;
  // Units before this are not for use.
  const UnitId first_unit_;
  MemoryAccount& account_;
  // Recovery: the end of the units with resident pages.
  UnitId end_of_data_ = 0;

  Mutex mu_;
  // A list of freed units, linked by links[0].next.
  UnitId free_ ABSL_GUARDED_BY(mu_) = 0;
  // Units from here on were never used.
  UnitId first_unused_ ABSL_GUARDED_BY(mu_);
  // Units from here on cannot be taken.
  UnitId end_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_MEMORY_UNIT_TABLE_H_
