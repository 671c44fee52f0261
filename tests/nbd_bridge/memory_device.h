// Volumes of a plain byte array, for tests of the NBD session.
#ifndef RAMVOL_TESTS_NBD_BRIDGE_MEMORY_DEVICE_H_
#define RAMVOL_TESTS_NBD_BRIDGE_MEMORY_DEVICE_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/block/block_device.h"
#include "base/block/exports.h"
#include "base/block/thread_cache.h"
#include "base/mutex.h"

namespace ramvol::testing {

// Bytes, and which blocks of 4 KiB were written. Thread-safe.
class MemoryVolume {
 public:
  static constexpr uint64_t kBlockBytes = 4096;

  // Only the first `stored_bytes` of a volume of `size_bytes` can be written;
  // the rest is a hole.
  explicit MemoryVolume(uint64_t size_bytes, uint64_t stored_bytes)
      : size_bytes_(size_bytes),
        stored_bytes_(stored_bytes),
        bytes_(static_cast<char*>(std::calloc(stored_bytes, 1)), std::free),
        written_((stored_bytes + kBlockBytes - 1) / kBlockBytes) {}
  explicit MemoryVolume(uint64_t size_bytes)
      : MemoryVolume(size_bytes, size_bytes) {}

  uint64_t size_bytes() const { return size_bytes_; }
  // What is new is a hole that cannot be written.
  void Grow(uint64_t size_bytes) { size_bytes_ = size_bytes; }

  absl::Status Read(uint64_t offset, absl::Span<char> out);
  absl::Status Write(uint64_t offset, absl::Span<const char> data);
  absl::Status Zero(uint64_t offset, uint64_t length, bool no_hole);
  absl::Status GetExtents(uint64_t offset, uint64_t length, size_t max_extents,
                          std::vector<block::Extent>* extents);

  // All calls fail with it from now on, unless it is OK.
  void FailWith(absl::Status status);
  // Each read and write takes this longer from now on.
  void Delay(std::chrono::microseconds delay) { delay_ = delay; }
  // Between Hold and Release, reads wait.
  void HoldReads();
  void ReleaseReads();
  int held_reads();

 private:
  // Where the extent that begins at `offset` ends, at most `end`.
  uint64_t ExtentEndLocked(uint64_t offset, uint64_t end, bool hole)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Sleep() const;
  bool IsHoleLocked(uint64_t offset) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  std::atomic<uint64_t> size_bytes_;
  const uint64_t stored_bytes_;
  std::atomic<std::chrono::microseconds> delay_{};
  Mutex mu_;
  CondVar released_;
  // Pages that nobody touches cost nothing: most volumes of tests stay empty.
  const std::unique_ptr<char, decltype(&std::free)> bytes_
      ABSL_PT_GUARDED_BY(mu_);
  std::vector<bool> written_ ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  bool held_ ABSL_GUARDED_BY(mu_) = false;
  int held_reads_ ABSL_GUARDED_BY(mu_) = 0;
};

// Serves MemoryVolumes. Volumes are added before it is used. What is no hole
// has changed since every snapshot.
class MemoryExports final : public block::Exports {
 public:
  // Devices that are not synchronous run each call in a thread of its own.
  explicit MemoryExports(bool synchronous) : synchronous_(synchronous) {}

  MemoryVolume& Add(const std::string& name, uint64_t size_bytes,
                    bool read_only = false);
  MemoryVolume& Add(const std::string& name,
                    std::shared_ptr<MemoryVolume> volume,
                    bool read_only = false);
  // From now on, Open of what there is fails.
  void FailOpensWith(absl::Status status) { open_status_ = std::move(status); }
  // Devices that live.
  int open_devices() const { return *open_devices_; }

  // Pages of two.
  absl::StatusOr<block::ExportPage> List(const std::string& from) override;
  absl::StatusOr<block::ExportInfo> Find(std::string_view name) override;
  // All volumes that begin with "@".
  absl::StatusOr<std::vector<std::string>> ListSnapshots(std::string_view name,
                                                         size_t max) override;
  absl::StatusOr<std::unique_ptr<block::BlockDevice>> Open(
      std::string_view name, std::string_view client) override;

 private:
  struct Entry {
    std::shared_ptr<MemoryVolume> volume;
    bool read_only = false;
  };

  const bool synchronous_;
  absl::Status open_status_;
  std::map<std::string, Entry, std::less<>> volumes_;
  const std::shared_ptr<std::atomic<int>> open_devices_ =
      std::make_shared<std::atomic<int>>(0);
  block::ThreadCache threads_;
};

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_NBD_BRIDGE_MEMORY_DEVICE_H_
