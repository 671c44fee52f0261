#include "base/client_memory.h"

#include <utility>

#include "absl/time/clock.h"

namespace ramvol {

ClientMemory::Holder::~Holder() {
  std::function<void()> untold;  // Goes without the lock.
  MutexLock lock(&memory_.mu_);
  untold = memory_.DequeueLocked(this);
  memory_.ReturnLocked(this, charged_);
  memory_.base_used_ -= base_bytes_;
  memory_.GrantLocked();
}

void ClientMemory::Holder::Open(const Base& base) {
  if (asked_ != 0) TakeGrant();
  MutexLock lock(&memory_.mu_);
  memory_.ReturnLocked(this, charged_);
  open_ = true;
  unasked_ = base.unasked;
  base_bytes_ = base.bytes;
  memory_.base_used_ += base_bytes_;
  allowance_ = covered_ = base.allowance_bytes;
}

bool ClientMemory::Holder::Grow(size_t more) {
  const size_t missing = held_ + more - covered_;
  MutexLock lock(&memory_.mu_);
  for (const size_t bytes : {open_ ? missing + kStepBytes : missing, missing}) {
    if (memory_.TryChargeLocked(this, bytes)) {
      covered_ += bytes;
      return true;
    }
  }
  return false;
}

void ClientMemory::Holder::Ask(size_t more, std::function<void()> granted) {
  if (asked_ != 0) return;
  asked_ = more;
  MutexLock lock(&memory_.mu_);
  queued_ = true;
  memory_.waiting_.push_back({this, more, std::move(granted)});
  memory_.GrantLocked();
  memory_.wake_.Signal();
}

void ClientMemory::Holder::TakeGrant() {
  if (!granted_.load(std::memory_order_acquire)) return;
  granted_.store(false, std::memory_order_relaxed);
  covered_ += std::exchange(asked_, 0);
}

void ClientMemory::Holder::Withdraw() {
  std::function<void()> untold;  // Goes without the lock.
  {
    MutexLock lock(&memory_.mu_);
    untold = memory_.DequeueLocked(this);
    memory_.GrantLocked();
  }
  TakeGrant();
  asked_ = 0;
  Settle();
}

void ClientMemory::Holder::Settle() {
  const size_t needed = std::max(held_, allowance_);
  MutexLock lock(&memory_.mu_);
  if (needed > covered_) {
    memory_.ChargeLocked(this, needed - covered_);
    covered_ = needed;
    return;
  }
  const bool keeps_step = held_ > allowance_ && !memory_.blocked_;
  const size_t kept = needed + (keeps_step ? kStepBytes : 0);
  if (kept >= covered_) return;
  memory_.ReturnLocked(this, covered_ - kept);
  covered_ = kept;
  memory_.GrantLocked();
}

bool ClientMemory::Holder::TakeSpare(size_t bytes) {
  MutexLock lock(&memory_.mu_);
  const size_t more = bytes - std::min(bytes, spare_);
  const bool short_of_memory =
      memory_.blocked_ ||
      memory_.LargeUsedLocked() + more > memory_.options_.limit_bytes / 2;
  if (short_of_memory && held_ < kMuchBytes) return false;
  spare_ += more;
  memory_.ChargeLocked(this, more);
  return true;
}

void ClientMemory::Holder::GiveSpare(size_t kept) {
  MutexLock lock(&memory_.mu_);
  const size_t given = spare_ - kept;
  given_.store(given_.load(std::memory_order_relaxed) + given,
               std::memory_order_relaxed);
  spare_ = kept;
  memory_.ReturnLocked(this, given);
  memory_.GrantLocked();
}

ClientMemory::ClientMemory(const Options& options)
    : options_(options),
      reserve_bytes_(options.limit_bytes / 8),
      thread_([this] { Run(); }) {}

ClientMemory::~ClientMemory() {
  if (std::this_thread::get_id() == thread_.get_id()) {
    *gone_ = true;
    thread_.detach();
    return;
  }
  {
    MutexLock lock(&mu_);
    stopping_ = true;
  }
  wake_.Signal();
  thread_.join();
}

bool ClientMemory::MayOpen(size_t base_bytes) {
  MutexLock lock(&mu_);
  return MayOpenLocked(base_bytes);
}

bool ClientMemory::HasRoomToOpen(size_t base_bytes) {
  MutexLock lock(&mu_);
  if (!MayOpenLocked(base_bytes)) return false;
  if (UsedLocked() + base_bytes <= options_.limit_bytes) return true;
  opener_waits_ = true;
  wake_.Signal();
  return false;
}

ClientMemory::Stats ClientMemory::GetStats() {
  MutexLock lock(&mu_);
  return {.limit_bytes = options_.limit_bytes,
          .used_bytes = UsedLocked() + unasked_used_,
          .waiting = waiting_.size(),
          .sent_away = sent_away_};
}

size_t ClientMemory::UsedLocked() const {
  return base_used_ + large_used_ + small_used_;
}

size_t ClientMemory::LargeUsedLocked() const {
  return base_used_ + large_used_ + unasked_used_ +
         std::max(small_used_, reserve_bytes_);
}

size_t& ClientMemory::UsedByLocked(const Holder& holder) {
  if (holder.unasked_) return unasked_used_;
  return holder.small_ ? small_used_ : large_used_;
}

bool ClientMemory::IsFreeLocked(const Holder& holder, bool small,
                                size_t bytes) const {
  const size_t limit = options_.limit_bytes;
  if (!small) {
    // What is larger than the bound has to go alone.
    return large_used_ == holder.charged_ || LargeUsedLocked() + bytes <= limit;
  }
  if (blocked_ && small_used_ + bytes > reserve_bytes_) return false;
  return small_used_ == 0 || UsedLocked() + bytes <= limit;
}

bool ClientMemory::IsInShareLocked(const Holder& holder, bool small,
                                   size_t bytes) const {
  const size_t held = holder.charged_ - holder.spare_;
  if (small || held == 0) return true;
  const size_t used = LargeUsedLocked();
  return used < options_.limit_bytes &&
         held + bytes <= (options_.limit_bytes - used) / 2;
}

bool ClientMemory::TryChargeLocked(Holder* holder, size_t bytes) {
  const bool small = !holder->open_ && bytes <= kSmallBytes;
  if ((small ? small_blocked_ : blocked_) ||
      !IsFreeLocked(*holder, small, bytes) ||
      !IsInShareLocked(*holder, small, bytes)) {
    return false;
  }
  if (holder->charged_ == 0) holder->small_ = small;
  ChargeLocked(holder, bytes);
  return true;
}

void ClientMemory::ChargeLocked(Holder* holder, size_t bytes) {
  if (bytes == 0) return;
  if (holder->charged_ == 0) holders_.insert(holder);
  holder->charged_ += bytes;
  UsedByLocked(*holder) += bytes;
  if (!holder->peer_.empty()) peers_[holder->peer_] += bytes;
  NoteCrowdLocked();
}

void ClientMemory::ReturnLocked(Holder* holder, size_t bytes) {
  if (bytes == 0) return;
  holder->charged_ -= bytes;
  UsedByLocked(*holder) -= bytes;
  NoteCrowdLocked();
  if (!holder->peer_.empty()) {
    const auto peer = peers_.find(holder->peer_);
    peer->second -= bytes;
    if (peer->second == 0) peers_.erase(peer);
  }
  if (holder->charged_ != 0) return;
  holder->small_ = false;
  holder->mark_time_ = absl::InfiniteFuture();
  holders_.erase(holder);
}

void ClientMemory::NoteCrowdLocked() {
  const bool crowded = 2 * UsedLocked() > options_.limit_bytes ||
                       2 * small_used_ > reserve_bytes_;
  if (crowded != crowded_.load(std::memory_order_relaxed)) {
    crowded_.store(crowded, std::memory_order_relaxed);
  }
}

bool ClientMemory::IsNewLocked(const Holder& holder) const {
  return holder.peer_.empty() ? holder.charged_ == holder.spare_
                              : !peers_.contains(holder.peer_);
}

void ClientMemory::GrantLocked() {
  if (waiting_.empty()) return;
  blocked_ = small_blocked_ = false;
  GrantLocked(/*only_new=*/true);
  GrantLocked(/*only_new=*/false);
  scarce_.store(blocked_ || small_blocked_, std::memory_order_relaxed);
  if (!to_tell_.empty()) wake_.Signal();
}

void ClientMemory::GrantLocked(bool only_new) {
  Queue left;
  for (Waiting& next : waiting_) {
    if (only_new && !IsNewLocked(*next.holder)) {
      left.push_back(std::move(next));
      continue;
    }
    // Whoever waits for a larger share, which others need not wait for, goes
    // on when it has given something back.
    const bool small = !next.holder->open_ && next.bytes <= kSmallBytes;
    if (TryChargeLocked(next.holder, next.bytes)) {
      next.holder->queued_ = false;
      next.holder->granted_.store(true, std::memory_order_release);
      to_tell_.push_back(std::move(next.granted));
      continue;
    }
    if (!IsFreeLocked(*next.holder, small, next.bytes)) {
      (small ? small_blocked_ : blocked_) = true;
    }
    left.push_back(std::move(next));
  }
  waiting_.swap(left);
}

std::function<void()> ClientMemory::DequeueLocked(Holder* holder) {
  std::function<void()> granted;
  if (!holder->queued_) return granted;
  const auto found = std::find_if(
      waiting_.begin(), waiting_.end(),
      [holder](const Waiting& waiting) { return waiting.holder == holder; });
  granted = std::move(found->granted);
  waiting_.erase(found);
  holder->queued_ = false;
  if (waiting_.empty()) {
    blocked_ = small_blocked_ = false;
    scarce_.store(false, std::memory_order_relaxed);
  }
  return granted;
}

bool ClientMemory::IsSlowLocked(Holder* holder, absl::Time now) const {
  if (holder->waits_.load(std::memory_order_relaxed) <= 0) {
    holder->mark_time_ = absl::InfiniteFuture();
    return false;
  }
  const size_t own = holder->queued_ ? 1 : 0;
  if (!opener_waits_ && waiting_.size() == own) return false;
  const uint64_t given = holder->given_.load(std::memory_order_relaxed);
  if (holder->mark_time_ == absl::InfiniteFuture() ||
      given - holder->mark_given_ >= holder->mark_charged_) {
    holder->mark_time_ = now;
    holder->mark_given_ = given;
    holder->mark_charged_ = holder->charged_;
  }
  const double seconds = static_cast<double>(holder->mark_charged_) /
                         static_cast<double>(kMinBytesPerSecond);
  return now - holder->mark_time_ > options_.max_stall + absl::Seconds(seconds);
}

void ClientMemory::Sweep(absl::Time now) {
  std::vector<std::function<void()>> ends;
  {
    MutexLock lock(&mu_);
    for (Holder* holder : holders_) {
      if (!IsSlowLocked(holder, now)) continue;
      ++sent_away_;
      holder->mark_time_ = absl::InfiniteFuture();
      ends.push_back(holder->client_.SendAway());
    }
    opener_waits_ = false;  // Who still does says so again.
  }
  for (const auto& end : ends) {
    if (end) end();
  }
}

void ClientMemory::Run() {
  bool gone = false;
  gone_ = &gone;
  absl::Time next_sweep = absl::InfiniteFuture();
  mu_.Lock();
  while (!stopping_) {
    std::vector<std::function<void()>> to_tell = std::exchange(to_tell_, {});
    if (!to_tell.empty()) {
      mu_.Unlock();
      for (const auto& granted : to_tell) granted();
      to_tell.clear();  // What they captured goes without the lock.
      if (gone) return;
      mu_.Lock();
      continue;
    }
    if (waiting_.empty() && !opener_waits_) {
      next_sweep = absl::InfiniteFuture();
      wake_.Wait(&mu_);
      continue;
    }
    const absl::Time now = absl::Now();
    if (next_sweep == absl::InfiniteFuture()) {
      next_sweep = now + options_.sweep_interval;
    }
    if (now < next_sweep) {
      wake_.WaitFor(&mu_, next_sweep - now);
      continue;
    }
    mu_.Unlock();
    Sweep(now);
    if (gone) return;
    next_sweep = absl::Now() + options_.sweep_interval;
    mu_.Lock();
  }
  mu_.Unlock();
}

}  // namespace ramvol
