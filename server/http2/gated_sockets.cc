#include "server/http2/gated_sockets.h"

#include <dlfcn.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/http2/flood_budget.h"
#include "server/http2/frame_gate.h"

namespace ramvol::http2 {
namespace {

// A connection that is watched. Lives until its descriptor is closed, which
// gRPC does only once nothing reads or writes it any more.
struct Watched {
  Watched(FloodBudget* common, std::shared_ptr<PeerStreams> peer,
          std::shared_ptr<const void> its_hold,
          std::shared_ptr<DoorStats> its_stats)
      : gate(common, std::move(peer)),
        hold(std::move(its_hold)),
        stats(std::move(its_stats)) {}

  // Ends it; true when it was not ended before.
  bool End(int fd, TurnedAway why) {
    if (ended.exchange(true)) return false;
    stats->Count(why);
    shutdown(fd, SHUT_RDWR);
    return true;
  }

  // The socket took `sent` of `wanted` bytes, or less than 0.
  void NoteSent(ssize_t sent, size_t wanted) {
    if (sent > 0) {
      sent_bytes.fetch_add(static_cast<uint64_t>(sent),
                           std::memory_order_relaxed);
    }
    const bool is_full = sent < 0 || static_cast<size_t>(sent) < wanted;
    if (is_full != full.load(std::memory_order_relaxed)) {
      full.store(is_full, std::memory_order_relaxed);
    }
  }

  // Whether its client has been slow since `slow_since_ns`.
  bool IsSlow(int64_t now_ns) {
    const uint64_t sent = sent_bytes.load(std::memory_order_relaxed);
    if (!full.load(std::memory_order_relaxed)) slow_since_ns = 0;
    if (slow_since_ns == 0 || sent - slow_sent_bytes >= kMinSlowBytes) {
      slow_since_ns = full.load(std::memory_order_relaxed) ? now_ns : 0;
      slow_sent_bytes = sent;
    }
    return slow_since_ns != 0 && now_ns - slow_since_ns > kMaxSlowNs;
  }

  Mutex mu;
  FrameGate gate;  // Guarded by mu, but for what may be asked any time.
  std::atomic<bool> ended{false};
  // What the socket took, and whether it has no room for more.
  std::atomic<uint64_t> sent_bytes{0};
  std::atomic<bool> full{false};
  // The registry's.
  int64_t slow_since_ns = 0;
  uint64_t slow_sent_bytes = 0;
  const std::shared_ptr<const void> hold;
  const std::shared_ptr<DoorStats> stats;
};

// By descriptor. Zero pages until they are used.
std::atomic<Watched*> by_fd[kMaxGatedFd];
std::atomic<uint64_t> watched_bytes{0};

class Registry {
 public:
  void Add(int fd, const std::string& peer, std::shared_ptr<const void> hold,
           std::shared_ptr<DoorStats> stats) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    auto watched = std::make_unique<Watched>(&common_, PeerLocked(peer),
                                             std::move(hold), std::move(stats));
    by_fd[fd].store(watched.get(), std::memory_order_release);
    all_[fd] = std::move(watched);
  }

  void Remove(int fd) ABSL_LOCKS_EXCLUDED(mu_) {
    std::unique_ptr<Watched> last;  // Goes outside of the lock.
    {
      MutexLock lock(&mu_);
      const auto found = all_.find(fd);
      if (found == all_.end()) return;
      last = std::move(found->second);
      all_.erase(found);
    }
    // After whatever was shown to it, in the eyes of ThreadSanitizer too.
    last->mu.Lock();
    last->mu.Unlock();
  }

  void EndLateOnes(int64_t now_ns) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    for (const auto& [fd, watched] : all_) {
      if (watched->gate.headers_late(now_ns)) {
        watched->End(fd, TurnedAway::kHeaders);
      }
    }
  }

  void EndSlowOnes(bool others_wait, int64_t now_ns) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    for (const auto& [fd, watched] : all_) {
      if (!others_wait) {
        watched->slow_since_ns = 0;
      } else if (watched->IsSlow(now_ns)) {
        watched->End(fd, TurnedAway::kSlowClient);
      }
    }
  }

 private:
  std::shared_ptr<PeerStreams> PeerLocked(const std::string& peer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (peers_.size() > 2 * all_.size() + 16) {
      absl::erase_if(peers_,
                     [](const auto& entry) { return entry.second.expired(); });
    }
    std::weak_ptr<PeerStreams>& known = peers_[peer];
    auto streams = known.lock();
    if (streams == nullptr) known = streams = std::make_shared<PeerStreams>();
    return streams;
  }

  Mutex mu_;  // Comes after Watched::mu.
  FloodBudget common_;
  absl::flat_hash_map<int, std::unique_ptr<Watched>> all_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string, std::weak_ptr<PeerStreams>> peers_
      ABSL_GUARDED_BY(mu_);
};

// Never destroyed: gRPC's threads may outlast main.
Registry& TheRegistry() {
  static Registry& registry = *new Registry;
  return registry;
}

