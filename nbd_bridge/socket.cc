#include "nbd_bridge/socket.h"

#include <limits.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "absl/time/clock.h"
#include "base/peer_address.h"

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

// About what sleeping and being woken costs. A receiver stays awake for a
// client that is likely to send sooner (docs/decisions/0020).
constexpr int64_t kPollNs = 50'000;

// The kernel cuts this to net.core.wmem_max and rmem_max (by default 208 KiB)
// and then doubles it: socket(7).
constexpr size_t kWideBytes = size_t{512} << 10;

void SetBuffer(int fd, int option, size_t bytes) {
  const int wish = static_cast<int>(bytes);
  (void)setsockopt(fd, SOL_SOCKET, option, &wish, sizeof(wish));
}

// The kernel's actual size of a wide buffer.
size_t WideBytes(int option) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  SetBuffer(fd, option, kWideBytes);
  int allowed = 0;
  socklen_t length = sizeof(allowed);
  const bool known =
      getsockopt(fd, SOL_SOCKET, option, &allowed, &length) == 0 && allowed > 0;
  if (fd >= 0) close(fd);
  return known ? static_cast<size_t>(allowed) : 2 * kWideBytes;
}

size_t WideSendBytes() {
  static const size_t bytes = WideBytes(SO_SNDBUF);
  return bytes;
}

size_t WideReceiveBytes() {
  static const size_t bytes = WideBytes(SO_RCVBUF);
  return bytes;
}

