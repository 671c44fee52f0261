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

// What one channel has for a volume: a stream, or what will become one. When a
// stream is lost, another one takes its place here.
//
//         Start         Open
//   kIdle ----> kStarting ----> kOpen      Drop leads from all of them to
//   kIdle,
//     |  RetryLater                        and Start from kWaiting to
//     kStarting.
//     +----------> kWaiting
//
// It calls nothing of the stream: the owner does, without the lock that guards
// this object. Not thread-safe.
class ChannelStream {
 public:
  enum class State {
    kIdle,      // No stream, and none is wanted until the next call.
    kStarting,  // Has a stream that the server has not answered yet.
    kOpen,
    kWaiting,  // A stream is to be started at `wake`.
  };

  // Borrows `counters`.
  ChannelStream(const ClientOptions& options, ClientCounters& counters);

  State state() const { return state_; }
  // Null when idle or waiting.
  const std::shared_ptr<IoStream>& stream() const { return stream_; }
  // Of the present stream, or of the last one.
  uint64_t id() const { return id_; }
  absl::Time started() const { return started_; }  // In kStarting.
  absl::Time wake() const { return wake_; }        // In kWaiting.

  // `stream` is about to send its first message. Once open, it has replaced the
  // lost streams `replaces`.
  void Start(std::shared_ptr<IoStream> stream, uint64_t id,
             std::vector<uint64_t> replaces, absl::Time now);
  // The server has answered, with this window. Returns what it has replaced.
  std::vector<uint64_t> Open(const VolumeOpened& opened);

  struct Unanswered {
    std::vector<Part> parts;  // Of calls that go on, in the order of sending.
    bool changes = false;     // There were some, of ended calls perhaps.
  };
  // The stream has ended, or is given up.
  Unanswered Drop();
  // To be called when idle: another stream is wanted, after a pause.
  void RetryLater(absl::Time now, absl::BitGenRef random);
  // The stream is no loss any more, since none is wanted.
  void ForgetLoss() { SetLost(false); }

  // The stream may send a message: it is open, and none is on its way.
  bool CanSend() const { return state_ == State::kOpen && !writing_; }
  // Whether the window has room for a part of so many window_bytes. One that is
  // larger than the whole window goes alone.
  bool Fits(int64_t part_bytes) const {
    return static_cast<int64_t>(unanswered_.size()) < window_operations_ &&
           (inflight_bytes_ == 0 ||
            part_bytes <= window_bytes_ - inflight_bytes_);
  }
  // The part goes into the next message, as operation `id`.
  void Add(uint64_t id, Part part);
  // A message is on its way, or is no more.
  void set_writing(bool writing) { writing_ = writing; }
  // The operation was answered; the part has no call if it is not known.
  Part Answer(uint64_t id);

  // Whether the stream is to be half-closed now: it has not been, and no
  // message is on its way.
  bool HalfClose();

  // What Fits and the owner weigh: data and operations not answered yet.
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
  bool was_open_ = false;  // This stream, or an earlier one.
  bool lost_ = false;      // Counted in counters_->lost_streams.
  bool writing_ = false;
  bool half_closed_ = false;
  int64_t window_operations_ = 0;
  int64_t window_bytes_ = 0;
  int64_t inflight_bytes_ = 0;
  // By id. Parts of ended calls stay, since they fill the server's window.
  absl::flat_hash_map<uint64_t, Part> unanswered_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CHANNEL_STREAM_H_