Watched* Find(int fd) {
  if (fd < 0 || fd >= kMaxGatedFd) return nullptr;
  return by_fd[fd].load(std::memory_order_acquire);
}

TurnedAway WhyFor(Flood flood) {
  switch (flood) {
    case Flood::kStreams:
      return TurnedAway::kStreams;
    case Flood::kHeaders:
      return TurnedAway::kHeaders;
    case Flood::kControl:
      return TurnedAway::kControl;
    default:
      return TurnedAway::kResets;
  }
}

// Calls `see` with the parts of the first `bytes` of a message.
template <typename See>
void ForEachPart(const msghdr& message, size_t bytes, See see) {
  for (size_t i = 0; i < message.msg_iovlen && bytes > 0; ++i) {
    const iovec& part = message.msg_iov[i];
    const size_t length = std::min(part.iov_len, bytes);
    see(std::string_view(static_cast<const char*>(part.iov_base), length));
    bytes -= length;
  }
}

size_t Length(const msghdr& message) {
  size_t bytes = 0;
  for (size_t i = 0; i < message.msg_iovlen; ++i) {
    bytes += message.msg_iov[i].iov_len;
  }
  return bytes;
}

// False when the connection has to end.
bool ShowReceived(Watched& watched, int fd, const msghdr& message,
                  size_t bytes) {
  Flood flood = Flood::kNone;
  {
    MutexLock lock(&watched.mu);
    const int64_t now_ns = SteadyNowNs();
    ForEachPart(message, bytes, [&](std::string_view part) {
      flood = watched.gate.Received(part, now_ns);
    });
  }
  watched_bytes.fetch_add(bytes, std::memory_order_relaxed);
  if (flood != Flood::kNone) watched.End(fd, WhyFor(flood));
  return !watched.ended;
}

void ShowSent(Watched& watched, const msghdr& message, size_t bytes) {
  MutexLock lock(&watched.mu);
  const int64_t now_ns = SteadyNowNs();
  ForEachPart(message, bytes,
              [&](std::string_view part) { watched.gate.Sent(part, now_ns); });
}

// The next definition of a function: the C library's, or a sanitizer's.
template <typename Function>
Function* Next(std::atomic<Function*>& known, const char* name) {
  Function* next = known.load(std::memory_order_relaxed);
  if (next == nullptr) {
    next = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
    known.store(next, std::memory_order_relaxed);
  }
  return next;
}

// No static variables of functions: these run before constructors have.
constinit std::atomic<decltype(recvmsg)*> next_recvmsg{nullptr};
constinit std::atomic<decltype(sendmsg)*> next_sendmsg{nullptr};
constinit std::atomic<decltype(close)*> next_close{nullptr};

}  // namespace

bool Watch(int fd, const std::string& peer, std::shared_ptr<const void> hold,
           std::shared_ptr<DoorStats> stats) {
  if (fd < 0 || fd >= kMaxGatedFd) return false;
  TheRegistry().Add(fd, peer, std::move(hold), std::move(stats));
  return true;
}

void EndLateOnes() { TheRegistry().EndLateOnes(SteadyNowNs()); }

void EndSlowOnes(bool others_wait) {
  TheRegistry().EndSlowOnes(others_wait, SteadyNowNs());
}

uint64_t WatchedBytesForTest() {
  return watched_bytes.load(std::memory_order_relaxed);
}

}  // namespace ramvol::http2

using namespace ramvol::http2;  // NOLINT: of this file's own functions.

extern "C" {

__attribute__((visibility("default"))) ssize_t recvmsg(int fd, msghdr* message,
                                                       int flags) {
  const ssize_t got = Next(next_recvmsg, "recvmsg")(fd, message, flags);
  Watched* const watched = Find(fd);
  if (watched == nullptr || got <= 0 || (flags & MSG_PEEK) != 0 ||
      (flags & MSG_ERRQUEUE) != 0) {
    return got;
  }
  if (ShowReceived(*watched, fd, *message, static_cast<size_t>(got))) {
    return got;
  }
  errno = ECONNRESET;
  return -1;
}

__attribute__((visibility("default"))) ssize_t sendmsg(int fd,
                                                       const msghdr* message,
                                                       int flags) {
  const ssize_t sent = Next(next_sendmsg, "sendmsg")(fd, message, flags);
  Watched* const watched = Find(fd);
  if (watched == nullptr) return sent;
  const int error = errno;
  watched->NoteSent(sent, Length(*message));
  if (sent > 0) ShowSent(*watched, *message, static_cast<size_t>(sent));
  errno = error;
  return sent;
}

// Its number may be another's as soon as it is closed.
__attribute__((visibility("default"))) int close(int fd) {
  if (Find(fd) != nullptr) {
    by_fd[fd].store(nullptr, std::memory_order_release);
    TheRegistry().Remove(fd);
  }
  return Next(next_close, "close")(fd);
}

}  // extern "C"
