// How limits hold up the operations of one Io stream.
#ifndef RAMVOL_SERVER_SERVICE_IO_STREAM_USAGE_H_
#define RAMVOL_SERVER_SERVICE_IO_STREAM_USAGE_H_

#include <array>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "base/usage_limiter.h"
#include "server/service/executor.h"
#include "server/service/io_session.h"

namespace ramvol::service {

// Operations stay in the session while they wait. Each waits at the limiters by
// its own, so that they see all that the stream wants, and those of a lane are
// admitted in their order.
//
// Not thread-safe: the stream's lock guards it. Without limits it costs a few
// loads.
class IoStreamUsage {
 public:
  // Borrows `session`.
  explicit IoStreamUsage(const IoSession* session) : session_(*session) {}

  // What the stream is held to. `admitted` is called by the limiters' thread,
  // without locks, perhaps when the stream is gone; Admitted has to follow.
  void Begin(UsageLimiters limiters, std::function<void(Lane)> admitted) {
    limiters_ = std::move(limiters);
    admitted_ = std::move(admitted);
  }

  // Whether the next limited operation of `lane` may begin; else it waits.
  [[nodiscard]] bool MayBegin(Lane lane);
  // It does.
  void Began(Lane lane) {
    size_t& turns = of(lane).turns;
    if (turns > 0) --turns;
  }
  // The limited operations of `lane` have to wait.
  bool IsWaiting(Lane lane) const {
    const Waits& waits = waits_[static_cast<size_t>(lane)];
    return waits.turns == 0 && !waits.queue.empty();
  }
  // The session has received more: of a lane that waits, they wait, too.
  void Received();
  void Admitted(Lane lane);
  // The session was abandoned: nothing waits any more.
  void Abandon();

 private:
  // Most operations of a lane that wait at the limiters.
  static constexpr size_t kMaxWaits = 64;

  struct Waits {
    std::deque<std::shared_ptr<UsageWait>> queue;
    size_t turns = 0;  // Operations before those, which may begin.
  };

  UsageLimiter::Flow flow() const {
    return reinterpret_cast<UsageLimiter::Flow>(this);
  }
  Waits& of(Lane lane) { return waits_[static_cast<size_t>(lane)]; }
  // Has further operations of `lane` wait, until one need not.
  void Queue(Lane lane);

  const IoSession& session_;
  UsageLimiters limiters_;
  std::function<void(Lane)> admitted_;
  std::array<Waits, kLanes> waits_;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_IO_STREAM_USAGE_H_
