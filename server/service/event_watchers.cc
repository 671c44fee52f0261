#include "server/service/event_watchers.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/peer.h"
#include "base/reason.h"
#include "grpcpp/server_context.h"
#include "proto/status.h"
#include "server/access/role.h"
#include "server/access/sessions.h"
#include "server/service/call_message.h"
#include "server/service/send_away.h"
#include "server/service/volume_fields.h"

namespace ramvol::service {
namespace {

// The reactor of a call that is refused.
class Refused final : public EventWatchers::Reactor {
 public:
  explicit Refused(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

absl::Status TooMany() {
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat(
          "the server has ", EventWatchers::kMaxWatchers,
          " watchers, or this client has its share of them, or there is no "
          "client memory for one more; end some")),
      reason::kTooManyStreams);
}

}  // namespace

// One call. gRPC's threads, the one of the watchers and Drain's meet here.
class EventWatchers::Stream final
    : public Reactor,
      public std::enable_shared_from_this<EventWatchers::Stream>,
      public ClientMemory::Client {
 public:
  // Begins after `position`, and ends there unless `follow`.
  Stream(EventWatchers* watchers, grpc::CallbackServerContext* context,
         Path path, uint64_t position, bool follow, CallAccess::SeesEvent sees)
      : watchers_(*watchers),
        context_(*context),
        path_(std::move(path)),
        follow_(follow),
        sees_(std::move(sees)),
        memory_(watchers->memory_),
        holder_(memory_.get(), this),
        position_(position) {
    holder_.SetPeer(path_[0]);
    holder_.Open(ClientMemory::Stream());
  }

  const Path& path() const { return path_; }

  // Ends it when its client is granted nothing any more. Before Advance.
  void StayAllowed(const CallAccess& access) {
    session_entry_ =
        access.StayAllowed(context_, access::Right::kEnter, "",
                           [self = weak_from_this()](const absl::Status& why) {
                             if (const auto stream = self.lock())
                               stream->EndNow(why);
                           });
  }

  // Does what there is to do: sends events, or ends the stream.
  void Advance() ABSL_LOCKS_EXCLUDED(mu_) {
    // OnDone may come before this returns.
    const std::shared_ptr<Stream> self = shared_from_this();
    bool write = false;
    absl::Status status;
    {
      MutexLock lock(&mu_);
      if (finished_ || writing_) return;
      v1::WatchEventsResponse response;
      status = NextLocked(&response);
      write = status.ok() && (first_ || response.events_size() > 0);
      if (status.ok() && !write) {
        if (draining_) status = ShuttingDownError();
        if (follow_ && !draining_) return;
      }
      outgoing_.Clear();
      if (write) EncodeMessage(response, &outgoing_);
      first_ = false;
      writing_ = write;
      finished_ = !write;
    }
    if (write) {
      StartWrite(&outgoing_);
    } else {
      Finish(ToGrpcStatus(status));
    }
  }

  void Drain() ABSL_LOCKS_EXCLUDED(mu_) {
    {
      MutexLock lock(&mu_);
      draining_ = true;
    }
    Advance();
  }

  void OnWriteDone(bool ok) override {
    {
      MutexLock lock(&mu_);
      writing_ = false;
      cancelled_ = cancelled_ || !ok;
    }
    Advance();
  }
  void OnCancel() override {
    {
      MutexLock lock(&mu_);
      cancelled_ = true;
    }
    Advance();
  }
  void OnDone() override { watchers_.Remove(this); }

  // It never holds more than what it takes to be open.
  std::function<void()> SendAway() override { return nullptr; }

 private:
  absl::Status NextLocked(v1::WatchEventsResponse* response)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (cancelled_) return absl::CancelledError("the client is gone");
    if (first_) {
      response->set_feed(watchers_.feed_.id());
      response->set_last_sequence(static_cast<int64_t>(watchers_.feed_.Last()));
    }
    for (;;) {
      const uint64_t before = position_;
      absl::Status status = watchers_.feed_.Read(&position_, kMaxBatchBytes,
                                                 response->mutable_events());
      if (!status.ok() || sees_ == nullptr) return status;
      LeaveOut(response->mutable_events());
      if (response->events_size() > 0 || position_ == before) return status;
    }
  }

  // What one may not see.
  void LeaveOut(google::protobuf::RepeatedPtrField<v1::Event>* events) const {
    events->erase(
        std::remove_if(events->begin(), events->end(),
                       [this](v1::Event& event) { return !sees_(&event); }),
        events->end());
  }

