#include "client/channel_stream.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/random/bit_gen_ref.h"
#include "absl/time/time.h"
#include "client/call.h"
#include "client/client_counters.h"
#include "client/io_transport.h"
#include "client/options.h"

namespace ramvol {

ChannelStream::ChannelStream(const ClientOptions& options,
                             ClientCounters& counters)
    : counters_(&counters),
      backoff_(options.initial_backoff, options.max_backoff) {}

void ChannelStream::Start(std::shared_ptr<IoStream> stream, uint64_t id,
                          std::vector<uint64_t> replaces, absl::Time now) {
  state_ = State::kStarting;
  stream_ = std::move(stream);
  id_ = id;
  replaces_ = std::move(replaces);
  started_ = now;
  writing_ = true;  // The stream's own Start sends the first message.
  half_closed_ = false;
}

std::vector<uint64_t> ChannelStream::Open(const VolumeOpened& opened) {
  state_ = State::kOpen;
  // With a window of 0, no operation could ever be sent.
  window_operations_ = std::max(1, opened.window_operations);
  window_bytes_ = opened.window_bytes;
  if (std::exchange(was_open_, true)) {
    counters_->reconnects.fetch_add(1, std::memory_order_relaxed);
  }
  SetLost(false);
  return std::exchange(replaces_, {});
}

ChannelStream::Unanswered ChannelStream::Drop() {
  Unanswered result;
  std::vector<std::pair<uint64_t, Part>> sorted;
  for (auto& [id, part] : unanswered_) {
    result.changes |= IsChange(part.call->request.kind);
    if (!part.call->ended) sorted.emplace_back(id, std::move(part));
  }
  // Ids ascend in the order of sending.
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [id, part] : sorted) result.parts.push_back(std::move(part));
  unanswered_.clear();
  inflight_bytes_ = 0;
  stream_ = nullptr;
  writing_ = false;
  state_ = State::kIdle;
  return result;
}

void ChannelStream::RetryLater(absl::Time now, absl::BitGenRef random) {
  if (was_open_) SetLost(true);
  state_ = State::kWaiting;
  wake_ = now + backoff_.Next(random);
}

void ChannelStream::Add(uint64_t id, Part part) {
  inflight_bytes_ += part.window_bytes();
  unanswered_[id] = std::move(part);
}

Part ChannelStream::Answer(uint64_t id) {
  auto found = unanswered_.find(id);
  if (found == unanswered_.end()) return {};
  Part part = std::move(found->second);
  unanswered_.erase(found);
  inflight_bytes_ -= part.window_bytes();
  // Not at Open: a server that opens streams but answers nothing is asked less
  // and less often.
  backoff_.Reset();
  return part;
}

bool ChannelStream::HalfClose() {
  return stream_ != nullptr && !writing_ && !std::exchange(half_closed_, true);
}

void ChannelStream::SetLost(bool lost) {
  if (lost_ == lost) return;
  lost_ = lost;
  counters_->lost_streams.fetch_add(lost ? 1 : -1, std::memory_order_relaxed);
}

}  // namespace ramvol
