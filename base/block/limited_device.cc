#include "base/block/limited_device.h"

namespace ramvol::block {
namespace {

absl::Status ClientGone() { return absl::CancelledError("the client is gone"); }

// A thread that waits for its turn.
class Blocked final : public Completion {
 public:
  void Done(absl::Status status) override ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    status_ = std::move(status);
    done_ = true;
    wake_.Signal();
  }
  absl::Status Wait() ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    while (!done_) wake_.Wait(&mu_);
    return status_;
  }

 private:
  Mutex mu_;
  CondVar wake_;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

void LimitedDevice::Read(uint64_t offset, absl::Span<char> out,
                         Completion* done) {
  if (!limited()) return device_->Read(offset, out, done);
  Start(/*may_wait=*/false, out.size(), done,
        [this, offset, out, done] { device_->Read(offset, out, done); });
}

void LimitedDevice::Write(uint64_t offset, absl::Span<const char> data,
                          Completion* done) {
  if (!limited()) return device_->Write(offset, data, done);
  Start(/*may_wait=*/true, data.size(), done,
        [this, offset, data, done] { device_->Write(offset, data, done); });
}

void LimitedDevice::WriteZeroes(uint64_t offset, uint64_t length, bool no_hole,
                                Completion* done) {
  if (!limited()) return device_->WriteZeroes(offset, length, no_hole, done);
  Start(/*may_wait=*/true, /*bytes=*/0, done,
        [this, offset, length, no_hole, done] {
          device_->WriteZeroes(offset, length, no_hole, done);
        });
}

void LimitedDevice::Start(bool may_wait, uint64_t bytes, Completion* done,
                          std::function<void()> call) {
  Blocked blocked;
  const bool later = may_answer_later_;  // This may be gone then.
  const Turn turn =
      later ? Wait(bytes, done,
                   [run = run_, may_wait, call] { (*run)(may_wait, call); })
            : Wait(bytes, &blocked,
                   [&blocked] { blocked.Done(absl::OkStatus()); });
  if (turn == Turn::kNever) return done->Done(ClientGone());
  if (turn == Turn::kNow) return call();
  if (later) return;
  absl::Status status = blocked.Wait();
  return status.ok() ? call() : done->Done(std::move(status));
}

LimitedDevice::Turn LimitedDevice::Wait(uint64_t bytes, Completion* done,
                                        std::function<void()> later) {
  MutexLock lock(&mu_);
  if (abandoned_) return Turn::kNever;
  const uint64_t id = ++last_id_;
  auto wait = limiters_.Take(flow(), {.bytes = bytes},
                             [this, id, later = std::move(later)] {
                               Forget(id);
                               later();
                             });
  if (wait == nullptr) return Turn::kNow;
  waiting_.emplace(id, Waiting{std::move(wait), done});
  return Turn::kLater;
}

void LimitedDevice::Forget(uint64_t id) {
  MutexLock lock(&mu_);
  waiting_.erase(id);
}

void LimitedDevice::Abandon() {
  absl::flat_hash_map<uint64_t, Waiting> waiting;
  {
    MutexLock lock(&mu_);
    abandoned_ = true;
    waiting.swap(waiting_);
  }
  for (const auto& [id, one] : waiting) {
    if (!limiters_.Withdraw(flow(), one.wait.get())) continue;
    one.done->Done(ClientGone());
  }
}

}  // namespace ramvol::block
