#include "base/door.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/event_log.h"
#include "base/peer.h"
#include "base/peer_address.h"

namespace ramvol {
namespace {

// The wait before the next try when the system has no resources to accept.
constexpr absl::Duration kPause = absl::Milliseconds(100);
constexpr absl::Duration kTickInterval = absl::Seconds(1);
// Most connections accepted from one socket before the others get their turn.
constexpr int kMaxAcceptedAtOnce = 64;
constexpr int kMaxEvents = 64;
constexpr char kFilesAreShort[] =
    "too few file descriptors are left; close connections, or raise "
    "LimitNOFILE=";
constexpr char kNoRoom[] =
    "no client memory is left; close connections, or raise --client_memory";
// Connections whose opening is incomplete may hold this part of all
// descriptors.
constexpr size_t kOpeningsDivisor = 8;

size_t MaxFiles() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  return static_cast<size_t>(std::min<rlim_t>(limit.rlim_cur, INT_MAX));
}

bool Watch(int epoll, int operation, int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  return epoll_ctl(epoll, operation, fd, &event) == 0;
}

}  // namespace

struct Door::Places {
  Places(size_t most, int epoll_fd, int wake_fd)
      : share(most), epoll(epoll_fd), wake(wake_fd) {}
  ~Places() {
    close(epoll);
    close(wake);
  }
  void Wake() const {
    const uint64_t one = 1;
    // Can only fail when the counter is full, and then the thread wakes anyway.
    [[maybe_unused]] const ssize_t written = write(wake, &one, sizeof(one));
  }

  FairShare share;
  const int epoll;
  const int wake;
};

absl::StatusOr<std::unique_ptr<Door>> Door::Make(DoorOptions options,
                                                 Enter enter,
                                                 DoorStats* stats) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  // At most half of the descriptors, so that a second protocol can have as
  // many.
  const size_t most =
      std::clamp<size_t>(MaxFiles() / 2, 1, options.max_connections);
  auto places = std::make_shared<Places>(most, epoll, wake);
  bool watched =
      epoll >= 0 && wake >= 0 && Watch(epoll, EPOLL_CTL_ADD, wake, EPOLLIN);
  for (const int fd : options.listeners) {
    watched = watched && Watch(epoll, EPOLL_CTL_ADD, fd, 0);
  }
  if (!watched) {
    return absl::UnavailableError(
        absl::StrCat("cannot wait for connections: ", std::strerror(errno)));
  }
  return std::unique_ptr<Door>(
      new Door(std::move(options), std::move(enter), stats, std::move(places)));
}

Door::Door(DoorOptions options, Enter enter, DoorStats* stats,
           std::shared_ptr<Places> places)
    : options_(std::move(options)),
      enter_(std::move(enter)),
      stats_(*stats),
      places_(std::move(places)),
      max_fd_(
          static_cast<int>(MaxFiles() - MaxFiles() / options_.reserve_divisor)),
      openings_(std::clamp<size_t>(MaxFiles() / kOpeningsDivisor, 1,
                                   options_.max_openings)) {}

Door::~Door() { Stop(); }

void Door::Start() {
  thread_ = std::thread([this] { Run(); });
}

void Door::Stop() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  places_->Wake();
  thread_.join();
  while (!waiting_.empty()) close(Take(waiting_.begin()).fd);
}

std::string Door::WhyShut() const {
  if (const char* paused = paused_) return paused;
  if (FilesAreShort()) return kFilesAreShort;
  if (!places_->share.full()) return "";
  return absl::StrCat("all ", places_->share.most(),
                      " connections are taken; close some");
}

size_t Door::inside() const { return places_->share.held(); }

void Door::Run() {
  std::array<epoll_event, kMaxEvents> events;
  while (!stopping_) {
    const absl::Time now = absl::Now();
    if (now >= paused_until_) paused_ = nullptr;
    Listen(paused_ == nullptr && !places_->share.full());
    const int count =
        epoll_wait(places_->epoll, events.data(), kMaxEvents, WaitMs());
    for (int i = 0; i < count; ++i) Handle(events[i].data.fd);
    CloseLate();
    if (absl::Now() >= next_tick_) Tick();
  }
}

