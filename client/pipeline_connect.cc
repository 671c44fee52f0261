// The part of VolumePipeline that opens streams, loses them and opens them
// anew.
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "client/call_table.h"
#include "client/io_transport.h"
#include "client/pipeline.h"

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

bool IsChange(const Part& part) {
  switch (part.call->kind) {
    case OperationKind::kWrite:
    case OperationKind::kTrim:
    case OperationKind::kWriteZeroes:
      return true;
    case OperationKind::kRead:
    case OperationKind::kFlush:
    case OperationKind::kGetExtents:
      return false;
  }
  return true;
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
  while (client_id_ == 0) client_id_ = random_();
  do {
    slot.stream_id = random_();
  } while (slot.stream_id == 0);
  slot.replaces.clear();
  for (const LostStream& lost : lost_) {
    if (slot.replaces.size() == kMaxReplaces) break;
    slot.replaces.push_back(lost.id);
  }
  slot.stream = transport_->NewStream(
      static_cast<int>(index),
      {.volume = volume_,
       .stream_id = slot.stream_id,
       .replaces = slot.replaces,
       .client_id = client_id_,
       .if_unattached = open_options_.if_unattached && uid_.empty()},
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
  if (std::exchange(slot.was_open, true)) {
    counters_->reconnects.fetch_add(1, std::memory_order_relaxed);
  }
  SetLostLocked(slot, false);
  ReplayReplacedLocked(slot);
  lost_since_ = absl::InfiniteFuture();
  if (open_call_ != nullptr) {
    calls_.End(open_call_, absl::OkStatus());
    open_call_ = nullptr;
  }
}

// Nothing of the streams that this one replaced runs any more.
void VolumePipeline::ReplayReplacedLocked(Slot& slot) {
  if (slot.replaces.empty()) return;
  std::vector<Part> changes;
  std::vector<LostStream> others;
  for (LostStream& lost : lost_) {
    if (absl::c_linear_search(slot.replaces, lost.id)) {
      absl::c_move(lost.changes, std::back_inserter(changes));
    } else {
      others.push_back(std::move(lost));
    }
  }
  lost_ = std::move(others);
  slot.replaces.clear();
  calls_.Replay(std::move(changes));
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
      // Another stream still has the volume open, so the server was not
      // restarted: it was deleted before this stream could open it.
      if (AnyStreamIsOpenLocked()) {
        status = WithReason(std::move(status), reason::kVolumeDeleted);
      }
      EndForEverLocked(std::move(status), work);
    } else {
      RefusedLocked(*slot, std::move(status), work);
    }
    if (GiveUpLostTimeLocked() <= timer_->Now()) GiveUpLostLocked();
    CollectLocked(work);
  }
  Perform(std::move(work), /*sdk_thread=*/true);
}

bool VolumePipeline::AnyStreamIsOpenLocked() const {
  return std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) {
    return slot.state == SlotState::kOpen;
  });
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
  bool changes = false;
  for (auto& [id, part] : slot.unanswered) {
    changes |= IsChange(part);
    if (!part.call->ended) sorted.emplace_back(id, std::move(part));
  }
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Part> parts;
  for (auto& [id, part] : sorted) parts.push_back(std::move(part));
  if (changes) {
    lost_.push_back(
        {.id = slot.stream_id, .since = timer_->Now(), .changes = {}});
  }
  slot.unanswered.clear();
  inflight_bytes_ -= slot.inflight_bytes;
  slot.inflight_bytes = 0;
  return parts;
}

void VolumePipeline::LostLocked(Slot& slot, absl::Status status, Work& work) {
  last_loss_ = std::move(status);
  std::vector<Part> others;
  for (Part& part : TakeUnansweredLocked(slot)) {
    if (IsChange(part)) {
      lost_.back().changes.push_back(std::move(part));
    } else {
      others.push_back(std::move(part));
    }
  }
  calls_.Replay(std::move(others));
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

void VolumePipeline::SetLostLocked(Slot& slot, bool lost) {
  if (slot.lost == lost) return;
  slot.lost = lost;
  counters_->lost_streams.fetch_add(lost ? 1 : -1, std::memory_order_relaxed);
}

void VolumePipeline::RetryLaterLocked(Slot& slot) {
  if (slot.was_open) SetLostLocked(slot, true);
  DropStreamLocked(slot);
  slot.state = SlotState::kWaiting;
  slot.wake = timer_->Now() + slot.backoff.Next(random_);
}

// An attempt that has begun may end.
absl::Time VolumePipeline::WithGraceLocked(absl::Time when) const {
  for (const Slot& slot : slots_) {
    if (slot.state == SlotState::kStarting) {
      when = std::max(when, slot.started + kConnectGrace);
    }
  }
  return when;
}

absl::Time VolumePipeline::GiveUpTimeLocked() const {
  if (lost_since_ == absl::InfiniteFuture()) return lost_since_;
  return WithGraceLocked(lost_since_ + options_.reconnect_timeout);
}

absl::Time VolumePipeline::GiveUpLostTimeLocked() const {
  // The first that has changes is the oldest.
  for (const LostStream& lost : lost_) {
    if (!lost.changes.empty()) {
      return WithGraceLocked(lost.since + options_.reconnect_timeout);
    }
  }
  return absl::InfiniteFuture();
}

absl::Status VolumePipeline::UnavailableLocked(absl::Time since) const {
  absl::Status loss =
      last_loss_.ok() ? absl::UnavailableError("the server ended the stream")
                      : last_loss_;
  if (!absl::IsUnavailable(loss)) {
    loss = absl::UnavailableError(loss.message());
  }
  return Annotate(loss,
                  absl::StrCat("volume \"", volume_, "\": no connection to ",
                               options_.server, " for ",
                               absl::FormatDuration(timer_->Now() - since)));
}

void VolumePipeline::GiveUpLocked(Work& work) {
  calls_.EndAll(UnavailableLocked(lost_since_));
  CancelAllLocked(work);
}

// The streams stay in lost_: what comes later must not be overtaken either.
void VolumePipeline::GiveUpLostLocked() {
  for (LostStream& lost : lost_) {
    if (lost.since + options_.reconnect_timeout > timer_->Now()) continue;
    const absl::Status status = UnavailableLocked(lost.since);
    for (const Part& part : std::exchange(lost.changes, {})) {
      calls_.End(part.call, status);
    }
  }
}

void VolumePipeline::EndForEverLocked(absl::Status status, Work& work) {
  ended_ = std::move(status);
  calls_.EndAll(ended_);
  CancelAllLocked(work);
  for (Slot& slot : slots_) SetLostLocked(slot, false);
}

void VolumePipeline::CancelAllLocked(Work& work) {
  for (Slot& slot : slots_) {
    if (slot.stream != nullptr) work.cancels.push_back(slot.stream);
    DropStreamLocked(slot);
  }
  // Their calls have ended.
  for (LostStream& lost : lost_) lost.changes.clear();
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
    SetLostLocked(slot, false);
    if (slot.stream == nullptr) {
      slot.state = SlotState::kIdle;
    } else if (!slot.writing && !slot.half_closed) {
      slot.half_closed = true;
      work.half_closes.push_back(slot.stream);
    }
  }
}

}  // namespace ramvol
