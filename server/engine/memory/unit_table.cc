#include "server/engine/memory/unit_table.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "server/engine/memory/kill_point.h"
#include "server/engine/memory/poison.h"

namespace ramvol::engine {
namespace {

constexpr uint64_t kPageRefBytes = sizeof(std::atomic<uint32_t>);
constexpr uint64_t kTableBytesPerUnit =
    sizeof(Unit) + kUnitPages * kPageRefBytes;
// The last page of each table is resident before it is full.
constexpr uint64_t kTableSlackBytes = 2 * kPageBytes;

static_assert(kTableBytesPerUnit == 312);
static_assert(std::atomic<uint32_t>::is_always_lock_free);

// The lowest run of ones in `mask`, which must not be 0.
struct Run {
  explicit Run(uint64_t mask)
      : first(std::countr_zero(mask)), count(std::countr_one(mask >> first)) {}
  uint64_t mask() const {
    return (~uint64_t{0} >> (kUnitPages - count)) << first;
  }
  int first;
  int count;
};

// Calls `use(first, count)` for each run of ones in `mask`, until one returns
// false. True when none did.
template <typename Use>
bool AllRuns(uint64_t mask, Use use) {
  while (mask != 0) {
    const Run run(mask);
    if (!use(run.first, run.count)) return false;
    mask &= ~run.mask();
  }
  return true;
}

uint64_t PageBit(uint64_t page) { return uint64_t{1} << (page % kUnitPages); }

}  // namespace

absl::StatusOr<std::unique_ptr<UnitTable>> UnitTable::Create(
    uint64_t bytes, MemoryAccount* account) {
  // Unit 0 is never used, so that 0 can mean none.
  const uint64_t units = bytes / kUnitBytes + (bytes % kUnitBytes != 0) + 1;
  if (units > kMaxUnits) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "cannot address ", bytes, " bytes; lower the memory limit"));
  }
  absl::StatusOr<Mapping> range =
      Mapping::Create(units * kUnitBytes, kUnitBytes);
  if (!range.ok()) return range.status();
  return CreateOver(*std::move(range), /*first_unit=*/1, account);
}

absl::StatusOr<std::unique_ptr<UnitTable>> UnitTable::Create(
    StateFile* file, MemoryAccount* account) {
  absl::StatusOr<std::unique_ptr<UnitTable>> table =
      CreateOver(file->TakeRange(), kFirstFileUnit, account);
  if (!table.ok()) return table;
  UnitTable& made = **table;
  const absl::Status found =
      file->ForEachRun([&](uint64_t first_page, uint64_t end_page) {
        made.AddResident(first_page, end_page);
      });
  if (!found.ok()) return found;
  // The first units have an entry, but no reference counts.
  account->TryCharge(kFirstFileUnit * sizeof(Unit), Priority::kGuaranteed);
  MutexLock lock(&made.mu_);
  made.end_ = kFirstFileUnit;
  return table;
}

absl::StatusOr<std::unique_ptr<UnitTable>> UnitTable::CreateOver(
    Mapping range, UnitId first_unit, MemoryAccount* account) {
  const uint64_t units = range.size_bytes() / kUnitBytes;
  absl::StatusOr<Mapping> table =
      Mapping::Create(units * sizeof(Unit), kPageBytes);
  if (!table.ok()) return table.status();
  absl::StatusOr<Mapping> page_refs =
      Mapping::Create(units * kUnitPages * kPageRefBytes, kPageBytes);
  if (!page_refs.ok()) return page_refs.status();
  return absl::WrapUnique(new UnitTable(std::move(range), *std::move(table),
                                        *std::move(page_refs), first_unit,
                                        account));
}

UnitTable::UnitTable(Mapping range, Mapping units, Mapping page_refs,
                     UnitId first_unit, MemoryAccount* account)
    : range_(std::move(range)),
      units_(std::move(units)),
      page_refs_(std::move(page_refs)),
      first_unit_(first_unit),
      account_(*account),
      first_unused_(first_unit),
      end_(count()) {
  account_.TryCharge(kTableSlackBytes, Priority::kGuaranteed);
}

UnitTable::~UnitTable() {
  MutexLock lock(&mu_);
  // The next mapping at these addresses must not inherit poison.
  Unpoison(range_.data(), std::max(first_unused_, end_of_data_) * kUnitBytes);
}

UnitId UnitTable::Take(uint8_t owner, Priority priority) {
  MutexLock lock(&mu_);
  UnitId id = free_;
  if (id == 0) id = first_unused_;
  if (id == end_) return 0;
  if (is_file() && !RecordOwner(id, owner, priority)) return 0;
  if (id == free_) {
    free_ = unit(id).links[0].next;
  } else {
    if (!account_.TryCharge(kTableBytesPerUnit, priority)) return 0;
    ++first_unused_;
  }
  (new (&unit(id)) Unit)->owner = owner;
  return id;
}

