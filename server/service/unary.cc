#include "server/service/unary.h"

#include <atomic>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "base/peer.h"
#include "grpc/slice.h"
#include "grpcpp/support/slice.h"
#include "proto/status.h"
#include "server/service/limits.h"
#include "server/service/send_away.h"

namespace ramvol::service {
namespace {

// Lives until gRPC is done with the call and with the bytes of its answer,
// which lie in the transport for as long as its client's socket takes nothing.
class UnaryCall final : public grpc::ServerUnaryReactor,
                        public ClientMemory::Client,
                        private Turn {
 public:
  UnaryCall(CallGate* gate, std::shared_ptr<ClientMemory> memory,
            Executor* executor, Lane lane, UnaryTask task)
      : gate_(gate),
        executor_(executor),
        lane_(lane),
        task_(std::move(task)),
        memory_(std::move(memory)),
        holder_(memory_.get(), this) {
    // A small call does not stay for long, as a rule.
    if (bytes() > ClientMemory::kSmallBytes || memory_->crowded()) {
      holder_.SetPeer(PeerOf(task_.context->peer()));
    }
  }

  // False when there is no memory now.
  [[nodiscard]] bool Reserve() {
    if (!is_large() && !holder_.Reserve(bytes())) return false;
    SetHeld(bytes());
    return true;
  }
  // Instead `granted` runs when there is.
  void Ask(std::function<void()> granted) {
    holder_.Ask(bytes(), std::move(granted));
  }

  void Queue() {
    if (executor_->Submit(lane_, [this] { RunUnlessCancelled(); })) return;
    Finish(ToGrpcStatus(absl::UnavailableError(
        "the server has more requests waiting than it accepts; try again "
        "later")));
  }

  // The call may be gone when this returns.
  void Run() {
    absl::Status status;
    do {
      status = task_.run ? task_.run() : task_.run_in_turn(*this);
      if (waits_ && WaitForTurn()) return;
    } while (std::exchange(waits_, false));
    // What it captured goes before others wait for the client.
    task_.run = nullptr;
    task_.run_in_turn = nullptr;
    if (status.ok()) KeepUntilSent();
    Finish(ToGrpcStatus(status));
  }

  void OnCancel() override {
    std::shared_ptr<UsageWait> wait;
    {
      MutexLock lock(&mu_);
      cancelled_ = true;
      wait.swap(wait_);
    }
    if (wait != nullptr && limiters_.Withdraw(flow(), wait.get())) {
      Finish(grpc::Status::CANCELLED);
    }
  }

  void OnDone() override {
    {
      MutexLock lock(&mu_);
      done_ = true;
    }
    gate_->Leave();
    Unref();
  }

  std::function<void()> SendAway() override {
    // When it is done, its connection takes nothing, and is ended for that:
    // see http2::EndSlowOnes.
    if (!TryRef()) return nullptr;
    return [this] {
      EndNow();
      Unref();
    };
  }

 private:
  // A part of the answer.
  struct Part {
    UnaryCall* call;
    grpc::Slice bytes;
  };

  // As gRPC's own reactor: what there is to do at the end is little, and
  // another thread for it would cost a tenth of a small read.
  bool InternalInlineable() override { return true; }

  bool is_large() const {
    return task_.request_bytes > ClientMemory::kLargeMessageBytes;
  }
  // While a large request is decoded, it is there twice.
  size_t bytes() const {
    return kCallBytes + task_.answer_bytes +
           (is_large() ? 2 : 1) * task_.request_bytes;
  }

  void SetHeld(size_t bytes) {
    holder_.SetHeld(bytes);
    held_bytes_.store(bytes, std::memory_order_relaxed);
  }

  bool Take(const UsageLimiters& limiters, const UsageCost& cost) override {
    if (admitted_) return true;
    limiters_ = limiters;
    cost_ = cost;
    waits_ = true;
    return false;
  }
  bool waits() const override { return waits_; }

  // Clients of one connection are one flow.
  UsageLimiter::Flow flow() const {
    return std::hash<std::string>()(task_.context->peer());
  }
  // False: its turn has come. Else the call may be gone when this returns.
  bool WaitForTurn() {
    bool cancelled = false;
    bool waits = false;
    {
      MutexLock lock(&mu_);
      cancelled = cancelled_;
      if (!cancelled) {
        wait_ = limiters_.Take(flow(), cost_, [this] { Queue(); });
      }
      // Once the lock is let go, another thread may run it.
      waits = wait_ != nullptr;
      if (!waits) admitted_ = true;
    }
    if (cancelled) Finish(grpc::Status::CANCELLED);
    return cancelled || waits;
  }

  void RunUnlessCancelled() {
    {
      MutexLock lock(&mu_);
      // Null when it runs for the first time.
      admitted_ = std::exchange(wait_, nullptr) != nullptr;
    }
    waits_ = false;
    (void)holder_.Reserve(bytes());  // Takes what was granted, if it waited.
    SetHeld(bytes());
    if (task_.context->IsCancelled()) {
      Finish(grpc::Status::CANCELLED);
    } else {
      Run();
    }
  }

  // Lets each part of the answer hold this.
  void KeepUntilSent() {
    std::vector<grpc::Slice> parts;
    (void)task_.response->Dump(&parts);  // Cannot fail: it is not compressed.
    size_t bytes = 0;
    for (grpc::Slice& part : parts) {
      bytes += part.size();
      if (part.size() <= GRPC_SLICE_INLINED_SIZE) continue;
      refs_.fetch_add(1, std::memory_order_relaxed);
      auto* const kept = new Part{this, std::move(part)};
      part = grpc::Slice(const_cast<uint8_t*>(kept->bytes.begin()),
                         kept->bytes.size(), &UnaryCall::ForgetPart, kept);
    }
    *task_.response = grpc::ByteBuffer(parts.data(), parts.size());
    SetHeld(kCallBytes + bytes);
    holder_.WaitsForClient(true);
  }

  static void ForgetPart(void* kept) {
    auto* const part = static_cast<Part*>(kept);
    UnaryCall* const call = part->call;
    delete part;
    call->Unref();
  }

  bool TryRef() {
    int refs = refs_.load(std::memory_order_relaxed);
    while (refs > 0) {
      if (refs_.compare_exchange_weak(refs, refs + 1)) return true;
    }
    return false;
  }
  void Unref() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  void EndNow() {
    std::unique_ptr<EndableCall> call;
    {
      MutexLock lock(&mu_);
      if (done_) return;
      call = std::make_unique<EndableCall>(task_.context->c_call());
    }
    call->End(ClientTooSlow(held_bytes_.load(std::memory_order_relaxed)));
  }

  CallGate* const gate_;
  Executor* const executor_;
  const Lane lane_;
  UnaryTask task_;
  const std::shared_ptr<ClientMemory> memory_;
  std::atomic<size_t> held_bytes_{0};  // As holder_'s, for other threads.
  // gRPC's, one for each part of the answer, and of those who send it away.
  std::atomic<int> refs_{1};
  Mutex mu_;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  // What limits it, once it has to wait; the thread's that runs it, and
  // constant while it waits.
  UsageLimiters limiters_;
  UsageCost cost_;
  bool waits_ = false;
  bool admitted_ = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  std::shared_ptr<UsageWait> wait_ ABSL_GUARDED_BY(mu_);
  // Goes first: until then SendAway may be called.
  ClientMemory::Holder holder_;
};

}  // namespace

grpc::ServerUnaryReactor* UnaryRunner::Answer(
    grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerUnaryReactor* UnaryRunner::Run(Lane lane, UnaryTask task) const {
  if (!gate_->Enter()) return Answer(task.context, ShuttingDownError());
  auto* const call =
      new UnaryCall(gate_, memory_, executor_, lane, std::move(task));
  if (call->Reserve()) {
    call->Queue();
  } else {
    call->Ask([call] { call->Queue(); });
  }
  return call;
}

grpc::ServerUnaryReactor* UnaryRunner::RunHere(Lane lane,
                                               UnaryTask task) const {
  if (!gate_->Enter()) return Answer(task.context, ShuttingDownError());
  auto* const call =
      new UnaryCall(gate_, memory_, executor_, lane, std::move(task));
  if (call->Reserve()) {
    call->Run();
  } else {
    call->Ask([call] { call->Queue(); });
  }
  return call;
}

}  // namespace ramvol::service
