// A connected stream socket.
#ifndef RAMVOL_NBD_BRIDGE_SOCKET_H_
#define RAMVOL_NBD_BRIDGE_SOCKET_H_

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace ramvol::nbd {

// Owns a descriptor. One thread may send, one receive and any shut down at a
// time. The kernel's buffers are what they are, until it is told.
class Socket {
 public:
  // Most that one call of Send moves, and that Receive should be asked for, so
  // that progress shows.
  static constexpr size_t kMaxBytesAtOnce = size_t{1} << 20;
  // The kernel counts what it needs itself, and so allows twice as much.
  static constexpr size_t kNarrowBytes = size_t{16} << 10;

  explicit Socket(int fd);
  ~Socket();

  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // Fills all of `out`. False when the peer has ended, the connection is
  // broken, or it is `deadline`.
  [[nodiscard]] bool ReceiveAll(absl::Span<char> out, absl::Time deadline);
  [[nodiscard]] bool SendAll(absl::string_view data, absl::Time deadline);

  // Waits for at least one byte and takes as many as there are; with
  // `wait_for_all`, waits until all parts are full, but may take less when the
  // process is stopped meanwhile, or traced. How many; 0 when the peer has
  // ended or the connection is broken; nullopt when nothing came for its idle
  // time.
  //
  // Without `wait_for_all`, it gives its core to others for a moment before it
  // sleeps, as long as that was enough the last time: so it finds many small
  // requests where it would be woken up for each. One thread at a time.
  std::optional<size_t> Receive(absl::Span<iovec> parts, bool wait_for_all);

  // Sends something of the parts, at least one, waiting for room if `wait`. How
  // many bytes; 0: there is no room and not `wait`; negative: the connection is
  // broken. Changes the parts only while it runs.
  ssize_t Send(absl::Span<iovec> parts, bool wait);

  // Of calls of Receive that begin later. Zero, as at first: there is none.
  void SetIdleTime(absl::Duration idle_time);
  // Lets the kernel hold little for it: kNarrowBytes or so each way.
  void Narrow();
  // Lets the kernel hold what makes large transfers fast, wide_bytes() more.
  void Widen();
  size_t wide_bytes() const { return kept_bytes_ + wide_send_bytes_; }
  // The part of it that the peer may still make use of when it is narrow again:
  // TCP never takes back a window that it has promised.
  size_t kept_bytes() const { return kept_bytes_; }
  // What was sent and has not been taken by the peer. Of some kinds of sockets
  // the kernel does not tell; then 0.
  size_t unsent_bytes() const;
  // The peer has closed, or this was shut down.
  bool IsBroken() const;

  // The other end's address, as PeerAddress has it.
  std::string Peer() const;

  // No more is received than what has arrived; the receiver wakes up.
  void ShutdownReceiving();
  // The peer sees the end of what was sent.
  void ShutdownSending();
  // Both, and whoever sends fails.
  void Shutdown();

 private:
  // As recvmsg, but nullopt when `flags` or the idle time forbid to wait for
  // what is not there.
  std::optional<size_t> ReceiveOnce(absl::Span<iovec> parts, int flags);
  ssize_t SendAtOnce(absl::Span<iovec> parts, bool wait);

  const int fd_;
  const size_t wide_send_bytes_;
  const size_t kept_bytes_;
  bool polls_ = true;  // Belongs to whoever receives.
};

// Removes `bytes` from the front of `parts`, and with them empty parts.
absl::Span<iovec> Advance(absl::Span<iovec> parts, size_t bytes);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_SOCKET_H_