bool IsUnix(int fd) {
  int domain = 0;
  socklen_t length = sizeof(domain);
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 &&
         domain == AF_UNIX;
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

// Data on its way through a Unix socket is charged to the sender's buffer, so
// the receive buffer does not matter.
Socket::Socket(int fd)
    : fd_(fd),
      wide_send_bytes_(WideSendBytes()),
      kept_bytes_(IsUnix(fd) ? 0 : WideReceiveBytes()) {}

Socket::~Socket() { close(fd_); }

bool Socket::Secure(std::unique_ptr<SecureStream> stream, absl::Time deadline,
                    std::string* why) {
  using Handshake = SecureStream::Handshake;
  for (;;) {
    const Handshake step = stream->Shake();
    if (step == Handshake::kDone) break;
    if (step == Handshake::kFailed) {
      *why = stream->failure();
      return false;
    }
    const short event = step == Handshake::kMustReceive ? POLLIN : POLLOUT;
    if (!WaitFor(fd_, event, deadline)) {
      *why = "the client does not go on with the handshake";
      return false;
    }
  }
  secure_ = std::move(stream);
  return true;
}

const PeerNames& Socket::peer_names() const {
  static const PeerNames& nobody = *new PeerNames;
  return secure_ == nullptr ? nobody : secure_->peer();
}

ssize_t Socket::ReceiveNow(absl::Span<char> out) {
  if (secure_ == nullptr) {
    return recv(fd_, out.data(), out.size(), MSG_DONTWAIT);
  }
  const iovec part = {out.data(), out.size()};
  return secure_->Receive({&part, 1});
}

ssize_t Socket::SendNow(absl::string_view data) {
  if (secure_ == nullptr) {
    return send(fd_, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  const iovec part = {const_cast<char*>(data.data()), data.size()};
  return secure_->Send({&part, 1});
}

bool Socket::ReceiveAll(absl::Span<char> out, absl::Time deadline) {
  while (!out.empty()) {
    const ssize_t got = ReceiveNow(out);
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
    const ssize_t sent = SendNow(data);
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

std::optional<size_t> Socket::Receive(absl::Span<iovec> parts,
                                      bool wait_for_all) {
  if (wait_for_all) return ReceiveOnce(parts, MSG_WAITALL);
  const int64_t start = NowNs();
  while (polls_ && NowNs() - start < kPollNs) {
    if (const auto got = ReceiveOnce(parts, MSG_DONTWAIT)) return got;
    sched_yield();
  }
  const auto got = ReceiveOnce(parts, 0);
  polls_ = NowNs() - start < kPollNs;
  return got;
}

std::optional<size_t> Socket::ReceiveOnce(absl::Span<iovec> parts, int flags) {
  if (secure_ != nullptr) return ReceiveSecure(parts, flags);
  msghdr message = Message(parts);
  for (;;) {
    const ssize_t got = recvmsg(fd_, &message, flags);
    if (got >= 0) return static_cast<size_t>(got);
    if (MustWait()) return std::nullopt;
    if (errno != EINTR) return 0;
  }
}

std::optional<size_t> Socket::ReceiveSecure(absl::Span<iovec> parts,
                                            int flags) {
  const absl::Time deadline = idle_time_ == absl::ZeroDuration()
                                  ? absl::InfiniteFuture()
                                  : absl::Now() + idle_time_;
  size_t all = 0;
  int64_t awake_until = 0;
  for (;;) {
    const ssize_t got = secure_->Receive(parts);
    if (got > 0) {
      all += static_cast<size_t>(got);
      parts = Advance(parts, static_cast<size_t>(got));
      if ((flags & MSG_WAITALL) == 0 || parts.empty()) return all;
      // The rest of a message is on its way, in records of 16 KiB. To sleep and
      // be woken for each costs more than to decrypt it.
      awake_until = NowNs() + kPollNs;
    } else if (got == 0 || !MustWait()) {
      return all;
    } else if (awake_until > NowNs()) {
      sched_yield();
    } else if ((flags & MSG_DONTWAIT) != 0 || !WaitFor(fd_, POLLIN, deadline)) {
      if (all > 0) return all;
      return std::nullopt;
    }
  }
}

ssize_t Socket::Send(absl::Span<iovec> parts, bool wait) {
  // As many whole parts as one call may move, or a piece of the first.
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

ssize_t Socket::SendSecure(absl::Span<iovec> parts, bool wait) {
  for (;;) {
    const ssize_t sent = secure_->Send(parts);
    if (sent > 0) return sent;
    if (sent == 0 || !MustWait()) return -1;
    if (!wait) return 0;
    if (!WaitFor(fd_, POLLOUT, absl::InfiniteFuture())) return -1;
  }
}

ssize_t Socket::SendAtOnce(absl::Span<iovec> parts, bool wait) {
  if (secure_ != nullptr) return SendSecure(parts, wait);
  const msghdr message = Message(parts);
  for (;;) {
    const ssize_t sent =
        sendmsg(fd_, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT));
    if (sent >= 0) return sent;
    if (MustWait() && !wait) return 0;
    if (errno != EINTR) return -1;
  }
}

void Socket::Narrow() {
  // Not SO_RCVBUF: TCP has promised the peer a window that cannot be taken
  // back, and data that arrives beyond a shrunken buffer is dropped.
  SetBuffer(fd_, SO_SNDBUF, kNarrowBytes);
}

void Socket::Widen() {
  SetBuffer(fd_, SO_SNDBUF, kWideBytes);
  if (kept_bytes_ != 0) SetBuffer(fd_, SO_RCVBUF, kWideBytes);
}

void Socket::SetIdleTime(absl::Duration idle_time) {
  idle_time_ = idle_time;
  const timeval wait = absl::ToTimeval(idle_time);
  // After this time, recvmsg fails with EAGAIN, for which ReceiveOnce returns
  // nullopt.
  (void)setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
}

size_t Socket::unsent_bytes() const {
  int bytes = 0;
  return ioctl(fd_, SIOCOUTQ, &bytes) == 0 ? static_cast<size_t>(bytes) : 0;
}

bool Socket::IsBroken() const {
  // poll reports POLLHUP and POLLERR even when no event is asked for.
  pollfd look{fd_, 0, 0};
  return poll(&look, 1, 0) > 0;
}

std::string Socket::Peer() const { return PeerAddress(fd_); }

void Socket::ShutdownReceiving() { shutdown(fd_, SHUT_RD); }

void Socket::ShutdownSending() { shutdown(fd_, SHUT_WR); }

void Socket::Shutdown() { shutdown(fd_, SHUT_RDWR); }

void Socket::Finish() {
  if (secure_ != nullptr) secure_->Finish();
  Shutdown();
}

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
