#include "tests/client/cli/fake_server.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "client/client_connection.h"
#include "client/extent.h"
#include "client/volume_connection.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
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

void FakeVolume::Later(std::function<void()> completion) {
  MutexLock lock(&mu_);
  queue_.push_back(std::move(completion));
  changed_.SignalAll();
}

void FakeVolume::Loop() {
  for (;;) {
    std::function<void()> completion;
    {
      MutexLock lock(&mu_);
      while (queue_.empty() && !stop_) changed_.Wait(&mu_);
      if (queue_.empty()) return;
      // The latest first, so that answers come in another order.
      completion = std::move(queue_.back());
      queue_.pop_back();
    }
    completion();
  }
}

absl::Status FakeVolume::Check(int64_t offset, int64_t length) {
  std::function<void()> hook;
  {
    MutexLock lock(&mu_);
    hook = hook_;
  }
  if (hook) hook();
  MutexLock lock(&mu_);
  if (operations_left_ == 0) return failure_;
  if (operations_left_ > 0) --operations_left_;
  if (length <= size_bytes_ && offset <= size_bytes_ - length) {
    return absl::OkStatus();
  }
  return WithReason(absl::OutOfRangeError("past the end"), reason::kPastEnd);
}

void FakeVolume::StoreLocked(int64_t offset, std::string_view data) {
  while (!data.empty()) {
    const int64_t in_block = offset % kBlock;
    const auto bytes = std::min<size_t>(kBlock - in_block, data.size());
    std::string& block = blocks_[offset / kBlock];
    block.resize(kBlock);
    std::copy_n(data.data(), bytes, block.data() + in_block);
    if (block.find_first_not_of('\0') == std::string::npos) {
      blocks_.erase(offset / kBlock);
    }
    data.remove_prefix(bytes);
    offset += static_cast<int64_t>(bytes);
  }
}

