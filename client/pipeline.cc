#include "client/pipeline.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "client/call_table.h"
#include "client/callback_scope.h"
#include "client/io_transport.h"
#include "client/volume_connection.h"

namespace ramvol {
namespace {

Operation ToOperation(uint64_t id, const Part& part) {
  const Call& call = *part.call;
  Operation operation;
  operation.id = id;
  operation.kind = call.kind;
  operation.offset = part.offset;
  operation.length = part.length;
  operation.no_hole = call.no_hole;
  if (call.kind == OperationKind::kWrite) {
    operation.data =
        std::string_view(call.data + (part.offset - call.offset), part.length);
  }
  if (call.kind == OperationKind::kGetExtents) {
    operation.max_extents = call.max_extents == 0
                                ? kMaxExtents
                                : std::min(call.max_extents, kMaxExtents);
  }
  return operation;
}

// Copies what a read answered to where the user wants it.
absl::Status CopyOut(const Part& part, const OperationResult& result) {
  int64_t size_bytes = 0;
  for (std::string_view piece : result.data) size_bytes += piece.size();
  if (size_bytes != part.length) {
    return absl::InternalError(absl::StrCat(
        "the server answered a read of ", part.length, " bytes at offset ",
        part.offset, " with ", size_bytes, " bytes"));
  }
  char* out = part.call->out + (part.offset - part.call->offset);
  for (std::string_view piece : result.data) {
    if (!piece.empty()) std::memcpy(out, piece.data(), piece.size());
    out += piece.size();
  }
  return absl::OkStatus();
}

const char* KindName(OperationKind kind) {
  switch (kind) {
    case OperationKind::kRead:
      return "read";
    case OperationKind::kWrite:
      return "write";
    case OperationKind::kTrim:
      return "trim";
    case OperationKind::kWriteZeroes:
      return "write of zeroes";
    case OperationKind::kFlush:
      return "flush";
    case OperationKind::kGetExtents:
      return "list of extents";
  }
  return "operation";
}

// The server judges ranges, but the parts of this one have no offsets.
bool WrapsAround(const Call& call) {
  return (call.kind == OperationKind::kRead ||
          call.kind == OperationKind::kWrite) &&
         call.offset > std::numeric_limits<int64_t>::max() - call.length;
}

absl::Status PastTheLargestVolume(const Call& call) {
  return WithReason(
      absl::OutOfRangeError(absl::StrCat(
          KindName(call.kind), " of ", call.length, " bytes at offset ",
          call.offset, " ends past the largest volume; shorten it")),
      reason::kPastEnd);
}

}  // namespace

// Binds a stream's reports to its slot.
class VolumePipeline::Handler : public IoStreamHandler {
 public:
  Handler(std::shared_ptr<VolumePipeline> pipeline, size_t index,
          uint64_t generation)
      : pipeline_(std::move(pipeline)),
        index_(index),
        generation_(generation) {}

  void OnMessage(const IncomingMessage& message) override {
    pipeline_->OnMessage(index_, generation_, message);
  }
  void OnWritten() override { pipeline_->OnWritten(index_, generation_); }
  void OnClosed(absl::Status status) override {
    pipeline_->OnClosed(index_, generation_, std::move(status));
  }

