#include "server/service/io_stream.h"

#include <algorithm>
#include <utility>

#include "proto/base/reason.h"
#include "proto/status.h"
#include "server/service/block_operations.h"
#include "server/service/limits.h"
#include "server/service/uid.h"

namespace ramvol::service {
namespace {

constexpr std::array<Lane, kLanes> kAllLanes = {Lane::kPrompt, Lane::kMayWait};

// Waking a thread pays off for about so many bytes of reads or writes.
constexpr size_t kCostPerRunnerBytes = 64 << 10;

size_t Index(Lane lane) { return static_cast<size_t>(lane); }

}  // namespace

IoStream::IoStream(engine::Engine* engine, Executor* executor, IoStreamSet* set)
    : engine_(engine), executor_(executor), set_(set) {}

void IoStream::Start() { StartRead(&request_); }

void IoStream::OnReadDone(bool ok) {
  Next next;
  bool run_here = false;
  {
    MutexLock lock(&mu_);
    if (finished_) return;
    if (!ok) {
      session_.End(absl::OkStatus());
    } else if (!session_.ended()) {
      const absl::Status status = ReceiveLocked();
      if (!status.ok()) session_.End(status);
    }
    if (session_.SmallReadWaits() && runners_[Index(Lane::kPrompt)] == 0) {
      ++runners_[Index(Lane::kPrompt)];
      run_here = true;
    }
    next = DecideLocked();
    next.read = ok && !session_.ended();
  }
  Act(next);
  if (!run_here) return;
  RunOperations(Lane::kPrompt, 1);
  EndRunner(Lane::kPrompt);
}

absl::Status IoStream::ReceiveLocked() {
  absl::Status status = session_.Receive(&request_);
  if (status.ok() && !attachment_.has_value()) {
    status = OpenLocked();
    if (!status.ok()) session_.Abandon(status);
  }
  request_.Clear();
  return status;
}

absl::Status IoStream::OpenLocked() {
  auto volume = engine_->Find(session_.volume_name());
  if (!volume.ok()) return volume.status();
  auto attachment = engine::Attachment::Make(*volume);
  if (!attachment.ok()) return attachment.status();
  attachment_.emplace(*std::move(attachment));
  v1::IoOpened opened;
  opened.set_size_bytes(static_cast<int64_t>((*volume)->size_bytes()));
  opened.set_read_only((*volume)->read_only());
  opened.set_uid(FormatUid((*volume)->uid()));
  session_.Open(std::move(opened));
  return absl::OkStatus();
}

IoStream::Next IoStream::DecideLocked() {
  Next next;
  if (finished_) return next;
  for (const Lane lane : kAllLanes) {
    next.runners[Index(lane)] = MoreRunnersLocked(lane);
    runners_[Index(lane)] += next.runners[Index(lane)];
  }
  if (!writing_ && session_.NextMessage(&response_)) {
    writing_ = true;
    next.write = true;
  }
  const bool at_rest =
      !writing_ && session_.Idle() && runners_ == std::array<int, kLanes>{};
  if (at_rest && session_.ended()) {
    finished_ = true;
    next.finish = true;
  }
  return next;
}

int IoStream::MoreRunnersLocked(Lane lane) {
  const size_t cost = session_.WaitingCostBytes(lane);
  if (cost == 0) return 0;
  const size_t most = static_cast<size_t>(
      std::min(executor_->lane_threads(), kMaxStreamRunners));
  const size_t wanted = std::clamp<size_t>(cost / kCostPerRunnerBytes, 1, most);
  return std::max(0, static_cast<int>(wanted) - runners_[Index(lane)]);
}

void IoStream::Act(const Next& next) {
  // Nothing of this object may be touched after Finish, nor after the last
  // thing done here: hence a reference.
  const std::shared_ptr<IoStream> self = shared_from_this();
  if (next.write) StartWrite(&response_);
  if (next.read) StartRead(&request_);
  for (const Lane lane : kAllLanes) {
    for (int i = 0; i < next.runners[Index(lane)]; ++i) StartRunner(lane);
  }
  if (next.finish) {
    absl::Status status;
    {
      MutexLock lock(&mu_);
      status = session_.end_status();
    }
    // Whoever sees the stream's end can delete the volume.
    attachment_.reset();
    Finish(ToGrpcStatus(status));
  }
}

void IoStream::StartRunner(Lane lane) {
  const bool queued = executor_->Submit(
      lane, [self = shared_from_this(), lane] { self->RunTurn(lane); });
  if (queued) return;
  {
    MutexLock lock(&mu_);
    session_.FailWaiting(
        lane, absl::UnavailableError("the server has too much to do; try again "
                                     "later"));
  }
  EndRunner(lane);
}

bool IoStream::RunOperations(Lane lane, int most) {
  std::unique_ptr<v1::IoResult> result;
  for (int n = 0;; ++n) {
    std::unique_ptr<v1::IoOperation> operation;
    Next next;
    {
      MutexLock lock(&mu_);
      if (result != nullptr) session_.Complete(std::move(result));
      next = DecideLocked();
      if (n < most) operation = session_.NextOperation(lane);
    }
    Act(next);
    if (n == most) return true;
    if (operation == nullptr) return false;
    result = RunOperation(attachment_->volume(), *operation);
  }
}

void IoStream::RunTurn(Lane lane) {
  if (RunOperations(lane, kMaxOperationsPerTurn)) {
    StartRunner(lane);
  } else {
    EndRunner(lane);
  }
}

void IoStream::EndRunner(Lane lane) {
  Next next;
  {
    MutexLock lock(&mu_);
    --runners_[Index(lane)];
    next = DecideLocked();
  }
  Act(next);
}

void IoStream::OnWriteDone(bool ok) {
  Next next;
  {
    MutexLock lock(&mu_);
    writing_ = false;
    // What was answered is freed now, not when the next answer comes.
    v1::IoResponse().Swap(&response_);
    if (!ok) session_.Abandon(absl::CancelledError("the client is gone"));
    next = DecideLocked();
  }
  Act(next);
}

void IoStream::OnCancel() {
  Next next;
  {
    MutexLock lock(&mu_);
    session_.Abandon(absl::CancelledError("the client is gone"));
    next = DecideLocked();
  }
  Act(next);
}

void IoStream::Drain() {
  Next next;
  {
    MutexLock lock(&mu_);
    session_.End(ShuttingDownError());
    next = DecideLocked();
  }
  Act(next);
}

void IoStream::OnDone() { set_->Remove(this); }

bool IoStreamSet::Add(std::shared_ptr<IoStream> stream) {
  MutexLock lock(&mu_);
  if (streams_.size() >= kMaxStreams) return false;
  IoStream* const key = stream.get();
  streams_.emplace(key, std::move(stream));
  return true;
}

void IoStreamSet::Remove(IoStream* stream) {
  std::shared_ptr<IoStream> last;  // Goes outside of the lock.
  {
    MutexLock lock(&mu_);
    const auto it = streams_.find(stream);
    last = std::move(it->second);
    streams_.erase(it);
  }
  gate_->Leave();
}

void IoStreamSet::DrainAll() {
  std::vector<std::shared_ptr<IoStream>> streams;
  {
    MutexLock lock(&mu_);
    streams.reserve(streams_.size());
    for (const auto& [key, stream] : streams_) streams.push_back(stream);
  }
  for (const auto& stream : streams) stream->Drain();
}

}  // namespace ramvol::service
