// A volume in memory, behind the SDK's interface, that can be made to fail.
#ifndef RAMVOL_TESTS_CLIENT_FAKE_VOLUME_H_
#define RAMVOL_TESTS_CLIENT_FAKE_VOLUME_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "client/extent.h"
#include "client/volume_connection.h"

namespace ramvol {

// One volume: blocks of 4 KiB that are not holes. Operations complete on a
// thread of their own, in an order that is not theirs. As the SDK does, it
// makes callers wait while much is unanswered. Thread-safe.
class FakeVolume : public VolumeConnection {
 public:
  static constexpr int64_t kMaxInflightBytes = 8 << 20;

  explicit FakeVolume(int64_t size_bytes);
  ~FakeVolume() override;

  void ReadAsync(int64_t offset, absl::Span<char> out, Done done) override;
  void WriteAsync(int64_t offset, std::string_view data, Done done) override;
  void TrimAsync(int64_t offset, int64_t length, Done done) override;
  void WriteZeroesAsync(int64_t offset, int64_t length, bool no_hole,
                        Done done) override;
  void FlushAsync(Done done) override;
  void ExtentsAsync(int64_t offset, int64_t length, int32_t max_extents,
                    ExtentsDone done) override;
  int64_t size_bytes() const override;
  bool read_only() const override { return false; }

  // The same at once, for a server in front. Ranges are within the volume: see
  // CheckRange.
  absl::Status CheckRange(int64_t offset, int64_t length) const;
  std::string Content(int64_t offset, int64_t length) const;
  void Fill(int64_t offset, std::string_view data);
  void Clear(int64_t offset, int64_t length);
  // At most `max_extents`, if that is not 0. A length of 0 reaches to the end.
  std::vector<Extent> ListExtents(int64_t offset, int64_t length,
                                  int32_t max_extents) const;

  // Test side.
  void Resize(int64_t size_bytes);
  int64_t allocated_bytes();
  // Ranges in the order in which they were asked for.
  std::vector<Extent> writes();
  std::vector<Extent> trims();
  std::vector<Extent> reads();
  int extents_calls();
  // The operation after the next `count` reads, writes and trims fails so, and
  // all after it.
  void FailAfter(int count, absl::Status status);
  // Called before every operation, without locks.
  void OnOperation(std::function<void()> hook);

 private:
  // CheckRange, or the failure that was asked for.
  absl::Status BeginOperation(int64_t offset, int64_t length);
  void Later(int64_t bytes, std::function<void()> completion);
  void Loop();
  void StoreLocked(int64_t offset, std::string_view data)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ClearLocked(int64_t offset, int64_t length)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string LoadLocked(int64_t offset, int64_t length) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable Mutex mu_;
  CondVar changed_;
  int64_t size_bytes_ ABSL_GUARDED_BY(mu_);
  std::map<int64_t, std::string> blocks_ ABSL_GUARDED_BY(mu_);  // By index.
  std::vector<Extent> writes_ ABSL_GUARDED_BY(mu_);
  std::vector<Extent> trims_ ABSL_GUARDED_BY(mu_);
  std::vector<Extent> reads_ ABSL_GUARDED_BY(mu_);
  int extents_calls_ ABSL_GUARDED_BY(mu_) = 0;
  int operations_left_ ABSL_GUARDED_BY(mu_) = -1;  // -1: never fail.
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  std::function<void()> hook_ ABSL_GUARDED_BY(mu_);
  int64_t inflight_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  // With the bytes of each.
  std::vector<std::pair<int64_t, std::function<void()>>> queue_
      ABSL_GUARDED_BY(mu_);
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace ramvol

#endif  // RAMVOL_TESTS_CLIENT_FAKE_VOLUME_H_
