// A connected stream socket.
#ifndef RAMVOL_NBD_BRIDGE_SOCKET_H_
#define RAMVOL_NBD_BRIDGE_SOCKET_H_

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/peer_names.h"
#include "base/secure_stream.h"

namespace ramvol::nbd {

// Owns a descriptor. At a time, one thread may send, one may receive, and any
// may shut down. The sizes of the kernel's buffers stay as they are until
// Narrow or Widen.
class Socket {
 public:
  // The most that one call of Send moves, and that one of Receive should ask
  // for, so that progress on a slow connection can be seen.
  static constexpr size_t kMaxBytesAtOnce = size_t{1} << 20;
  // The kernel doubles this for its own overhead: socket(7).
  static constexpr size_t kNarrowBytes = size_t{16} << 10;

  explicit Socket(int fd);
  ~Socket();

  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // Encrypts all that follows, once the handshake is done. Call it once, while
  // nothing else is called. False at `deadline`, or when the handshake fails:
  // `*why` then says why.
  [[nodiscard]] bool Secure(std::unique_ptr<SecureStream> stream,
                            absl::Time deadline, std::string* why);
  // Whom the handshake made certain of; nobody without it.
  const PeerNames& peer_names() const;

  // Fills all of `out`. False at `deadline`, or when the peer has ended or the
  // connection is broken.
  [[nodiscard]] bool ReceiveAll(absl::Span<char> out, absl::Time deadline);
  [[nodiscard]] bool SendAll(absl::string_view data, absl::Time deadline);

  // Waits for at least one byte and takes as many as there are. With
  // `wait_for_all`, waits until all parts are full, but may return less when
  // the process is stopped or traced meanwhile. Returns the number of bytes; 0
  // when the peer has ended or the connection is broken; nullopt when nothing
  // came for the idle time. May change `parts`.
  //
  // Without `wait_for_all`, it yields its core for a moment before it sleeps,
  // if that sufficed the last time. So it often finds several small requests
  // instead of being woken for each. One thread at a time.
  std::optional<size_t> Receive(absl::Span<iovec> parts, bool wait_for_all);

  // Sends some bytes of `parts`, which must not be empty. Waits for room if
  // `wait`. Returns the number of bytes; 0 when there is no room and not
  // `wait`; a negative number when the connection is broken. Restores `parts`
  // before it returns.
  ssize_t Send(absl::Span<iovec> parts, bool wait);

  // Sets how long later calls of Receive wait. Zero, the default: forever.
  void SetIdleTime(absl::Duration idle_time);
  // Lets the kernel buffer about kNarrowBytes each way.
  void Narrow();
  // Lets the kernel buffer up to wide_bytes(), which makes large transfers
  // fast.
  void Widen();
  size_t wide_bytes() const { return kept_bytes_ + wide_send_bytes_; }
  // The part of wide_bytes() that the peer may still use after Narrow: TCP
  // never takes back a window that it has promised.
  size_t kept_bytes() const { return kept_bytes_; }
  // Bytes that were sent and that the peer has not taken; 0 for sockets of
  // which the kernel does not tell.
  size_t unsent_bytes() const;
  // Whether the peer has closed or this was shut down.
  bool IsBroken() const;

  // For a SecureStream.
  int fd() const { return fd_; }
  // The other end's address: see PeerAddress.
  std::string Peer() const;

  // Wakes the receiver, which gets only what has already arrived.
  void ShutdownReceiving();
  // The peer sees the end of the stream.
  void ShutdownSending();
  // Both. A thread in Send fails.
  void Shutdown();
  // As Shutdown, and the peer can tell that nothing was cut off. Call it when
  // no thread sends or receives any more.
  void Finish();

 private:
  // Like recvmsg, but nullopt when there is nothing and `flags` or the idle
  // time forbid waiting.
  std::optional<size_t> ReceiveOnce(absl::Span<iovec> parts, int flags);
  std::optional<size_t> ReceiveSecure(absl::Span<iovec> parts, int flags);
  ssize_t SendAtOnce(absl::Span<iovec> parts, bool wait);
  ssize_t SendSecure(absl::Span<iovec> parts, bool wait);
  // What is there or what there is room for, without waiting.
  ssize_t ReceiveNow(absl::Span<char> out);
  ssize_t SendNow(absl::string_view data);

  const int fd_;
  const size_t wide_send_bytes_;
  const size_t kept_bytes_;
  bool polls_ = true;  // Used by the receiving thread.
  absl::Duration idle_time_ = absl::ZeroDuration();  // Likewise.
  // Null: the socket's bytes are plain.
  std::unique_ptr<SecureStream> secure_;
};

// Removes `bytes` bytes from the front of `parts`, and parts that become empty.
absl::Span<iovec> Advance(absl::Span<iovec> parts, size_t bytes);

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_SOCKET_H_
