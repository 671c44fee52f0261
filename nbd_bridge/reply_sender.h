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

// A queue of replies, and the one thread at a time that sends them. Any thread
// may come to send. It then has the turn: it sends what is ready, together, and
// what becomes ready meanwhile, until nothing is left. A thread that may not
// wait hands its turn over when the socket is full.
//
// A full socket is made wider before anybody waits. Once the client is lost,
// replies are dropped as if they had been sent.
//
// Has no lock of its own: call everything with `mu` held, the lock of the
// connection. Send and SendRest let go of it while they send. Borrows
// everything but the replies.
class ReplySender {
 public:
  // The connection that it sends for.
  class Host {
   public:
    // With `mu` held:

    // Has a thread that may wait call SendRest, soon. False when there is none.
    virtual bool SendElsewhere() = 0;
    // The socket is full, and this thread will wait for the client. That may be
    // sending, and read no reply until it is done.
    virtual void WillWait() = 0;
    // So many replies, which were charged so many bytes, have been sent and
    // deleted.
    virtual void Sent(size_t replies, size_t bytes) = 0;

    // Without it, by the thread that has the turn:

    // The client cannot be reached any more. Told before the socket is shut
    // down, possibly several times.
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

  // Queues a request whose reply is built; `now_ns` is of SteadyNowNs. Nothing
  // is sent yet.
  void Add(std::unique_ptr<Request> reply, int64_t now_ns);

  // Some thread has the turn. It will send what is added now.
  bool sending() const {
    mu_->AssertHeld();
    return sending_;
  }
  // There are replies, and nobody sends them.
  bool IsDue() const {
    mu_->AssertHeld();
    return !ready_.empty() && !sending_;
  }
  // They have waited for as long as replies wait for others.
  bool IsLate() const;
  // They are as many as wait for others.
  bool IsFull() const;

  // If IsDue, takes the turn and sends until nothing is left. Without
  // `may_wait` it waits for the client only when SendElsewhere fails.
  void Send(bool may_wait);
  // What SendElsewhere asks for: goes on with the turn of a thread that could
  // not wait.
  void SendRest();

 private:
  using Requests = std::vector<std::unique_ptr<Request>>;

  void SendAll(bool may_wait) ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mu_);
  // Sends batch_, or the rest of it, and waits for the client.
  void WaitAndSend() ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mu_);
  // Deletes batch_.
  void Forget() ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mu_);
  // Sends batch_, or the rest of it. False when it would have to wait.
  bool SendBatch(bool may_wait) ABSL_LOCKS_EXCLUDED(*mu_);

  // Synchronise themselves, or are constant. Of the holder, only
  // WaitsForClient is called.
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
  int64_t ready_since_ns_ ABSL_GUARDED_BY(*mu_) = 0;  // The first of them.
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_REPLY_SENDER_H_