 private:
  const std::shared_ptr<VolumePipeline> pipeline_;
  const size_t index_;
  const uint64_t generation_;
};

VolumePipeline::VolumePipeline(std::string volume, ClientOptions options,
                               std::shared_ptr<IoTransport> transport,
                               std::shared_ptr<Timer> timer,
                               std::shared_ptr<ClientCounters> counters,
                               const OpenOptions& open_options)
    : volume_(std::move(volume)),
      options_(std::move(options)),
      open_options_(open_options),
      transport_(std::move(transport)),
      timer_(std::move(timer)),
      counters_(std::move(counters)) {
  for (int i = 0; i < options_.channels; ++i) {
    slots_.emplace_back(options_.initial_backoff, options_.max_backoff);
  }
}

std::shared_ptr<IoStreamHandler> VolumePipeline::NewHandler(
    size_t index, uint64_t generation) {
  return std::make_shared<Handler>(shared_from_this(), index, generation);
}

void VolumePipeline::Open(VolumeConnection::Done done) {
  auto call = std::make_shared<Call>();
  call->done = std::move(done);
  call->deadline = timer_->Now() + options_.timeout;
  Work work;
  {
    MutexLock lock(&mu_);
    open_call_ = call;
    calls_.AddWaiter(std::move(call));
    ConnectLocked(work);
    CollectLocked(work);
  }
  Perform(std::move(work), /*sdk_thread=*/false);
}

void VolumePipeline::Submit(std::shared_ptr<Call> call) {
  call->deadline = timer_->Now() + options_.timeout;
  Work work;
  {
    MutexLock lock(&mu_);
    if (CallbackScope::current() == nullptr) WaitForRoomLocked(call->deadline);
    calls_.Add(call);
    if (!ended_.ok()) {
      calls_.End(call, ended_);
    } else if (WrapsAround(*call)) {
      calls_.End(call, PastTheLargestVolume(*call));
    } else {
      ConnectLocked(work);
    }
    // Whoever runs this thread's callbacks, or Together, collects after the
    // last of them, so that all that they start shares a message.
    if (CallbackScope::current() != this || !work.empty()) CollectLocked(work);
  }
  Perform(std::move(work), /*sdk_thread=*/false);
}

void VolumePipeline::Together(absl::FunctionRef<void()> start) {
  const bool outermost = CallbackScope::current() != this;
  {
    CallbackScope scope(this);
    start();
  }
  if (!outermost) return;
  Work work;
  {
    MutexLock lock(&mu_);
    CollectLocked(work);
  }
  Perform(std::move(work), /*sdk_thread=*/false);
}

void VolumePipeline::Release(bool wait) {
  Work work;
  {
    MutexLock lock(&mu_);
    released_ = true;
    self_ = shared_from_this();
    CollectLocked(work);
  }
  Perform(std::move(work), /*sdk_thread=*/false);
  if (!wait || CallbackScope::current() != nullptr) return;
  MutexLock lock(&mu_);
  while (shut_down_ && AnyStreamLocked()) stream_gone_.Wait(&mu_);
}

// ---- Doing what was gathered.

void VolumePipeline::Perform(Work work, bool sdk_thread) {
  while (!work.empty()) {
    bool again = false;
    for (const auto& stream : work.cancels) stream->Cancel();
    for (const auto& stream : work.half_closes) stream->HalfClose();
    for (const auto& stream : work.starts) stream->Start();
    for (Batch& batch : work.batches) {
      again |= !batch.pinned.empty();
      SendBatch(batch);
    }
    if (!work.completions.empty()) {
      again = true;
      RunCompletions(std::move(work.completions), sdk_thread);
    }
    work = Work();
    if (!again) return;
    MutexLock lock(&mu_);
    CollectLocked(work);
  }
}

void VolumePipeline::RunCompletions(std::vector<Completion> completions,
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
    Work work;
    work.completions = completions;
    self->Perform(std::move(work), /*sdk_thread=*/true);
  });
}

void VolumePipeline::SendBatch(Batch& batch) {
  batch.stream->Prepare(batch.operations);
  if (!batch.pinned.empty()) {
    // Before the message leaves, so that its answers find no pin.
    MutexLock lock(&mu_);
    for (const auto& call : batch.pinned) calls_.Unpin(call);
  }
  batch.stream->Send();
}

void VolumePipeline::CollectLocked(Work& work) {
  PumpLocked(work);
  for (Completion& completion : calls_.TakeCompletions()) {
    work.completions.push_back(std::move(completion));
  }
  if (waiting_for_room_ > 0) room_.SignalAll();
  if (released_ && calls_.empty()) ShutDownLocked(work);
  ArmLocked();
}

