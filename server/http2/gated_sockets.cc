#include "server/http2/gated_sockets.h"

#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/peer_address.h"
#include "server/http2/flood_budget.h"
#include "server/http2/watched_connection.h"

namespace ramvol::http2 {
namespace {

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
constinit std::atomic<decltype(getpeername)*> next_getpeername{nullptr};

// By descriptor. Zero pages until they are used. gRPC closes a descriptor only
// once nothing reads or writes it any more.
std::atomic<WatchedConnection*> by_fd[kMaxGatedFd];
std::atomic<uint64_t> watched_bytes{0};

// The name that this thread's getpeername tells; null: the real one.
thread_local const sockaddr_un* named = nullptr;

CallPeer PeerOfSocket(int fd, const SecureStream* secure) {
  CallPeer peer = PeerOfUnixSocket(fd);
  peer.address = peer.uid.has_value() ? "unix" : PeerAddress(fd);
  if (secure != nullptr) peer.names = secure->peer();
  return peer;
}

// Of "unix:/NUMBER/ADDRESS"; 0: it is no such name.
uint64_t NumberOf(std::string_view grpc_peer) {
  constexpr std::string_view kPrefix = "unix:/";
  if (grpc_peer.substr(0, kPrefix.size()) != kPrefix) return 0;
  grpc_peer.remove_prefix(kPrefix.size());
  uint64_t number = 0;
  const char* const end = grpc_peer.data() + grpc_peer.size();
  const auto [rest, error] = std::from_chars(grpc_peer.data(), end, number);
  return error == std::errc() && rest != end && *rest == '/' ? number : 0;
}

class Registry {
 public:
  void Add(WatchedConnection::Options options) ABSL_LOCKS_EXCLUDED(mu_) {
    const int fd = options.fd;
    auto peer = std::make_shared<const CallPeer>(
        PeerOfSocket(fd, options.secure.get()));
    options.send = Next(next_sendmsg, "sendmsg");
    // The descriptor may be another connection's by then, which does no harm.
    options.granted = [this, fd] {
      if (const auto connection = Get(fd)) connection->Resume();
    };
    MutexLock lock(&mu_);
    options.peer_streams = PeerLocked(options.peer);
    auto connection =
        std::make_shared<WatchedConnection>(&common_, std::move(options));
    by_fd[fd].store(connection.get(), std::memory_order_release);
    all_[fd] = {std::move(connection), ++last_number_};
    by_number_[last_number_] = std::move(peer);
  }

  void Remove(int fd) ABSL_LOCKS_EXCLUDED(mu_) {
    std::shared_ptr<WatchedConnection> last;  // Goes outside of the lock.
    {
      MutexLock lock(&mu_);
      const auto found = all_.find(fd);
      if (found == all_.end()) return;
      last = std::move(found->second.connection);
      by_number_.erase(found->second.number);
      all_.erase(found);
    }
    last->Close();
  }

  std::shared_ptr<const CallPeer> FindPeer(uint64_t number)
      ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    const auto found = by_number_.find(number);
    return found == by_number_.end() ? nullptr : found->second;
  }

  // "/NUMBER/ADDRESS"; "" when it is not watched.
  std::string NameOf(int fd) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    const auto found = all_.find(fd);
    if (found == all_.end()) return "";
    const uint64_t number = found->second.number;
    return absl::StrCat("/", number, "/", by_number_[number]->address);
  }

  void BoundStreams(size_t most) { common_.SetMaxStreams(most); }

  void Tend(bool others_wait, int64_t now_ns) ABSL_LOCKS_EXCLUDED(mu_) {
    for (const auto& connection : All()) {
      connection->EndIfLate(now_ns);
      connection->EndIfSlow(others_wait, now_ns);
      connection->Resume();
    }
  }

 private:
  using Connection = std::shared_ptr<WatchedConnection>;
  struct Entry {
    Connection connection;
    uint64_t number = 0;
  };

