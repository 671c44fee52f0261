// Sends the replies of one connection.
#ifndef RAMVOL_NBD_BRIDGE_REPLY_SENDER_H_
#define RAMVOL_NBD_BRIDGE_REPLY_SENDER_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/types/span.h"
#include "base/client_memory.h"
#include "base/mutex.h"
#include "nbd_bridge/connection_buffers.h"
#include "nbd_bridge/request.h"
#include "nbd_bridge/socket.h"

namespace ramvol::nbd {

// A queue of replies. One thread at a time sends them: it *has the turn*. It
// sends all that are ready with one call, and goes on with those that became
// ready meanwhile, until none is left. When the socket is full, a thread that
// may not wait hands its turn over.
//
// Before a thread waits for a full socket, its buffers are made wide. Once the
// client is lost, replies are dropped as if they had been sent.
//
// Has no lock of its own: call everything with the connection's lock `mu` held.
// Send and SendRest release it while they send. Borrows everything but the
// replies.
class ReplySender {
 public:
  // The connection that replies are sent for.
  class Host {
   public:
    // Called with `mu` held:

    // Has a thread that may wait call SendRest soon. False when there is none.
    virtual bool SendElsewhere() = 0;
    // The socket is full, and this thread is about to wait for the client.
    // Someone else must read from the socket then: the client may be sending,
    // and read no reply until it is done.
    virtual void WillWait() = 0;
    // `replies` replies, charged `bytes` in total, have been sent and deleted.
    virtual void Sent(size_t replies, size_t bytes) = 0;

    // Called without `mu`, by the thread that has the turn:

    // The client is gone. Called before the socket is shut down, possibly
    // several times.
    virtual void Lost() = 0;

   protected:
    ~Host() = default;
  };

  ReplySender(Socket& socket, ClientMemory::Holder& holder,
              ConnectionBuffers& buffers, Mutex* mu, Host* host)
      : socket_(socket),
        holder_(holder),
        host_(*host),
        mu_(mu),
        buffers_(buffers) {}

  ReplySender(const ReplySender&) = delete;
  ReplySender& operator=(const ReplySender&) = delete;

  // Queues a request whose reply is built. Sends nothing yet. `now_ns` comes
  // from SteadyNowNs.
  void Add(std::unique_ptr<Request> reply, int64_t now_ns);

  // Whether a thread has the turn. It will also send what is added now.
  bool sending() const {
    mu_->AssertHeld();
    return sending_;
  }
  // Whether replies are ready and no thread sends them.
  bool IsDue() const {
    mu_->AssertHeld();
    return !ready_.empty() && !sending_;
  }
  // Whether they have waited long enough for others.
  bool IsLate() const;
  // Whether there are enough to send without waiting for others.
  bool IsFull() const;

  // If IsDue, takes the turn and sends until nothing is left. Without
  // `may_wait`, this thread waits for the client only if SendElsewhere fails.
  void Send(bool may_wait);
  // Continues the turn that another thread handed over (SendElsewhere).
  void SendRest();

 private:
  using Requests = std::vector<std::unique_ptr<Request>>;

  void SendAll(bool may_wait) ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mu_);
  // Sends the rest of batch_, waiting for the client.
  void WaitAndSend() ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mu_);
  // Deletes batch_.
  void Forget() ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mu_);
  // Sends the rest of batch_. False when that would block.
  bool SendBatch(bool may_wait) ABSL_LOCKS_EXCLUDED(*mu_);

  // Thread-safe or constant. Of the holder, only WaitsForClient is called.
  Socket& socket_;
  ClientMemory::Holder& holder_;
  Host& host_;
  Mutex* const mu_;

  // Belong to the thread that has the turn.
  Requests batch_;
  std::vector<iovec> parts_;
  absl::Span<iovec> unsent_parts_;

  ConnectionBuffers& buffers_ ABSL_GUARDED_BY(*mu_);
  bool sending_ ABSL_GUARDED_BY(*mu_) = false;  // A thread has the turn.
  Requests ready_ ABSL_GUARDED_BY(*mu_);
  int64_t ready_since_ns_ ABSL_GUARDED_BY(*mu_) =
      0;  // When the first was added.
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_REPLY_SENDER_H_
