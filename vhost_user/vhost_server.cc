#include "vhost_user/vhost_server.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <functional>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/event_log.h"
#include "base/mutex.h"
#include "vhost_user/connection.h"
#include "vhost_user/protocol/descriptor.h"
#include "vhost_user/socket_dir.h"

namespace ramvol::vhost {
namespace {

// How long a second connection waits for the first to end.
constexpr absl::Duration kMaxWait = absl::Seconds(3);
// How often Shutdown frees threads that front-ends make wait.
constexpr absl::Duration kUnblockInterval = absl::Milliseconds(100);
// The eventfd's, in the place of a socket's number.
constexpr uint64_t kWakeId = 0;

// A volume's socket.
struct Place {
  std::string name;
  Descriptor listener;
  // More than one only where nobody writes.
  absl::flat_hash_set<std::shared_ptr<Connection>> connections;
  // A connection that waits until there are none.
  Descriptor waiting;
  absl::Time deadline = absl::InfiniteFuture();
};

class ServerImpl final : public VhostServer {
 public:
  ServerImpl(SocketDir dir, block::Exports* exports, ClientMemory* memory,
             VhostStats* stats)
      : dir_(std::move(dir)),
        exports_(*exports),
        memory_(*memory),
        stats_(*stats) {}

  ~ServerImpl() override {
    if (thread_.joinable()) Shutdown();
  }

  absl::Status Open() {
    epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
    wake_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!epoll_.is_open() || !wake_.is_open() || !Watch(wake_.get(), kWakeId)) {
      return absl::UnavailableError(
          "the process has no more file descriptors for vhost-user");
    }
    thread_ = std::thread([this] { Run(); });
    return absl::OkStatus();
  }

  absl::Status AddAll() override {
    std::string from;
    do {
      auto page = exports_.List(from);
      if (!page.ok()) return page.status();
      for (const block::ExportInfo& info : page->exports) {
        Added(info.name);
        // It may have gone before anybody knew that it was here.
        if (!exports_.Find(info.name).ok()) Removed(info.name);
      }
      from = page->next;
    } while (!from.empty());
    return absl::OkStatus();
  }

  void Added(std::string_view name) override {
    MutexLock lock(&mu_);
    if (stopping_ || ids_.contains(name)) return;
    const uint64_t id = ++last_id_;
    auto place = std::make_unique<Place>();
    place->name = std::string(name);
    ListenLocked(id, *place);
    ids_[std::string(name)] = id;
    places_[id] = std::move(place);
  }

  void Removed(std::string_view name) override {
    MutexLock lock(&mu_);
    const auto found = ids_.find(name);
    if (found == ids_.end()) return;
    Place& place = *places_[found->second];
    CloseLocked(place);
    for (const auto& connection : place.connections) connection->End();
    places_.erase(found->second);
    ids_.erase(found);
  }

  void Renamed(std::string_view old_name, std::string_view name) override {
    MutexLock lock(&mu_);
    const auto found = ids_.find(old_name);
    if (found == ids_.end() || ids_.contains(name)) return;
    const uint64_t id = found->second;
    Place& place = *places_[id];
    CloseLocked(place);
    place.name = std::string(name);
    ids_.erase(found);
    ids_[std::string(name)] = id;
    ListenLocked(id, place);
  }

  void Changed(std::string_view name) override {
    MutexLock lock(&mu_);
    if (!ids_.contains(name)) return;
    changed_.insert(std::string(name));
    Wake();
  }

  void Shutdown() override {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
      Wake();
    }
    if (thread_.joinable()) thread_.join();
    MutexLock lock(&mu_);
    for (auto& [id, place] : places_) CloseLocked(*place);
    places_.clear();
    ids_.clear();
    for (const std::shared_ptr<Connection>& open : connections_) open->End();
    while (!connections_.empty()) {
      if (!ended_.WaitFor(&mu_, kUnblockInterval)) continue;
      for (const std::shared_ptr<Connection>& open : connections_) {
        open->Unblock();
      }
    }
  }

