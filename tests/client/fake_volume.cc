#include "tests/client/fake_volume.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "client/extent.h"

namespace ramvol {
namespace {

constexpr int64_t kBlock = 4096;

// The end of a block in a range; the last block of the largest volume ends past
// what an int64_t holds.
int64_t BlockEnd(int64_t index, int64_t range_end) {
  const int64_t begin = index * kBlock;
  return range_end - begin < kBlock ? range_end : begin + kBlock;
}

}  // namespace

FakeVolume::FakeVolume(int64_t size_bytes)
    : size_bytes_(size_bytes), thread_([this] { Loop(); }) {}

FakeVolume::~FakeVolume() {
  {
    MutexLock lock(&mu_);
    stop_ = true;
    changed_.SignalAll();
  }
  thread_.join();
}

void FakeVolume::Later(int64_t bytes, std::function<void()> completion) {
  MutexLock lock(&mu_);
  while (inflight_bytes_ >= kMaxInflightBytes) changed_.Wait(&mu_);
  inflight_bytes_ += bytes;
  queue_.emplace_back(bytes, std::move(completion));
  changed_.SignalAll();
}

void FakeVolume::Loop() {
  MutexLock lock(&mu_);
  for (;;) {
    while (queue_.empty() && !stop_) changed_.Wait(&mu_);
    if (queue_.empty()) return;
    // The latest first, so that answers come in another order.
    auto [bytes, completion] = std::move(queue_.back());
    queue_.pop_back();
    mu_.Unlock();
    completion();
    completion = nullptr;
    mu_.Lock();
    inflight_bytes_ -= bytes;
    changed_.SignalAll();
  }
}

absl::Status FakeVolume::CheckRange(int64_t offset, int64_t length) const {
  if (offset < 0 || length < 0) return InvalidField("offset", "negative");
  MutexLock lock(&mu_);
  if (length <= size_bytes_ && offset <= size_bytes_ - length) {
    return absl::OkStatus();
  }
  return WithReason(
      absl::OutOfRangeError(absl::StrCat(length, " bytes at offset ", offset,
                                         " end past the volume")),
      reason::kPastEnd);
}

absl::Status FakeVolume::BeginOperation(int64_t offset, int64_t length) {
  std::function<void()> hook;
  {
    MutexLock lock(&mu_);
    hook = hook_;
  }
  if (hook) hook();
  {
    MutexLock lock(&mu_);
    if (operations_left_ == 0) return failure_;
    if (operations_left_ > 0) --operations_left_;
  }
  return CheckRange(offset, length);
}

void FakeVolume::StoreLocked(int64_t offset, std::string_view data) {
  while (!data.empty()) {
    const int64_t in_block = offset % kBlock;
    const auto bytes = std::min<size_t>(kBlock - in_block, data.size());
    std::string& block = blocks_[offset / kBlock];
    block.resize(kBlock);
    std::copy_n(data.begin(), bytes, block.begin() + in_block);
    if (block.find_first_not_of('\0') == std::string::npos) {
      blocks_.erase(offset / kBlock);
    }
    data.remove_prefix(bytes);
    offset += static_cast<int64_t>(bytes);
  }
}

void FakeVolume::ClearLocked(int64_t offset, int64_t length) {
  // Only what is there: ranges may be huge.
  std::vector<int64_t> indexes;
  for (auto it = blocks_.lower_bound(offset / kBlock);
       it != blocks_.end() && it->first * kBlock < offset + length; ++it) {
    indexes.push_back(it->first);
  }
  for (const int64_t index : indexes) {
    const int64_t begin = std::max(index * kBlock, offset);
    const int64_t end = BlockEnd(index, offset + length);
    StoreLocked(begin, std::string(end - begin, '\0'));
  }
}

std::string FakeVolume::LoadLocked(int64_t offset, int64_t length) const {
  std::string out(length, '\0');
  for (auto it = blocks_.lower_bound(offset / kBlock);
       it != blocks_.end() && it->first * kBlock < offset + length; ++it) {
    const int64_t begin = std::max(it->first * kBlock, offset);
    const int64_t end = BlockEnd(it->first, offset + length);
    std::copy_n(it->second.data() + (begin - it->first * kBlock), end - begin,
                out.data() + (begin - offset));
  }
  return out;
}

void FakeVolume::ReadAsync(int64_t offset, absl::Span<char> out, Done done) {
  const auto length = static_cast<int64_t>(out.size());
  absl::Status status = BeginOperation(offset, length);
  {
    MutexLock lock(&mu_);
    reads_.push_back({.offset = offset, .length = length});
  }
  Later(length, [this, offset, out, length, status, done = std::move(done)] {
    if (status.ok()) {
      MutexLock lock(&mu_);
      const std::string data = LoadLocked(offset, length);
      std::copy(data.begin(), data.end(), out.begin());
    }
    done(status);
  });
}

void FakeVolume::WriteAsync(int64_t offset, std::string_view data, Done done) {
  const auto length = static_cast<int64_t>(data.size());
  absl::Status status = BeginOperation(offset, length);
  {
    MutexLock lock(&mu_);
    writes_.push_back({.offset = offset, .length = length});
  }
  Later(length, [this, offset, data, status, done = std::move(done)] {
    if (status.ok()) {
      MutexLock lock(&mu_);
      StoreLocked(offset, data);
    }
    done(status);
  });
}

void FakeVolume::TrimAsync(int64_t offset, int64_t length, Done done) {
  absl::Status status = BeginOperation(offset, length);
  {
    MutexLock lock(&mu_);
    trims_.push_back({.offset = offset, .length = length});
  }
  Later(0, [this, offset, length, status, done = std::move(done)] {
    if (status.ok()) {
      MutexLock lock(&mu_);
      ClearLocked(offset, length);
    }
    done(status);
  });
}

void FakeVolume::WriteZeroesAsync(int64_t offset, int64_t length, bool,
                                  Done done) {
  TrimAsync(offset, length, std::move(done));
}

void FakeVolume::FlushAsync(Done done) {
  Later(0, [done = std::move(done)] { done(absl::OkStatus()); });
}

std::vector<Extent> FakeVolume::ListExtents(int64_t offset, int64_t length,
                                            int32_t max_extents) const {
  MutexLock lock(&mu_);
  const int64_t range_end = length == 0 ? size_bytes_ : offset + length;
  std::vector<Extent> extents;
  auto add = [&extents](int64_t from, int64_t to, bool hole) {
    if (from >= to) return;
    if (!extents.empty() && extents.back().hole == hole) {
      extents.back().length += to - from;
    } else {
      extents.push_back({.offset = from, .length = to - from, .hole = hole});
    }
  };
  int64_t position = offset;
  for (auto it = blocks_.lower_bound(offset / kBlock);
       it != blocks_.end() && it->first * kBlock < range_end; ++it) {
    const int64_t begin = std::max(it->first * kBlock, offset);
    const int64_t end = BlockEnd(it->first, range_end);
    add(position, begin, true);
    add(begin, end, false);
    position = end;
  }
  add(position, range_end, true);
  const auto most = static_cast<size_t>(max_extents);
  if (most > 0 && extents.size() > most) extents.resize(most);
  return extents;
}

void FakeVolume::ExtentsAsync(int64_t offset, int64_t length,
                              int32_t max_extents, ExtentsDone done) {
  {
    MutexLock lock(&mu_);
    ++extents_calls_;
  }
  Later(0, [extents = ListExtents(offset, length, max_extents),
            done = std::move(done)] { done(extents); });
}

int64_t FakeVolume::size_bytes() const {
  MutexLock lock(&mu_);
  return size_bytes_;
}

void FakeVolume::Resize(int64_t size_bytes) {
  MutexLock lock(&mu_);
  size_bytes_ = size_bytes;
}

std::string FakeVolume::Content(int64_t offset, int64_t length) const {
  MutexLock lock(&mu_);
  return LoadLocked(offset, length);
}

void FakeVolume::Fill(int64_t offset, std::string_view data) {
  MutexLock lock(&mu_);
  StoreLocked(offset, data);
}

void FakeVolume::Clear(int64_t offset, int64_t length) {
  MutexLock lock(&mu_);
  ClearLocked(offset, length);
}

int64_t FakeVolume::allocated_bytes() {
  MutexLock lock(&mu_);
  return static_cast<int64_t>(blocks_.size()) * kBlock;
}

std::vector<Extent> FakeVolume::writes() {
  MutexLock lock(&mu_);
  return writes_;
}

std::vector<Extent> FakeVolume::trims() {
  MutexLock lock(&mu_);
  return trims_;
}

std::vector<Extent> FakeVolume::reads() {
  MutexLock lock(&mu_);
  return reads_;
}

int FakeVolume::extents_calls() {
  MutexLock lock(&mu_);
  return extents_calls_;
}

void FakeVolume::FailAfter(int count, absl::Status status) {
  MutexLock lock(&mu_);
  operations_left_ = count;
  failure_ = std::move(status);
}

void FakeVolume::OnOperation(std::function<void()> hook) {
  MutexLock lock(&mu_);
  hook_ = std::move(hook);
}

}  // namespace ramvol
