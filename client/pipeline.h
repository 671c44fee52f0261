// Sends the requests of an open volume to the server: in parts, several at a
// time, within the server's windows, and again after a loss.
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

// Runs the requests of one volume. Opens one stream over each of the
// transport's channels.
//
// How to use a pipeline: make it with std::make_shared, call Open, Submit any
// number of requests (even before Open's callback), and call Release at the
// end. The pipeline keeps itself alive until all calls and streams have ended.
// Thread-safe.
//
// A request is cut into parts of at most kMaxPartBytes. Each part goes over the
// open stream with the least unanswered data, within that stream's window and
// options.max_inflight_bytes. Parts that are queued while a message is written
// share the next message. Nothing is sent over a stream until the server has
// shown that the volume is still the one that was opened first.
//
// Parts that a lost stream has not answered are sent again over other streams.
// A change waits until the server runs nothing of the lost stream any more.
//
// The callback of a request runs exactly once, on a thread of the transport or
// of the timer, never within Submit. When it runs, nothing touches the user's
// buffer any more. It gets the first error of the request's parts:
// - the server's error;
// - DEADLINE_EXCEEDED after options.timeout;
// - UNAVAILABLE when no stream was open for options.reconnect_timeout. The next
//   request connects again;
// - NOT_FOUND when the volume is gone; ABORTED, reason VOLUME_REPLACED, when
//   another volume has its name. All later requests fail with the same error;
// - OUT_OF_RANGE, reason PAST_END, for a read or write past the largest offset.
// After DEADLINE_EXCEEDED or UNAVAILABLE, a change may have happened, or may
// still happen.
//
// CallTable holds the calls, StreamSet the streams. One mutex guards both. It
// is not held while bytes are copied, nor while the transport or users'
// callbacks run: see Outbox.
class VolumePipeline : public std::enable_shared_from_this<VolumePipeline> {
 public:
  // `transport` has options.channels channels.
  VolumePipeline(std::string volume, ClientOptions options,
                 std::shared_ptr<IoTransport> transport,
                 std::shared_ptr<Timer> timer,
                 std::shared_ptr<ClientCounters> counters =
                     std::make_shared<ClientCounters>(),
                 const OpenOptions& open_options = {});

  // Starts all streams. Calls `done` when the first of them is open.
  void Open(VolumeConnection::Done done);

  // Starts a request. Waits while unanswered requests hold max_inflight_bytes,
  // at most until the timeout. Does not wait in a callback or in Together.
  void Submit(Request&& request);

  // Runs `start`. The requests that `start` submits share messages, and never
  // wait.
  void Together(absl::FunctionRef<void()> start);

  // Ends the streams after the last request. No request may be submitted from
  // now on. With `wait`, returns only when the server has ended the streams and
  // so no longer counts this client, or after a second. Never waits in a
  // callback, nor while requests are under way.
  void Release(bool wait);

  // The server's latest values. 0 and false before Open's callback.
  int64_t size_bytes() const {
    return size_bytes_.load(std::memory_order_relaxed);
  }
  bool read_only() const { return read_only_.load(std::memory_order_relaxed); }

 private:
  class Handler;
  // A read's part, and what the server answered to it.
  struct ReadAnswer;

  // Reports of the transport about the stream with this id, and of the timer.
  void OnMessage(size_t channel, uint64_t stream_id,
                 const IncomingMessage& message);
  void OnWritten(size_t channel, uint64_t stream_id);
  void OnClosed(size_t channel, uint64_t stream_id, absl::Status status);
  void OnTimer();

  // Does the outbox's work, and the work that follows from it. Callbacks run on
  // this thread if `sdk_thread`, else on the timer's: never on a user's thread.
  void Deliver(Outbox outbox, bool sdk_thread) ABSL_LOCKS_EXCLUDED(mu_);
  void RunCallbacks(std::vector<Completion> completions, bool sdk_thread)
      ABSL_LOCKS_EXCLUDED(mu_);
  void SendBatch(Batch& batch) ABSL_LOCKS_EXCLUDED(mu_);
  void CopyReads(const std::vector<ReadAnswer>& reads, Outbox& outbox)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Puts all that can be done now into the outbox.
  void GatherLocked(Outbox& outbox) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ArmLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ArmAtLocked(absl::Time when) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WaitForRoomLocked(absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TakeOpenedLocked(const VolumeOpened& opened)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Finishes a part, unless it is a read with data. Such a part goes to
  // `reads`: the caller copies the data without the lock.
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
  CondVar room_;  // Signalled when admitted_bytes may have fallen.
  CondVar streams_ended_;
  int waiting_for_room_ ABSL_GUARDED_BY(mu_) = 0;
  CallTable calls_ ABSL_GUARDED_BY(mu_);
  StreamSet streams_ ABSL_GUARDED_BY(mu_);
  // The call of Open. It ends when the first stream is open.
  std::shared_ptr<Call> open_call_ ABSL_GUARDED_BY(mu_);
  bool released_ ABSL_GUARDED_BY(mu_) = false;
  // Keeps this alive from Release to the end of the last call. Between two
  // streams there may be no other reference. The function that clears it was
  // called through another one.
  std::shared_ptr<VolumePipeline> self_ ABSL_GUARDED_BY(mu_);
  // When the timer calls next.
  absl::Time armed_ ABSL_GUARDED_BY(mu_) = absl::InfiniteFuture();
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_PIPELINE_H_
