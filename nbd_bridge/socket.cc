#include "nbd_bridge/socket.h"

#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "absl/time/clock.h"
#include "proto/base/peer_address.h"

namespace ramvol::nbd {
namespace {

// False at the deadline, or when poll itself fails.
bool WaitFor(int fd, short events, absl::Time deadline) {
  for (;;) {
    const absl::Duration left =
        std::clamp(deadline - absl::Now(), absl::ZeroDuration(),
                   absl::Hours(1)) +
        absl::Milliseconds(1);
    pollfd wait{fd, events, 0};
    const int ready =
        poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(left)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
    if (absl::Now() >= deadline) return false;
  }
}

// Going to sleep and being woken up costs about so much; a client that sends
// something sooner is waited for awake.
constexpr int64_t kPollNs = 50'000;

// Of Unix sockets, whose buffers do not grow by themselves as those of TCP do.
// With Linux's default of 208 KiB, sender and receiver of a large reply wake
// each other up for each part of it.
constexpr int kUnixSendBufferBytes = 1 << 20;

bool IsUnix(int fd) {
  int domain = 0;
  socklen_t length = sizeof(domain);
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 &&
         domain == AF_UNIX;
}

// Cheap, and some milliseconds old.
int64_t CoarseNowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return absl::ToInt64Nanoseconds(absl::DurationFromTimespec(now));
}

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

bool MustWait() { return errno == EAGAIN || errno == EWOULDBLOCK; }

msghdr Message(absl::Span<iovec> parts) {
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  return message;
}

}  // namespace

Socket::Socket(int fd) : fd_(fd), progress_ns_(CoarseNowNs()) {
  // Only a wish. What is asked for beyond net.core.wmem_max is cut to that.
  if (IsUnix(fd)) {
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kUnixSendBufferBytes,
                     sizeof(kUnixSendBufferBytes));
  }
}

Socket::~Socket() { close(fd_); }

bool Socket::ReceiveAll(absl::Span<char> out, absl::Time deadline) {
  while (!out.empty()) {
    const ssize_t got = recv(fd_, out.data(), out.size(), MSG_DONTWAIT);
    if (got > 0) {
      out.remove_prefix(static_cast<size_t>(got));
    } else if (got == 0) {
      return false;
    } else if (errno == EINTR) {
      continue;
    } else if (!MustWait() || !WaitFor(fd_, POLLIN, deadline)) {
      return false;
    }
  }
  return true;
}

bool Socket::SendAll(absl::string_view data, absl::Time deadline) {
  while (!data.empty()) {
    const ssize_t sent =
        send(fd_, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      data.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EINTR) {
      continue;
    } else if (!MustWait() || !WaitFor(fd_, POLLOUT, deadline)) {
      return false;
    }
  }
  return true;
}

size_t Socket::Receive(absl::Span<iovec> parts, bool wait_for_all) {
  if (wait_for_all) return ReceiveOnce(parts, MSG_WAITALL).value_or(0);
  const int64_t start = NowNs();
  while (polls_ && NowNs() - start < kPollNs) {
    if (const auto got = ReceiveOnce(parts, MSG_DONTWAIT)) return *got;
    sched_yield();
  }
  const size_t got = ReceiveOnce(parts, 0).value_or(0);
  polls_ = NowNs() - start < kPollNs;
  return got;
}

std::optional<size_t> Socket::ReceiveOnce(absl::Span<iovec> parts, int flags) {
  msghdr message = Message(parts);
  for (;;) {
    const ssize_t got = recvmsg(fd_, &message, flags);
    if (got > 0) progress_ns_.store(CoarseNowNs(), std::memory_order_relaxed);
    if (got >= 0) return static_cast<size_t>(got);
    if (MustWait()) return std::nullopt;
    if (errno != EINTR) return 0;
  }
}

ssize_t Socket::Send(absl::Span<iovec> parts, bool wait) {
  // As many parts as are allowed, or some of the first.
  size_t count = 0;
  size_t bytes = 0;
  while (count < std::min<size_t>(parts.size(), IOV_MAX) &&
         parts[count].iov_len <= kMaxBytesAtOnce - bytes) {
    bytes += parts[count++].iov_len;
  }
  const size_t cut = count == 0 ? parts[0].iov_len - kMaxBytesAtOnce : 0;
  parts[0].iov_len -= cut;
  const ssize_t sent =
      SendAtOnce(parts.first(std::max<size_t>(count, 1)), wait);
  parts[0].iov_len += cut;
  return sent;
}

ssize_t Socket::SendAtOnce(absl::Span<iovec> parts, bool wait) {
  const msghdr message = Message(parts);
  for (;;) {
    const ssize_t sent =
        sendmsg(fd_, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
    if (sent > 0) progress_ns_.store(CoarseNowNs(), std::memory_order_relaxed);
    if (sent >= 0) return sent;
    if (MustWait() && !wait) return 0;
    if (errno != EINTR) return -1;
  }
}

absl::Duration Socket::SinceProgress() const {
  return absl::Nanoseconds(CoarseNowNs() -
                           progress_ns_.load(std::memory_order_relaxed));
}

std::string Socket::Peer() const { return PeerAddress(fd_); }

void Socket::ShutdownReceiving() { shutdown(fd_, SHUT_RD); }

void Socket::ShutdownSending() { shutdown(fd_, SHUT_WR); }

void Socket::Shutdown() { shutdown(fd_, SHUT_RDWR); }

absl::Span<iovec> Advance(absl::Span<iovec> parts, size_t bytes) {
  while (!parts.empty() && bytes >= parts[0].iov_len) {
    bytes -= parts[0].iov_len;
    parts.remove_prefix(1);
  }
  if (!parts.empty()) {
    parts[0].iov_base = static_cast<char*>(parts[0].iov_base) + bytes;
    parts[0].iov_len -= bytes;
  }
  return parts;
}

}  // namespace ramvol::nbd