  const std::string& dir() const override { return dir_.path(); }

 private:
  bool Watch(int fd, uint64_t id) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = id;
    return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
  }

  void Wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written =
        write(wake_.get(), &one, sizeof(one));
  }

  void ListenLocked(uint64_t id, Place& place)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    auto listener = dir_.Listen(place.name);
    absl::Status status = listener.status();
    if (status.ok() && !Watch(listener->get(), id)) {
      dir_.Remove(place.name);
      status = absl::UnavailableError(
          absl::StrCat("no memory to wait for ", dir_.PathOf(place.name)));
    }
    if (!status.ok()) {
      problems_.emplace_back(place.name, std::move(status));
      return Wake();
    }
    place.listener = *std::move(listener);
    stats_.SocketMade();
  }

  void CloseLocked(Place& place) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    place.waiting.Reset();
    place.deadline = absl::InfiniteFuture();
    if (!place.listener.is_open()) return;
    dir_.Remove(place.name);
    place.listener.Reset();
    stats_.SocketRemoved();
  }

  void Run() {
    for (;;) {
      std::array<epoll_event, 64> events;
      const int ready = epoll_wait(epoll_.get(), events.data(),
                                   static_cast<int>(events.size()), WaitMs());
      for (int i = 0; i < ready; ++i) {
        if (events[i].data.u64 == kWakeId) {
          uint64_t count;
          [[maybe_unused]] const ssize_t got =
              read(wake_.get(), &count, sizeof(count));
        } else {
          Accept(events[i].data.u64);
        }
      }
      LogProblems();
      TellSizes();
      MutexLock lock(&mu_);
      if (stopping_) return;
      EndWaitsLocked();
    }
  }

  int WaitMs() {
    MutexLock lock(&mu_);
    return waits_ > 0 ? 100 : -1;
  }

  void Accept(uint64_t id) {
    Descriptor socket = AcceptOne(id);
    if (!socket.is_open()) return;
    const bool shared = IsReadOnly(id);
    MutexLock lock(&mu_);
    const auto found = places_.find(id);
    if (found == places_.end()) return;
    Place& place = *found->second;
    if (shared || place.connections.empty()) {
      return BeginLocked(id, place, std::move(socket));
    }
    if (place.waiting.is_open()) return Refuse(place, std::move(socket));
    place.waiting = std::move(socket);
    place.deadline = absl::Now() + kMaxWait;
    ++waits_;
  }

  Descriptor AcceptOne(uint64_t id) {
    MutexLock lock(&mu_);
    const auto found = places_.find(id);
    if (found == places_.end()) return Descriptor();
    Descriptor socket(
        accept4(found->second->listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket.is_open() && (errno == EMFILE || errno == ENFILE)) {
      // It waits in the backlog. Without a pause, epoll would report it at
      // once.
      absl::SleepFor(kPause);
    }
    return socket;
  }

  bool IsReadOnly(uint64_t id) {
    std::string name;
    {
      MutexLock lock(&mu_);
      const auto found = places_.find(id);
      if (found == places_.end()) return false;
      name = found->second->name;
    }
    const auto info = exports_.Find(name);
    return info.ok() && info->read_only;
  }

  void Refuse(const Place& place, Descriptor socket) {
    const std::string& other = (*place.connections.begin())->address();
    Connection::Refuse(
        std::move(socket), place.name,
        absl::FailedPreconditionError(absl::StrCat(
            "the volume can be written, and another client has it by "
            "vhost-user: ",
            other, "; stop that virtual machine, or make it read-only")));
  }

  void BeginLocked(uint64_t id, Place& place, Descriptor socket)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (!memory_.MayOpen(ClientMemory::kBaseBytes)) {
      return Connection::Refuse(
          std::move(socket), place.name,
          absl::ResourceExhaustedError(
              "the client memory has no room for one more connection; raise "
              "--client_memory"));
    }
    auto connection =
        std::make_shared<Connection>(std::move(socket), place.name, &memory_);
    connections_.insert(connection);
    place.connections.insert(connection);
    stats_.ConnectionOpened();
    const bool started = threads_.Run([this, id, connection] {
      connection->Serve(exports_, threads_, stats_);
      MutexLock lock(&mu_);
      ForgetLocked(id, connection);
    });
    if (!started) ForgetLocked(id, connection);
  }

  void ForgetLocked(uint64_t id, const std::shared_ptr<Connection>& connection)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    stats_.ConnectionClosed();
    connection->End();
    connections_.erase(connection);
    ended_.SignalAll();
    const auto found = places_.find(id);
    if (found == places_.end()) return;
    Place& place = *found->second;
    place.connections.erase(connection);
    if (!place.waiting.is_open() || !place.connections.empty()) return;
    Descriptor next(std::move(place.waiting));
    place.deadline = absl::InfiniteFuture();
    BeginLocked(id, place, std::move(next));
  }

  void EndWaitsLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (waits_ == 0) return;
    waits_ = 0;
    const absl::Time now = absl::Now();
    for (auto& [id, place] : places_) {
      if (!place->waiting.is_open()) continue;
      if (now < place->deadline) {
        ++waits_;
        continue;
      }
      Descriptor late(std::move(place->waiting));
      place->deadline = absl::InfiniteFuture();
      Refuse(*place, std::move(late));
    }
  }

  void LogProblems() {
    std::vector<std::pair<std::string, absl::Status>> problems;
    {
      MutexLock lock(&mu_);
      problems.swap(problems_);
    }
    for (const auto& [name, why] : problems) {
      LogEvent(Event::kSocketWarning, {.volume = name,
                                       .over = "vhost-user",
                                       .message = std::string(why.message())});
    }
  }

  void TellSizes() {
    absl::flat_hash_set<std::string> changed;
    {
      MutexLock lock(&mu_);
      changed.swap(changed_);
    }
    for (const std::string& name : changed) {
      const auto info = exports_.Find(name);
      if (!info.ok()) continue;
      for (const auto& connection : ConnectionsOf(name)) {
        connection->SetSize(info->size_bytes);
      }
    }
  }

  absl::flat_hash_set<std::shared_ptr<Connection>> ConnectionsOf(
      const std::string& name) {
    MutexLock lock(&mu_);
    const auto found = ids_.find(name);
    if (found == ids_.end()) return {};
    return places_[found->second]->connections;
  }

  static constexpr absl::Duration kPause = absl::Milliseconds(50);

  const SocketDir dir_;
  block::Exports& exports_;
  ClientMemory& memory_;
  VhostStats& stats_;
  Descriptor epoll_;
  Descriptor wake_;

  Mutex mu_;
  CondVar ended_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = kWakeId;
  std::map<std::string, uint64_t, std::less<>> ids_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<uint64_t, std::unique_ptr<Place>> places_
      ABSL_GUARDED_BY(mu_);
  // At least as many as there are second connections.
  int waits_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_set<std::shared_ptr<Connection>> connections_
      ABSL_GUARDED_BY(mu_);
  // What the thread has to log, and whose size it has to look at.
  std::vector<std::pair<std::string, absl::Status>> problems_
      ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<std::string> changed_ ABSL_GUARDED_BY(mu_);

  std::thread thread_;
  // Joins the connections' threads, so it must be destroyed first.
  block::ThreadCache threads_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VhostServer>> VhostServer::Start(
    const std::string& dir, block::Exports* exports, ClientMemory* memory,
    VhostStats* stats) {
  auto sockets = SocketDir::Open(dir);
  if (!sockets.ok()) return sockets.status();
  auto server =
      std::make_unique<ServerImpl>(*std::move(sockets), exports, memory, stats);
  absl::Status opened = server->Open();
  if (!opened.ok()) return opened;
  return server;
}

}  // namespace ramvol::vhost
