#include "client/pipeline.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/duration_text.h"
#include "base/mutex.h"
#include "client/call.h"
#include "client/call_table.h"
#include "client/callback_scope.h"
#include "client/channel_stream.h"
#include "client/client_counters.h"
#include "client/io_transport.h"
#include "client/options.h"
#include "client/outbox.h"
#include "client/timer.h"
#include "client/volume_connection.h"

namespace ramvol {

// Passes a stream's reports to the pipeline, with the channel and id of that
// stream.
class VolumePipeline::Handler : public IoStreamHandler {
 public:
  Handler(std::shared_ptr<VolumePipeline> pipeline, size_t channel,
          uint64_t stream_id)
      : pipeline_(std::move(pipeline)),
        channel_(channel),
        stream_id_(stream_id) {}

  void OnMessage(const IncomingMessage& message) override {
    pipeline_->OnMessage(channel_, stream_id_, message);
  }
  void OnWritten() override { pipeline_->OnWritten(channel_, stream_id_); }
  void OnClosed(absl::Status status) override {
    pipeline_->OnClosed(channel_, stream_id_, std::move(status));
  }

 private:
  const std::shared_ptr<VolumePipeline> pipeline_;
  const size_t channel_;
  const uint64_t stream_id_;
};

struct VolumePipeline::ReadAnswer {
  Part part;
  const OperationResult* result;  // Of the message that is being handled.
};

VolumePipeline::VolumePipeline(std::string volume, ClientOptions options,
                               std::shared_ptr<IoTransport> transport,
                               std::shared_ptr<Timer> timer,
                               std::shared_ptr<ClientCounters> counters,
                               const OpenOptions& open_options)
    : volume_(std::move(volume)),
      options_(std::move(options)),
      timer_(std::move(timer)),
      streams_(volume_, options_, open_options, std::move(transport), timer_,
               std::move(counters), calls_,
               [this](size_t channel, uint64_t stream_id) {
                 return std::make_shared<Handler>(shared_from_this(), channel,
                                                  stream_id);
               }) {}

// ---- What users call.

void VolumePipeline::Open(VolumeConnection::Done done) {
  Request request;
  request.done = std::move(done);
  auto call = std::make_shared<Call>(std::move(request));
  call->deadline = timer_->Now() + options_.timeout;
  Outbox outbox;
  {
    MutexLock lock(&mu_);
    open_call_ = call;
    calls_.AddWaiter(std::move(call));
    streams_.Connect(outbox);
    GatherLocked(outbox);
  }
  Deliver(std::move(outbox), /*sdk_thread=*/false);
}

void VolumePipeline::Submit(Request&& request) {
  auto call = std::make_shared<Call>(std::move(request));
  call->deadline = timer_->Now() + options_.timeout;
  absl::Status refusal = CheckRange(call->request);
  Outbox outbox;
  {
    MutexLock lock(&mu_);
    if (CallbackScope::current() == nullptr) WaitForRoomLocked(call->deadline);
    calls_.Add(call);
    if (!streams_.ended().ok()) refusal = streams_.ended();
    if (refusal.ok()) {
      streams_.Connect(outbox);
    } else {
      calls_.End(call, std::move(refusal));
    }
    // In a callback or in Together, our caller gathers after the last request.
    // So all requests that start there share a message.
    if (CallbackScope::current() != this || !outbox.empty()) {
      GatherLocked(outbox);
    }
  }
  Deliver(std::move(outbox), /*sdk_thread=*/false);
}

void VolumePipeline::Together(absl::FunctionRef<void()> start) {
  const bool outermost = CallbackScope::current() != this;
  {
    CallbackScope scope(this);
    start();
  }
  if (!outermost) return;
  Outbox outbox;
  {
    MutexLock lock(&mu_);
    GatherLocked(outbox);
  }
  Deliver(std::move(outbox), /*sdk_thread=*/false);
}

void VolumePipeline::Release(bool wait) {
  Outbox outbox;
  {
    MutexLock lock(&mu_);
    released_ = true;
    self_ = shared_from_this();
    GatherLocked(outbox);
  }
  Deliver(std::move(outbox), /*sdk_thread=*/false);
  if (!wait || CallbackScope::current() != nullptr) return;
  MutexLock lock(&mu_);
  // Ends in time: StreamSet cancels streams that the server does not end.
  while (calls_.empty() && streams_.any_stream()) streams_ended_.Wait(&mu_);
}

void VolumePipeline::WaitForRoomLocked(absl::Time deadline) {
  const auto limit = static_cast<int64_t>(options_.max_inflight_bytes);
  ++waiting_for_room_;
  while (calls_.admitted_bytes() >= limit && streams_.ended().ok() &&
         timer_->Now() < deadline) {
    // Without an armed timer, nobody would wake this thread at the deadline.
    if (deadline < armed_) ArmAtLocked(deadline);
    room_.Wait(&mu_);
  }
  --waiting_for_room_;
}

// ---- Deciding under the lock, and acting without it.

void VolumePipeline::GatherLocked(Outbox& outbox) {
  streams_.Send(outbox);
  for (Completion& completion : calls_.TakeCompletions()) {
    outbox.completions.push_back(std::move(completion));
  }
  if (waiting_for_room_ > 0) room_.SignalAll();
  if (released_ && calls_.empty()) {
    streams_.ShutDown(outbox);
    self_ = nullptr;
    if (!streams_.any_stream()) streams_ended_.SignalAll();
  }
  ArmLocked();
}

void VolumePipeline::Deliver(Outbox outbox, bool sdk_thread) {
  while (!outbox.empty()) {
    bool again = false;
    for (const auto& stream : outbox.cancels) stream->Cancel();
    for (const auto& stream : outbox.half_closes) stream->HalfClose();
    for (const auto& stream : outbox.starts) stream->Start();
    for (Batch& batch : outbox.batches) {
      again |= !batch.pinned.empty();
      SendBatch(batch);
    }
    if (!outbox.completions.empty()) {
      again = true;
      RunCallbacks(std::move(outbox.completions), sdk_thread);
    }
    outbox = Outbox();
    // Callbacks may have started requests, and a call that was pinned may have
    // ended: gather once more.
    if (!again) return;
    MutexLock lock(&mu_);
    GatherLocked(outbox);
  }
}

void VolumePipeline::SendBatch(Batch& batch) {
  batch.stream->Prepare(batch.operations);
  if (!batch.pinned.empty()) {
    // Unpins before the message leaves. So an answer finds its call unpinned,
    // and can complete it at once.
    MutexLock lock(&mu_);
    for (const auto& call : batch.pinned) calls_.Unpin(call);
  }
  batch.stream->Send();
}

void VolumePipeline::RunCallbacks(std::vector<Completion> completions,
                                  bool sdk_thread) {
  if (sdk_thread) {
    CallbackScope scope(this);
    size_t left = completions.size();
    for (Completion& completion : completions) {
      CallbackScope::set_left(--left);
      completion.Run();
    }
    return;
  }
  timer_->RunAt(timer_->Now(), [self = shared_from_this(),
                                completions = std::move(completions)]() {
    Outbox outbox;
    outbox.completions = completions;
    self->Deliver(std::move(outbox), /*sdk_thread=*/true);
  });
}

// ---- Reports of the transport.

void VolumePipeline::OnWritten(size_t channel, uint64_t stream_id) {
  Outbox outbox;
  {
    MutexLock lock(&mu_);
    ChannelStream* const stream = streams_.Find(channel, stream_id);
    if (stream == nullptr) return;
    stream->set_writing(false);
    GatherLocked(outbox);
  }
  Deliver(std::move(outbox), /*sdk_thread=*/true);
}

void VolumePipeline::OnMessage(size_t channel, uint64_t stream_id,
                               const IncomingMessage& message) {
  std::vector<ReadAnswer> reads;
  Outbox outbox;
  {
    MutexLock lock(&mu_);
    ChannelStream* const stream = streams_.Find(channel, stream_id);
    if (stream == nullptr) return;
    if (message.opened.has_value() &&
        streams_.OnOpened(*stream, *message.opened, outbox)) {
      TakeOpenedLocked(*message.opened);
    }
    for (const OperationResult& result : message.results) {
      TakeResultLocked(stream->Answer(result.id), result, reads);
    }
    if (reads.empty()) GatherLocked(outbox);
  }
  if (!reads.empty()) CopyReads(reads, outbox);
  Deliver(std::move(outbox), /*sdk_thread=*/true);
}

void VolumePipeline::TakeOpenedLocked(const VolumeOpened& opened) {
  size_bytes_.store(opened.size_bytes, std::memory_order_relaxed);
  read_only_.store(opened.read_only, std::memory_order_relaxed);
  int64_t part_bytes = kMaxPartBytes;
  for (int64_t limit : {opened.max_data_bytes, opened.window_bytes}) {
    if (limit > 0) part_bytes = std::min(part_bytes, limit);
  }
  calls_.set_part_bytes(part_bytes);
  if (open_call_ != nullptr) {
    calls_.End(open_call_, absl::OkStatus());
    open_call_ = nullptr;
  }
}

void VolumePipeline::TakeResultLocked(Part part, const OperationResult& result,
                                      std::vector<ReadAnswer>& reads) {
  if (part.call == nullptr || part.call->ended) return;
  const OperationKind kind = part.call->request.kind;
  if (kind == OperationKind::kRead && result.status.ok()) {
    calls_.Pin(*part.call);
    reads.push_back({.part = std::move(part), .result = &result});
  } else if (ListsExtents(kind) && result.status.ok()) {
    calls_.FinishExtents(part, result.extents, result.next_offset,
                         size_bytes());
  } else {
    calls_.Finish(part, result.status);
  }
}

void VolumePipeline::CopyReads(const std::vector<ReadAnswer>& reads,
                               Outbox& outbox) {
  std::vector<absl::Status> copied;
  copied.reserve(reads.size());
  for (const ReadAnswer& read : reads) {
    copied.push_back(CopyToUser(read.part, *read.result));
  }
  MutexLock lock(&mu_);
  for (size_t i = 0; i < reads.size(); ++i) {
    calls_.Unpin(reads[i].part.call);
    calls_.Finish(reads[i].part, std::move(copied[i]));
  }
  GatherLocked(outbox);
}

void VolumePipeline::OnClosed(size_t channel, uint64_t stream_id,
                              absl::Status status) {
  Outbox outbox;
  {
    MutexLock lock(&mu_);
    ChannelStream* const stream = streams_.Find(channel, stream_id);
    if (stream == nullptr) return;
    streams_.OnClosed(*stream, std::move(status), outbox);
    GatherLocked(outbox);
  }
  Deliver(std::move(outbox), /*sdk_thread=*/true);
}

// ---- Time.

void VolumePipeline::ArmLocked() {
  const absl::Time next =
      std::min(calls_.next_deadline(), streams_.next_time());
  if (next < armed_) ArmAtLocked(next);
}

void VolumePipeline::ArmAtLocked(absl::Time when) {
  armed_ = when;
  timer_->RunAt(when, [weak = weak_from_this()] {
    if (std::shared_ptr<VolumePipeline> self = weak.lock()) self->OnTimer();
  });
}

void VolumePipeline::OnTimer() {
  Outbox outbox;
  {
    MutexLock lock(&mu_);
    armed_ = absl::InfiniteFuture();
    for (const std::shared_ptr<Call>& call : calls_.Expired(timer_->Now())) {
      calls_.End(call, DeadlineErrorLocked(*call));
    }
    streams_.OnTime(outbox);
    GatherLocked(outbox);
  }
  Deliver(std::move(outbox), /*sdk_thread=*/true);
}

absl::Status VolumePipeline::DeadlineErrorLocked(const Call& call) const {
  const std::string timeout = DurationText(options_.timeout);
  if (&call == open_call_.get()) {
    return absl::DeadlineExceededError(absl::StrCat(
        "the server at ", options_.server, " did not open volume \"", volume_,
        "\" within ", timeout));
  }
  return absl::DeadlineExceededError(
      absl::StrCat("the server at ", options_.server, " did not answer a ",
                   KindName(call.request.kind), " at offset ",
                   call.request.offset, " of volume \"", volume_, "\" within ",
                   timeout, "; if it changes anything, it may still do so"));
}

}  // namespace ramvol
