// The part of VolumePipeline that opens streams, loses them and opens them
// anew.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/call_table.h"
#include "client/io_transport.h"
#include "client/pipeline.h"
#include "proto/base/mutex.h"
#include "proto/base/reason.h"

namespace ramvol {
namespace {

// How long an attempt that has begun may take beyond reconnect_timeout.
constexpr absl::Duration kConnectGrace = absl::Seconds(5);
// How long a server may take to end its side of a stream that we are done with.
constexpr absl::Duration kLinger = absl::Seconds(1);

// The connection broke, or the server is shutting down: others may be there.
bool IsLoss(const absl::Status& status) {
  return status.ok() || absl::IsUnavailable(status) ||
         absl::IsCancelled(status);
}

absl::Status Annotate(const absl::Status& status, const std::string& prefix) {
  absl::Status annotated(status.code(),
                         absl::StrCat(prefix, ": ", status.message()));
  status.ForEachPayload(
      [&annotated](absl::string_view url, const absl::Cord& payload) {
        annotated.SetPayload(url, payload);
      });
  return annotated;
}

}  // namespace

bool VolumePipeline::AnyLocked(SlotState state) const {
  return std::any_of(slots_.begin(), slots_.end(),
                     [state](const Slot& slot) { return slot.state == state; });
}

bool VolumePipeline::AnyStreamLocked() const {
  return std::any_of(slots_.begin(), slots_.end(),
                     [](const Slot& slot) { return slot.stream != nullptr; });
}

void VolumePipeline::ConnectLocked(Work& work) {
  if (AnyLocked(SlotState::kOpen) || AnyLocked(SlotState::kStarting) ||
      AnyLocked(SlotState::kWaiting)) {
    return;
  }
  lost_since_ = timer_->Now();
  last_loss_ = absl::OkStatus();
  for (size_t i = 0; i < slots_.size(); ++i) StartLocked(i, work);
}

void VolumePipeline::StartLocked(size_t index, Work& work) {
  Slot& slot = slots_[index];
  slot.state = SlotState::kStarting;
  slot.started = timer_->Now();
  slot.writing = true;  // The first message.
  slot.half_closed = false;
  slot.stream = transport_->NewStream(static_cast<int>(index), volume_,
                                      NewHandler(index, ++slot.generation));
  work.starts.push_back(slot.stream);
}

void VolumePipeline::OpenedLocked(Slot& slot, const VolumeOpened& opened,
                                  Work& work) {
  if (slot.state != SlotState::kStarting) return;
  if (uid_.empty()) uid_ = opened.uid;
  if (opened.uid != uid_) {
    EndForEverLocked(
        WithReason(absl::AbortedError(absl::StrCat(
                       "volume \"", volume_, "\" at ", options_.server,
                       " was replaced by another one of this name (the server "
                       "was restarted, or the volume deleted and created "
                       "again): what was written to it is gone; open it anew")),
                   reason::kVolumeReplaced),
        work);
    return;
  }
  slot.state = SlotState::kOpen;
  slot.window_operations = std::max(1, opened.window_operations);
  slot.window_bytes = opened.window_bytes;
  size_bytes_.store(opened.size_bytes, std::memory_order_relaxed);
  read_only_.store(opened.read_only, std::memory_order_relaxed);
  int64_t part_bytes = kMaxPartBytes;
  for (int64_t limit : {opened.max_data_bytes, opened.window_bytes}) {
    if (limit > 0) part_bytes = std::min(part_bytes, limit);
  }
  calls_.set_part_bytes(part_bytes);
  lost_since_ = absl::InfiniteFuture();
  if (open_call_ != nullptr) {
    calls_.End(open_call_, absl::OkStatus());
    open_call_ = nullptr;
  }
}

void VolumePipeline::OnClosed(size_t index, uint64_t generation,
                              absl::Status status) {
  Work work;
  {
    MutexLock lock(&mu_);
    Slot* slot = FindLocked(index, generation);
    if (slot == nullptr) return;
    if (shut_down_) {
      DropStreamLocked(*slot);
    } else if (IsLoss(status)) {
      LostLocked(*slot, std::move(status), work);
    } else if (absl::IsNotFound(status)) {
      EndForEverLocked(std::move(status), work);
    } else {
      RefusedLocked(*slot, std::move(status), work);
    }
    CollectLocked(work);
  }
  Perform(std::move(work), /*sdk_thread=*/true);
}

void VolumePipeline::DropStreamLocked(Slot& slot) {
  TakeUnansweredLocked(slot);
  slot.stream = nullptr;
  slot.writing = false;
  slot.state = SlotState::kIdle;
  stream_gone_.SignalAll();
}

std::vector<Part> VolumePipeline::TakeUnansweredLocked(Slot& slot) {
  std::vector<std::pair<uint64_t, Part>> sorted;
  for (auto& [id, part] : slot.unanswered) {
    if (!part.call->ended) sorted.emplace_back(id, std::move(part));
  }
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Part> parts;
  for (auto& [id, part] : sorted) parts.push_back(std::move(part));
  slot.unanswered.clear();
  inflight_bytes_ -= slot.inflight_bytes;
  slot.inflight_bytes = 0;
  return parts;
}

void VolumePipeline::LostLocked(Slot& slot, absl::Status status, Work& work) {
  last_loss_ = std::move(status);
  calls_.Replay(TakeUnansweredLocked(slot));
  RetryLaterLocked(slot);
  if (!AnyLocked(SlotState::kOpen) && lost_since_ == absl::InfiniteFuture()) {
    lost_since_ = timer_->Now();
  }
  if (GiveUpTimeLocked() <= timer_->Now()) GiveUpLocked(work);
}

// The server ended the stream for a reason that trying again will not change.
void VolumePipeline::RefusedLocked(Slot& slot, absl::Status status,
                                   Work& work) {
  for (const Part& part : TakeUnansweredLocked(slot)) {
    calls_.End(part.call, status);
  }
  RetryLaterLocked(slot);
  if (AnyLocked(SlotState::kOpen) || AnyLocked(SlotState::kStarting)) return;
  calls_.EndAll(status);
  CancelAllLocked(work);
}

void VolumePipeline::RetryLaterLocked(Slot& slot) {
  DropStreamLocked(slot);
  slot.state = SlotState::kWaiting;
  slot.wake = timer_->Now() + slot.backoff.Next(random_);
}

absl::Time VolumePipeline::GiveUpTimeLocked() const {
  if (lost_since_ == absl::InfiniteFuture()) return lost_since_;
  absl::Time when = lost_since_ + options_.reconnect_timeout;
  for (const Slot& slot : slots_) {
    if (slot.state == SlotState::kStarting) {
      when = std::max(when, slot.started + kConnectGrace);
    }
  }
  return when;
}

void VolumePipeline::GiveUpLocked(Work& work) {
  absl::Status loss =
      last_loss_.ok() ? absl::UnavailableError("the server ended the stream")
                      : last_loss_;
  if (!absl::IsUnavailable(loss)) {
    loss = absl::UnavailableError(loss.message());
  }
  calls_.EndAll(Annotate(
      loss, absl::StrCat("volume \"", volume_, "\": no connection to ",
                         options_.server, " for ",
                         absl::FormatDuration(timer_->Now() - lost_since_))));
  CancelAllLocked(work);
}

void VolumePipeline::EndForEverLocked(absl::Status status, Work& work) {
  ended_ = std::move(status);
  calls_.EndAll(ended_);
  CancelAllLocked(work);
}

void VolumePipeline::CancelAllLocked(Work& work) {
  for (Slot& slot : slots_) {
    if (slot.stream != nullptr) work.cancels.push_back(slot.stream);
    DropStreamLocked(slot);
  }
  open_call_ = nullptr;
  lost_since_ = absl::InfiniteFuture();
  linger_until_ = absl::InfiniteFuture();
}

void VolumePipeline::ShutDownLocked(Work& work) {
  if (!shut_down_) {
    shut_down_ = true;
    self_ = nullptr;
    lost_since_ = absl::InfiniteFuture();
    linger_until_ = timer_->Now() + kLinger;
  }
  for (Slot& slot : slots_) {
    if (slot.stream == nullptr) {
      slot.state = SlotState::kIdle;
    } else if (!slot.writing && !slot.half_closed) {
      slot.half_closed = true;
      work.half_closes.push_back(slot.stream);
    }
  }
}

}  // namespace ramvol