// -1, which means forever, only when no deadline is near.
int Door::WaitMs() const {
  absl::Time until = absl::InfiniteFuture();
  if (paused_ != nullptr) until = paused_until_;
  if (!waiting_.empty()) until = std::min(until, waiting_.front().deadline);
  if (options_.tick && inside() > 0) until = std::min(until, next_tick_);
  if (until == absl::InfiniteFuture()) return -1;
  const absl::Duration left =
      std::clamp(until - absl::Now(), absl::ZeroDuration(), absl::Hours(1));
  return static_cast<int>(absl::ToInt64Milliseconds(left)) + 1;
}

void Door::Handle(int fd) {
  if (fd == places_->wake) {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(fd, &count, sizeof(count));
    return;
  }
  // An earlier event of this round may have closed `fd`, and a new connection
  // may have got its number. Judging that one too early does no harm.
  const auto waiting = by_fd_.find(fd);
  if (waiting != by_fd_.end()) {
    Judge(waiting->second);
  } else {
    AcceptSome(fd);
  }
}

void Door::Listen(bool on) {
  if (on == listening_) return;
  listening_ = on;
  const uint32_t events = on ? EPOLLIN : 0U;
  for (const int fd : options_.listeners) {
    Watch(places_->epoll, EPOLL_CTL_MOD, fd, events);
  }
}

void Door::AcceptSome(int listener) {
  const auto& all = options_.listeners;
  if (std::find(all.begin(), all.end(), listener) == all.end()) return;
  for (int i = 0; i < kMaxAcceptedAtOnce; ++i) {
    if (places_->share.full()) return;
    if (options_.has_room && !options_.has_room()) return Pause(kNoRoom);
    if (!AcceptOne(listener)) return;
  }
}

bool Door::AcceptOne(int listener) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof(address);
  const int fd = accept4(listener, reinterpret_cast<sockaddr*>(&address),
                         &bytes, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) {
    // The connection stays in the backlog, so epoll would report the listener
    // again at once. Only a pause keeps the loop from spinning.
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
        errno == ENOBUFS) {
      Pause(kFilesAreShort);
      return false;
    }
    return errno == EINTR || errno == ECONNABORTED;
  }
  std::string peer = PeerOf(address);
  // The connection that has been silent longest makes room.
  if (fd >= max_fd_ && !waiting_.empty()) {
    Close(waiting_.begin(), TurnedAway::kSlowStart);
  } else if (fd >= max_fd_) {
    TurnAway(fd, TurnedAway::kFiles);
    return true;
  }
  if (options_.judge) {
    LetWait(listener, fd, std::move(peer));
  } else {
    LetIn({.fd = fd, .listener = listener, .peer = std::move(peer)});
  }
  return true;
}

void Door::Pause(const char* why) {
  paused_until_ = absl::Now() + kPause;
  paused_ = why;
}

// The kernel always hands out the lowest free number, so one dup tells how many
// descriptors are in use.
bool Door::FilesAreShort() const {
  const int lowest = fcntl(places_->wake, F_DUPFD_CLOEXEC, 0);
  if (lowest >= 0) close(lowest);
  return lowest < 0 || lowest >= max_fd_;
}

void Door::LetWait(int listener, int fd, std::string peer) {
  FairShare::Answer answer;
  while ((answer = openings_.Enter({peer})) != FairShare::Answer::kEntered) {
    MakeRoom(peer, answer == FairShare::Answer::kTooMany);
  }
  const absl::Time deadline = absl::Now() + options_.opening_timeout;
  const auto waiting = waiting_.insert(
      waiting_.end(), Waiting{fd, listener, std::move(peer), deadline});
  by_fd_[fd] = waiting;
  if (options_.secure) waiting->stream = options_.secure(listener, fd);
  // Edge-triggered: each arrival causes one event, although Judge only peeks
  // and leaves the bytes in the socket. A handshake may wait for room to send.
  const uint32_t events =
      waiting->stream == nullptr ? EPOLLIN : EPOLLIN | EPOLLOUT;
  if (!Watch(places_->epoll, EPOLL_CTL_ADD, fd, events | EPOLLET)) {
    Close(waiting, TurnedAway::kFiles);
    return;
  }
  Judge(waiting);
}

