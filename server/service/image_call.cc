#include "server/service/image_call.h"

#include <utility>

#include "base/peer.h"
#include "base/reason.h"
#include "server/service/send_away.h"

namespace ramvol::service {
namespace {

absl::Status ClientIsGone() {
  return absl::CancelledError("the client is gone");
}

}  // namespace

ImageCall::ImageCall(ImageStreams* streams,
                     grpc::CallbackServerContext* context, size_t held_bytes)
    : parts_(streams->parts()),
      context_(context),
      peer_(context->peer()),
      streams_(*streams),
      held_bytes_(held_bytes),
      memory_(parts_.memory),
      holder_(memory_.get(), this) {}

void ImageCall::Start() {
  {
    MutexLock lock(&mu_);
    holder_.SetPeer(PeerOf(peer_));
    holder_.Open(ClientMemory::Stream());
    waits_ = !holder_.Reserve(held_bytes_);
    if (waits_) {
      holder_.Ask(held_bytes_, [self = weak_from_this()] {
        const auto call = self.lock();
        if (call != nullptr && call->EndWait()) call->TakeMemory();
      });
      return;
    }
  }
  TakeMemory();
}

// Whoever gets true is the one that goes on.
bool ImageCall::EndWait() {
  MutexLock lock(&mu_);
  return std::exchange(waits_, false);
}

void ImageCall::TakeMemory() {
  {
    MutexLock lock(&mu_);
    (void)holder_.Reserve(held_bytes_);  // Takes what was granted.
    holder_.SetHeld(held_bytes_);
  }
  Begin();
}

void ImageCall::Continue() {
  const bool queued = parts_.executor->Submit(
      Lane::kMayWait, [self = shared_from_this()] { self->Step(); });
  if (queued) return;
  End(absl::UnavailableError(
      "the server has more requests waiting than it accepts; try again later"));
}

absl::Status ImageCall::WhyStopped() {
  MutexLock lock(&mu_);
  if (cancelled_) return ClientIsGone();
  return draining_ ? ShuttingDownError() : absl::OkStatus();
}

void ImageCall::Cancel() {
  {
    MutexLock lock(&mu_);
    cancelled_ = true;
  }
  // Else gRPC or the executor is at work, and what comes after that ends it.
  if (EndWait()) End(ClientIsGone());
}

void ImageCall::Drain() {
  {
    MutexLock lock(&mu_);
    draining_ = true;
  }
  if (EndWait()) End(ShuttingDownError());
}

void ImageCall::End(const absl::Status& status) {
  {
    MutexLock lock(&mu_);
    finished_ = true;
    holder_.Withdraw();
  }
  FinishCall(ToGrpcStatus(status));
}

std::function<void()> ImageCall::SendAway() {
  return [self = weak_from_this()] {
    if (const auto call = self.lock()) {
      call->EndNow(ClientTooSlow(call->held_bytes_));
    }
  };
}

std::function<void(const absl::Status&)> ImageCall::Ender() {
  return [self = weak_from_this()](const absl::Status& why) {
    if (const auto call = self.lock()) call->EndNow(why);
  };
}

void ImageCall::EndNow(const absl::Status& why) {
  std::unique_ptr<EndableCall> call;
  {
    MutexLock lock(&mu_);
    if (finished_) return;
    call = std::make_unique<EndableCall>(context_->c_call());
  }
  call->End(why);
}

}  // namespace ramvol::service
