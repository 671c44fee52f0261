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
#include "base/client_memory.h"
#include "base/cost_estimate.h"
#include "base/mutex.h"
#include "nbd_bridge/connection_buffers.h"
#include "nbd_bridge/negotiation.h"
#include "nbd_bridge/reply_sender.h"
#include "nbd_bridge/request.h"
#include "nbd_bridge/request_reader.h"
#include "nbd_bridge/socket.h"
#include "nbd_bridge/stats.h"
#include "nbd_bridge/thread_cache.h"
#include "nbd_bridge/validation.h"

namespace ramvol::nbd {

// Most that the unanswered requests of one connection may hold: their data and
// extents, and RequestReader::kRequestBytes for each. Whoever has more is not
// read from. What all connections may hold, ClientMemory says.
inline constexpr size_t kMaxConnectionBytes = size_t{64} << 20;
// Most threads that one connection has at a time; on few cores, one for each
// and one that reads.
inline constexpr int kMaxConnectionThreads = 8;

// Receives requests, carries them out and has their replies sent, as they are
// ready.
//
// Threads take turns. Whoever has nothing to carry out reads from the socket;
// who read carries out what came, and so the only request of a client that
// waits for each reply never changes threads. When much has come, or something
// long is to be carried out, another thread is asked to help or to read on.
// Replies go to a ReplySender. Devices that are not synchronous need no help;
// their replies are sent by the threads that call Done, as long as the socket
// has room.
//
// What it holds, it takes out of the client memory beforehand, and reads no
// request that there is no room for. It begins with small buffers; once these
// are full, it asks for larger ones, and gives them back after kIdleTime
// without a request.
class Session final : private RequestOwner, private ReplySender::Host {
 public:
  // What sessions share. Borrowed.
  struct Shared {
    ThreadCache& threads;
    NbdStats& stats;
    // Refuses what arrives with ESHUTDOWN.
    const std::atomic<bool>& draining;
  };

  static constexpr absl::Duration kIdleTime = absl::Seconds(1);

  // Borrows `socket`, which is narrow, and `holder`, which is open and holds
  // nothing, too.
  Session(Socket& socket, ClientMemory::Holder& holder, Negotiated negotiated,
          const Shared& shared);
  ~Session() { room_->Forget(); }

  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Serves until the client disconnects or is lost, or the volume is deleted,
  // and all requests have ended. Call it once.
  void Run() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Requests = std::vector<std::unique_ptr<Request>>;

  // Where the client memory tells that there is room, also after the session.
  class RoomTold {
   public:
    explicit RoomTold(Session* session) : session_(session) {}
    void Tell() ABSL_LOCKS_EXCLUDED(mu_);
    void Forget() ABSL_LOCKS_EXCLUDED(mu_);

   private:
    Mutex mu_;
    Session* session_ ABSL_GUARDED_BY(mu_);
  };

  // Carries out requests until there is no need. Only the main thread waits.
  void Work(bool main) ABSL_LOCKS_EXCLUDED(mu_);
  // The next request to carry out; null when this thread shall leave.
  std::unique_ptr<Request> Next(bool main) ABSL_LOCKS_EXCLUDED(mu_);
  // One that has been received already; null when there is none.
  std::unique_ptr<Request> NextWaiting() ABSL_LOCKS_EXCLUDED(mu_);
  // Receives what there is.
  void ReadLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Waits for bytes. False when there will be no more.
  bool ReceiveLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Takes the requests that have arrived, as far as there is room for them.
  // False when there will be no more.
  bool ParseLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void AcceptLocked(Requests arrived) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Counts what reader_ holds now, and `more` bytes of requests that it gave.
  void HoldLocked(size_t more) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Of what this connection may hold at most.
  size_t LeftLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Makes room for a request that counts so much, if that is possible now.
  bool ReserveLocked(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Waits until there is room for what reader_ needs. False when the
  // connection has ended meanwhile.
  bool WaitForRoomLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Nothing has come for kIdleTime: gives larger buffers back, if the client
  // has taken what is in them.
  void RestLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Gets a thread for what `request` would hold up.
  void GetHelpLocked(const Request& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // One more thread looks for something to do, if there may be more.
  void WakeThreadLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  void Execute(std::unique_ptr<Request> request) ABSL_LOCKS_EXCLUDED(mu_);
  void ExecuteRead(Request& request);

  void Finish(Request* request, const absl::Status& status) override
      ABSL_LOCKS_EXCLUDED(mu_);

  // The client has been told that it is over.
  void EndSoonLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Sends what is ready, unless another thread is at it.
  void SendLocked(bool may_wait) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool SendElsewhere() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WillWait() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Sent(size_t replies, size_t bytes) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Lost() override ABSL_LOCKS_EXCLUDED(mu_);

  bool OverLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Synchronise themselves, or are constant.
  Socket& socket_;
  ClientMemory::Holder& holder_;  // Under mu_, but for WaitsForClient.
  const Negotiated negotiated_;
  BlockDevice& device_;
  const SessionTraits traits_;
  const Shared shared_;
  CostEstimate cost_;  // Of carrying out a request.
  // A reply could not be sent: what only asks is not carried out any more. A
  // client can leave hundreds of gigabytes to read in a few packets.
  std::atomic<bool> lost_{false};

  const std::shared_ptr<RoomTold> room_ = std::make_shared<RoomTold>(this);

  // Belongs to whoever has reading_.
  RequestReader reader_;

  Mutex mu_;
  CondVar wake_main_;
  CondVar wake_reader_;
  CondVar wake_ending_;
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool main_waits_ ABSL_GUARDED_BY(mu_) = false;
  bool ending_ ABSL_GUARDED_BY(mu_) = false;  // ESHUTDOWN has been said.
  bool ended_ ABSL_GUARDED_BY(mu_) = false;   // Nothing more is read.
  int helpers_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<std::unique_ptr<Request>> waiting_ ABSL_GUARDED_BY(mu_);
  ConnectionBuffers buffers_ ABSL_GUARDED_BY(mu_);
  ReplySender sender_ ABSL_GUARDED_BY(mu_);
  // Read, and not yet deleted.
  size_t unanswered_ ABSL_GUARDED_BY(mu_) = 0;
  // The reader's part of what is held.
  size_t reader_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool has_room_ ABSL_GUARDED_BY(mu_) = false;  // What was asked for.
  bool ticks_ ABSL_GUARDED_BY(mu_) = false;     // Reading has an idle time.
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_SESSION_H_
