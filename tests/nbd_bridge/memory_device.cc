#include "tests/nbd_bridge/memory_device.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace ramvol::testing {

void MemoryVolume::Sleep() const {
  const std::chrono::microseconds delay = delay_;
  if (delay.count() != 0) std::this_thread::sleep_for(delay);
}

absl::Status MemoryVolume::Read(uint64_t offset, absl::Span<char> out) {
  Sleep();
  MutexLock lock(&mu_);
  ++held_reads_;
  while (held_) released_.Wait(&mu_);
  --held_reads_;
  if (!failure_.ok()) return failure_;
  std::fill(out.begin(), out.end(), '\0');
  if (offset >= stored_bytes_) return absl::OkStatus();
  const size_t stored = std::min<uint64_t>(out.size(), stored_bytes_ - offset);
  std::copy_n(bytes_.get() + offset, stored, out.begin());
  return absl::OkStatus();
}

absl::Status MemoryVolume::Write(uint64_t offset, absl::Span<const char> data) {
  Sleep();
  MutexLock lock(&mu_);
  if (!failure_.ok()) return failure_;
  if (offset > stored_bytes_ || data.size() > stored_bytes_ - offset) {
    return absl::ResourceExhaustedError("not that much memory");
  }
  std::copy(data.begin(), data.end(), bytes_.get() + offset);
  for (uint64_t block = offset / kBlockBytes;
       block * kBlockBytes < offset + data.size(); ++block) {
    written_[block] = true;
  }
  return absl::OkStatus();
}

absl::Status MemoryVolume::Zero(uint64_t offset, uint64_t length,
                                bool no_hole) {
  MutexLock lock(&mu_);
  if (!failure_.ok()) return failure_;
  const uint64_t end = std::min<uint64_t>(offset + length, stored_bytes_);
  if (offset >= end) return absl::OkStatus();
  std::fill(bytes_.get() + offset, bytes_.get() + end, '\0');
  for (uint64_t block = (offset + kBlockBytes - 1) / kBlockBytes;
       (block + 1) * kBlockBytes <= end; ++block) {
    written_[block] = no_hole;
  }
  return absl::OkStatus();
}

bool MemoryVolume::IsHoleLocked(uint64_t offset) {
  return offset >= stored_bytes_ || !written_[offset / kBlockBytes];
}

uint64_t MemoryVolume::ExtentEndLocked(uint64_t offset, uint64_t end,
                                       bool hole) {
  while (offset < end && IsHoleLocked(offset) == hole) {
    if (offset >= stored_bytes_) return end;
    offset = (offset / kBlockBytes + 1) * kBlockBytes;
  }
  return std::min(offset, end);
}

absl::Status MemoryVolume::GetExtents(uint64_t offset, uint64_t length,
                                      size_t max_extents,
                                      std::vector<block::Extent>* extents) {
  MutexLock lock(&mu_);
  if (!failure_.ok()) return failure_;
  const uint64_t end = offset + length;
  while (offset < end && extents->size() < max_extents) {
    const bool hole = IsHoleLocked(offset);
    const uint64_t extent_end = ExtentEndLocked(offset, end, hole);
    extents->push_back({offset, extent_end - offset, hole});
    offset = extent_end;
  }
  return absl::OkStatus();
}

void MemoryVolume::FailWith(absl::Status status) {
  MutexLock lock(&mu_);
  failure_ = std::move(status);
}

void MemoryVolume::HoldReads() {
  MutexLock lock(&mu_);
  held_ = true;
}

void MemoryVolume::ReleaseReads() {
  MutexLock lock(&mu_);
  held_ = false;
  released_.SignalAll();
}

int MemoryVolume::held_reads() {
  MutexLock lock(&mu_);
  return held_ ? held_reads_ : 0;
}

namespace {

class MemoryDevice final : public block::BlockDevice {
 public:
  MemoryDevice(std::shared_ptr<MemoryVolume> volume, bool read_only,
               block::ThreadCache* threads,
               std::shared_ptr<std::atomic<int>> open_devices)
      : volume_(std::move(volume)),
        read_only_(read_only),
        threads_(threads),
        open_devices_(std::move(open_devices)) {
    ++*open_devices_;
  }
  ~MemoryDevice() override { --*open_devices_; }

