#include "server/http2/watched_connection.h"

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/event_log.h"
#include "base/peer_address.h"

namespace ramvol::http2 {
namespace {

using Parts = absl::InlinedVector<std::string_view, 16>;

// The first `bytes` of a message.
Parts PartsOf(const msghdr& message, size_t bytes = SIZE_MAX) {
  Parts parts;
  for (size_t i = 0; i < message.msg_iovlen && bytes > 0; ++i) {
    const iovec& part = message.msg_iov[i];
    const size_t length = std::min(part.iov_len, bytes);
    parts.emplace_back(static_cast<const char*>(part.iov_base), length);
    bytes -= length;
  }
  return parts;
}

size_t Length(const Parts& parts) {
  size_t bytes = 0;
  for (const std::string_view part : parts) bytes += part.size();
  return bytes;
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

std::string BigEndian(size_t number, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) {
    out += static_cast<char>(number >> (8 * i));
  }
  return out;
}

// A frame's head and its payload (RFC 9113, section 4.1).
std::string Frame(size_t type, size_t flags, uint32_t stream,
                  const std::string& payload) {
  return BigEndian(payload.size(), 3) + BigEndian(type, 1) +
         BigEndian(flags, 1) + BigEndian(stream, 4) + payload;
}

std::string Encode(const Inflow::WindowUpdate& update) {
  return Frame(/*WINDOW_UPDATE*/ 8, 0, update.stream,
               BigEndian(update.increment, 4));
}

// A field that leaves the client's table as it is (RFC 7541, section 6.2.2).
std::string Field(const std::string& name, const std::string& value) {
  return BigEndian(0, 1) + BigEndian(name.size(), 1) + name +
         BigEndian(value.size(), 1) + value;
}

// The whole answer to a call, in the words that gRPC has for it (gRPC over
// HTTP2, "Trailers-Only").
std::string Encode(const Inflow::TooLong& message) {
  return Frame(
      /*HEADERS*/ 1, /*END_STREAM, END_HEADERS*/ 5, message.stream,
      std::string("\x88") +  // :status 200, of the static table.
          Field("content-type", "application/grpc") +
          Field("grpc-status", "8") +  // RESOURCE_EXHAUSTED
          Field(
              "grpc-message",
              absl::StrCat("Received message larger than max (", message.length,
                           " vs. ", ClientMemory::kMaxMessageBytes, ")")));
}

}  // namespace

WatchedConnection::WatchedConnection(FloodBudget* common, Options options)
    : options_(std::move(options)),
      inflow_(options_.memory.get(), this, options_.peer, options_.granted),
      gate_(common, options_.peer_streams, &inflow_) {}

ssize_t WatchedConnection::Receive(msghdr* message) {
  // What it says beside the data is about the socket's bytes.
  message->msg_namelen = 0;
  message->msg_controllen = 0;
  message->msg_flags = 0;
  return options_.secure->Receive({message->msg_iov, message->msg_iovlen});
}

ssize_t WatchedConnection::SendNow(const msghdr& message, int flags) {
  if (options_.secure == nullptr) {
    return options_.send(options_.fd, &message, flags);
  }
  return options_.secure->Send({message.msg_iov, message.msg_iovlen});
}

bool WatchedConnection::Received(const msghdr& message, size_t bytes) {
  Flood flood = Flood::kNone;
  bool resume = false;
  {
    MutexLock lock(&mu_);
    const int64_t now_ns = SteadyNowNs();
    for (const std::string_view part : PartsOf(message, bytes)) {
      flood = gate_.Received(part, now_ns);
    }
    resume = inflow_.has_news();
  }
  if (flood != Flood::kNone) End(WhyFor(flood));
  if (resume) Resume();
  return !ended_;
}

ssize_t WatchedConnection::Send(const msghdr& message, int flags) {
  MutexLock lock(&send_mu_);
  if (!SendOwnLocked()) {
    NoteSent(-1, 0);
    errno = EAGAIN;
    return -1;
  }
  const ssize_t sent = SendTheirsLocked(message, flags);
  const int error = errno;
  SendOwnLocked();
  errno = error;
  return sent;
}

ssize_t WatchedConnection::SendTheirsLocked(const msghdr& message, int flags) {
  const Parts parts = PartsOf(message);
  const size_t all = Length(parts);
  size_t admitted = all;
  Updates updates;
  {
    MutexLock lock(&mu_);
    updates = gate_.FindUpdates(parts);
    admitted = AdmitLocked(updates, all);
  }
  if (admitted == 0 && all > 0) return FrameGate::kUpdateBytes;
  ssize_t sent = 0;
  if (admitted == all) {
    sent = SendNow(message, flags);
  } else {
    absl::InlinedVector<iovec, 16> iov;
    for (const std::string_view part : PartsOf(message, admitted)) {
      iov.push_back({const_cast<char*>(part.data()), part.size()});
    }
    msghdr first = message;
    first.msg_iov = iov.data();
    first.msg_iovlen = iov.size();
    sent = SendNow(first, flags);
  }
  const int error = errno;
  NoteSent(sent, admitted);
  if (sent > 0) {
    const auto bytes = static_cast<size_t>(sent);
    MutexLock lock(&mu_);
    const int64_t now_ns = SteadyNowNs();
    for (const FrameGate::UpdateAt& at : updates) {
      if (at.offset < bytes) inflow_.Updated(at.update);
    }
    for (const std::string_view part : PartsOf(message, bytes)) {
      gate_.Sent(part, now_ns);
    }
  }
  errno = error;
  return sent;
}

size_t WatchedConnection::AdmitLocked(const Updates& updates, size_t bytes) {
  for (const auto& [offset, update] : updates) {
    if (inflow_.MayUpdate(update.stream)) continue;
    // Its first byte is encrypted already.
    if (offset == 0 && committed()) continue;
    if (offset == 0) inflow_.Hold(update);
    return offset;
  }
  return bytes;
}

bool WatchedConnection::SendOwnLocked() {
  if (closed_) return true;
  bool may_begin = false;
  {
    MutexLock lock(&mu_);
    for (const Inflow::WindowUpdate& update : inflow_.TakeReady()) {
      own_ += Encode(update);
    }
    for (const Inflow::TooLong& message : inflow_.TakeTooLong()) {
      own_ += Encode(message);
    }
    may_begin = gate_.between_sent_frames() && !committed();
  }
  if (own_.empty() || (!own_cut_ && !may_begin)) return true;
  iovec part = {own_.data(), own_.size()};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const ssize_t sent = SendNow(message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent > 0) {
    own_cut_ = static_cast<size_t>(sent) < own_.size();
    own_.erase(0, static_cast<size_t>(sent));
  }
  return !own_cut_;
}

void WatchedConnection::Resume() {
  MutexLock sending(&send_mu_);
  {
    MutexLock lock(&mu_);
    inflow_.TakeGrant();
  }
  SendOwnLocked();
}

void WatchedConnection::Close() {
  MutexLock sending(&send_mu_);
  closed_ = true;
  // After whatever was shown to it, in the eyes of ThreadSanitizer too.
  MutexLock lock(&mu_);
}

void WatchedConnection::End(TurnedAway why) {
  if (ended_.exchange(true)) return;
  options_.stats->Count(why);
  LogEvent(Event::kConnectionEnded,
           {.client = PeerAddress(options_.fd),
            .over = "grpc",
            .reason = kTurnedAwayNames[static_cast<size_t>(why)]});
  MutexLock sending(&send_mu_);
  if (!closed_) shutdown(options_.fd, SHUT_RDWR);
}

void WatchedConnection::EndIfLate(int64_t now_ns) {
  if (gate_.headers_late(now_ns)) End(TurnedAway::kHeaders);
}

void WatchedConnection::EndIfSlow(bool others_wait, int64_t now_ns) {
  const bool full = full_.load(std::memory_order_relaxed);
  if (!others_wait || !full) {
    slow_since_ns_ = 0;
    return;
  }
  const uint64_t sent = sent_bytes_.load(std::memory_order_relaxed);
  if (slow_since_ns_ == 0 || sent - slow_sent_bytes_ >= kMinSlowBytes) {
    slow_since_ns_ = now_ns;
    slow_sent_bytes_ = sent;
  }
  if (now_ns - slow_since_ns_ > kMaxSlowNs) End(TurnedAway::kSlowClient);
}

std::function<void()> WatchedConnection::SendAway() {
  return [self = weak_from_this()] {
    if (const auto connection = self.lock()) {
      connection->End(TurnedAway::kSlowClient);
    }
  };
}

void WatchedConnection::NoteSent(ssize_t sent, size_t wanted) {
  if (sent > 0) {
    sent_bytes_.fetch_add(static_cast<uint64_t>(sent),
                          std::memory_order_relaxed);
  }
  const bool full = sent < 0 || static_cast<size_t>(sent) < wanted;
  if (full != full_.load(std::memory_order_relaxed)) {
    full_.store(full, std::memory_order_relaxed);
  }
}

}  // namespace ramvol::http2
