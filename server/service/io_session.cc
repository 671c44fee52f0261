#include "server/service/io_session.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "proto/status.h"
#include "server/service/block_operations.h"
#include "server/service/limits.h"

namespace ramvol::service {
namespace {

size_t CostBytes(const v1::IoOperation& operation) {
  return IoSession::kOperationCostBytes +
         static_cast<size_t>(DataBytes(operation));
}

// Memory of the operation itself.
size_t HeldBytes(const v1::IoOperation& operation) {
  return IoSession::kOperationHeldBytes +
         (operation.has_write() ? operation.write().data().size() : 0);
}

size_t HeldBytes(const v1::IoResult& result, size_t encoded_bytes) {
  const int extents = result.extents_size() + result.changed_extents_size();
  return IoSession::kOperationHeldBytes +
         (extents > 0 ? static_cast<size_t>(extents) * kExtentBytes
                      : encoded_bytes);
}

absl::Status WindowExceeded(const char* what, int64_t unanswered, int64_t more,
                            int64_t window) {
  absl::Status status =
      WithReason(absl::FailedPreconditionError(absl::StrCat(
                     "the window of this stream is ", window, " ", what, ": ",
                     unanswered, " were unanswered when a message with ", more,
                     " more arrived; wait for answers before sending more")),
                 reason::kWindowExceeded);
  status = WithMetadata(std::move(status), "window", absl::StrCat(window));
  return WithMetadata(std::move(status), "unanswered",
                      absl::StrCat(unanswered));
}

}  // namespace

absl::Status IoSession::Receive(v1::IoRequest* request) {
  absl::Status status = CheckHead(*request);
  if (status.ok()) status = CheckWindow(*request);
  if (status.ok()) status = EnterIds(*request);
  if (!status.ok()) return status;

  if (volume_name_.empty())
    volume_name_ = std::move(*request->mutable_volume());
  const int count = request->operations_size();
  std::vector<v1::IoOperation*> operations(static_cast<size_t>(count));
  // The message has no arena, so ExtractSubrange passes ownership without a
  // copy.
  request->mutable_operations()->ExtractSubrange(0, count, operations.data());
  for (v1::IoOperation* operation : operations) {
    Waiting& waiting = waiting_[static_cast<size_t>(LaneOf(*operation))];
    waiting.cost_bytes += CostBytes(*operation);
    if (!IsSmall(*operation)) ++waiting.large_ones;
    if (IsLimited(*operation)) {
      waiting.limited.emplace_back(operation);
    } else {
      waiting.unlimited_cost_bytes += CostBytes(*operation);
      waiting.unlimited.emplace_back(operation);
    }
  }
  return absl::OkStatus();
}

absl::Status IoSession::CheckHead(const v1::IoRequest& request) const {
  if (volume_name_.empty() && request.volume().empty()) {
    return InvalidField("volume",
                        "the first message of an Io stream must name a volume");
  }
  if (volume_name_.empty()) return CheckFirst(request);
  if (!request.volume().empty()) {
    return InvalidField(
        "volume", absl::StrCat("only the first message of an Io stream names a "
                               "volume; this stream is on \"",
                               volume_name_, "\""));
  }
  if (request.stream_id() != 0 || request.client_id() != 0 ||
      request.replaces_size() > 0 || request.if_unattached()) {
    return InvalidField("stream_id",
                        "only the first message of an Io stream has stream_id, "
                        "client_id, replaces or if_unattached");
  }
  return absl::OkStatus();
}

absl::Status IoSession::CheckFirst(const v1::IoRequest& request) const {
  if (request.replaces_size() <= kMaxReplacedStreams) return absl::OkStatus();
  return InvalidField(
      "replaces", absl::StrCat("this stream replaces ", request.replaces_size(),
                               " others; the limit is ", kMaxReplacedStreams));
}

absl::Status IoSession::CheckWindow(const v1::IoRequest& request) const {
  const size_t window_operations =
      full_window_ ? kMaxWindowOperations : kMaxFirstWindowOperations;
  const int64_t window_bytes =
      full_window_ ? kMaxWindowBytes : kMaxFirstWindowBytes;
  const size_t more = static_cast<size_t>(request.operations_size());
  if (unanswered_.size() + more > window_operations) {
    return WindowExceeded(
        "operations", static_cast<int64_t>(unanswered_.size()),
        static_cast<int64_t>(more), static_cast<int64_t>(window_operations));
  }
  int64_t more_bytes = 0;
  for (const auto& operation : request.operations()) {
    more_bytes += DataBytes(operation);
  }
  if (unanswered_bytes_ + more_bytes > window_bytes) {
    return WindowExceeded("bytes of data", unanswered_bytes_, more_bytes,
                          window_bytes);
  }
  return absl::OkStatus();
}

absl::Status IoSession::EnterIds(const v1::IoRequest& request) {
  for (int i = 0; i < request.operations_size(); ++i) {
    const v1::IoOperation& operation = request.operations(i);
    absl::Status status;
    if (operation.kind_case() == v1::IoOperation::KIND_NOT_SET) {
      status =
          InvalidField(absl::StrCat("operations[", i, "]"),
                       absl::StrCat("operation ", operation.id(),
                                    " has no kind that this server knows"));
    } else if (!unanswered_
                    .emplace(operation.id(),
                             Unanswered{.data_bytes = DataBytes(operation)})
                    .second) {
      status = InvalidField(
          absl::StrCat("operations[", i, "].id"),
          absl::StrCat("id ", operation.id(),
                       " is in use by an operation that is not answered yet"));
    }
    if (!status.ok()) {
      ForgetIds(request, i);
      return status;
    }
    unanswered_bytes_ += DataBytes(operation);
    Hold(operation.id(), HeldBytes(operation));
  }
  return absl::OkStatus();
}

void IoSession::ForgetIds(const v1::IoRequest& request, int count) {
  for (int i = 0; i < count; ++i) Answered(request.operations(i).id());
}

void IoSession::Answered(uint64_t id) {
  const auto it = unanswered_.find(id);
  unanswered_bytes_ -= it->second.data_bytes;
  held_bytes_ -= it->second.held_bytes;
  unanswered_.erase(it);
}

void IoSession::Hold(uint64_t id, size_t bytes) {
  size_t& held = unanswered_.find(id)->second.held_bytes;
  held_bytes_ += bytes - held;
  held = bytes;
}

void IoSession::Open(v1::IoOpened opened) {
  if (abandoned_) return;
  open_ = true;
  opened_ = std::make_unique<v1::IoOpened>(std::move(opened));
  opened_->set_window_operations(static_cast<int32_t>(kMaxWindowOperations));
  opened_->set_window_bytes(kMaxWindowBytes);
  opened_->set_max_data_bytes(kMaxDataBytes);
}

void IoSession::End(absl::Status status) {
  if (ended_) return;
  ended_ = true;
  end_status_ = std::move(status);
}

void IoSession::Abandon(absl::Status status) {
  End(std::move(status));
  abandoned_ = true;
  for (Waiting& waiting : waiting_) {
    for (const Operations* operations :
         {&waiting.unlimited, &waiting.limited}) {
      for (const auto& operation : *operations) Hold(operation->id(), 0);
    }
    waiting = Waiting();
  }
  for (const Ready& ready : ready_) Hold(ready.result->id(), 0);
  ready_.clear();
  ready_bytes_ = 0;
  opened_.reset();
}

void IoSession::FailWaiting(Lane lane, const absl::Status& error) {
  Waiting waiting;
  std::swap(waiting, waiting_[static_cast<size_t>(lane)]);
  for (const Operations* operations : {&waiting.unlimited, &waiting.limited}) {
    for (const auto& operation : *operations) {
      auto result = std::make_unique<v1::IoResult>();
      result->set_id(operation->id());
      *result->mutable_error() = ToRpcStatus(error);
      ++running_;
      Complete(std::move(result));
    }
  }
}

bool IoSession::HeldBack() const {
  return !open_ || ready_bytes_ >= kMaxReadyBytes;
}

std::unique_ptr<v1::IoOperation> IoSession::NextOperation(Lane lane) {
  Waiting& waiting = waiting_[static_cast<size_t>(lane)];
  if (waiting.empty() || HeldBack()) return nullptr;
  const bool limited = waiting.unlimited.empty();
  Operations& operations = limited ? waiting.limited : waiting.unlimited;
  auto operation = std::move(operations.front());
  operations.pop_front();
  waiting.cost_bytes -= CostBytes(*operation);
  if (!limited) waiting.unlimited_cost_bytes -= CostBytes(*operation);
  if (!IsSmall(*operation)) --waiting.large_ones;
  ++running_;
  if (const size_t more = ResultBytes(*operation); more > 0) {
    Hold(operation->id(), HeldBytes(*operation) + more);
  }
  return operation;
}

size_t IoSession::NextResultBytes(Lane lane) const {
  const Waiting& waiting = waiting_[static_cast<size_t>(lane)];
  if (waiting.empty() || HeldBack()) return 0;
  return ResultBytes(*waiting.next().front());
}

size_t IoSession::UnlimitedWaiting(Lane lane) const {
  return waiting_[static_cast<size_t>(lane)].unlimited.size();
}

size_t IoSession::LimitedWaiting(Lane lane) const {
  return HeldBack() ? 0 : waiting_[static_cast<size_t>(lane)].limited.size();
}

UsageCost IoSession::LimitedCost(Lane lane, size_t n) const {
  const auto& operation = *waiting_[static_cast<size_t>(lane)].limited[n];
  return {.bytes = static_cast<uint64_t>(DataBytes(operation))};
}

void IoSession::Complete(std::unique_ptr<v1::IoResult> result) {
  --running_;
  if (abandoned_) {
    Hold(result->id(), 0);
    return;
  }
  const size_t bytes = result->ByteSizeLong();
  Hold(result->id(), HeldBytes(*result, bytes));
  ready_bytes_ += bytes;
  ready_.push_back({std::move(result), bytes});
}

bool IoSession::NextMessage(v1::IoResponse* response) {
  if (opened_ == nullptr && ready_.empty()) return false;
  response->Clear();
  if (opened_ != nullptr) {
    response->set_allocated_opened(opened_.release());
    // The client may use the full window as soon as it reads `opened`.
    full_window_ = true;
  }
  size_t bytes = 0;
  for (size_t n = 0; n < kMaxBatchResults && !ready_.empty(); ++n) {
    Ready& next = ready_.front();
    if (n > 0 && bytes + next.bytes > kMaxBatchBytes) break;
    bytes += next.bytes;
    ready_bytes_ -= next.bytes;
    Answered(next.result->id());
    response->mutable_results()->AddAllocated(next.result.release());
    ready_.pop_front();
  }
  return true;
}

size_t IoSession::SmallOnesWaiting(Lane lane) const {
  const Waiting& waiting = waiting_[static_cast<size_t>(lane)];
  if (HeldBack() || waiting.large_ones > 0) return 0;
  return waiting.unlimited.size() + waiting.limited.size();
}

size_t IoSession::WaitingCostBytes(Lane lane, bool limited) const {
  const Waiting& waiting = waiting_[static_cast<size_t>(lane)];
  if (HeldBack()) return 0;
  return limited ? waiting.cost_bytes : waiting.unlimited_cost_bytes;
}

bool IoSession::Idle() const {
  for (const Waiting& waiting : waiting_) {
    if (!waiting.empty()) return false;
  }
  const bool to_be_opened = !volume_name_.empty() && !open_ && !abandoned_;
  return running_ == 0 && ready_.empty() && opened_ == nullptr && !to_be_opened;
}

}  // namespace ramvol::service
