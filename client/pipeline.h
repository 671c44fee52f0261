// An open volume's way to the server: pipelining, batches, windows, replay.
#ifndef RAMVOL_CLIENT_PIPELINE_H_
#define RAMVOL_CLIENT_PIPELINE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "client/call.h"
#include "client/call_table.h"
#include "client/client_counters.h"
#include "client/io_transport.h"
#include "client/options.h"
#include "client/outbox.h"
#include "client/stream_set.h"
#include "client/timer.h"
#include "client/volume_connection.h"

namespace ramvol {

// Runs the requests of one volume over one stream for each of the transport's
// channels.
//
// To use it: make it with std::make_shared, call Open, Submit any number of
// requests (also before Open's callback), and Release in the end. It holds
// itself alive until Release was called and all calls and streams have ended.
// Thread-safe.
//
// A request is cut into parts of at most kMaxPartBytes, and each part is sent
// over the open stream with least data unanswered, as far as that stream's
// window and options.max_inflight_bytes allow. What is queued while a message
// is being written goes into the next one together. Nothing is sent before the
// server has shown that the volume is the one that was opened first.
//
// The callback of a request runs exactly once, from a thread of the transport
// or the timer, never within Submit. It gets the first error of the request's
// parts, and no earlier than when nothing touches the user's buffer any more:
// - the server's error;
// - DEADLINE_EXCEEDED after options.timeout;
// - UNAVAILABLE when no stream was open for options.reconnect_timeout. The next
//   request tries anew. Until then, unanswered parts are sent again over other
//   streams, changes only once the server runs nothing of the lost stream;
// - NOT_FOUND when the volume is gone, ABORTED, reason VOLUME_REPLACED, when it
//   is another one. All later requests fail likewise;
// - OUT_OF_RANGE, reason PAST_END, for a read or write past the largest offset.
// After DEADLINE_EXCEEDED and UNAVAILABLE a change may have happened, and may
// happen yet.
//
// Its parts, from the user down: CallTable has the calls, StreamSet the
// streams. One mutex guards both. It is held neither while bytes are copied nor
// while the transport or the user's callbacks run: see Outbox.
class VolumePipeline : public std::enable_shared_from_this<VolumePipeline> {
 public:
  // `transport` has options.channels channels.
  VolumePipeline(std::string volume, ClientOptions options,
                 std::shared_ptr<IoTransport> transport,
                 std::shared_ptr<Timer> timer,
                 std::shared_ptr<ClientCounters> counters =
                     std::make_shared<ClientCounters>(),
                 const OpenOptions& open_options = {});

  // Starts all streams; `done` is called when the first of them is open.
  void Open(VolumeConnection::Done done);

  // Starts a request. Waits while unanswered requests hold max_inflight_bytes,
  // at most until the timeout, unless in a callback or in Together.
  void Submit(Request&& request);

  // Runs `start`. The requests that it submits here share messages, and never
  // wait.
  void Together(absl::FunctionRef<void()> start);

  // No request will be submitted from now on: ends the streams after the last
  // one. With `wait`, if none is left and this is no callback, returns when the
  // server has ended the streams and so no longer counts this client; after a
  // second at most.
  void Release(bool wait);

  // As the server last said; 0 and false before Open's callback.
  int64_t size_bytes() const {
    return size_bytes_.load(std::memory_order_relaxed);
  }
  bool read_only() const { return read_only_.load(std::memory_order_relaxed); }

 private:
  class Handler;
  // A read's part, and what the server answered to it.
  struct ReadAnswer;

  // Reports of the transport, about the stream of this id, and of the timer.
  void OnMessage(size_t channel, uint64_t stream_id,
                 const IncomingMessage& message);
  void OnWritten(size_t channel, uint64_t stream_id);
  void OnClosed(size_t channel, uint64_t stream_id, absl::Status status);
  void OnTimer();

  // Does what is in the outbox, and what follows from it. Callbacks run on this
  // thread if it is one of the SDK's, else on the timer's.
  void Deliver(Outbox outbox, bool sdk_thread) ABSL_LOCKS_EXCLUDED(mu_);
  void RunCallbacks(std::vector<Completion> completions, bool sdk_thread)
      ABSL_LOCKS_EXCLUDED(mu_);
  void SendBatch(Batch& batch) ABSL_LOCKS_EXCLUDED(mu_);
  void CopyReads(const std::vector<ReadAnswer>& reads, Outbox& outbox)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Puts into the outbox what can be done now.
  void GatherLocked(Outbox& outbox) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ArmLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ArmAtLocked(absl::Time when) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WaitForRoomLocked(absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TakeOpenedLocked(const VolumeOpened& opened)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Leaves an answered read to the caller, for its data has yet to be copied.
  void TakeResultLocked(Part part, const OperationResult& result,
                        std::vector<ReadAnswer>& reads)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status DeadlineErrorLocked(const Call& call) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Set at construction, then read-only.
  const std::string volume_;
  const ClientOptions options_;

  // Synchronise themselves.
  const std::shared_ptr<Timer> timer_;
  std::atomic<int64_t> size_bytes_{0};
  std::atomic<bool> read_only_{false};

  Mutex mu_;
  CondVar room_;  // admitted_bytes has fallen, or time has passed.
  CondVar streams_ended_;
  int waiting_for_room_ ABSL_GUARDED_BY(mu_) = 0;
  CallTable calls_ ABSL_GUARDED_BY(mu_);
  StreamSet streams_ ABSL_GUARDED_BY(mu_);
  // Ends when the first stream is open.
  std::shared_ptr<Call> open_call_ ABSL_GUARDED_BY(mu_);
  bool released_ ABSL_GUARDED_BY(mu_) = false;
  // Set from Release to the end of the last call: between two streams nobody
  // else may hold this. Whoever clears it came here through another reference.
  std::shared_ptr<VolumePipeline> self_ ABSL_GUARDED_BY(mu_);
  // When the timer will call next.
  absl::Time armed_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_PIPELINE_H_
