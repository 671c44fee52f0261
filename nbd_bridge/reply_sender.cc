#include "nbd_bridge/reply_sender.h"

#include <utility>

#include "base/clock.h"

namespace ramvol::nbd {
namespace {

// How long a reply waits for others to be sent with it.
constexpr int64_t kMaxDelayNs = 50'000;
// Most replies that wait for each other.
constexpr size_t kMaxAtOnce = 16;

}  // namespace

void ReplySender::Add(std::unique_ptr<Request> reply, int64_t now_ns) {
  mu_->AssertHeld();
  if (ready_.empty()) ready_since_ns_ = now_ns;
  ready_.push_back(std::move(reply));
}

bool ReplySender::IsLate() const {
  mu_->AssertHeld();
  return IsDue() && SteadyNowNs() - ready_since_ns_ > kMaxDelayNs;
}

bool ReplySender::IsFull() const {
  mu_->AssertHeld();
  return ready_.size() >= kMaxAtOnce;
}

void ReplySender::Send(bool may_wait) {
  mu_->AssertHeld();
  if (!IsDue()) return;
  sending_ = true;
  SendAll(may_wait);
}

void ReplySender::SendRest() {
  mu_->AssertHeld();
  SendAll(/*may_wait=*/true);
}

void ReplySender::SendAll(bool may_wait) {
  while (!batch_.empty() || !ready_.empty()) {
    if (batch_.empty()) batch_.swap(ready_);
    mu_->Unlock();
    const bool sent = SendBatch(/*may_wait=*/false);
    mu_->Lock();
    if (!sent) {
      if (buffers_.Widen()) continue;
      // The other thread now has the turn and the rest of batch_.
      if (!may_wait && host_.SendElsewhere()) return;
      WaitAndSend();
    }
    Forget();
  }
  sending_ = false;
}

void ReplySender::WaitAndSend() {
  host_.WillWait();
  holder_.WaitsForClient(true);
  mu_->Unlock();
  SendBatch(/*may_wait=*/true);
  mu_->Lock();
  holder_.WaitsForClient(false);
}

bool ReplySender::SendBatch(bool may_wait) {
  if (unsent_parts_.empty()) {
    parts_.clear();
    for (const std::unique_ptr<Request>& reply : batch_) {
      parts_.insert(parts_.end(), reply->parts.begin(), reply->parts.end());
    }
    unsent_parts_ = absl::MakeSpan(parts_);
  }
  while (!unsent_parts_.empty()) {
    const ssize_t sent = socket_.Send(unsent_parts_, may_wait);
    if (sent == 0) return false;
    if (sent < 0) {
      // The client is gone. Later replies are dropped the same way.
      host_.Lost();
      socket_.Shutdown();
      unsent_parts_ = {};
      break;
    }
    unsent_parts_ = Advance(unsent_parts_, static_cast<size_t>(sent));
  }
  return true;
}

void ReplySender::Forget() {
  // Frees without the lock, because replies may be large.
  Requests sent;
  sent.swap(batch_);
  mu_->Unlock();
  size_t bytes = 0;
  for (const std::unique_ptr<Request>& reply : sent) {
    bytes += reply->charged_bytes;
  }
  const size_t count = sent.size();
  sent.clear();
  mu_->Lock();
  host_.Sent(count, bytes);
}

}  // namespace ramvol::nbd
