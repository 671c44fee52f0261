#include "server/engine/memory/arena.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <thread>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "base/check.h"
#include "server/engine/memory/memory_account.h"
#include "server/engine/memory/page_pool.h"
#include "server/engine/memory/poison.h"
#include "server/engine/memory/size_class.h"
#include "server/engine/memory/slab_class.h"
#include "server/engine/memory/state_file.h"
#include "server/engine/memory/unit_table.h"

namespace ramvol::engine {
namespace {

// How often an allocation releases memory, or waits for threads that do, before
// it fails.
constexpr int kMaxRetries = 100;

// Shared by the cores. More would only take a kilobyte each.
constexpr size_t kPagePools = 8;
static_assert(kSizeClasses + kPagePools < 256,
              "both fit in Unit::owner, and one more in a file's record");

// Threads on one core share a pool, so that a page that one of them freed can
// be reused by the next without a page fault.
size_t PoolOfThisCore() {
  return static_cast<unsigned>(std::max(sched_getcpu(), 0)) % kPagePools;
}

// Makes allocations fail in tests.
class FaultInjector {
 public:
  void FailAfter(int64_t n) { left_.store(n, std::memory_order_relaxed); }

  bool ShouldFail(Priority priority) {
    if (priority == Priority::kGuaranteed) return false;
    int64_t left = left_.load(std::memory_order_relaxed);
    while (left > 0) {
      if (left_.compare_exchange_weak(left, left - 1,
                                      std::memory_order_relaxed)) {
        return false;
      }
    }
    return left == 0;
  }

 private:
  std::atomic<int64_t> left_{-1};
};

// There is no room for what must not fail. All of it can be rebuilt from what
// was stored before, so the next process can go on when there is.
[[noreturn]] void FailWhereFull(const StateFile& file) {
  std::fprintf(
      stderr,
      "fatal: the tmpfs of %s is full, and metadata of admitted writes "
      "has no place. What is stored survives: give the tmpfs a larger "
      "size, and start again.\n",
      file.dir().c_str());
  std::abort();
}

}  // namespace

struct Arena::Impl {
  explicit Impl(uint64_t limit_bytes) : account(limit_bytes) {}

  // Call this once `units` is there.
  void MakeParts() {
    for (size_t i = 0; i < kPagePools; ++i) {
      pools.emplace_back(static_cast<uint8_t>(kSizeClasses + i), units.get(),
                         &account);
    }
    for (size_t i = 0; i < kSizeClasses; ++i) {
      slabs.emplace_back(i, units.get(), &account);
    }
    account.TryCharge(sizeof(Impl) + kPagePools * sizeof(PagePool) +
                          kSizeClasses * sizeof(SlabClass),
                      Priority::kGuaranteed);
  }

  // Releases retained memory until at most `retained_bytes` are left. Takes
  // `last_pool` after the other pools, whose threads may be idle.
  void ReleaseDownTo(uint64_t retained_bytes, size_t last_pool = 0) {
    for (size_t i = 1; i <= kPagePools; ++i) {
      pools[(last_pool + i) % kPagePools].ReleaseDownTo(retained_bytes);
    }
    for (SlabClass& slab_class : slabs) {
      if (account.retained_bytes() <= retained_bytes) return;
      slab_class.ReleaseDownTo(retained_bytes);
    }
  }

  // Call this after freeing memory.
  void BoundRetained(size_t last_pool = 0) {
    const uint64_t max_bytes = account.max_retained_bytes();
    if (account.retained_bytes() <= max_bytes) return;
    // Releases a quarter more than necessary, so that this is rare.
    ReleaseDownTo(max_bytes / 4 * 3, last_pool);
  }

  // Takes a retained page of `pool`, else of another pool, else a fresh one; 0
  // at the limit.
  PageId AllocatePage(size_t pool, Priority priority) {
    for (size_t i = 0; i < kPagePools; ++i) {
      PagePool& from = pools[(pool + i) % kPagePools];
      if (const PageId page = from.AllocateRetained(priority)) return page;
    }
    return pools[pool].AllocateFresh(priority);
  }

  size_t PoolOf(PageId page) const {
    return units->unit(page / kUnitPages).owner - kSizeClasses;
  }
  // Of a record, too, which any byte may be.
  static size_t PoolOfOwner(int owner) {
    return (owner - kSizeClasses) % kPagePools;
  }

  Claim ClaimPage(PageId page) {
    const UnitId id = units->UnitHolding(units->page_data(page), kPageBytes);
    if (id == 0) return Claim::kInvalid;
    const int owner = units->RecordedOwner(id);
    if (owner < static_cast<int>(kSizeClasses)) return Claim::kInvalid;
    return pools[PoolOfOwner(owner)].ClaimPage(page);
  }