void UnitTable::Put(UnitId id) {
  RAMVOL_CHECK(unit(id).resident == 0 && unit(id).links[0].list == 0 &&
               unit(id).links[1].list == 0);
  Unpoison(data(id), kUnitBytes);
  MutexLock lock(&mu_);
  unit(id).links[0].next = free_;
  free_ = id;
}

bool UnitTable::GiveBack(UnitId id, uint64_t mask) const {
  return AllRuns(mask, [&](int first, int count) {
    return range_.GiveBack(data(id) + first * kPageBytes, count * kPageBytes);
  });
}

// ---- Units of a file ------------------------------------------------------

bool UnitTable::Fill(UnitId id, uint64_t mask) const {
  const bool filled = AllRuns(mask, [&](int first, int count) {
    return range_.Fill(data(id) + first * kPageBytes, count * kPageBytes);
  });
  // A part of it may be. The kernel does not refuse to take back what is not
  // locked, and new pages are not.
  if (!filled) GiveBack(id, mask);
  return filled;
}

bool UnitTable::RecordOwner(UnitId id, uint8_t owner, Priority priority) {
  Unit& table = unit(kFirstOwnerUnit + id / kUnitBytes);
  const uint64_t page = id % kUnitBytes / kPageBytes;
  if ((table.resident & PageBit(page)) == 0) {
    if (!account_.TryCharge(kPageBytes, priority)) return false;
    const UnitId table_id = kFirstOwnerUnit + id / kUnitBytes;
    if (!Fill(table_id, PageBit(page))) {
      account_.Credit(kPageBytes);
      return false;
    }
    table.resident |= PageBit(page);
  }
  // Before anything in the unit counts.
  owners()[id].store(owner + 1, std::memory_order_release);
  return true;
}

void UnitTable::AddResident(uint64_t first_page, uint64_t end_page) {
  end_page = std::min<uint64_t>(end_page, uint64_t{count()} * kUnitPages);
  for (uint64_t page = first_page; page < end_page; ++page) {
    unit(page / kUnitPages).resident |= PageBit(page);
  }
  end_of_data_ = (end_page + kUnitPages - 1) / kUnitPages;
}

UnitId UnitTable::UnitHolding(const void* start, size_t bytes) const {
  const uintptr_t offset = reinterpret_cast<uintptr_t>(start) -
                           reinterpret_cast<uintptr_t>(range_.data());
  if (bytes == 0 || bytes > kUnitBytes || offset >= range_.size_bytes() ||
      offset % kUnitBytes > kUnitBytes - bytes) {
    return 0;
  }
  const auto id = static_cast<UnitId>(offset / kUnitBytes);
  const uint64_t first = offset % kUnitBytes / kPageBytes;
  const uint64_t last = (offset % kUnitBytes + bytes - 1) / kPageBytes;
  const uint64_t pages =
      (~uint64_t{0} << first) & (~uint64_t{0} >> (kUnitPages - 1 - last));
  return id >= first_unit_ && (pages & ~unit(id).resident) == 0 ? id : 0;
}

int UnitTable::RecordedOwner(UnitId id) const {
  const Unit& table = unit(kFirstOwnerUnit + id / kUnitBytes);
  // To read a hole would put a page there.
  if ((table.resident & PageBit(id % kUnitBytes / kPageBytes)) == 0) return -1;
  return owners()[id].load(std::memory_order_relaxed) - 1;
}

void UnitTable::FinishRecovery(absl::FunctionRef<void(UnitId)> adopt) {
  const UnitId end = std::max(first_unit_, end_of_data_);
  GiveBackUnoccupied();
  uint64_t bytes = uint64_t{end - first_unit_} * kTableBytesPerUnit;
  for (UnitId id = 0; id < end; ++id) bytes += BytesIn(unit(id).resident);
  account_.TryCharge(bytes, Priority::kGuaranteed);
  KillPoint();

  for (UnitId id = first_unit_; id < end; ++id) {
    if (unit(id).occupied != 0) adopt(id);
  }
  MutexLock lock(&mu_);
  first_unused_ = end;
  end_ = count();
  // The lowest comes first. What the kernel refuses to take back is not reused.
  for (UnitId id = end; id-- > first_unit_;) {
    if (unit(id).resident != 0) continue;
    unit(id).links[0].next = free_;
    free_ = id;
  }
}

// In runs that are as long as possible, across units.
void UnitTable::GiveBackUnoccupied() {
  uint64_t first = 0, end = 0;  // The pages of a run that is being gathered.
  const auto give_back = [&] {
    if (first == end ||
        !range_.GiveBack(page_data(first), (end - first) * kPageBytes)) {
      return;
    }
    for (uint64_t page = first; page < end; ++page) {
      unit(page / kUnitPages).resident &= ~PageBit(page);
    }
    KillPoint();
  };
  for (UnitId id = first_unit_; id < end_of_data_; ++id) {
    AllRuns(unit(id).resident & ~unit(id).occupied, [&](int start, int count) {
      const uint64_t page = uint64_t{id} * kUnitPages + start;
      if (page != end) {
        give_back();
        first = page;
      }
      end = page + count;
      return true;
    });
  }
  give_back();
}

}  // namespace ramvol::engine
