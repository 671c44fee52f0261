#include "server/engine/compactor.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace ramvol::engine {
namespace {

// Slack has grown enough for a round when this much came since the last one:
// enough to pay for a walk over all chunks.
constexpr uint64_t kMinLightBytes = 256 << 10;
constexpr uint64_t kLightShare = 64;  // Of what is in use.
// Tight rounds come when there is no room: these shares are of the limit, and
// less than the reserve, so that merging never waits for a round in vain.
constexpr uint64_t kMinTightBytes = 64 << 10;
constexpr uint64_t kTightShare = 2048;
// The same when background work has used the reserve: until that is paid back,
// writers find no room.
constexpr uint64_t kMinOwedBytes = 16 << 10;
constexpr uint64_t kOwedShare = 16384;

}  // namespace

Compactor::Compactor(Arena& arena, OwnerList list_owners)
    : arena_(arena), list_owners_(std::move(list_owners)) {}

bool Compactor::MustBegin(Compaction how) const {
  return !in_round_.load(std::memory_order_relaxed) ||
         (how == Compaction::kTight &&
          how_.load(std::memory_order_relaxed) == Compaction::kLight);
}

uint64_t Compactor::GrowthForARound(Compaction how) const {
  if (how == Compaction::kLight) {
    return std::max(kMinLightBytes, arena_.used_bytes() / kLightShare);
  }
  const uint64_t limit = arena_.limit_bytes();
  return arena_.HasRoom(0) ? std::max(kMinTightBytes, limit / kTightShare)
                           : std::max(kMinOwedBytes, limit / kOwedShare);
}

bool Compactor::WorthARound(Compaction how) {
  std::atomic<uint64_t>& settled = settled_bytes_[static_cast<size_t>(how)];
  const uint64_t before = settled.load(std::memory_order_relaxed);
  const uint64_t slack = arena_.slack_bytes();
  if (slack < before) settled.store(slack, std::memory_order_relaxed);
  return slack >= before + GrowthForARound(how);
}

bool Compactor::HasWork(Compaction how) {
  return !MustBegin(how) || WorthARound(how);
}

bool Compactor::BeginRound(Compaction how) {
  {
    MutexLock lock(&mu_);
    if (!MustBegin(how)) return true;  // Another was faster.
    if (!arena_.StartCompaction(how)) {
      Settle(how, arena_.slack_bytes());
      return false;
    }
  }
  std::vector<std::weak_ptr<ChunkOwner>> owners = list_owners_();
  MutexLock lock(&mu_);
  if (!MustBegin(how)) return true;
  owners_ = std::move(owners);
  owner_ = 0;
  chunk_ = 0;
  first_slack_bytes_ = arena_.slack_bytes();
  least_slack_bytes_ = first_slack_bytes_;
  how_.store(how, std::memory_order_relaxed);
  in_round_.store(true, std::memory_order_relaxed);
  return true;
}

void Compactor::Settle(Compaction how, uint64_t slack_bytes) {
  // A tight round leaves a light one nothing to do, either.
  for (size_t i = 0; i <= static_cast<size_t>(how); ++i) {
    settled_bytes_[i].store(slack_bytes, std::memory_order_relaxed);
  }
}

void Compactor::EndRoundLocked() {
  owners_.clear();
  arena_.EndCompaction();
  // A round that was worth it makes room for the next, which may be, too.
  const Compaction how = how_.load(std::memory_order_relaxed);
  const bool gained =
      least_slack_bytes_ + GrowthForARound(how) <= first_slack_bytes_;
  Settle(how, gained ? 0 : least_slack_bytes_);
  rounds_.fetch_add(1, std::memory_order_relaxed);
  in_round_.store(false, std::memory_order_relaxed);
}

Compactor::Place Compactor::TakeNext() {
  MutexLock lock(&mu_);
  if (!in_round_.load(std::memory_order_relaxed)) return {};
  least_slack_bytes_ = std::min(least_slack_bytes_, arena_.slack_bytes());
  for (; owner_ < owners_.size(); ++owner_, chunk_ = 0) {
    std::shared_ptr<ChunkOwner> owner = owners_[owner_].lock();
    if (owner == nullptr) continue;
    const std::optional<LeafRange> leaf = owner->FindLeaf(chunk_);
    if (!leaf.has_value()) continue;
    chunk_ = leaf->end_chunk;
    return {std::move(owner), leaf->first_chunk};
  }
  EndRoundLocked();
  return {};
}

bool Compactor::Step(Compaction how) {
  if (MustBegin(how)) {
    if (!WorthARound(how) || !BeginRound(how)) return false;
  }
  const Place place = TakeNext();
  if (place.owner != nullptr) place.owner->CompactLeaf(place.chunk);
  return true;
}

bool Compactor::KeepUp(uint64_t bytes) {
  while (WorthARound(Compaction::kLight)) Step(Compaction::kLight);
  while (!arena_.HasRoom(bytes, Priority::kMerge)) {
    if (!Step(Compaction::kTight)) return false;
  }
  return true;
}

}  // namespace ramvol::engine
