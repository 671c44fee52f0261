// The protocol of one Io stream: windows, ids, batches. No threads, no gRPC.
#ifndef RAMVOL_SERVER_SERVICE_IO_SESSION_H_
#define RAMVOL_SERVER_SERVICE_IO_SESSION_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "ramvol/v1/block_service.pb.h"
#include "server/service/executor.h"

namespace ramvol::service {

// Follows an operation from the message that brought it to the message that
// answers it (operations wait until Open):
//
//   Receive -> waiting -> NextOperation -> running -> Complete -> ready
//           -> NextMessage -> answered
//
// An operation counts for the window until NextMessage has put its result into
// a message: no client can know the answer earlier.
//
// Not thread-safe; no call blocks or takes long.
class IoSession {
 public:
  IoSession() = default;
  IoSession(const IoSession&) = delete;
  IoSession& operator=(const IoSession&) = delete;

  // Takes the operations out of `request`; all of them or, on failure, none.
  //
  // INVALID_ARGUMENT for a malformed message, FAILED_PRECONDITION (reason
  // WINDOW_EXCEEDED) for a violated window: the stream has to End with it.
  absl::Status Receive(v1::IoRequest* request);
  // What the first message named; empty before it.
  const std::string& volume_name() const { return volume_name_; }

  // The volume is open: `opened` leads the next message, and with it the full
  // window applies. Its window fields are filled in. Call it once, after the
  // first message; nothing if the session was abandoned meanwhile.
  void Open(v1::IoOpened opened);

  // Nothing more will be received; the stream ends with `status` once it is
  // Idle. The first call counts.
  void End(absl::Status status);
  // As End, and what is waiting or ready is thrown away: the client is gone, or
  // has nothing to be told but `status`.
  void Abandon(absl::Status status);
  // Answers what is waiting in `lane` with `error`.
  void FailWaiting(Lane lane, const absl::Status& error);

  // The next operation of `lane` to run, or null when none waits or when too
  // many results wait for the client. Complete it, whatever happens.
  std::unique_ptr<v1::IoOperation> NextOperation(Lane lane);
  // By how much held_bytes grows with the next operation of `lane`: what its
  // result may take. 0 when none may begin.
  size_t NextResultBytes(Lane lane) const;
  void Complete(std::unique_ptr<v1::IoResult> result);

  // Makes `response` the next message; false when there is nothing to say.
  bool NextMessage(v1::IoResponse* response);

  // How many operations could begin now in `lane`, when all that wait there are
  // small; else 0.
  size_t SmallOnesWaiting(Lane lane) const;

  // Bytes that the operations that could begin now in `lane` carry or ask for,
  // and a fixed cost of kOperationCostBytes for each: tells how many threads
  // are worth waking up.
  size_t WaitingCostBytes(Lane lane) const;
  static constexpr size_t kOperationCostBytes = 8192;

  bool ended() const { return ended_; }
  const absl::Status& end_status() const { return end_status_; }
  // Everything received was answered or thrown away.
  bool Idle() const;
  // Operations that NextOperation gave and Complete has not taken back.
  size_t running() const { return running_; }

  // Unanswered operations, and their bytes of data.
  size_t unanswered_operations() const { return unanswered_.size(); }
  int64_t unanswered_bytes() const { return unanswered_bytes_; }

  // Memory of all operations and results that are here or running, up to some
  // hundred bytes each.
  size_t held_bytes() const { return held_bytes_; }
  // Of an operation or a result, without its data.
  static constexpr size_t kOperationHeldBytes = 256;

 private:
  absl::Status CheckHead(const v1::IoRequest& request) const;
  absl::Status CheckFirst(const v1::IoRequest& request) const;
  absl::Status CheckWindow(const v1::IoRequest& request) const;
  // Enters the operations of `request` into unanswered_: all or none.
  absl::Status EnterIds(const v1::IoRequest& request);
  void ForgetIds(const v1::IoRequest& request, int count);
  // That no operation may begin.
  bool HeldBack() const;
  void Answered(uint64_t id);
  // Operation `id` takes `bytes` from now on.
  void Hold(uint64_t id, size_t bytes);

  struct Unanswered {
    int64_t data_bytes = 0;  // As the window counts them.
    size_t held_bytes = 0;
  };
  struct Waiting {
    std::deque<std::unique_ptr<v1::IoOperation>> operations;
    size_t cost_bytes = 0;
    size_t large_ones = 0;
  };
  struct Ready {
    std::unique_ptr<v1::IoResult> result;
    size_t bytes = 0;
  };

  std::string volume_name_;
  bool open_ = false;
  std::unique_ptr<v1::IoOpened> opened_;  // Until it is sent.
  bool full_window_ = false;
  bool ended_ = false;
  bool abandoned_ = false;
  absl::Status end_status_;

  // By id. At most kMaxWindowOperations.
  absl::flat_hash_map<uint64_t, Unanswered> unanswered_;
  int64_t unanswered_bytes_ = 0;
  size_t held_bytes_ = 0;
  std::array<Waiting, kLanes> waiting_;
  size_t running_ = 0;
  std::deque<Ready> ready_;
  size_t ready_bytes_ = 0;
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_IO_SESSION_H_