std::string FakeVolume::LoadLocked(int64_t offset, int64_t length) {
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
  absl::Status status = Check(offset, length);
  {
    MutexLock lock(&mu_);
    reads_.push_back({.offset = offset, .length = length});
  }
  Later([this, offset, out, length, status, done = std::move(done)] {
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
  absl::Status status = Check(offset, length);
  {
    MutexLock lock(&mu_);
    writes_.push_back({.offset = offset, .length = length});
  }
  Later([this, offset, data, status, done = std::move(done)] {
    if (status.ok()) {
      MutexLock lock(&mu_);
      StoreLocked(offset, data);
    }
    done(status);
  });
}

void FakeVolume::TrimAsync(int64_t offset, int64_t length, Done done) {
  absl::Status status = Check(offset, length);
  {
    MutexLock lock(&mu_);
    trims_.push_back({.offset = offset, .length = length});
  }
  Later([this, offset, length, status, done = std::move(done)] {
    if (status.ok()) {
      MutexLock lock(&mu_);
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
    done(status);
  });
}

void FakeVolume::WriteZeroesAsync(int64_t offset, int64_t length, bool,
                                  Done done) {
  TrimAsync(offset, length, std::move(done));
}

void FakeVolume::FlushAsync(Done done) {
  Later([done = std::move(done)] { done(absl::OkStatus()); });
}

void FakeVolume::ExtentsAsync(int64_t offset, int64_t length,
                              int32_t max_extents, ExtentsDone done) {
  std::vector<Extent> extents;
  {
    MutexLock lock(&mu_);
    ++extents_calls_;
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
         it != blocks_.end() && it->first * kBlock < offset + length; ++it) {
      const int64_t begin = std::max(it->first * kBlock, offset);
      const int64_t end = BlockEnd(it->first, offset + length);
      add(position, begin, true);
      add(begin, end, false);
      position = end;
    }
    add(position, offset + length, true);
  }
  const auto most = static_cast<size_t>(max_extents);
  if (most > 0 && extents.size() > most) extents.resize(most);
  Later([extents = std::move(extents), done = std::move(done)] {
    done(extents);
  });
}

int64_t FakeVolume::size_bytes() const {
  MutexLock lock(&mu_);
  return size_bytes_;
}

void FakeVolume::Resize(int64_t size_bytes) {
  MutexLock lock(&mu_);
  size_bytes_ = size_bytes;
}

std::string FakeVolume::Content(int64_t offset, int64_t length) {
  MutexLock lock(&mu_);
  return LoadLocked(offset, length);
}

void FakeVolume::Fill(int64_t offset, std::string_view data) {
  MutexLock lock(&mu_);
  StoreLocked(offset, data);
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

absl::Status FakeServer::Find(const std::string& name) const {
  if (!failure_.ok()) return failure_;
  if (Has(name)) return absl::OkStatus();
  return WithReason(
      absl::NotFoundError(absl::StrCat("no volume is named \"", name, "\"")),
      reason::kVolumeNotFound);
}

absl::StatusOr<v1::Volume> FakeServer::CreateVolume(
    const v1::CreateVolumeRequest& request) {
  last_create = request;
  if (!failure_.ok()) return failure_;
  if (Has(request.name())) {
    return WithReason(absl::AlreadyExistsError(absl::StrCat(
                          "volume \"", request.name(), "\" exists")),
                      reason::kVolumeExists);
  }
  v1::Volume volume;
  volume.set_name(request.name());
  volume.set_size_bytes(request.size_bytes());
  volume.set_allocator(request.allocator() == v1::ALLOCATOR_UNSPECIFIED
                           ? v1::ALLOCATOR_ZSTD
                           : request.allocator());
  volume.set_min_frame_bytes(4096);
  volume.set_max_frame_bytes(65536);
  volume.set_zstd_level(request.zstd_level() == 0 ? 1 : request.zstd_level());
  volume.set_merge_zstd_level(3);
  volume.set_memory_limit_bytes(request.memory_limit_bytes());
  volume.set_read_only(request.read_only());
  *volume.mutable_labels() = request.labels();
  if (request.validate_only()) return volume;
  volume.set_etag(absl::StrCat("etag-", ++etags_));
  volume.set_uid(absl::StrCat("uid-", etags_));
  volumes_[request.name()] = volume;
  data_[request.name()] = std::make_shared<FakeVolume>(request.size_bytes());
  if (on_create) on_create(*data_[request.name()]);
  return volume;
}

absl::StatusOr<v1::Volume> FakeServer::GetVolume(
    const v1::GetVolumeRequest& request) {
  absl::Status found = Find(request.name());
  if (!found.ok()) return found;
  return volumes_.at(request.name());
}

absl::StatusOr<v1::ListVolumesResponse> FakeServer::ListVolumes(
    const v1::ListVolumesRequest&) {
  if (!failure_.ok()) return failure_;
  v1::ListVolumesResponse response;
  for (const auto& named : volumes_) *response.add_volumes() = named.second;
  return response;
}

absl::Status FakeServer::CheckUnattached() const {
  if (!attached) return absl::OkStatus();
  return WithReason(absl::FailedPreconditionError("is attached by 1 client"),
                    reason::kVolumeAttached);
}

absl::StatusOr<v1::Volume> FakeServer::UpdateVolume(
    const v1::UpdateVolumeRequest& request) {
  last_update = request;
  absl::Status found = Find(request.name());
  if (found.ok() && request.if_unattached()) found = CheckUnattached();
  if (!found.ok()) return found;
  v1::Volume& volume = volumes_.at(request.name());
  if (!request.etag().empty() && request.etag() != volume.etag()) {
    return WithReason(absl::AbortedError("changed meanwhile"),
                      reason::kEtagMismatch);
  }
  for (const std::string& path : request.update_mask().paths()) {
    const v1::Volume& wanted = request.volume();
    if (path == "size_bytes") {
      volume.set_size_bytes(wanted.size_bytes());
      data_.at(request.name())->Resize(wanted.size_bytes());
    }
    if (path == "read_only") volume.set_read_only(wanted.read_only());
    if (path == "zstd_level") volume.set_zstd_level(wanted.zstd_level());
    if (path == "labels") *volume.mutable_labels() = wanted.labels();
    if (path == "memory_limit_bytes") {
      volume.set_memory_limit_bytes(wanted.memory_limit_bytes());
    }
  }
  return volume;
}

absl::Status FakeServer::DeleteVolume(const v1::DeleteVolumeRequest& request) {
  last_delete = request;
  absl::Status found = Find(request.name());
  if (!found.ok()) return found;
  volumes_.erase(request.name());
  data_.erase(request.name());
  return absl::OkStatus();
}

absl::StatusOr<v1::VolumeStats> FakeServer::StatVolume(
    const v1::StatVolumeRequest& request) {
  absl::Status found = Find(request.name());
  if (!found.ok()) return found;
  v1::VolumeStats answer = stats;
  answer.set_size_bytes(volumes_.at(request.name()).size_bytes());
  answer.set_logical_bytes(data_.at(request.name())->allocated_bytes());
  return answer;
}

absl::StatusOr<v1::GetServerInfoResponse> FakeServer::GetServerInfo() {
  if (!failure_.ok()) return failure_;
  v1::GetServerInfoResponse info;
  info.set_version("9.8.7");
  info.mutable_start_time()->set_seconds(1000);
  info.set_volumes(static_cast<int>(volumes_.size()));
  info.set_max_volumes(1000);
  info.set_memory_limit_bytes(int64_t{1} << 30);
  info.set_memory_used_bytes(int64_t{1} << 28);
  info.add_grpc_addresses("127.0.0.1:7420");
  for (const std::string& address : nbd_addresses) {
    info.add_nbd_addresses(address);
  }
  return info;
}

absl::StatusOr<std::shared_ptr<VolumeConnection>> FakeServer::Open(
    const std::string& name, const OpenOptions& options) {
  absl::Status found = Find(name);
  if (found.ok() && options.if_unattached) found = CheckUnattached();
  if (!found.ok()) return found;
  return data_.at(name);
}

}  // namespace ramvol::cli