void VolumePipeline::WaitForRoomLocked(absl::Time deadline) {
  const auto limit = static_cast<int64_t>(options_.max_inflight_bytes);
  ++waiting_for_room_;
  while (calls_.admitted_bytes() >= limit && ended_.ok() &&
         timer_->Now() < deadline) {
    if (deadline < armed_) ArmAtLocked(deadline);
    room_.Wait(&mu_);
  }
  --waiting_for_room_;
}

void VolumePipeline::ArmLocked() {
  absl::Time next = std::min({calls_.next_deadline(), GiveUpTimeLocked(),
                              GiveUpLostTimeLocked(), linger_until_});
  for (const Slot& slot : slots_) {
    if (slot.state == SlotState::kWaiting) next = std::min(next, slot.wake);
  }
  if (next < armed_) ArmAtLocked(next);
}

void VolumePipeline::ArmAtLocked(absl::Time when) {
  armed_ = when;
  timer_->RunAt(when, [weak = weak_from_this()] {
    if (std::shared_ptr<VolumePipeline> self = weak.lock()) self->OnTimer();
  });
}

// ---- Sending.

void VolumePipeline::PumpLocked(Work& work) {
  while (calls_.has_parts()) {
    Slot* slot = LeastLoadedLocked();
    if (slot == nullptr) return;
    Batch batch = FillLocked(*slot);
    if (batch.operations.empty()) return;
    slot->writing = true;
    work.batches.push_back(std::move(batch));
  }
}

VolumePipeline::Slot* VolumePipeline::LeastLoadedLocked() {
  const Part part = *calls_.PeekPart();
  Slot* best = nullptr;
  for (Slot& slot : slots_) {
    if (!slot.CanSend() || !FitsLocked(slot, part)) continue;
    if (best == nullptr ||
        std::pair(slot.inflight_bytes, slot.unanswered.size()) <
            std::pair(best->inflight_bytes, best->unanswered.size())) {
      best = &slot;
    }
  }
  return best;
}

bool VolumePipeline::FitsLocked(const Slot& slot, const Part& part) const {
  const auto limit = static_cast<int64_t>(options_.max_inflight_bytes);
  const int64_t bytes = part.window_bytes();
  return static_cast<int64_t>(slot.unanswered.size()) <
             slot.window_operations &&
         (slot.inflight_bytes == 0 ||
          bytes <= slot.window_bytes - slot.inflight_bytes) &&
         (inflight_bytes_ == 0 || bytes <= limit - inflight_bytes_);
}

VolumePipeline::Batch VolumePipeline::FillLocked(Slot& slot) {
  Batch batch;
  batch.stream = slot.stream;
  int64_t batch_bytes = 0;
  while (batch.operations.size() < kMaxBatchOperations) {
    std::optional<Part> next = calls_.PeekPart();
    if (!next.has_value() || !FitsLocked(slot, *next)) break;
    const int64_t bytes = next->window_bytes();
    if (batch_bytes > 0 && bytes > kMaxBatchBytes - batch_bytes) break;
    batch_bytes += bytes;
    slot.inflight_bytes += bytes;
    inflight_bytes_ += bytes;
    Part part = calls_.TakePart();
    const uint64_t id = next_id_++;
    batch.operations.push_back(ToOperation(id, part));
    if (part.call->kind == OperationKind::kWrite) {
      calls_.Pin(*part.call);
      batch.pinned.push_back(part.call);
    }
    slot.unanswered.emplace(id, std::move(part));
  }
  return batch;
}

// ---- Reports.

VolumePipeline::Slot* VolumePipeline::FindLocked(size_t index,
                                                 uint64_t generation) {
  Slot& slot = slots_[index];
  return slot.generation == generation && slot.stream != nullptr ? &slot
                                                                 : nullptr;
}

