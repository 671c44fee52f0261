#include "server/engine/memory/slab_evacuator.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace ramvol::engine {
namespace {

// A light round begins when slack has grown by this much since the last one.
// That pays for a walk over all tenants.
constexpr uint64_t kMinLightBytes = 256 << 10;
constexpr uint64_t kLightShare = 64;  // Of the bytes in use.
// The growth for a tight round, which begins when there is no room. The shares
// are of the limit. They are less than the reserve, so that merging, which
// waits for a round, gets one.
constexpr uint64_t kMinTightBytes = 64 << 10;
constexpr uint64_t kTightShare = 2048;
// The same while background work has used up the reserve: writers find no room
// until it is repaid.
constexpr uint64_t kMinOwedBytes = 16 << 10;
constexpr uint64_t kOwedShare = 16384;

}  // namespace

SlabEvacuator::SlabEvacuator(Arena& arena, TenantList list_tenants)
    : arena_(arena), list_tenants_(std::move(list_tenants)) {}

bool SlabEvacuator::MustBegin(Evacuation how) const {
  return !in_round_.load(std::memory_order_relaxed) ||
         (how == Evacuation::kTight &&
          how_.load(std::memory_order_relaxed) == Evacuation::kLight);
}

uint64_t SlabEvacuator::GrowthForARound(Evacuation how) const {
  if (how == Evacuation::kLight) {
    return std::max(kMinLightBytes, arena_.used_bytes() / kLightShare);
  }
  const uint64_t limit = arena_.limit_bytes();
  return arena_.HasRoom(0) ? std::max(kMinTightBytes, limit / kTightShare)
                           : std::max(kMinOwedBytes, limit / kOwedShare);
}

bool SlabEvacuator::WorthARound(Evacuation how) {
  std::atomic<uint64_t>& settled = settled_bytes_[static_cast<size_t>(how)];
  const uint64_t before = settled.load(std::memory_order_relaxed);
  const uint64_t slack = arena_.slack_bytes();
  if (slack < before) settled.store(slack, std::memory_order_relaxed);
  return slack >= before + GrowthForARound(how);
}

bool SlabEvacuator::HasWork(Evacuation how) {
  return !MustBegin(how) || WorthARound(how);
}

bool SlabEvacuator::BeginRound(Evacuation how) {
  {
    MutexLock lock(&mu_);
    if (!MustBegin(how)) return true;  // Another thread was faster.
    if (!arena_.StartEvacuation(how)) {
      Settle(how, arena_.slack_bytes());
      return false;
    }
  }
  std::vector<std::weak_ptr<SlabTenant>> tenants = list_tenants_();
  MutexLock lock(&mu_);
  if (!MustBegin(how)) return true;
  tenants_ = std::move(tenants);
  tenant_ = 0;
  key_ = 0;
  first_slack_bytes_ = arena_.slack_bytes();
  least_slack_bytes_ = first_slack_bytes_;
  how_.store(how, std::memory_order_relaxed);
  in_round_.store(true, std::memory_order_relaxed);
  return true;
}

void SlabEvacuator::Settle(Evacuation how, uint64_t slack_bytes) {
  // After a tight round, a light one has nothing to do, either.
  for (size_t i = 0; i <= static_cast<size_t>(how); ++i) {
    settled_bytes_[i].store(slack_bytes, std::memory_order_relaxed);
  }
}

void SlabEvacuator::EndRoundLocked() {
  tenants_.clear();
  arena_.EndEvacuation();
  // After a round that gained enough, the next may gain, too.
  const Evacuation how = how_.load(std::memory_order_relaxed);
  const bool gained =
      least_slack_bytes_ + GrowthForARound(how) <= first_slack_bytes_;
  Settle(how, gained ? 0 : least_slack_bytes_);
  rounds_.fetch_add(1, std::memory_order_relaxed);
  in_round_.store(false, std::memory_order_relaxed);
}

SlabEvacuator::Place SlabEvacuator::TakeNext() {
  MutexLock lock(&mu_);
  if (!in_round_.load(std::memory_order_relaxed)) return {};
  least_slack_bytes_ = std::min(least_slack_bytes_, arena_.slack_bytes());
  for (; tenant_ < tenants_.size(); ++tenant_, key_ = 0) {
    std::shared_ptr<SlabTenant> tenant = tenants_[tenant_].lock();
    if (tenant == nullptr) continue;
    const std::optional<TenantPart> part = tenant->FindPart(key_);
    if (!part.has_value()) continue;
    key_ = part->end;
    return {std::move(tenant), part->first};
  }
  EndRoundLocked();
  return {};
}

bool SlabEvacuator::Step(Evacuation how) {
  if (MustBegin(how)) {
    if (!WorthARound(how) || !BeginRound(how)) return false;
  }
  const Place place = TakeNext();
  if (place.tenant != nullptr) place.tenant->MovePart(place.key);
  return true;
}

void SlabEvacuator::Tighten() {
  while (HasWork(Evacuation::kTight) && Step(Evacuation::kTight)) {
  }
}

bool SlabEvacuator::KeepUp(uint64_t bytes) {
  while (WorthARound(Evacuation::kLight)) Step(Evacuation::kLight);
  while (!arena_.HasRoom(bytes, Priority::kMerge)) {
    if (!Step(Evacuation::kTight)) return false;
  }
  return true;
}

}  // namespace ramvol::engine