  // Puts a unit that was claimed into use.
  void Adopt(UnitId id) {
    const uint8_t owner = units->unit(id).owner;
    if (owner < kSizeClasses) {
      slabs[owner].Adopt(id);
    } else {
      pools[PoolOfOwner(owner)].Adopt(id);
    }
  }

  // Returns what `allocate` returns. If that is nothing, releases memory and
  // tries again, as long as there is memory to release.
  template <typename Allocate>
  auto Retry(Priority priority, Allocate allocate) -> decltype(allocate()) {
    if (faults.ShouldFail(priority)) return {};
    auto result = allocate();
    for (int i = 0; !result && i < kMaxRetries; ++i) {
      // Ask before releasing: what other threads release after this line is
      // then still seen by the next attempt.
      const bool is_last = account.reclaimable_bytes() == 0;
      ReleaseDownTo(0);
      result = allocate();
      if (is_last) break;
      if (!result) std::this_thread::yield();
    }
    if (!result && priority == Priority::kGuaranteed && file != nullptr) {
      FailWhereFull(*file);
    }
    // Guaranteed allocations are made first. Afterwards, the limit holds for
    // them, too, as long as there is memory to release.
    if (account.used_bytes() > account.limit_bytes()) ReleaseDownTo(0);
    return result;
  }

