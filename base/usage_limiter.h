// Holds the clients of one volume, or of one identity, to its UsageLimits.
#ifndef RAMVOL_BASE_USAGE_LIMITER_H_
#define RAMVOL_BASE_USAGE_LIMITER_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"
#include "base/token_bucket.h"
#include "base/usage_limits.h"
#include "base/usage_timer.h"

namespace ramvol {

// What an operation takes. Reads, writes and writes of zeroes are limited, the
// latter as operations alone. Trims and flushes are not, nor is what only asks.
struct UsageCost {
  uint64_t operations = 1;
  uint64_t bytes = 0;
};

// An operation that waits.
struct UsageWait {
  UsageWait(const UsageCost& its_cost, std::function<void()> its_admitted)
      : cost(its_cost), admitted(std::move(its_admitted)) {}

  const UsageCost cost;
  const std::function<void()> admitted;
  // It was admitted or has been withdrawn.
  std::atomic<bool> over{false};
  // What waits in its place at the limiter before.
  std::weak_ptr<UsageWait> before;
  // Of the limiter that it waits at.
  int64_t began_ns = 0;
};

// Operations that come too soon wait in a queue without a thread. Each flow,
// such as a connection, has a queue of its own, and flows get equal parts of
// what there is, by start-time fair queueing (Goyal, Vin and Cheng, 1996).
//
// Thread-safe. Without rates it costs one load.
class UsageLimiter : public std::enable_shared_from_this<UsageLimiter> {
 public:
  // Anything that tells flows of one limiter apart.
  using Flow = uint64_t;

  struct Stats {
    UsageLimits limits;
    size_t waiting = 0;
    // Operations that have waited, and how long in all.
    uint64_t throttled_operations = 0;
    uint64_t throttled_ns = 0;
  };

  // What is counted while it is there.
  enum class Kind : uint8_t { kIoStream, kNbdConnection };
  // One of them. Movable.
  class Place {
   public:
    Place() = default;
    Place(Place&& other) noexcept = default;
    Place& operator=(Place&& other) noexcept {
      std::swap(limiter_, other.limiter_);
      std::swap(kind_, other.kind_);
      return *this;
    }
    ~Place() {
      if (limiter_ != nullptr) limiter_->Leave(kind_);
    }

   private:
    friend class UsageLimiter;
    Place(std::shared_ptr<UsageLimiter> limiter, Kind kind)
        : limiter_(std::move(limiter)), kind_(kind) {}
    std::shared_ptr<UsageLimiter> limiter_;
    Kind kind_ = Kind::kIoStream;
  };

  UsageLimiter() = default;
  UsageLimiter(const UsageLimiter&) = delete;
  UsageLimiter& operator=(const UsageLimiter&) = delete;

  // Changes the limits, for what waits, too. Borrows `timer` from then on.
  void SetLimits(const UsageLimits& limits, UsageTimer* timer)
      ABSL_LOCKS_EXCLUDED(mu_);
  UsageLimits limits() const ABSL_LOCKS_EXCLUDED(mu_);
  Stats GetStats() const ABSL_LOCKS_EXCLUDED(mu_);

  // Whether Take has to be asked.
  bool limited() const { return limited_.load(std::memory_order_relaxed); }

  // True: the operation may begin. False: the timer's thread will call
  // wait->admitted, perhaps before this returns, unless Withdraw comes first.
  // That must not block.
  [[nodiscard]] bool Take(Flow flow, const std::shared_ptr<UsageWait>& wait)
      ABSL_LOCKS_EXCLUDED(mu_);
  // Forgets `wait`, which is over, if it is here.
  void Drop(Flow flow, const UsageWait* wait) ABSL_LOCKS_EXCLUDED(mu_);

  // False: there are as many as there may be, unless `replaces` one that is
  // about to go. A limit that shrinks ends none.
  [[nodiscard]] bool Enter(Kind kind, Place* place, bool replaces = false)
      ABSL_LOCKS_EXCLUDED(mu_);

  // The timer's: lets go on what may.
  void Admit() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Queue {
    std::deque<std::shared_ptr<UsageWait>> waits;
    double start = 0;  // Of the first that waits, or the next one.
  };
  using Admitted = std::vector<std::shared_ptr<UsageWait>>;
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  int64_t WaitNsLocked(const UsageCost& cost, int64_t now_ns)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AdmitLocked(int64_t now_ns, Admitted* admitted)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes out the first that waits of the flow that is next.
  void PopLocked(int64_t now_ns, Admitted* admitted)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The queue of a flow in which something is to wait.
  Queue& QueueLocked(Flow flow) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Has the timer call Admit at `at_ns` or before.
  void ArmLocked(int64_t at_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint64_t MostLocked(Kind kind) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Leave(Kind kind) ABSL_LOCKS_EXCLUDED(mu_);

  std::atomic<bool> limited_{false};

  mutable Mutex mu_;
  UsageTimer* timer_ ABSL_GUARDED_BY(mu_) = nullptr;
  Stats stats_ ABSL_GUARDED_BY(mu_);
  TokenBucket operations_ ABSL_GUARDED_BY(mu_);
  TokenBucket bytes_ ABSL_GUARDED_BY(mu_);
  std::array<uint64_t, 2> entered_ ABSL_GUARDED_BY(mu_) = {};
  absl::flat_hash_map<Flow, Queue> queues_ ABSL_GUARDED_BY(mu_);
  // Those of queues_ in which something waits, by start.
  std::set<std::pair<double, Flow>> next_ ABSL_GUARDED_BY(mu_);
  // The start of what was admitted last, in seconds of the rates.
  double virtual_now_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t armed_ns_ ABSL_GUARDED_BY(mu_) = kNever;
};

// The limiters that an operation has to pass, of its identity and of its
// volume, one after the other. Cheap to copy.
class UsageLimiters {
 public:
  // Either may be null.
  UsageLimiters(std::shared_ptr<UsageLimiter> identity,
                std::shared_ptr<UsageLimiter> volume)
      : limiters_{std::move(identity), std::move(volume)} {}
  UsageLimiters() = default;

  // Enters both, or neither; see UsageLimiter::Enter.
  [[nodiscard]] bool Enter(UsageLimiter::Kind kind,
                           std::array<UsageLimiter::Place, 2>* places,
                           bool replaces = false) const;

  bool limited() const {
    return (limiters_[0] != nullptr && limiters_[0]->limited()) ||
           (limiters_[1] != nullptr && limiters_[1]->limited());
  }

  // Null: the operation may begin. Else `admitted` will be called, see
  // UsageLimiter::Take, unless Withdraw comes first.
  std::shared_ptr<UsageWait> Take(UsageLimiter::Flow flow,
                                  const UsageCost& cost,
                                  std::function<void()> admitted) const;
  // False: it was admitted already.
  bool Withdraw(UsageLimiter::Flow flow, UsageWait* wait) const;

 private:
  std::array<std::shared_ptr<UsageLimiter>, 2> limiters_;
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_USAGE_LIMITER_H_
