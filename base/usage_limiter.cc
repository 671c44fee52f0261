#include "base/usage_limiter.h"

#include <algorithm>

namespace ramvol {
namespace {

// What waits is admitted this often at most, as far as it may go then.
constexpr int64_t kTickNs = 1'000'000;
// Flows that are remembered beside those that wait.
constexpr size_t kMaxIdleQueues = 64;

}  // namespace

void UsageLimiter::SetLimits(const UsageLimits& limits, UsageTimer* timer) {
  MutexLock lock(&mu_);
  timer_ = timer;
  const int64_t now_ns = timer->NowNs();
  stats_.limits = limits;
  operations_.SetRate(limits.iops_total, limits.iops_total_max, now_ns);
  bytes_.SetRate(limits.bps_total, limits.bps_total_max, now_ns);
  limited_.store(limits.has_rate(), std::memory_order_relaxed);
  if (!next_.empty()) ArmLocked(now_ns);
}

UsageLimits UsageLimiter::limits() const {
  MutexLock lock(&mu_);
  return stats_.limits;
}

UsageLimiter::Stats UsageLimiter::GetStats() const {
  MutexLock lock(&mu_);
  return stats_;
}

bool UsageLimiter::Take(Flow flow, const std::shared_ptr<UsageWait>& wait) {
  MutexLock lock(&mu_);
  if (!limited() || timer_->released()) return true;
  const int64_t now_ns = timer_->NowNs();
  if (next_.empty()) {
    queues_.clear();
    virtual_now_ = 0;
    const int64_t wait_ns = WaitNsLocked(wait->cost, now_ns);
    if (wait_ns == 0) {
      operations_.Take(wait->cost.operations);
      bytes_.Take(wait->cost.bytes);
      return true;
    }
    ArmLocked(now_ns + std::max(wait_ns, kTickNs));
  }
  wait->began_ns = now_ns;
  ++stats_.waiting;
  QueueLocked(flow).waits.push_back(wait);
  return false;
}

UsageLimiter::Queue& UsageLimiter::QueueLocked(Flow flow) {
  if (queues_.size() > 2 * next_.size() + kMaxIdleQueues) {
    absl::erase_if(queues_,
                   [](const auto& item) { return item.second.waits.empty(); });
  }
  Queue& queue = queues_[flow];
  if (!queue.waits.empty()) return queue;
  queue.start = std::max(queue.start, virtual_now_);
  next_.emplace(queue.start, flow);
  return queue;
}

void UsageLimiter::ArmLocked(int64_t at_ns) {
  if (armed_ns_ <= at_ns) return;
  armed_ns_ = at_ns;
  timer_->Set(weak_from_this(), at_ns);
}

void UsageLimiter::Drop(Flow flow, const UsageWait* wait) {
  MutexLock lock(&mu_);
  const auto found = queues_.find(flow);
  if (found == queues_.end()) return;
  auto& waits = found->second.waits;
  const auto at =
      std::find_if(waits.begin(), waits.end(),
                   [&](const auto& other) { return other.get() == wait; });
  if (at == waits.end()) return;
  waits.erase(at);
  --stats_.waiting;
  if (waits.empty()) next_.erase({found->second.start, flow});
}

int64_t UsageLimiter::WaitNsLocked(const UsageCost& cost, int64_t now_ns) {
  if (timer_->released()) return 0;
  return std::max(operations_.WaitNs(cost.operations, now_ns),
                  bytes_.WaitNs(cost.bytes, now_ns));
}

void UsageLimiter::Admit() {
  Admitted admitted;
  {
    MutexLock lock(&mu_);
    const int64_t now_ns = timer_->NowNs();
    if (armed_ns_ <= now_ns) armed_ns_ = kNever;
    AdmitLocked(now_ns, &admitted);
  }
  for (const auto& wait : admitted) wait->admitted();
}

void UsageLimiter::AdmitLocked(int64_t now_ns, Admitted* admitted) {
  while (!next_.empty()) {
    const auto& waits = queues_[next_.begin()->second].waits;
    const int64_t wait_ns = WaitNsLocked(waits.front()->cost, now_ns);
    if (wait_ns > 0) {
      return ArmLocked(now_ns + std::max(wait_ns, kTickNs));
    }
    PopLocked(now_ns, admitted);
  }
}

void UsageLimiter::PopLocked(int64_t now_ns, Admitted* admitted) {
  const Flow flow = next_.begin()->second;
  next_.erase(next_.begin());
  Queue& queue = queues_[flow];
  std::shared_ptr<UsageWait> wait = std::move(queue.waits.front());
  queue.waits.pop_front();
  --stats_.waiting;
  if (!wait->over.exchange(true)) {
    operations_.Take(wait->cost.operations);
    bytes_.Take(wait->cost.bytes);
    ++stats_.throttled_operations;
    stats_.throttled_ns += static_cast<uint64_t>(now_ns - wait->began_ns);
    virtual_now_ = queue.start;
    queue.start += std::max(operations_.Price(wait->cost.operations),
                            bytes_.Price(wait->cost.bytes));
    admitted->push_back(std::move(wait));
  }
  if (!queue.waits.empty()) next_.emplace(queue.start, flow);
}

bool UsageLimiter::Enter(Kind kind, Place* place, bool replaces) {
  {
    MutexLock lock(&mu_);
    uint64_t& entered = entered_[static_cast<size_t>(kind)];
    const uint64_t most = MostLocked(kind);
    if (most != 0 && entered >= most && !replaces) return false;
    ++entered;
  }
  *place = Place(shared_from_this(), kind);
  return true;
}

uint64_t UsageLimiter::MostLocked(Kind kind) const {
  return kind == Kind::kIoStream ? stats_.limits.io_streams
                                 : stats_.limits.nbd_connections;
}

void UsageLimiter::Leave(Kind kind) {
  MutexLock lock(&mu_);
  --entered_[static_cast<size_t>(kind)];
}

bool UsageLimiters::Enter(UsageLimiter::Kind kind,
                          std::array<UsageLimiter::Place, 2>* places,
                          bool replaces) const {
  std::array<UsageLimiter::Place, 2> entered;
  for (size_t i = 0; i < limiters_.size(); ++i) {
    if (limiters_[i] == nullptr) continue;
    if (!limiters_[i]->Enter(kind, &entered[i], replaces)) return false;
  }
  *places = std::move(entered);
  return true;
}

std::shared_ptr<UsageWait> UsageLimiters::Take(
    UsageLimiter::Flow flow, const UsageCost& cost,
    std::function<void()> admitted) const {
  const auto& [identity, volume] = limiters_;
  auto wait = std::make_shared<UsageWait>(cost, std::move(admitted));
  if (identity != nullptr && identity->limited()) {
    const auto before =
        std::make_shared<UsageWait>(cost, [volume = volume, flow, wait] {
          if (wait->over) return;
          const bool waits = volume != nullptr && volume->limited() &&
                             !volume->Take(flow, wait);
          if (!waits && !wait->over.exchange(true)) wait->admitted();
        });
    wait->before = before;
    if (!identity->Take(flow, before)) return wait;
  }
  if (volume == nullptr || !volume->limited() || volume->Take(flow, wait)) {
    return nullptr;
  }
  return wait;
}

bool UsageLimiters::Withdraw(UsageLimiter::Flow flow, UsageWait* wait) const {
  if (wait->over.exchange(true)) return false;
  const auto& [identity, volume] = limiters_;
  if (volume != nullptr) volume->Drop(flow, wait);
  const auto before = wait->before.lock();
  if (identity != nullptr && before != nullptr) {
    identity->Drop(flow, before.get());
  }
  return true;
}

}  // namespace ramvol