  MemoryAccount account;
  FaultInjector faults;
  std::atomic<uint64_t> reserved_bytes{0};
  std::atomic<uint64_t> outside_objects{0};
  std::unique_ptr<StateFile> file;  // Or nullptr. `units` borrows it.
  std::unique_ptr<UnitTable> units;
  std::deque<PagePool> pools;
  std::deque<SlabClass> slabs;  // One for each size class.
};

absl::StatusOr<std::unique_ptr<Arena>> Arena::Create(uint64_t limit_bytes) {
  auto impl = std::make_unique<Impl>(limit_bytes);
  absl::StatusOr<std::unique_ptr<UnitTable>> units =
      UnitTable::Create(RangeBytes(limit_bytes), &impl->account);
  if (!units.ok()) return units.status();
  impl->units = *std::move(units);
  impl->MakeParts();
  return absl::WrapUnique(new Arena(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<Arena>> Arena::Create(
    std::unique_ptr<StateFile> file) {
  auto impl = std::make_unique<Impl>(file->limit_bytes());
  impl->file = std::move(file);
  absl::StatusOr<std::unique_ptr<UnitTable>> units =
      UnitTable::Create(impl->file.get(), &impl->account);
  if (!units.ok()) return units.status();
  impl->units = *std::move(units);
  impl->MakeParts();
  return absl::WrapUnique(new Arena(std::move(impl)));
}

Arena::Arena(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Arena::~Arena() = default;

PageId Arena::AllocatePage(Priority priority) {
  const size_t pool = PoolOfThisCore();
  return impl_->Retry(priority,
                      [&] { return impl_->AllocatePage(pool, priority); });
}

void Arena::RefPage(PageId page) {
  impl_->pools[impl_->PoolOf(page)].Ref(page);
}

void Arena::UnrefPage(PageId page) {
  const size_t pool = impl_->PoolOf(page);
  impl_->pools[pool].Unref(page);
  impl_->BoundRetained(pool);
}

bool Arena::MarkCommon(PageId page) {
  if (!impl_->pools[impl_->PoolOf(page)].MarkCommon(page)) return false;
  impl_->account.AddCommon(kPageBytes);
  return true;
}

bool Arena::IsCommon(PageId page) const {
  return impl_->pools[impl_->PoolOf(page)].IsCommon(page);
}

bool Arena::IsReferredToTwice(PageId page) const {
  return impl_->pools[impl_->PoolOf(page)].IsReferredToTwice(page);
}

void Arena::AddCommon(int64_t bytes) { impl_->account.AddCommon(bytes); }

uint64_t Arena::common_bytes() const { return impl_->account.common_bytes(); }

// By acquire and release: who finds none left sees what took the last one's
// place.
void Arena::AddOutside(int64_t objects) {
  impl_->outside_objects.fetch_add(objects, std::memory_order_acq_rel);
}

uint64_t Arena::outside_objects() const {
  return impl_->outside_objects.load(std::memory_order_acquire);
}

char* Arena::PageData(PageId page) const {
  return impl_->units->page_data(page);
}

void* Arena::Allocate(size_t bytes, Priority priority) {
  RAMVOL_CHECK(bytes > 0 && bytes <= kMaxObjectBytes);
  SlabClass& slab_class = impl_->slabs[SizeClassOf(bytes)];
  void* const object =
      impl_->Retry(priority, [&] { return slab_class.Allocate(priority); });
  if (object != nullptr) {
    Poison(object, AllocatedBytes(bytes));
    Unpoison(object, bytes);
  }
  return object;
}

void Arena::Free(void* object, size_t bytes) {
  RAMVOL_CHECK(bytes > 0 && bytes <= kMaxObjectBytes);
  const size_t index = SizeClassOf(bytes);
  RAMVOL_CHECK(impl_->units->unit(impl_->units->UnitOf(object)).owner == index);
  impl_->slabs[index].Free(object);
  impl_->BoundRetained();
}

size_t Arena::AllocatedBytes(size_t bytes) {
  return GetSizeClass(SizeClassOf(bytes)).object_bytes;
}

bool Arena::StartEvacuation(Evacuation how) {
  bool any = false;
  // Half of the free memory: others need some meanwhile.
  uint64_t room_bytes =
      (limit_bytes() - std::min(limit_bytes(), used_bytes())) / 2;
  for (SlabClass& slab_class : impl_->slabs) {
    any |= slab_class.ChooseVictims(how, &room_bytes);
  }
  return any;
}

void Arena::EndEvacuation() {
  for (SlabClass& slab_class : impl_->slabs) slab_class.ForgetVictims();
}

bool Arena::ShouldMove(const void* object) const {
  const UnitId id = impl_->units->UnitOf(object);
  return impl_->units->unit(id).is_victim.load(std::memory_order_relaxed);
}

bool Arena::HasRoom(uint64_t bytes, Priority priority) const {
  return impl_->account.HasRoom(bytes, priority);
}

bool Arena::Reserve(uint64_t bytes, Priority priority) {
  const bool reserved = impl_->Retry(
      priority, [&] { return impl_->account.TryCharge(bytes, priority); });
  if (reserved) {
    impl_->reserved_bytes.fetch_add(bytes, std::memory_order_relaxed);
  }
  return reserved;
}

void Arena::Unreserve(uint64_t bytes) {
  impl_->reserved_bytes.fetch_sub(bytes, std::memory_order_relaxed);
  impl_->account.Credit(bytes);
}

void Arena::ReleaseFreeMemory() { impl_->ReleaseDownTo(0); }

uint64_t Arena::limit_bytes() const { return impl_->account.limit_bytes(); }
uint64_t Arena::used_bytes() const { return impl_->account.used_bytes(); }

uint64_t Arena::allocated_bytes() const {
  uint64_t bytes = impl_->reserved_bytes.load(std::memory_order_relaxed);
  for (const PagePool& pool : impl_->pools) bytes += pool.allocated_bytes();
  for (const SlabClass& slab_class : impl_->slabs) {
    bytes += slab_class.allocated_bytes();
  }
  return bytes;
}

uint64_t Arena::slack_bytes() const {
  uint64_t bytes = 0;
  for (const SlabClass& slab_class : impl_->slabs) {
    bytes += slab_class.slack_bytes();
  }
  return bytes;
}

// ---- Recovery -------------------------------------------------------------

char* Arena::root_area() const {
  return impl_->file == nullptr ? nullptr : impl_->file->root_area();
}

bool Arena::Contains(const void* start, size_t bytes) const {
  return reinterpret_cast<uintptr_t>(start) % kObjectAlignment == 0 &&
         impl_->units->UnitHolding(start, bytes) != 0;
}

Claim Arena::ClaimObject(const void* object, size_t bytes) {
  if (bytes == 0 || bytes > kMaxObjectBytes) return Claim::kInvalid;
  const size_t index = SizeClassOf(bytes);
  const size_t slot_bytes = GetSizeClass(index).object_bytes;
  const UnitId id = impl_->units->UnitHolding(object, slot_bytes);
  if (id == 0 || impl_->units->RecordedOwner(id) != static_cast<int>(index)) {
    return Claim::kInvalid;
  }
  const Claim claim = impl_->slabs[index].ClaimObject(object);
  if (claim == Claim::kFirst) Poison(object, slot_bytes);
  // Claims that differ in size have the larger one.
  if (claim != Claim::kInvalid) Unpoison(object, bytes);
  return claim;
}

Claim Arena::ClaimPage(PageId page) { return impl_->ClaimPage(page); }

void Arena::FinishRecovery() {
  impl_->units->FinishRecovery([&](UnitId id) { impl_->Adopt(id); });
}

void Arena::FailAllocationsAfterForTest(int64_t n) {
  impl_->faults.FailAfter(n);
}

}  // namespace ramvol::engine