  uint64_t size_bytes() const override { return volume_->size_bytes(); }
  bool read_only() const override { return read_only_; }
  bool synchronous() const override { return threads_ == nullptr; }

  void Read(uint64_t offset, absl::Span<char> out,
            block::Completion* done) override {
    Do([v = volume_, offset, out] { return v->Read(offset, out); }, done);
  }
  void Write(uint64_t offset, absl::Span<const char> data,
             block::Completion* done) override {
    Do([v = volume_, offset, data] { return v->Write(offset, data); }, done);
  }
  void Trim(uint64_t offset, uint64_t length,
            block::Completion* done) override {
    WriteZeroes(offset, length, /*no_hole=*/false, done);
  }
  void WriteZeroes(uint64_t offset, uint64_t length, bool no_hole,
                   block::Completion* done) override {
    Do([v = volume_, offset, length,
        no_hole] { return v->Zero(offset, length, no_hole); },
       done);
  }
  void Flush(block::Completion* done) override {
    Do([] { return absl::OkStatus(); }, done);
  }
  void GetExtents(uint64_t offset, uint64_t length, size_t max_extents,
                  std::vector<block::Extent>* extents,
                  block::Completion* done) override {
    Do(
        [v = volume_, offset, length, max_extents, extents] {
          return v->GetExtents(offset, length, max_extents, extents);
        },
        done);
  }

  void GetChanges(const std::string& /*snapshot_uid*/, uint64_t offset,
                  uint64_t length, size_t max_extents,
                  std::vector<block::Extent>* extents,
                  block::Completion* done) override {
    Do(
        [v = volume_, offset, length, max_extents, extents] {
          const absl::Status status =
              v->GetExtents(offset, length, max_extents, extents);
          for (block::Extent& extent : *extents) extent.changed = !extent.hole;
          return status;
        },
        done);
  }

 private:
  template <typename Call>
  void Do(const Call& call, block::Completion* done) {
    if (threads_ == nullptr) return done->Done(call());
    RAMVOL_CHECK(threads_->Run([call, done] { done->Done(call()); }));
  }

  const std::shared_ptr<MemoryVolume> volume_;
  const bool read_only_;
  block::ThreadCache* const threads_;
  const std::shared_ptr<std::atomic<int>> open_devices_;
};

}  // namespace

MemoryVolume& MemoryExports::Add(const std::string& name, uint64_t size_bytes,
                                 bool read_only) {
  return Add(name, std::make_shared<MemoryVolume>(size_bytes), read_only);
}

MemoryVolume& MemoryExports::Add(const std::string& name,
                                 std::shared_ptr<MemoryVolume> volume,
                                 bool read_only) {
  MemoryVolume& added = *volume;
  volumes_[name] = {std::move(volume), read_only};
  return added;
}

absl::StatusOr<block::ExportPage> MemoryExports::List(const std::string& from) {
  block::ExportPage page;
  for (auto next = volumes_.upper_bound(from); next != volumes_.end(); ++next) {
    const auto& [name, entry] = *next;
    page.exports.push_back(
        {name, entry.volume->size_bytes(), entry.read_only, name});
    if (page.exports.size() < 2) continue;
    page.next = name;
    break;
  }
  return page;
}

absl::StatusOr<block::ExportInfo> MemoryExports::Find(std::string_view name) {
  const auto found = volumes_.find(name);
  if (found == volumes_.end()) {
    return absl::NotFoundError(
        absl::StrCat("there is no volume \"", std::string(name), "\""));
  }
  return block::ExportInfo{found->first, found->second.volume->size_bytes(),
                           found->second.read_only, found->first};
}

absl::StatusOr<std::vector<std::string>> MemoryExports::ListSnapshots(
    std::string_view, size_t max) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : volumes_) {
    if (name[0] == '@' && names.size() < max) names.push_back(name.substr(1));
  }
  return names;
}

absl::StatusOr<std::unique_ptr<block::BlockDevice>> MemoryExports::Open(
    std::string_view name, std::string_view) {
  const auto info = Find(name);
  if (!info.ok()) return info.status();
  if (!open_status_.ok()) return open_status_;
  const Entry& entry = volumes_.find(name)->second;
  return std::make_unique<MemoryDevice>(entry.volume, entry.read_only,
                                        synchronous_ ? nullptr : &threads_,
                                        open_devices_);
}

}  // namespace ramvol::testing
