// Reads a volume only through snapshots of it.
#ifndef RAMVOL_TESTS_CONFORMANCE_SNAPSHOT_READER_H_
#define RAMVOL_TESTS_CONFORMANCE_SNAPSHOT_READER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "tests/conformance/device.h"

namespace ramvol::testing {

// A device that takes a snapshot for each call that reads, and reads that. It
// keeps the latest, so that what is written next is shared. The rest goes to
// the volume.
class SnapshotReader : public Device {
 public:
  // Borrows `factory`.
  SnapshotReader(DeviceFactory& factory, std::string name, int64_t size_bytes)
      : factory_(factory),
        name_(std::move(name)),
        size_bytes_(size_bytes),
        volume_(factory.Open(name_, size_bytes)) {}

  bool read_only() override { return volume_->read_only(); }
  absl::StatusOr<std::string> Read(int64_t offset, int64_t length) override {
    return OfSnapshot<std::string>(
        [&](Device& snapshot) { return snapshot.Read(offset, length); });
  }
  absl::StatusOr<std::vector<DeviceExtent>> Extents(int64_t offset,
                                                    int64_t length) override {
    return OfSnapshot<std::vector<DeviceExtent>>(
        [&](Device& snapshot) { return snapshot.Extents(offset, length); });
  }
  absl::Status Write(int64_t offset, const std::string& data) override {
    return volume_->Write(offset, data);
  }
  // What a snapshot holds is not given back.
  absl::Status Trim(int64_t offset, int64_t length) override {
    if (length >= kLargeBytes) Keep("");
    return volume_->Trim(offset, length);
  }
  absl::Status WriteZeroes(int64_t offset, int64_t length,
                           bool no_hole) override {
    return volume_->WriteZeroes(offset, length, no_hole);
  }
  absl::Status Flush() override { return volume_->Flush(); }

 private:
  static constexpr int64_t kLargeBytes = int64_t{16} << 20;

  template <typename Result, typename Call>
  absl::StatusOr<Result> OfSnapshot(Call call) {
    static std::atomic<int> count{0};
    const std::string name = absl::StrCat("s", ++count);
    const absl::Status made = factory_.Snapshot(name_, name);
    if (!made.ok()) return made;
    const auto snapshot = factory_.Open("@" + name, size_bytes_);
    auto result = call(*snapshot);
    Keep("@" + name);
    return result;
  }

  // Deletes the one that was kept.
  void Keep(std::string name) {
    {
      MutexLock lock(&mu_);
      std::swap(name, kept_);
    }
    if (!name.empty()) factory_.Delete(name).IgnoreError();
  }

  DeviceFactory& factory_;
  const std::string name_;
  const int64_t size_bytes_;
  const std::unique_ptr<Device> volume_;
  Mutex mu_;
  std::string kept_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::testing

#endif  // RAMVOL_TESTS_CONFORMANCE_SNAPSHOT_READER_H_