void VolumePipeline::OnWritten(size_t index, uint64_t generation) {
  Work work;
  {
    MutexLock lock(&mu_);
    Slot* slot = FindLocked(index, generation);
    if (slot == nullptr) return;
    slot->writing = false;
    CollectLocked(work);
  }
  Perform(std::move(work), /*sdk_thread=*/true);
}

void VolumePipeline::OnMessage(size_t index, uint64_t generation,
                               const IncomingMessage& message) {
  // Reads whose data is to be copied while the mutex is free.
  std::vector<std::pair<Part, const OperationResult*>> reads;
  Work work;
  {
    MutexLock lock(&mu_);
    Slot* slot = FindLocked(index, generation);
    if (slot == nullptr) return;
    if (message.opened.has_value()) OpenedLocked(*slot, *message.opened, work);
    for (const OperationResult& result : message.results) {
      Part part = AnsweredLocked(*slot, result.id);
      if (part.call == nullptr || part.call->ended) continue;
      if (part.call->kind == OperationKind::kRead && result.status.ok()) {
        calls_.Pin(*part.call);
        reads.emplace_back(std::move(part), &result);
      } else {
        FinishLocked(part, result);
      }
    }
    if (reads.empty()) CollectLocked(work);
  }
  if (!reads.empty()) {
    std::vector<absl::Status> copied;
    copied.reserve(reads.size());
    for (auto& [part, result] : reads) copied.push_back(CopyOut(part, *result));
    MutexLock lock(&mu_);
    for (size_t i = 0; i < reads.size(); ++i) {
      calls_.Unpin(reads[i].first.call);
      calls_.Finish(reads[i].first, std::move(copied[i]));
    }
    CollectLocked(work);
  }
  Perform(std::move(work), /*sdk_thread=*/true);
}

Part VolumePipeline::AnsweredLocked(Slot& slot, uint64_t id) {
  auto found = slot.unanswered.find(id);
  if (found == slot.unanswered.end()) return {};
  Part part = std::move(found->second);
  slot.unanswered.erase(found);
  slot.inflight_bytes -= part.window_bytes();
  inflight_bytes_ -= part.window_bytes();
  slot.backoff.Reset();
  return part;
}

void VolumePipeline::FinishLocked(const Part& part,
                                  const OperationResult& result) {
  if (part.call->kind == OperationKind::kGetExtents && result.status.ok()) {
    calls_.FinishExtents(part, result.extents, result.next_offset,
                         size_bytes());
  } else {
    calls_.Finish(part, result.status);
  }
}

void VolumePipeline::OnTimer() {
  Work work;
  {
    MutexLock lock(&mu_);
    armed_ = absl::InfiniteFuture();
    const absl::Time now = timer_->Now();
    for (const std::shared_ptr<Call>& call : calls_.Expired(now)) {
      calls_.End(call, DeadlineErrorLocked(*call));
    }
    if (linger_until_ <= now) CancelAllLocked(work);
    if (GiveUpTimeLocked() <= now) GiveUpLocked(work);
    if (GiveUpLostTimeLocked() <= now) GiveUpLostLocked();
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].state == SlotState::kWaiting && slots_[i].wake <= now) {
        StartLocked(i, work);
      }
    }
    CollectLocked(work);
  }
  Perform(std::move(work), /*sdk_thread=*/true);
}

absl::Status VolumePipeline::DeadlineErrorLocked(const Call& call) const {
  const std::string timeout = absl::FormatDuration(options_.timeout);
  if (&call == open_call_.get()) {
    return absl::DeadlineExceededError(absl::StrCat(
        "the server at ", options_.server, " did not open volume \"", volume_,
        "\" within ", timeout));
  }
  return absl::DeadlineExceededError(absl::StrCat(
      "the server at ", options_.server, " did not answer a ",
      KindName(call.kind), " at offset ", call.offset, " of volume \"", volume_,
      "\" within ", timeout, "; if it changes anything, it may still do so"));
}

}  // namespace ramvol