void Door::MakeRoom(const std::string& peer, bool of_peer) {
  const auto oldest = std::find_if(
      waiting_.begin(), waiting_.end(),
      [&](const Waiting& other) { return !of_peer || other.peer == peer; });
  // It may have said what it wants by now.
  const size_t before = waiting_.size();
  Judge(oldest);
  if (waiting_.size() == before) Close(oldest, TurnedAway::kSlowStart);
}

void Door::Judge(WaitingList::iterator waiting) {
  if (!Shake(waiting)) return;
  const std::optional<Opening> opening = Look(*waiting);
  if (!opening.has_value()) {
    // The client has left.
    close(Take(waiting).fd);
    return;
  }
  if (*opening == Opening::kIncomplete) return;
  if (*opening == Opening::kWrong) {
    Close(waiting, TurnedAway::kBadStart);
    return;
  }
  Watch(places_->epoll, EPOLL_CTL_DEL, waiting->fd, 0);
  LetIn(Take(waiting));
}

bool Door::Shake(WaitingList::iterator waiting) {
  if (waiting->stream == nullptr || waiting->shaken) return true;
  char first = 0;
  if (recv(waiting->fd, &first, 1, MSG_PEEK) == 0) {
    close(Take(waiting).fd);
    return false;
  }
  const SecureStream::Handshake step = waiting->stream->Shake();
  if (step == SecureStream::Handshake::kFailed) {
    Close(waiting, TurnedAway::kTls, waiting->stream->failure());
    return false;
  }
  waiting->shaken = step == SecureStream::Handshake::kDone;
  return waiting->shaken;
}

std::optional<Opening> Door::Look(Waiting& waiting) const {
  const bool inside = waiting.stream != nullptr && options_.judge_secure;
  const bool any = waiting.stream != nullptr && !options_.judge_secure;
  std::string seen(any ? 1 : options_.opening_bytes, '\0');
  const ssize_t bytes =
      inside ? waiting.stream->Peek(seen.data(), seen.size())
             : recv(waiting.fd, seen.data(), seen.size(), MSG_PEEK);
  if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) {
    return Opening::kIncomplete;
  }
  if (bytes <= 0) return std::nullopt;
  if (any) return Opening::kComplete;
  const bool too_long = static_cast<size_t>(bytes) == seen.size();
  seen.resize(static_cast<size_t>(bytes));
  const Opening opening = options_.judge(seen);
  return opening == Opening::kIncomplete && too_long ? Opening::kWrong
                                                     : opening;
}

Door::Waiting Door::Take(WaitingList::iterator waiting) {
  Waiting taken = std::move(*waiting);
  openings_.Leave({taken.peer});
  by_fd_.erase(taken.fd);
  waiting_.erase(waiting);
  return taken;
}

void Door::Close(WaitingList::iterator waiting, TurnedAway why,
                 const std::string& message) {
  TurnAway(Take(waiting).fd, why, message);
}

void Door::CloseLate() {
  const absl::Time now = absl::Now();
  while (!waiting_.empty() && waiting_.front().deadline <= now) {
    Close(waiting_.begin(), TurnedAway::kSlowStart);
  }
}

void Door::LetIn(Waiting connection) {
  const std::string& peer = connection.peer;
  const FairShare::Answer answer = places_->share.Enter({peer});
  if (answer != FairShare::Answer::kEntered) {
    TurnAway(connection.fd, answer == FairShare::Answer::kFull
                                ? TurnedAway::kFull
                                : TurnedAway::kPeerShare);
    return;
  }
  // Only the deleter matters: the pointer is never used.
  const Place place(places_.get(), [places = places_, peer](const void*) {
    if (places->share.Leave({peer})) places->Wake();
  });
  if (inside() == 1) next_tick_ = absl::Now() + kTickInterval;
  enter_(connection.listener, connection.fd, place,
         std::move(connection.stream));
}

void Door::TurnAway(int fd, TurnedAway why, const std::string& message) {
  stats_.Count(why);
  LogEvent(Event::kConnectionRefused,
           {.client = PeerAddress(fd),
            .over = options_.protocol,
            .reason = kTurnedAwayNames[static_cast<size_t>(why)],
            .message = message});
  close(fd);
}

void Door::Tick() {
  next_tick_ = absl::Now() + kTickInterval;
  if (options_.tick && inside() > 0) options_.tick();
}

}  // namespace ramvol
