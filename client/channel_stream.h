// The stream of one channel: its state, its window, what it has not answered.
#ifndef RAMVOL_CLIENT_CHANNEL_STREAM_H_
#define RAMVOL_CLIENT_CHANNEL_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/random/bit_gen_ref.h"
#include "absl/time/time.h"
#include "client/backoff.h"
#include "client/call.h"
#include "client/client_counters.h"
#include "client/io_transport.h"
#include "client/options.h"

namespace ramvol {

// A volume's stream over one channel, or the wait for the next stream. When a
// stream is lost, another one takes its place here.
//
//         Start          Open
//   kIdle -----> kStarting -----> kOpen
//     |              ^
//     | RetryLater   | Start
//     +-------> kWaiting
//
// Drop leads from every state to kIdle.
//
// Not thread-safe. Calls no function of the stream: the owner does, without the
// lock that guards this object.
class ChannelStream {
 public:
  enum class State {
    kIdle,      // There is no stream. The next call may want one.
    kStarting,  // There is a stream. The server has not answered yet.
    kOpen,
    kWaiting,  // A stream will be started at `wake`.
  };

  // Borrows `counters`.
  ChannelStream(const ClientOptions& options, ClientCounters& counters);

  State state() const { return state_; }
  // Null when idle or waiting.
  const std::shared_ptr<IoStream>& stream() const { return stream_; }
  // The id of the present stream, or of the last one.
  uint64_t id() const { return id_; }
  absl::Time started() const { return started_; }  // Only in kStarting.
  absl::Time wake() const { return wake_; }        // Only in kWaiting.

  // `stream` is about to send its first message. Once it is open, it has
  // replaced the lost streams `replaces`.
  void Start(std::shared_ptr<IoStream> stream, uint64_t id,
             std::vector<uint64_t> replaces, absl::Time now);
  // The server has opened the volume, with the window in `opened`. Returns the
  // ids of the streams that this one has replaced.
  std::vector<uint64_t> Open(const VolumeOpened& opened);

  struct Unanswered {
    // Parts whose calls have not ended, in the order of sending.
    std::vector<Part> parts;
    // Some operations were changes. Their calls may have ended.
    bool changes = false;
  };
  // The stream has ended, or the owner gives it up.
  Unanswered Drop();
  // Waits for a pause before the next Start. Call it in kIdle.
  void RetryLater(absl::Time now, absl::BitGenRef random);
  // Stops counting this stream as lost, because no stream is wanted any more.
  void ForgetLoss() { SetLost(false); }

  // Whether the stream may send a message: it is open, and has none on its way.
  bool CanSend() const { return state_ == State::kOpen && !writing_; }
  // Whether the window has room for a part of `part_bytes` window_bytes. A part
  // that is larger than the whole window goes alone.
  bool Fits(int64_t part_bytes) const {
    return static_cast<int64_t>(unanswered_.size()) < window_operations_ &&
           (inflight_bytes_ == 0 ||
            part_bytes <= window_bytes_ - inflight_bytes_);
  }
  // Counts a part that goes into the next message as operation `id`.
  void Add(uint64_t id, Part part);
  // Whether a message is on its way.
  void set_writing(bool writing) { writing_ = writing; }
  // Returns the part that operation `id` answers. It has no call if there is no
  // such operation.
  Part Answer(uint64_t id);

  // True once, when no message is on its way: then the owner half-closes the
  // stream.
  bool HalfClose();

  // Data and operations that are not answered yet.
  int64_t inflight_bytes() const { return inflight_bytes_; }
  size_t inflight_operations() const { return unanswered_.size(); }

 private:
  void SetLost(bool lost);

  ClientCounters* counters_;
  Backoff backoff_;
  State state_ = State::kIdle;
  std::shared_ptr<IoStream> stream_;
  uint64_t id_ = 0;
  std::vector<uint64_t> replaces_;
  absl::Time started_;
  absl::Time wake_;
  bool was_open_ = false;  // This stream or an earlier one was open.
  bool lost_ = false;      // Counted in counters_->lost_streams.
  bool writing_ = false;
  bool half_closed_ = false;
  int64_t window_operations_ = 0;
  int64_t window_bytes_ = 0;
  int64_t inflight_bytes_ = 0;
  // By id. Parts of ended calls stay here, because they still count against the
  // server's window.
  absl::flat_hash_map<uint64_t, Part> unanswered_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CHANNEL_STREAM_H_
