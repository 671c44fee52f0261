// The protocol of one Io stream: window, ids and batches. No threads, no gRPC.
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
#include "base/usage_limiter.h"
#include "ramvol/v1/block_service.pb.h"
#include "server/service/executor.h"

namespace ramvol::service {

// Tracks each operation from the message that brings it to the message that
// answers it. Operations wait until Open:
//
//   Receive -> waiting -> NextOperation -> running -> Complete -> ready
//           -> NextMessage -> answered
//
// An operation counts for the window until NextMessage puts its result into a
// message, because a client cannot see the answer earlier.
//
// Not thread-safe. No call blocks or takes long.
class IoSession {
 public:
  IoSession() = default;
  IoSession(const IoSession&) = delete;
  IoSession& operator=(const IoSession&) = delete;

  // Takes the operations out of `request`: all of them or, on failure, none.
  //
  // INVALID_ARGUMENT for a malformed message, FAILED_PRECONDITION (reason
  // WINDOW_EXCEEDED) for a violated window. End the stream with that status.
  absl::Status Receive(v1::IoRequest* request);
  // The volume that the first message named; empty before it.
  const std::string& volume_name() const { return volume_name_; }

  // Call this once after the first message, when the volume is open. `opened`,
  // with its window fields filled in, leads the next message; from then on, the
  // full window applies. Does nothing if the session was abandoned.
  void Open(v1::IoOpened opened);

  // Call this when nothing more will be received. The stream ends with `status`
  // when it is Idle. Only the first call counts.
  void End(absl::Status status);
  // Like End, but also drops what is waiting or ready, because the client is
  // gone or gets nothing but `status`.
  void Abandon(absl::Status status);
  // Answers the operations that wait in `lane` with `error`.
  void FailWaiting(Lane lane, const absl::Status& error);

  // The next operation of `lane` to run. Null when none waits, or when too many
  // results wait for the client. Every operation must be completed by Complete.
  // Those that no limit holds up go first.
  std::unique_ptr<v1::IoOperation> NextOperation(Lane lane);
  // How many of those there are.
  size_t UnlimitedWaiting(Lane lane) const;
  // How many of the others, and what the n-th takes.
  size_t LimitedWaiting(Lane lane) const;
  UsageCost LimitedCost(Lane lane, size_t n) const;
  // How much held_bytes grows with the next operation of `lane`: the bound of
  // its result. 0 when none may begin.
  size_t NextResultBytes(Lane lane) const;
  void Complete(std::unique_ptr<v1::IoResult> result);

  // Sets `response` to the next message; false when there is none.
  bool NextMessage(v1::IoResponse* response);

  // How many operations could begin now in `lane` if all that wait there are
  // small; else 0.
  size_t SmallOnesWaiting(Lane lane) const;

  // Data bytes of the operations that could begin now in `lane`, plus
  // kOperationCostBytes for each. Tells how many threads are worth waking.
  // Without `limited` ones, of the others.
  size_t WaitingCostBytes(Lane lane, bool limited = true) const;
  static constexpr size_t kOperationCostBytes = 8192;

  bool ended() const { return ended_; }
  bool abandoned() const { return abandoned_; }
  const absl::Status& end_status() const { return end_status_; }
  // Whether everything that was received has been answered or dropped.
  bool Idle() const;
  // Operations between NextOperation and Complete.
  size_t running() const { return running_; }

  // Unanswered operations, and their bytes of data.
  size_t unanswered_operations() const { return unanswered_.size(); }
  int64_t unanswered_bytes() const { return unanswered_bytes_; }

  // Memory of all operations and results, waiting, running or ready, give or
  // take some hundred bytes each.
  size_t held_bytes() const { return held_bytes_; }
  // The memory of an operation or result without its data.
  static constexpr size_t kOperationHeldBytes = 256;

 private:
  absl::Status CheckHead(const v1::IoRequest& request) const;
  absl::Status CheckFirst(const v1::IoRequest& request) const;
  absl::Status CheckWindow(const v1::IoRequest& request) const;
  // Adds the operations of `request` to unanswered_: all or none.
  absl::Status EnterIds(const v1::IoRequest& request);
  void ForgetIds(const v1::IoRequest& request, int count);
  // Whether no operation may begin.
  bool HeldBack() const;
  void Answered(uint64_t id);
  // Sets the memory that operation `id` holds to `bytes`.
  void Hold(uint64_t id, size_t bytes);

  struct Unanswered {
    int64_t data_bytes = 0;  // As the window counts them.
    size_t held_bytes = 0;
  };
  using Operations = std::deque<std::unique_ptr<v1::IoOperation>>;
  struct Waiting {
    Operations unlimited;
    Operations limited;
    size_t cost_bytes = 0;
    size_t unlimited_cost_bytes = 0;  // A part of it.
    size_t large_ones = 0;

    bool empty() const { return unlimited.empty() && limited.empty(); }
    const Operations& next() const {
      return unlimited.empty() ? limited : unlimited;
    }
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
