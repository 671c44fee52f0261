#include "client/stream_set.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/duration_text.h"
#include "base/reason.h"
#include "client/call.h"
#include "client/call_table.h"
#include "client/channel_stream.h"
#include "client/client_counters.h"
#include "client/io_transport.h"
#include "client/lost_streams.h"
#include "client/options.h"
#include "client/outbox.h"
#include "client/timer.h"

namespace ramvol {
namespace {

using State = ChannelStream::State;

// How long an attempt to open a stream may go on after reconnect_timeout.
constexpr absl::Duration kConnectGrace = absl::Seconds(5);
// How long a server may take to end a stream that we have half-closed.
constexpr absl::Duration kLinger = absl::Seconds(1);

// Whether the connection broke or the server is shutting down. Then another
// attempt may succeed.
bool IsLoss(const absl::Status& status) {
  return status.ok() || absl::IsUnavailable(status) ||
         absl::IsCancelled(status);
}

}  // namespace

StreamSet::StreamSet(std::string volume, const ClientOptions& options,
                     const OpenOptions& open_options,
                     std::shared_ptr<IoTransport> transport,
                     std::shared_ptr<Timer> timer,
                     std::shared_ptr<ClientCounters> counters, CallTable& calls,
                     NewHandler new_handler)
    : volume_(std::move(volume)),
      options_(options),
      open_options_(open_options),
      transport_(std::move(transport)),
      timer_(std::move(timer)),
      counters_(std::move(counters)),
      calls_(calls),
      new_handler_(std::move(new_handler)),
      dispatcher_(static_cast<int64_t>(options.max_inflight_bytes)) {
  for (int i = 0; i < options_.channels; ++i) {
    streams_.emplace_back(options_, *counters_);
  }
}

bool StreamSet::Any(State state) const {
  return std::any_of(
      streams_.begin(), streams_.end(),
      [state](const ChannelStream& stream) { return stream.state() == state; });
}

bool StreamSet::any_stream() const {
  return std::any_of(
      streams_.begin(), streams_.end(),
      [](const ChannelStream& stream) { return stream.stream() != nullptr; });
}

ChannelStream* StreamSet::Find(size_t channel, uint64_t stream_id) {
  ChannelStream& stream = streams_[channel];
  return stream.stream() != nullptr && stream.id() == stream_id ? &stream
                                                                : nullptr;
}

// ---- Opening.

void StreamSet::Connect(Outbox& outbox) {
  if (Any(State::kOpen) || Any(State::kStarting) || Any(State::kWaiting)) {
    return;
  }
  disconnected_since_ = timer_->Now();
  last_loss_ = absl::OkStatus();
  for (size_t i = 0; i < streams_.size(); ++i) Start(i, outbox);
}

void StreamSet::Start(size_t channel, Outbox& outbox) {
  // For both ids, 0 means that there is none.
  while (client_id_ == 0) client_id_ = random_();
  uint64_t id = 0;
  while (id == 0) id = random_();
  std::vector<uint64_t> replaces = lost_.ids();
  std::shared_ptr<IoStream> stream = transport_->NewStream(
      static_cast<int>(channel),
      {.volume = volume_,
       .stream_id = id,
       .replaces = replaces,
       .client_id = client_id_,
       .if_unattached = open_options_.if_unattached && uid_.empty(),
       .uid = uid_},
      new_handler_(channel, id));
  outbox.starts.push_back(stream);
  streams_[channel].Start(std::move(stream), id, std::move(replaces),
                          timer_->Now());
}

bool StreamSet::OnOpened(ChannelStream& stream, const VolumeOpened& opened,
                         Outbox& outbox) {
  if (stream.state() != State::kStarting) return false;
  if (uid_.empty()) uid_ = opened.uid;
  if (opened.uid != uid_) {
    EndForEver(
        WithReason(absl::AbortedError(absl::StrCat(
                       "volume \"", volume_, "\" at ", options_.server,
                       " was replaced by another one of this name (the server "
                       "was restarted, or the volume deleted and created "
                       "again): what was written to it is gone; open it anew")),
                   reason::kVolumeReplaced),
        outbox);
    return false;
  }
  calls_.Replay(lost_.Replaced(stream.Open(opened)));
  disconnected_since_ = absl::InfiniteFuture();
  return true;
}

void StreamSet::Send(Outbox& outbox) {
  dispatcher_.Dispatch(calls_, absl::MakeSpan(streams_), outbox.batches);
}

// ---- Losing.

void StreamSet::OnClosed(ChannelStream& stream, absl::Status status,
                         Outbox& outbox) {
  if (shut_down_) {
    Drop(stream);
  } else if (IsLoss(status)) {
    Lose(stream, std::move(status), outbox);
  } else if (absl::IsNotFound(status)) {
    // Another stream still has the volume open, so the server was not
    // restarted. The volume was deleted before this stream could open it.
    if (Any(State::kOpen)) {
      status = WithReason(std::move(status), reason::kVolumeDeleted);
    }
    EndForEver(std::move(status), outbox);
  } else {
    Refuse(stream, status, outbox);
  }
  GiveUpChangesDue();
}

std::vector<Part> StreamSet::Drop(ChannelStream& stream) {
  ChannelStream::Unanswered unanswered = stream.Drop();
  if (unanswered.changes) {
    lost_.Add({.id = stream.id(), .since = timer_->Now(), .changes = {}});
  }
  return std::move(unanswered.parts);
}

void StreamSet::Lose(ChannelStream& stream, absl::Status status,
                     Outbox& outbox) {
  last_loss_ = std::move(status);
  ChannelStream::Unanswered unanswered = stream.Drop();
  std::vector<Part> changes;
  std::vector<Part> others;
  for (Part& part : unanswered.parts) {
    const bool change = IsChange(part.call->request.kind);
    (change ? changes : others).push_back(std::move(part));
  }
  if (unanswered.changes) {
    lost_.Add({.id = stream.id(),
               .since = timer_->Now(),
               .changes = std::move(changes)});
  }
  calls_.Replay(std::move(others));
  stream.RetryLater(timer_->Now(), random_);
  if (!Any(State::kOpen) && disconnected_since_ == absl::InfiniteFuture()) {
    disconnected_since_ = timer_->Now();
  }
  GiveUpDue(outbox);
}

// The server ended the stream for a reason that another attempt will not
// change.
void StreamSet::Refuse(ChannelStream& stream, const absl::Status& status,
                       Outbox& outbox) {
  for (const Part& part : Drop(stream)) calls_.End(part.call, status);
  stream.RetryLater(timer_->Now(), random_);
  if (Any(State::kOpen) || Any(State::kStarting)) return;
  calls_.EndAll(status);
  CancelAll(outbox);
}

// ---- Time.

absl::Time StreamSet::WithGrace(absl::Time when) const {
  for (const ChannelStream& stream : streams_) {
    if (stream.state() == State::kStarting) {
      when = std::max(when, stream.started() + kConnectGrace);
    }
  }
  return when;
}

absl::Time StreamSet::give_up_time() const {
  if (disconnected_since_ == absl::InfiniteFuture()) return disconnected_since_;
  return WithGrace(disconnected_since_ + options_.reconnect_timeout);
}

absl::Time StreamSet::give_up_changes_time() const {
  const absl::Time since = lost_.waiting_since();
  if (since == absl::InfiniteFuture()) return since;
  return WithGrace(since + options_.reconnect_timeout);
}

absl::Time StreamSet::next_time() const {
  absl::Time next =
      std::min({give_up_time(), give_up_changes_time(), linger_until_});
  for (const ChannelStream& stream : streams_) {
    if (stream.state() == State::kWaiting) next = std::min(next, stream.wake());
  }
  return next;
}

void StreamSet::OnTime(Outbox& outbox) {
  if (linger_until_ <= timer_->Now()) CancelAll(outbox);
  GiveUpDue(outbox);
  GiveUpChangesDue();
  for (size_t i = 0; i < streams_.size(); ++i) {
    if (streams_[i].state() == State::kWaiting &&
        streams_[i].wake() <= timer_->Now()) {
      Start(i, outbox);
    }
  }
}

absl::Status StreamSet::Unavailable(absl::Time since) const {
  absl::Status loss =
      last_loss_.ok() ? absl::UnavailableError("the server ended the stream")
                      : last_loss_;
  if (!absl::IsUnavailable(loss)) {
    loss = absl::UnavailableError(loss.message());
  }
  return Annotate(loss,
                  absl::StrCat("volume \"", volume_, "\": no connection to ",
                               options_.server, " for ",
                               DurationText(timer_->Now() - since)));
}

void StreamSet::GiveUpDue(Outbox& outbox) {
  if (give_up_time() > timer_->Now()) return;
  calls_.EndAll(Unavailable(disconnected_since_));
  CancelAll(outbox);
}

void StreamSet::GiveUpChangesDue() {
  const absl::Time now = timer_->Now();
  if (give_up_changes_time() > now) return;
  // The streams stay in lost_: their changes must not overtake later ones
  // either.
  for (const LostStream& lost :
       lost_.TakeChanges(now - options_.reconnect_timeout)) {
    const absl::Status status = Unavailable(lost.since);
    for (const Part& part : lost.changes) calls_.End(part.call, status);
  }
}

// ---- Ending.

void StreamSet::EndForEver(absl::Status status, Outbox& outbox) {
  ended_ = std::move(status);
  calls_.EndAll(ended_);
  CancelAll(outbox);
  for (ChannelStream& stream : streams_) stream.ForgetLoss();
}

void StreamSet::CancelAll(Outbox& outbox) {
  for (ChannelStream& stream : streams_) {
    if (stream.stream() != nullptr) outbox.cancels.push_back(stream.stream());
    Drop(stream);
  }
  lost_.DropChanges();  // Their calls have ended.
  disconnected_since_ = absl::InfiniteFuture();
  linger_until_ = absl::InfiniteFuture();
}

void StreamSet::ShutDown(Outbox& outbox) {
  if (!std::exchange(shut_down_, true)) {
    disconnected_since_ = absl::InfiniteFuture();
    linger_until_ = timer_->Now() + kLinger;
  }
  for (ChannelStream& stream : streams_) {
    stream.ForgetLoss();
    if (stream.stream() == nullptr) {
      Drop(stream);  // Its channel may be waiting to start the next one.
    } else if (stream.HalfClose()) {
      outbox.half_closes.push_back(stream.stream());
    }
  }
}

}  // namespace ramvol
