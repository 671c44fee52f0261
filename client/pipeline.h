// The machinery of an open volume: pipelining, batches, windows, replay.
#ifndef RAMVOL_CLIENT_PIPELINE_H_
#define RAMVOL_CLIENT_PIPELINE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "client/backoff.h"
#include "client/call_table.h"
#include "client/io_transport.h"
#include "client/options.h"
#include "client/timer.h"
#include "client/volume_connection.h"

namespace ramvol {

// Most data in one operation; larger reads and writes are cut.
inline constexpr int64_t kMaxPartBytes = int64_t{1} << 20;
// Most operations, and most data of reads and writes, in one message (unless
// one operation alone has more). More would keep other streams idle.
inline constexpr int kMaxBatchOperations = 256;
inline constexpr int64_t kMaxBatchBytes = int64_t{1} << 20;
// Most extents asked for at once; the server allows no more.
inline constexpr int32_t kMaxExtents = 10000;
// Most lost streams that one stream replaces; the server allows no more.
inline constexpr size_t kMaxReplaces = 64;

// What the volumes of one client count. Thread-safe.
struct ClientCounters {
  // Streams that were opened in the place of lost ones.
  std::atomic<uint64_t> reconnects{0};
  // Streams that were lost and are not open again, of volumes still in use.
  std::atomic<uint64_t> lost_streams{0};
};

// Runs the operations of one volume over one stream for each of the transport's
// connections. Thread-safe. Lives until Release was called and all calls and
// streams have ended; holds itself alive until then.
//
// A call is queued, cut into parts, and each part is sent over the open stream
// with least data in flight, as far as that stream's window and
// max_inflight_bytes allow. What is queued while a message is being written
// goes into the next one together. No operation is sent before the stream's
// `opened` has shown that the volume is the one that was opened first.
//
// When a stream is lost, what it has not answered is sent again. Reads go over
// the other streams. Changes wait, for the server may still be running them: a
// new stream names the lost ones, the server opens it when nothing of them runs
// any more, and only then are their changes sent again, over any stream. Else
// the first sending could land after what the caller writes later.
//
// When all streams have been lost for reconnect_timeout, all calls fail with
// UNAVAILABLE, and the next call tries anew; changes that have waited for that
// long fail likewise. When the volume is gone
// (NOT_FOUND) or is another one (ABORTED, VOLUME_REPLACED), all calls fail from
// then on. A stream that ends with another error fails its unanswered parts.
//
// One mutex guards the tables. It is held neither while bytes are copied nor
// while the transport or the user's callbacks run.
class VolumePipeline : public std::enable_shared_from_this<VolumePipeline> {
 public:
  VolumePipeline(std::string volume, ClientOptions options,
                 std::shared_ptr<IoTransport> transport,
                 std::shared_ptr<Timer> timer,
                 std::shared_ptr<ClientCounters> counters =
                     std::make_shared<ClientCounters>(),
                 const OpenOptions& open_options = {});

  // Starts all streams; `done` is called when the first of them is open.
  void Open(VolumeConnection::Done done);

  // Starts a call, of which the user's part is filled in except for `deadline`.
  // Waits for max_inflight_bytes unless in a callback.
  void Submit(std::shared_ptr<Call> call);

  // Runs `start`; the calls that it submits here share messages, and do not
  // wait for max_inflight_bytes.
  void Together(absl::FunctionRef<void()> start);

  // No call will be submitted from now on: end the streams after the last one.
  // With `wait`, if there is no such call and this is no callback, returns when
  // the server has ended the streams and so no longer counts this client; after
  // a second at most.
  void Release(bool wait);

  int64_t size_bytes() const {
    return size_bytes_.load(std::memory_order_relaxed);
  }
  bool read_only() const { return read_only_.load(std::memory_order_relaxed); }

 private:
  class Handler;

  enum class SlotState {
    kIdle,      // No stream, and none is wanted until the next call.
    kStarting,  // Has a stream that the server has not answered yet.
    kOpen,
    kWaiting,  // A stream will be started at `wake`.
  };

  // One connection's stream, or what will become it.
  struct Slot {
    Slot(absl::Duration initial, absl::Duration max) : backoff(initial, max) {}

    bool CanSend() const { return state == SlotState::kOpen && !writing; }

    SlotState state = SlotState::kIdle;
    // Tells reports of this stream from those of earlier ones.
    uint64_t generation = 0;
    std::shared_ptr<IoStream> stream;
    uint64_t stream_id = 0;
    std::vector<uint64_t> replaces;  // Until it is open.
    bool was_open = false;           // This stream, or an earlier one.
    bool lost = false;               // It was, and is counted as lost.
    bool writing = false;            // A message is on its way.
    bool half_closed = false;
    int64_t window_operations = 0;
    int64_t window_bytes = 0;
    int64_t inflight_bytes = 0;
    // By id. Parts of ended calls stay, since they fill the server's window.
    absl::flat_hash_map<uint64_t, Part> unanswered;
    Backoff backoff;
    absl::Time started;  // In kStarting.
    absl::Time wake;     // In kWaiting.
  };

  // A lost stream that the server may still be running changes of.
  struct LostStream {
    uint64_t id = 0;
    absl::Time since;
    std::vector<Part>
        changes;  // To be sent again; of calls that may have ended.
  };