  // Whatever its client takes.
  void EndNow(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mu_) {
    std::unique_ptr<EndableCall> call;
    {
      MutexLock lock(&mu_);
      if (finished_) return;
      call = std::make_unique<EndableCall>(context_.c_call());
    }
    call->End(why);
  }

  EventWatchers& watchers_;
  grpc::CallbackServerContext& context_;  // Until it is finished.
  const Path path_;
  const bool follow_;
  const CallAccess::SeesEvent sees_;  // Null: everything.
  // This may outlive the watchers for a moment.
  const std::shared_ptr<ClientMemory> memory_;
  ClientMemory::Holder holder_;
  access::Sessions::Entry session_entry_;  // Constant after StayAllowed.

  Mutex mu_;
  uint64_t position_ ABSL_GUARDED_BY(mu_);
  bool first_ ABSL_GUARDED_BY(mu_) = true;  // Nothing was sent yet.
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  // gRPC's while it writes.
  grpc::ByteBuffer outgoing_;
};

EventWatchers::EventWatchers(EventFeed* feed, CallGate* gate,
                             std::shared_ptr<ClientMemory> memory)
    : feed_(*feed), gate_(*gate), memory_(std::move(memory)) {
  thread_ = std::thread([this] { Run(); });
}

EventWatchers::~EventWatchers() {
  feed_.Stop();
  thread_.join();
}

absl::StatusOr<uint64_t> EventWatchers::Begin(
    const v1::WatchEventsRequest& request) const {
  if (!request.feed().empty()) {
    if (request.feed() != feed_.id()) {
      return WithReason(
          absl::OutOfRangeError("the server was restarted since, so events may "
                                "be gone; list the volumes and watch anew"),
          reason::kEventsLost);
    }
    const auto after = static_cast<uint64_t>(request.after_sequence());
    if (request.after_sequence() >= 0 && after <= feed_.Last()) return after;
    return InvalidField(
        "after_sequence",
        absl::StrCat("after_sequence is ", request.after_sequence(),
                     "; the last event is ", feed_.Last()));
  }
  if (request.has_since()) return feed_.At(FromProto(request.since()));
  return request.only_new() ? feed_.Last() : feed_.Oldest();
}

EventWatchers::Reactor* EventWatchers::Watch(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    const CallAccess& access) {
  v1::WatchEventsRequest decoded;
  absl::Status status = DecodeSmallMessage(request, &decoded);
  if (status.ok()) {
    status = access.Run(*context, decoded, [] { return absl::OkStatus(); });
  }
  if (!status.ok()) return new Refused(status);
  const auto begin = Begin(decoded);
  if (!begin.ok()) return new Refused(begin.status());
  if (!gate_.Enter()) return new Refused(ShuttingDownError());
  Path path = {PeerOf(context->peer()), context->peer()};
  if (!memory_->HasRoomToOpen(ClientMemory::Stream().bytes) ||
      share_.Enter(path) != FairShare::Answer::kEntered) {
    gate_.Leave();
    return new Refused(TooMany());
  }
  const auto stream =
      std::make_shared<Stream>(this, context, std::move(path), *begin,
                               decoded.follow(), access.EventsFor(*context));
  stream->StayAllowed(access);
  {
    MutexLock lock(&mu_);
    streams_.emplace(stream.get(), stream);
  }
  stream->Advance();
  // Drain may have run before the stream was added.
  if (gate_.closed()) stream->Drain();
  return stream.get();
}

std::vector<std::shared_ptr<EventWatchers::Stream>> EventWatchers::All() {
  std::vector<std::shared_ptr<Stream>> streams;
  MutexLock lock(&mu_);
  streams.reserve(streams_.size());
  for (const auto& [key, stream] : streams_) streams.push_back(stream);
  return streams;
}

void EventWatchers::Drain() {
  for (const auto& stream : All()) stream->Drain();
}

void EventWatchers::Remove(Stream* stream) {
  std::shared_ptr<Stream> last;  // Goes outside of the lock.
  {
    MutexLock lock(&mu_);
    last = std::move(streams_.extract(stream).mapped());
  }
  share_.Leave(last->path());
  // Before the gate, behind which client memory may go.
  last.reset();
  gate_.Leave();
}

void EventWatchers::Run() {
  uint64_t position = 0;
  while (feed_.Wait(&position)) {
    for (const auto& stream : All()) stream->Advance();
  }
}

}  // namespace ramvol::service
