// The streams of one volume: opened, lost, opened anew, given up.
#ifndef RAMVOL_CLIENT_STREAM_SET_H_
#define RAMVOL_CLIENT_STREAM_SET_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/call_table.h"
#include "client/channel_stream.h"
#include "client/client_counters.h"
#include "client/dispatcher.h"
#include "client/io_transport.h"
#include "client/lost_streams.h"
#include "client/options.h"
#include "client/outbox.h"
#include "client/timer.h"

namespace ramvol {

// Keeps one stream to the server over each of options.channels channels, and
// sends the parts of `calls` over them.
//
// When a stream is lost, the parts that it has not answered are sent again.
// Reads go over the other streams. Changes wait in LostStreams until another
// stream has replaced the lost one.
//
// Calls fail in three cases:
// - No stream has been open for reconnect_timeout. Then all calls fail with
//   UNAVAILABLE. Changes that have waited in LostStreams for that long fail,
//   too. An attempt to open a stream that has begun may end first. The next
//   Connect starts again.
// - The server refuses a stream with another error. Then the stream's
// unanswered
//   parts fail. If no other stream is open or starting, all calls fail.
// - The volume is gone, or another one has its name: see ended().
//
// Not thread-safe: the owner guards it together with `calls`. Calls no function
// of a stream, but puts into an Outbox what the owner has to call once the lock
// is free.
class StreamSet {
 public:
  // Makes the handler for a stream's reports.
  using NewHandler = std::function<std::shared_ptr<IoStreamHandler>(
      size_t channel, uint64_t stream_id)>;

  // Borrows `options` and `calls`. `transport` has options.channels channels.
  StreamSet(std::string volume, const ClientOptions& options,
            const OpenOptions& open_options,
            std::shared_ptr<IoTransport> transport,
            std::shared_ptr<Timer> timer,
            std::shared_ptr<ClientCounters> counters, CallTable& calls,
            NewHandler new_handler);

  // Starts all streams, unless one of them is open, starting or waiting to
  // start.
  void Connect(Outbox& outbox);

  // Sends the parts that wait in `calls`, within the windows: see Dispatcher.
  void Send(Outbox& outbox);

  // No call is left, and none will come. Half-closes each stream that has no
  // message on its way. Call it again when a message may have been written. A
  // second after the first time, OnTime cancels streams that the server has not
  // ended.
  void ShutDown(Outbox& outbox);

  // The stream of `channel`, or null if it is another one by now. Reports of
  // earlier streams are to be ignored.
  ChannelStream* Find(size_t channel, uint64_t stream_id);

  // Reports. `stream` comes from Find.
  //
  // The server has opened the volume over `stream`. False if the stream was
  // open already, or if this is another volume than before, which ends all
  // calls.
  bool OnOpened(ChannelStream& stream, const VolumeOpened& opened,
                Outbox& outbox);
  void OnClosed(ChannelStream& stream, absl::Status status, Outbox& outbox);
  // Call it when next_time() has come.
  void OnTime(Outbox& outbox);
  absl::Time next_time() const;

  // If not OK, no call can succeed any more: NOT_FOUND, or ABORTED with reason
  // VOLUME_REPLACED.
  const absl::Status& ended() const { return ended_; }
  // Whether there is a stream that has not ended.
  bool any_stream() const;

 private:
  bool Any(ChannelStream::State state) const;
  void Start(size_t channel, Outbox& outbox);
  // Takes the stream out of its channel. Remembers it as lost if it had
  // changes. Returns its unanswered parts, which the caller fails or ignores.
  std::vector<Part> Drop(ChannelStream& stream);
  void Lose(ChannelStream& stream, absl::Status status, Outbox& outbox);
  void Refuse(ChannelStream& stream, const absl::Status& status,
              Outbox& outbox);
  absl::Time WithGrace(absl::Time when) const;
  absl::Time give_up_time() const;
  absl::Time give_up_changes_time() const;
  absl::Status Unavailable(absl::Time since) const;
  void GiveUpDue(Outbox& outbox);
  void GiveUpChangesDue();
  void EndForEver(absl::Status status, Outbox& outbox);
  void CancelAll(Outbox& outbox);

  const std::string volume_;
  const ClientOptions& options_;
  const OpenOptions open_options_;
  const std::shared_ptr<IoTransport> transport_;
  const std::shared_ptr<Timer> timer_;
  const std::shared_ptr<ClientCounters> counters_;
  CallTable& calls_;
  const NewHandler new_handler_;

  absl::BitGen random_;
  Dispatcher dispatcher_;
  std::vector<ChannelStream> streams_;  // By channel.
  LostStreams lost_;
  uint64_t client_id_ = 0;  // Drawn for the first stream.
  std::string uid_;         // Of the volume; empty until first opened.
  // Since when no stream has been open. Infinite while one is open, and while
  // none is wanted.
  absl::Time disconnected_since_ = absl::InfiniteFuture();
  absl::Status last_loss_;
  absl::Status ended_;
  bool shut_down_ = false;
  // When OnTime cancels streams that the server has not ended.
  absl::Time linger_until_ = absl::InfiniteFuture();
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_STREAM_SET_H_