  // One message to be sent.
  struct Batch {
    std::shared_ptr<IoStream> stream;
    std::vector<Operation> operations;
    std::vector<std::shared_ptr<Call>> pinned;
  };

  // What is to be done once the mutex has been released, in this order.
  struct Work {
    bool empty() const {
      return cancels.empty() && half_closes.empty() && starts.empty() &&
             batches.empty() && completions.empty();
    }

    std::vector<std::shared_ptr<IoStream>> cancels;
    std::vector<std::shared_ptr<IoStream>> half_closes;
    std::vector<std::shared_ptr<IoStream>> starts;
    std::vector<Batch> batches;
    std::vector<Completion> completions;
  };

  std::shared_ptr<IoStreamHandler> NewHandler(size_t index,
                                              uint64_t generation);

  // Reports of the transport and the timer.
  void OnMessage(size_t index, uint64_t generation,
                 const IncomingMessage& message);
  void OnWritten(size_t index, uint64_t generation);
  void OnClosed(size_t index, uint64_t generation, absl::Status status);
  void OnTimer();

  // Does the work, and what follows from it. Completions run on this thread if
  // it is one of the SDK's, else on the timer's.
  void Perform(Work work, bool sdk_thread);
  void RunCompletions(std::vector<Completion> completions, bool sdk_thread);
  void SendBatch(Batch& batch);

  // Gathers what can be done now.
  void CollectLocked(Work& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void PumpLocked(Work& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Slot* LeastLoadedLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool FitsLocked(const Slot& slot, const Part& part) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Batch FillLocked(Slot& slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ArmLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ArmAtLocked(absl::Time when) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WaitForRoomLocked(absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Of messages.
  Slot* FindLocked(size_t index, uint64_t generation)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void OpenedLocked(Slot& slot, const VolumeOpened& opened, Work& work)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Part AnsweredLocked(Slot& slot, uint64_t id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FinishLocked(const Part& part, const OperationResult& result)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Of connecting.
  bool AnyLocked(SlotState state) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool AnyStreamLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ConnectLocked(Work& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StartLocked(size_t index, Work& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ReplayReplacedLocked(Slot& slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool AnyStreamIsOpenLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DropStreamLocked(Slot& slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The parts that are to be sent again. If there are changes, of ended calls
  // too, the stream is entered into lost_.
  std::vector<Part> TakeUnansweredLocked(Slot& slot)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LostLocked(Slot& slot, absl::Status status, Work& work)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RefusedLocked(Slot& slot, absl::Status status, Work& work)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SetLostLocked(Slot& slot, bool lost) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RetryLaterLocked(Slot& slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Time WithGraceLocked(absl::Time when) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Time GiveUpTimeLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status UnavailableLocked(absl::Time since) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void GiveUpLocked(Work& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The same for the changes of lost streams alone.
  absl::Time GiveUpLostTimeLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void GiveUpLostLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EndForEverLocked(absl::Status status, Work& work)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CancelAllLocked(Work& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ShutDownLocked(Work& work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status DeadlineErrorLocked(const Call& call) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Set at construction, then read-only.
  const std::string volume_;
  const ClientOptions options_;
  const OpenOptions open_options_;

  // Synchronise themselves.
  const std::shared_ptr<IoTransport> transport_;
  const std::shared_ptr<Timer> timer_;
  const std::shared_ptr<ClientCounters> counters_;
  std::atomic<int64_t> size_bytes_{0};
  std::atomic<bool> read_only_{false};

  Mutex mu_;
  CondVar room_;  // admitted_bytes has fallen, or time has passed.
  CondVar stream_gone_;
  int waiting_for_room_ ABSL_GUARDED_BY(mu_) = 0;
  absl::BitGen random_ ABSL_GUARDED_BY(mu_);
  CallTable calls_ ABSL_GUARDED_BY(mu_);
  std::vector<Slot> slots_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<Call> open_call_ ABSL_GUARDED_BY(mu_);
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = 1;
  uint64_t client_id_ ABSL_GUARDED_BY(mu_) = 0;  // Drawn for the first stream.
  // Oldest first. Few: each stream that opens empties it of what was there when
  // it started.
  std::vector<LostStream> lost_ ABSL_GUARDED_BY(mu_);
  int64_t inflight_bytes_ ABSL_GUARDED_BY(mu_) = 0;  // Of all slots.
  std::string uid_ ABSL_GUARDED_BY(mu_);  // Empty until first opened.
  // Since when no stream is open; infinite while one is, or none is wanted.
  absl::Time lost_since_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  absl::Status last_loss_ ABSL_GUARDED_BY(mu_);
  absl::Status ended_ ABSL_GUARDED_BY(mu_);  // Not OK: no call can succeed.
  bool released_ ABSL_GUARDED_BY(mu_) = false;
  bool shut_down_ ABSL_GUARDED_BY(mu_) = false;
  // Set from Release to the end of the last call: between two streams nobody
  // else may hold this. Whoever clears it came here through another reference.
  std::shared_ptr<VolumePipeline> self_ ABSL_GUARDED_BY(mu_);
  // When streams that do not end by themselves are cancelled.
  absl::Time linger_until_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
  absl::Time armed_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_PIPELINE_H_
