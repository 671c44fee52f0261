// A BlockDevice whose clients are held to limits.
#ifndef RAMVOL_BASE_BLOCK_LIMITED_DEVICE_H_
#define RAMVOL_BASE_BLOCK_LIMITED_DEVICE_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/block/block_device.h"
#include "base/mutex.h"
#include "base/usage_limiter.h"

namespace ramvol::block {

// Reads, writes and writes of zeroes that come too soon wait here, without a
// thread after MayAnswerLater. Everything else goes through. Without limits it
// costs a load or two.
//
// Thread-safe.
class LimitedDevice final : public BlockDevice {
 public:
  // Has `call` run on a thread that may take as long as it takes; `may_wait`
  // tells writes. Must not block.
  using Runner = std::function<void(bool may_wait, std::function<void()> call)>;

  LimitedDevice(std::unique_ptr<BlockDevice> device, UsageLimiters limiters,
                std::array<UsageLimiter::Place, 2> places, Runner run)
      : device_(std::move(device)),
        limiters_(std::move(limiters)),
        places_(std::move(places)),
        run_(std::make_shared<const Runner>(std::move(run))) {}

  uint64_t size_bytes() const override { return device_->size_bytes(); }
  bool read_only() const override { return device_->read_only(); }
  bool synchronous() const override { return device_->synchronous(); }
  bool limited() const override { return limiters_.limited(); }
  bool MoreToCome() const override { return device_->MoreToCome(); }
  void Together(absl::FunctionRef<void()> start) override {
    device_->Together(start);
  }
  void MayAnswerLater() override { may_answer_later_ = true; }
  void Abandon() override ABSL_LOCKS_EXCLUDED(mu_);

  void Read(uint64_t offset, absl::Span<char> out, Completion* done) override;
  void Write(uint64_t offset, absl::Span<const char> data,
             Completion* done) override;
  void Trim(uint64_t offset, uint64_t length, Completion* done) override {
    device_->Trim(offset, length, done);
  }
  void WriteZeroes(uint64_t offset, uint64_t length, bool no_hole,
                   Completion* done) override;
  void Flush(Completion* done) override { device_->Flush(done); }
  void GetExtents(uint64_t offset, uint64_t length, size_t max_extents,
                  std::vector<Extent>* extents, Completion* done) override {
    device_->GetExtents(offset, length, max_extents, extents, done);
  }
  void GetChanges(const std::string& snapshot_uid, uint64_t offset,
                  uint64_t length, size_t max_extents,
                  std::vector<Extent>* extents, Completion* done) override {
    device_->GetChanges(snapshot_uid, offset, length, max_extents, extents,
                        done);
  }

 private:
  struct Waiting {
    std::shared_ptr<UsageWait> wait;
    Completion* done;
  };

  UsageLimiter::Flow flow() const {
    return reinterpret_cast<UsageLimiter::Flow>(this);
  }
  // Runs `call`, which moves `bytes`, now or later.
  void Start(bool may_wait, uint64_t bytes, Completion* done,
             std::function<void()> call) ABSL_LOCKS_EXCLUDED(mu_);
  enum class Turn : uint8_t { kNow, kLater, kNever };
  // When it is its turn. If later, `later` will be called then, or `done` told
  // when it is abandoned.
  Turn Wait(uint64_t bytes, Completion* done, std::function<void()> later)
      ABSL_LOCKS_EXCLUDED(mu_);
  void Forget(uint64_t id) ABSL_LOCKS_EXCLUDED(mu_);

  const std::unique_ptr<BlockDevice> device_;
  const UsageLimiters limiters_;
  const std::array<UsageLimiter::Place, 2> places_;
  const std::shared_ptr<const Runner> run_;
  bool may_answer_later_ = false;

  Mutex mu_;
  bool abandoned_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t last_id_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<uint64_t, Waiting> waiting_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::block

#endif  // RAMVOL_BASE_BLOCK_LIMITED_DEVICE_H_