  Connection Get(int fd) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    const auto found = all_.find(fd);
    return found == all_.end() ? nullptr : found->second.connection;
  }
  std::vector<Connection> All() ABSL_LOCKS_EXCLUDED(mu_) {
    std::vector<Connection> all;
    MutexLock lock(&mu_);
    all.reserve(all_.size());
    for (const auto& [fd, entry] : all_) all.push_back(entry.connection);
    return all;
  }

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

  Mutex mu_;  // No other lock follows.
  FloodBudget common_;
  absl::flat_hash_map<int, Entry> all_ ABSL_GUARDED_BY(mu_);
  uint64_t last_number_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<uint64_t, std::shared_ptr<const CallPeer>> by_number_
      ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string, std::weak_ptr<PeerStreams>> peers_
      ABSL_GUARDED_BY(mu_);
};

// Never destroyed: gRPC's threads may outlast main.
Registry& TheRegistry() {
  static Registry& registry = *new Registry;
  return registry;
}

WatchedConnection* Find(int fd) {
  if (fd < 0 || fd >= kMaxGatedFd) return nullptr;
  return by_fd[fd].load(std::memory_order_acquire);
}

}  // namespace

bool Watch(int fd, std::string peer, std::shared_ptr<ClientMemory> memory,
           std::shared_ptr<const void> hold, std::shared_ptr<DoorStats> stats,
           std::unique_ptr<SecureStream> secure) {
  if (fd < 0 || fd >= kMaxGatedFd) return false;
  WatchedConnection::Options options;
  options.fd = fd;
  options.peer = std::move(peer);
  options.memory = std::move(memory);
  options.hold = std::move(hold);
  options.stats = std::move(stats);
  options.secure = std::move(secure);
  TheRegistry().Add(std::move(options));
  return true;
}

Naming::Naming(int fd) {
  // gRPC copies it at once.
  thread_local sockaddr_un name{};
  const std::string text = TheRegistry().NameOf(fd);
  if (text.empty() || text.size() >= sizeof(name.sun_path)) return;
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, text.c_str(), text.size() + 1);
  named = &name;
}

Naming::~Naming() { named = nullptr; }

std::shared_ptr<const CallPeer> FindPeer(std::string_view grpc_peer) {
  const uint64_t number = NumberOf(grpc_peer);
  return number == 0 ? nullptr : TheRegistry().FindPeer(number);
}

void BoundStreams(size_t most) { TheRegistry().BoundStreams(most); }

void Tend(bool others_wait) { TheRegistry().Tend(others_wait, SteadyNowNs()); }

uint64_t WatchedBytesForTest() {
  return watched_bytes.load(std::memory_order_relaxed);
}

}  // namespace ramvol::http2

using namespace ramvol::http2;  // NOLINT: of this file's own functions.

extern "C" {

__attribute__((visibility("default"))) ssize_t recvmsg(int fd, msghdr* message,
                                                       int flags) {
  WatchedConnection* const watched = Find(fd);
  const bool inside =
      watched != nullptr && watched->secure() && (flags & MSG_ERRQUEUE) == 0;
  const ssize_t got = inside
                          ? watched->Receive(message)
                          : Next(next_recvmsg, "recvmsg")(fd, message, flags);
  if (watched == nullptr || got <= 0 || (flags & MSG_PEEK) != 0 ||
      (flags & MSG_ERRQUEUE) != 0) {
    return got;
  }
  watched_bytes.fetch_add(static_cast<uint64_t>(got),
                          std::memory_order_relaxed);
  if (watched->Received(*message, static_cast<size_t>(got))) return got;
  errno = ECONNRESET;
  return -1;
}

__attribute__((visibility("default"))) ssize_t sendmsg(int fd,
                                                       const msghdr* message,
                                                       int flags) {
  if (WatchedConnection* const watched = Find(fd)) {
    return watched->Send(*message, flags);
  }
  return Next(next_sendmsg, "sendmsg")(fd, message, flags);
}

__attribute__((visibility("default"))) int getpeername(int fd,
                                                       sockaddr* address,
                                                       socklen_t* bytes) {
  if (named == nullptr || Find(fd) == nullptr || *bytes < sizeof(*named)) {
    return Next(next_getpeername, "getpeername")(fd, address, bytes);
  }
  std::memcpy(address, named, sizeof(*named));
  *bytes = sizeof(*named);
  return 0;
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
