#include "server/engine/memory/unit_table.h"

#include <bit>
#include <limits>
#include <new>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
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

}  // namespace

absl::StatusOr<std::unique_ptr<UnitTable>> UnitTable::Create(
    uint64_t bytes, MemoryAccount* account) {
  // One more for unit 0, which is never used.
  const uint64_t units = bytes / kUnitBytes + (bytes % kUnitBytes != 0) + 1;
  if (units > kMaxUnits) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "cannot address ", bytes, " bytes; lower the memory limit"));
  }
  absl::StatusOr<Mapping> range =
      Mapping::Create(units * kUnitBytes, kUnitBytes);
  if (!range.ok()) return range.status();
  absl::StatusOr<Mapping> table =
      Mapping::Create(units * sizeof(Unit), kPageBytes);
  if (!table.ok()) return table.status();
  absl::StatusOr<Mapping> page_refs =
      Mapping::Create(units * kUnitPages * kPageRefBytes, kPageBytes);
  if (!page_refs.ok()) return page_refs.status();
  return absl::WrapUnique(new UnitTable(*std::move(range), *std::move(table),
                                        *std::move(page_refs), account));
}

UnitTable::UnitTable(Mapping range, Mapping units, Mapping page_refs,
                     MemoryAccount* account)
    : range_(std::move(range)),
      units_(std::move(units)),
      page_refs_(std::move(page_refs)),
      account_(*account) {
  account_.TryCharge(kTableSlackBytes, Priority::kGuaranteed);
}

UnitTable::~UnitTable() {
  MutexLock lock(&mu_);
  // The next mapping at these addresses must not inherit poison.
  Unpoison(range_.data(), first_unused_ * kUnitBytes);
}

UnitId UnitTable::Take(uint8_t owner, Priority priority) {
  MutexLock lock(&mu_);
  UnitId id = free_;
  if (id != 0) {
    free_ = unit(id).links[0].next;
  } else {
    if (first_unused_ == range_.size_bytes() / kUnitBytes) return 0;
    if (!account_.TryCharge(kTableBytesPerUnit, priority)) return 0;
    id = first_unused_++;
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
  for (uint64_t rest = mask; rest != 0;) {
    const Run run(rest);
    if (!range_.GiveBack(data(id) + run.first * kPageBytes,
                         run.count * kPageBytes)) {
      return false;
    }
    rest &= ~run.mask();
  }
  return true;
}

}  // namespace ramvol::engine
