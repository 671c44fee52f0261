#include "server/engine/memory/slab_class.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "server/engine/memory/poison.h"

namespace ramvol::engine {
namespace {

constexpr int kReleaseBatchPages = 8;
// A file's: more than are made resident at once, and a call costs twice as much
// there.
constexpr int kFileReleaseBatchPages = 32;
// Emptying a slab into a new one must gain this much to be worth copying.
constexpr uint64_t kMinGainBytes = 2 * kPageBytes;
// A slab is sparse if its slack is at least a third of its live bytes.
constexpr uint64_t kSparseShare = 3;
constexpr uint32_t kWordBits = 64;
// The page with the bitmap. It is occupied while any object lives.
constexpr uint64_t kHeaderPage = 1;

uint64_t WordBit(uint32_t slot) { return uint64_t{1} << (slot % kWordBits); }

// Whether any of the bits `first` to `last` of `words` is set.
bool AnyBit(const uint64_t* words, uint32_t first, uint32_t last) {
  const uint64_t head = ~uint64_t{0} << (first % kWordBits);
  const uint64_t tail = ~uint64_t{0} >> (kWordBits - 1 - last % kWordBits);
  uint32_t word = first / kWordBits;
  const uint32_t last_word = last / kWordBits;
  if (word == last_word) return (words[word] & head & tail) != 0;
  if ((words[word] & head) != 0) return true;
  while (++word < last_word) {
    if (words[word] != 0) return true;
  }
  return (words[last_word] & tail) != 0;
}

static_assert(SizeClass::Of(kObjectAlignment).header_bytes < kPageBytes,
              "the bitmap lies in the header page");

}  // namespace

SlabClass::SlabClass(size_t index, UnitTable* units, MemoryAccount* account)
    : class_(GetSizeClass(index)),
      index_(static_cast<uint8_t>(index)),
      release_batch_pages_(units->is_file() ? kFileReleaseBatchPages
                                            : kReleaseBatchPages),
      units_(*units),
      account_(*account),
      partial_(0, units),
      retaining_(1, units) {}

void* SlabClass::Allocate(Priority priority) {
  MutexLock lock(&mu_);
  UnitId id = partial_.Fullest();
  const bool is_new = id == 0;
  if (is_new) id = units_.Take(index_, priority);
  if (id == 0) return nullptr;

  // The bitmap of a new one is not resident yet: to read it would make it so.
  const Place place{id, is_new ? 0 : FirstFreeSlotLocked(id)};
  const uint64_t missing =
      (PagesOf(place.slot) | kHeaderPage) & ~units_.unit(id).resident;
  if (!TakePagesLocked(id, missing, priority)) {
    if (is_new) units_.Put(id);
    return nullptr;
  }
  slabs_.fetch_add(is_new, std::memory_order_relaxed);
  CommitLocked(place);
  return ObjectAt(place);
}

bool SlabClass::TakePagesLocked(UnitId id, uint64_t missing,
                                Priority priority) {
  if (missing == 0 || !units_.is_file()) {
    return account_.TryCharge(BytesIn(missing), priority);
  }
  // What is retained must not use the reserve.
  uint64_t ahead = PagesAheadLocked(id, missing);
  if (ahead == 0 ||
      !account_.TryCharge(BytesIn(missing | ahead), Priority::kNormal)) {
    ahead = 0;
    if (!account_.TryCharge(BytesIn(missing), priority)) return false;
  }
  bool filled = units_.Fill(id, missing | ahead);
  if (!filled && ahead != 0) {
    // There may still be room for what is needed.
    account_.Credit(BytesIn(ahead));
    ahead = 0;
    filled = units_.Fill(id, missing);
  }
  if (!filled) {
    account_.Credit(BytesIn(missing));
    return false;
  }
  units_.unit(id).resident |= ahead;
  account_.AddRetained(BytesIn(ahead));
  return true;
}

uint64_t SlabClass::PagesAheadLocked(UnitId id, uint64_t missing) {
  const uint64_t batch = MemoryAccount::BatchPages(
      occupied_pages_.load(std::memory_order_relaxed));
  const uint64_t resident = units_.unit(id).resident | missing;
  uint64_t ahead = 0;
  int page = std::bit_width(missing);  // Behind the last one.
  for (uint64_t count = std::popcount(missing); count < batch; ++count) {
    if (page == kUnitPages || (resident >> page & 1) != 0) break;
    ahead |= uint64_t{1} << page++;
  }
  return ahead;
}

void SlabClass::CommitLocked(Place place) {
  Unit& unit = units_.unit(place.unit);
  const uint64_t pages = PagesOf(place.slot) | kHeaderPage;
  Bitmap(place.unit)[place.slot / kWordBits] |= WordBit(place.slot);
  ++unit.live_objects;
  SetOccupiedLocked(place.unit, unit.occupied | pages);
  unit.resident |= pages;
  RelistLocked(place.unit);
  live_objects_.fetch_add(1, std::memory_order_relaxed);
}

void SlabClass::Free(void* object) {
  const Place place = PlaceOf(object);
  RAMVOL_CHECK(ObjectAt(place) == object);
  Poison(object, class_.object_bytes);
  bool must_release;
  {
    MutexLock lock(&mu_);
    FreeLocked(place);
    must_release = MaybeStartReleaseLocked(place.unit);
  }
  if (must_release) Release(place.unit);
}

void SlabClass::FreeLocked(Place place) {
  Unit& unit = units_.unit(place.unit);
  const uint32_t word = place.slot / kWordBits;
  uint64_t& bits = Bitmap(place.unit)[word];
  RAMVOL_CHECK((bits & WordBit(place.slot)) != 0);  // Else it was freed twice.
  bits &= ~WordBit(place.slot);
  unit.search_word = std::min<uint32_t>(unit.search_word, word);
  --unit.live_objects;
  live_objects_.fetch_sub(1, std::memory_order_relaxed);
  SetOccupiedLocked(place.unit, unit.occupied & ~PagesFreedLocked(place));
  RelistLocked(place.unit);
}

uint64_t SlabClass::SlackOfLocked(UnitId id) {
  const Unit& unit = units_.unit(id);
  if (unit.live_objects == 0)
    return 0;  // Then the header page is not occupied, either.
  return BytesIn(unit.occupied) - class_.header_bytes -
         uint64_t{unit.live_objects} * class_.object_bytes;
}

bool SlabClass::ChooseVictims(Evacuation how, uint64_t* room_bytes) {
  MutexLock lock(&mu_);
  ForgetVictimsLocked();
  bool any = false;
  // Free space on occupied pages of the slabs that stay.
  uint64_t free_bytes = slack_bytes();
  for (UnitId id = partial_.Emptiest(); id != 0; id = partial_.Emptiest()) {
    const uint64_t live =
        uint64_t{units_.unit(id).live_objects} * class_.object_bytes;
    if (live == 0) {  // Its pages are all retained: there is nothing to move.
      MarkVictimLocked(id);
      continue;
    }
    const uint64_t slack = SlackOfLocked(id);
    const bool is_sparse = slack * kSparseShare >= live;
    if (how == Evacuation::kLight && !is_sparse) break;
    const bool others_have_room = free_bytes >= slack + live;
    // A single sparse slab may be worth a new slab, in which its objects take
    // fewer pages.
    const bool is_worth_new =
        !any && is_sparse && slack >= kMinGainBytes && live <= *room_bytes;
    if (!others_have_room && !is_worth_new) break;
    any = true;
    MarkVictimLocked(id);
    if (!others_have_room) {
      *room_bytes -= live;
      break;
    }
    free_bytes -= slack + live;
  }
  return any;
}

void SlabClass::MarkVictimLocked(UnitId id) {
  units_.unit(id).is_victim.store(true, std::memory_order_relaxed);
  victims_.push_back(id);
  RelistLocked(id);
}

void SlabClass::ForgetVictims() {
  MutexLock lock(&mu_);
  ForgetVictimsLocked();
}

void SlabClass::ForgetVictimsLocked() {
  for (UnitId id : victims_) {
    if (id == 0) continue;
    units_.unit(id).is_victim.store(false, std::memory_order_relaxed);
    RelistLocked(id);
  }
  victims_.clear();
}

void SlabClass::SetOccupiedLocked(UnitId id, uint64_t occupied) {
  Unit& unit = units_.unit(id);
  const int64_t before = BytesIn(unit.retained());
  const int64_t pages = std::popcount(occupied) - std::popcount(unit.occupied);
  occupied_pages_.fetch_add(pages, std::memory_order_relaxed);
  unit.occupied = occupied;
  account_.AddRetained(BytesIn(unit.retained()) - before);
}

void SlabClass::RelistLocked(UnitId id) {
  const Unit& unit = units_.unit(id);
  if (unit.releasing != 0) return;  // It is listed again after the release.
  const bool is_victim = unit.is_victim.load(std::memory_order_relaxed);
  if (unit.live_objects < class_.slots && !is_victim) {
    partial_.Put(id, unit.live_objects, class_.slots);
  } else {
    partial_.Remove(id);
  }
  if (unit.retained() != 0) {
    retaining_.Put(id, unit.live_objects, class_.slots);
  } else {
    retaining_.Remove(id);
  }
}

// ---- Giving back ----------------------------------------------------------

void SlabClass::ReleaseDownTo(uint64_t retained_bytes) {
  while (account_.retained_bytes() > retained_bytes) {
    UnitId id;
    {
      MutexLock lock(&mu_);
      id = retaining_.Emptiest();
      if (id == 0) return;
      StartReleaseLocked(id);
    }
    if (!Release(id)) return;
  }
}

bool SlabClass::MaybeStartReleaseLocked(UnitId id) {
  const Unit& unit = units_.unit(id);
  if (std::popcount(unit.retained()) < release_batch_pages_) return false;
  // The thread that is releasing pages of it checks again afterwards.
  if (unit.releasing != 0) return false;
  StartReleaseLocked(id);
  return true;
}

void SlabClass::StartReleaseLocked(UnitId id) {
  Unit& unit = units_.unit(id);
  partial_.Remove(id);
  retaining_.Remove(id);
  account_.StartRelease(BytesIn(unit.retained()));
  unit.releasing = unit.retained();
}

bool SlabClass::Release(UnitId id) {
  bool is_more = true;
  while (is_more) {
    // No lock: only the thread that set `releasing` changes it.
    const bool given_back = units_.GiveBack(id, units_.unit(id).releasing);
    MutexLock lock(&mu_);
    is_more = FinishReleaseLocked(id, given_back) && given_back &&
              MaybeStartReleaseLocked(id);
    if (!given_back) return false;
  }
  return true;
}

bool SlabClass::FinishReleaseLocked(UnitId id, bool given_back) {
  Unit& unit = units_.unit(id);
  if (given_back) unit.resident &= ~unit.releasing;
  account_.FinishRelease(BytesIn(unit.releasing), given_back);
  unit.releasing = 0;
  if (unit.resident == 0) {
    slabs_.fetch_sub(1, std::memory_order_relaxed);
    if (unit.is_victim.exchange(false, std::memory_order_relaxed)) {
      std::replace(victims_.begin(), victims_.end(), id, UnitId{0});
    }
    units_.Put(id);
    return false;
  }
  RelistLocked(id);
  return true;
}

// ---- Recovery -------------------------------------------------------------

// By one thread, as all of recovery: it needs no lock.
Claim SlabClass::ClaimObject(const void* object) {
  const UnitId id = units_.UnitOf(object);
  const size_t offset = static_cast<const char*>(object) - units_.data(id);
  if (offset < class_.header_bytes) return Claim::kInvalid;
  const Place place{id, class_.SlotAt(offset)};
  if (place.slot >= class_.slots || class_.OffsetOf(place.slot) != offset) {
    return Claim::kInvalid;
  }
  Unit& unit = units_.unit(id);
  if ((unit.resident & kHeaderPage) == 0) return Claim::kInvalid;
  if (unit.occupied == 0) {
    unit.owner = index_;
    std::memset(Bitmap(id), 0, class_.header_bytes);
  }
  uint64_t& bits = Bitmap(id)[place.slot / kWordBits];
  if ((bits & WordBit(place.slot)) != 0) return Claim::kAgain;
  bits |= WordBit(place.slot);
  unit.occupied |= PagesOf(place.slot) | kHeaderPage;
  ++unit.live_objects;
  return Claim::kFirst;
}

void SlabClass::Adopt(UnitId id) {
  MutexLock lock(&mu_);
  const Unit& unit = units_.unit(id);
  slabs_.fetch_add(1, std::memory_order_relaxed);
  live_objects_.fetch_add(unit.live_objects, std::memory_order_relaxed);
  occupied_pages_.fetch_add(std::popcount(unit.occupied),
                            std::memory_order_relaxed);
  account_.AddRetained(BytesIn(unit.retained()));
  RelistLocked(id);
}

// ---- Layout ---------------------------------------------------------------

SlabClass::Place SlabClass::PlaceOf(const void* object) const {
  const UnitId id = units_.UnitOf(object);
  const size_t offset = static_cast<const char*>(object) - units_.data(id);
  return {id, class_.SlotAt(offset)};
}

char* SlabClass::ObjectAt(Place place) const {
  return units_.data(place.unit) + class_.OffsetOf(place.slot);
}

uint64_t* SlabClass::Bitmap(UnitId id) const {
  return reinterpret_cast<uint64_t*>(units_.data(id));
}

uint64_t SlabClass::PagesOf(uint32_t slot) const {
  const size_t first = class_.OffsetOf(slot) / kPageBytes;
  const size_t last = (class_.OffsetOf(slot + 1) - 1) / kPageBytes;
  return (~uint64_t{0} << first) & (~uint64_t{0} >> (kUnitPages - 1 - last));
}

uint32_t SlabClass::FirstFreeSlotLocked(UnitId id) {
  Unit& unit = units_.unit(id);
  const uint64_t* const words = Bitmap(id);
  // Terminates: the slab has a free slot, and no word before search_word has
  // one.
  while (words[unit.search_word] == ~uint64_t{0}) ++unit.search_word;
  return unit.search_word * kWordBits +
         std::countr_one(words[unit.search_word]);
}

bool SlabClass::AnyLiveOnPageLocked(UnitId id, size_t page) {
  const size_t start = std::max<size_t>(page * kPageBytes, class_.header_bytes);
  const uint32_t first = class_.SlotAt(start);
  const uint32_t last = class_.SlotAt((page + 1) * kPageBytes - 1);
  return AnyBit(Bitmap(id), first, std::min(last, class_.slots - 1));
}

uint64_t SlabClass::PagesFreedLocked(Place place) {
  if (units_.unit(place.unit).live_objects == 0) return ~uint64_t{0};
  uint64_t freed = 0;
  for (uint64_t rest = PagesOf(place.slot) & ~kHeaderPage; rest != 0;
       rest &= rest - 1) {
    const int page = std::countr_zero(rest);
    if (!AnyLiveOnPageLocked(place.unit, page)) freed |= rest & -rest;
  }
  return freed;
}

}  // namespace ramvol::engine
