// What all HTTP/2 connections of a server may do together.
#ifndef RAMVOL_SERVER_HTTP2_FLOOD_BUDGET_H_
#define RAMVOL_SERVER_HTTP2_FLOOD_BUDGET_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "server/http2/token_bucket.h"

namespace ramvol::http2 {

// Most places for calls that are open, of all clients.
inline constexpr size_t kMaxStreams = 8192;
// There is a place for each so many bytes of half of client memory. A call
// takes one, and more if its headers are large. Its window may take twice as
// many bytes, which are charged when it does.
inline constexpr size_t kStreamBytes = size_t{32} << 10;
// A peer may always have so many of them, and beyond that as many as are free.
inline constexpr size_t kMinPeerStreams = 64;
// Rapid resets (see FrameGate) of all clients: so many at once, about 60 MB,
// and so many a second.
inline constexpr double kCommonResetBurst = 4000;
inline constexpr double kCommonResetsPerSecond = 500;

// The places that open calls of one peer take.
struct PeerStreams {
  std::atomic<size_t> open{0};
};

// Thread-safe.
class FloodBudget {
 public:
  FloodBudget() = default;
  FloodBudget(const FloodBudget&) = delete;
  FloodBudget& operator=(const FloodBudget&) = delete;

  void SetMaxStreams(size_t most) {
    max_.store(most, std::memory_order_relaxed);
  }

  // Takes places; false, and takes none, when the peer would have more than its
  // share.
  bool TakePlaces(PeerStreams& peer, size_t count) {
    const size_t all = open_.load(std::memory_order_relaxed);
    const size_t most = max_.load(std::memory_order_relaxed);
    const size_t free = most - std::min(all, most);
    if (peer.open.load(std::memory_order_relaxed) + count >
        std::max(kMinPeerStreams, free)) {
      return false;
    }
    peer.open.fetch_add(count, std::memory_order_relaxed);
    open_.fetch_add(count, std::memory_order_relaxed);
    return true;
  }
  void GivePlaces(PeerStreams& peer, size_t count) {
    peer.open.fetch_sub(count, std::memory_order_relaxed);
    open_.fetch_sub(count, std::memory_order_relaxed);
  }
  size_t places_taken() const { return open_.load(std::memory_order_relaxed); }

  // Counts a reset that weighs as much as `resets` rapid ones; false when there
  // are too many.
  bool TakeReset(int64_t now_ns, double resets) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return resets_.Take(now_ns, resets);
  }

 private:
  std::atomic<size_t> max_{kMaxStreams};
  std::atomic<size_t> open_{0};
  Mutex mu_;
  TokenBucket resets_ ABSL_GUARDED_BY(mu_){kCommonResetBurst,
                                           kCommonResetsPerSecond};
};

}  // namespace ramvol::http2

#endif  // RAMVOL_SERVER_HTTP2_FLOOD_BUDGET_H_
