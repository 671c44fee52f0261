// The transmission phase of one connection.
#ifndef RAMVOL_NBD_BRIDGE_SESSION_H_
#define RAMVOL_NBD_BRIDGE_SESSION_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/block/thread_cache.h"
#include "base/block/work_estimate.h"
#include "base/client_memory.h"
#include "base/mutex.h"
#include "nbd_bridge/connection_buffers.h"
#include "nbd_bridge/negotiation.h"
#include "nbd_bridge/reply_sender.h"
#include "nbd_bridge/request.h"
#include "nbd_bridge/request_reader.h"
#include "nbd_bridge/socket.h"
#include "nbd_bridge/stats.h"
#include "nbd_bridge/validation.h"

namespace ramvol::nbd {

// Bound for the unanswered requests of one connection: their data and extents,
// and RequestReader::kRequestBytes for each. Beyond it, the connection is not
// read. ClientMemory bounds all connections together.
inline constexpr size_t kMaxConnectionBytes = size_t{64} << 20;
// Most threads of one connection. On few cores: one for each core, and one that
// reads.
inline constexpr int kMaxConnectionThreads = 8;

// Receives requests, carries them out and sends replies in the order in which
// they become ready.
//
// Threads take turns. A thread without a request to carry out reads from the
// socket, then carries out what it read. So a client that waits for each reply
// is served by one thread. When many requests or a long one have arrived,
// another thread is woken to help or to read on. Replies go to a ReplySender.
// Devices that are not synchronous need no such help; the threads that call
// Done send their replies, as long as the socket has room.
//
// A session charges the client memory before it takes a request, and reads no
// request without room. It begins with narrow buffers, asks for wide ones when
// those fill up, and gives them back after kIdleTime without a request.
class Session final : private RequestOwner, private ReplySender::Host {
 public:
  // What the sessions of a server share. Borrowed.
  struct Parts {
    block::ThreadCache& threads;
    NbdStats& stats;
    // While true, connections end by the server's will.
    const std::atomic<bool>& draining;
    // While true, arriving requests are not answered.
    const std::atomic<bool>& ignoring;
  };

  static constexpr absl::Duration kIdleTime = absl::Seconds(1);

  // Borrows `socket`, which must be narrow, and `holder`, which must be open
  // and hold nothing.
  Session(Socket& socket, ClientMemory::Holder& holder, Negotiated negotiated,
          const Parts& parts);
  ~Session() { room_->Forget(); }

  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Serves until the client disconnects or is lost, or the volume is deleted,
  // and all requests have ended. Call this once.
  void Run() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Requests = std::vector<std::unique_ptr<Request>>;

  // The callback target for the client memory. May outlive the session.
  class RoomTold {
   public:
    explicit RoomTold(Session* session) : session_(session) {}
    void Tell() ABSL_LOCKS_EXCLUDED(mu_);
    void Forget() ABSL_LOCKS_EXCLUDED(mu_);

   private:
    Mutex mu_;
    Session* session_ ABSL_GUARDED_BY(mu_);
  };

  // The loop of each thread: carries out requests, reads and sends. A helper
  // returns when it has nothing to do; the main thread waits until all is over.
  void RunThread(bool main) ABSL_LOCKS_EXCLUDED(mu_);
  // The next request to carry out; null when this thread should leave.
  std::unique_ptr<Request> TakeRequest(bool main) ABSL_LOCKS_EXCLUDED(mu_);
  // The next request that has already arrived; null when there is none.
  std::unique_ptr<Request> TakeWaiting() ABSL_LOCKS_EXCLUDED(mu_);
  // Receives once, or waits for room, then parses. Sets ended_ when there will
  // be no more.
  void ReadLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Waits for bytes. False when there will be no more.
  bool ReceiveLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The client is gone without a word: what has to wait is not carried out.
  void AbandonLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes the arrived requests that there is room for. False when there will be
  // no more.
  bool ParseLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AcceptLocked(Requests arrived) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Updates the holder: what reader_ holds now, and `more` bytes of requests
  // that it has given out.
  void HoldLocked(size_t more) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // What is left of kMaxConnectionBytes.
  size_t LeftLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Reserves `bytes` for a request, if that is possible now.
  bool ReserveLocked(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Waits until there is room for the reader's next request. False when the
  // connection ended meanwhile.
  bool WaitForRoomLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Nothing has come for kIdleTime: gives wide buffers back, if the client has
  // taken all replies.
  void RestLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Wakes another thread if carrying out `request` would hold up others.
  void GetHelpLocked(const Request& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Wakes or starts a thread, unless there are MaxThreads.
  void WakeThreadLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void Execute(std::unique_ptr<Request> request) ABSL_LOCKS_EXCLUDED(mu_);
  void Begin(std::unique_ptr<Request> request) ABSL_LOCKS_EXCLUDED(mu_);
  // Asks for the extents of the next context.
  void ExecuteStatus(Request& request);
  void ExecuteRead(Request& request);

  // Devices answer at once: mu_ is held.
  uint64_t size_bytes() const override { return device_.size_bytes(); }
  void Finish(Request* request, const absl::Status& status) override
      ABSL_LOCKS_EXCLUDED(mu_);

  // The client got ESHUTDOWN: ends the connection after kGoodbyeTime.
  void EndSoonLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Sends what is ready, unless another thread has the turn.
  void SendLocked(bool may_wait) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool SendElsewhere() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WillWait() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Sent(size_t replies, size_t bytes) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Lost() override ABSL_LOCKS_EXCLUDED(mu_);

  bool OverLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Thread-safe or constant.
  Socket& socket_;
  ClientMemory::Holder& holder_;  // Under mu_, except WaitsForClient.
  const Negotiated negotiated_;
  block::BlockDevice& device_;
  const SessionTraits traits_;
  const Parts parts_;
  block::WorkEstimate estimate_;
  // The client is gone, so only changes are still carried out. A few packets
  // can ask for hundreds of gigabytes of reads.
  std::atomic<bool> lost_{false};

  const std::shared_ptr<RoomTold> room_ = std::make_shared<RoomTold>(this);

  // Used by the thread that set reading_.
  RequestReader reader_;

  Mutex mu_;
  CondVar wake_main_;
  CondVar wake_reader_;
  CondVar wake_ending_;
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool main_waits_ ABSL_GUARDED_BY(mu_) = false;
  bool ending_ ABSL_GUARDED_BY(mu_) = false;  // ESHUTDOWN was answered.
  bool ended_ ABSL_GUARDED_BY(mu_) = false;   // Nothing more is read.
  int helpers_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<std::unique_ptr<Request>> waiting_ ABSL_GUARDED_BY(mu_);
  ConnectionBuffers buffers_ ABSL_GUARDED_BY(mu_);
  ReplySender sender_ ABSL_GUARDED_BY(mu_);
  // Requests that have arrived and are not yet deleted.
  size_t unanswered_ ABSL_GUARDED_BY(mu_) = 0;
  // The reader's part of holder_.held_bytes().
  size_t reader_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  // The client memory granted what was asked for.
  bool has_room_ ABSL_GUARDED_BY(mu_) = false;
  bool ticks_ ABSL_GUARDED_BY(mu_) = false;  // The socket has an idle time.
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_SESSION_H_
