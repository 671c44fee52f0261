// A connection's bytes, encrypted on its socket.
#ifndef RAMVOL_BASE_SECURE_STREAM_H_
#define RAMVOL_BASE_SECURE_STREAM_H_

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/types/span.h"
#include "base/peer_names.h"

namespace ramvol {

// The server's end of one connection. Never waits: it calls its socket, which
// it borrows, with MSG_DONTWAIT. One thread at a time may send and one receive;
// before the handshake is done, only one may do anything.
class SecureStream {
 public:
  enum class Handshake {
    kDone,
    kMustReceive,  // Go on when the socket has bytes.
    kMustSend,     // Go on when it has room.
    kFailed,       // The other end was told, if it listens; see failure().
  };

  virtual ~SecureStream() = default;

  // Goes on with the handshake. Leaves in the socket what comes after it.
  virtual Handshake Shake() = 0;
  // Why the handshake or the stream failed, for people; names no bytes of the
  // other end's.
  virtual std::string failure() const = 0;
  // Call it after the handshake; it does not change any more.
  virtual const PeerNames& peer() const = 0;

  // Like recvmsg: the number of bytes, at least one; 0 when the other end has
  // ended or the parts are empty; -1 with errno, EAGAIN when the socket has to
  // be read again.
  virtual ssize_t Receive(absl::Span<const iovec> parts) = 0;
  // The first bytes that the next Receive will return: up to `most` of those
  // that have arrived. Counts and fails as Receive does.
  virtual ssize_t Peek(char* out, size_t most) = 0;
  // Like sendmsg: the number of bytes that the socket took, or -1 with errno,
  // EAGAIN when it has no room. After EAGAIN, and after a call that sent less
  // than `parts`, the next call must begin with the bytes that are left: the
  // first of them may be encrypted already. See committed().
  virtual ssize_t Send(absl::Span<const iovec> parts) = 0;
  // Whether the next call of Send must begin with what the last one left.
  virtual bool committed() const = 0;
  // Tells the other end that nothing follows, as far as the socket has room.
  virtual void Finish() = 0;
};

// Makes the server's end on `fd`; null where the connection is not to be
// encrypted. Thread-safe.
using Securer = std::function<std::unique_ptr<SecureStream>(int fd)>;

}  // namespace ramvol

#endif  // RAMVOL_BASE_SECURE_STREAM_H_
