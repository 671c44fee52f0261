#include "tests/client/fake_server.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "client/client_connection.h"
#include "client/event_watch.h"
#include "client/volume_connection.h"
#include "proto/status.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/client/fake_volume.h"

namespace ramvol {
namespace {

constexpr int kVolumesPerPage = 2;

class FakeWatch : public EventWatch {
 public:
  FakeWatch(std::vector<v1::WatchEventsResponse> messages, absl::Status end,
            bool follow)
      : messages_(std::move(messages)), end_(std::move(end)), follow_(follow) {}

  absl::StatusOr<std::optional<v1::WatchEventsResponse>> Next() override {
    MutexLock lock(&mu_);
    if (next_ < messages_.size()) return messages_[next_++];
    if (!end_.ok()) return end_;
    if (!follow_) return std::nullopt;
    while (!cancelled_) changed_.Wait(&mu_);
    return absl::CancelledError("cancelled");
  }
  void Cancel() override {
    MutexLock lock(&mu_);
    cancelled_ = true;
    changed_.SignalAll();
  }

 private:
  const std::vector<v1::WatchEventsResponse> messages_;
  const absl::Status end_;
  const bool follow_;
  Mutex mu_;
  CondVar changed_;
  size_t next_ ABSL_GUARDED_BY(mu_) = 0;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace

absl::Status FakeServer::CheckLocked(const std::string& name) const {
  if (!failure_.ok()) return failure_;
  if (volumes_.count(name) > 0) return absl::OkStatus();
  return WithMetadata(WithReason(absl::NotFoundError(absl::StrCat(
                                     "no volume is named \"", name, "\"")),
                                 reason::kVolumeNotFound),
                      "volume", name);
}

absl::StatusOr<FakeServer::Volume> FakeServer::Find(
    const std::string& name) const {
  MutexLock lock(&mu_);
  absl::Status found = CheckLocked(name);
  if (!found.ok()) return found;
  return volumes_.at(name);
}

absl::StatusOr<v1::Volume> FakeServer::RenameVolume(
    const v1::RenameVolumeRequest& request) {
  MutexLock lock(&mu_);
  const bool repeated =
      request.SerializeAsString() == last_rename.SerializeAsString();
  last_rename = request;
  if (repeated) return volumes_.at(request.new_name()).settings;
  absl::Status found = CheckLocked(request.name());
  if (!found.ok()) return found;
  if (volumes_.count(request.new_name()) > 0) {
    return WithReason(absl::AlreadyExistsError(absl::StrCat(
                          "volume \"", request.new_name(), "\" exists")),
                      reason::kVolumeExists);
  }
  auto node = volumes_.extract(request.name());
  node.key() = request.new_name();
  node.mapped().settings.set_name(request.new_name());
  node.mapped().settings.set_etag(absl::StrCat("etag-", ++etags_));
  return volumes_.insert(std::move(node)).position->second.settings;
}

absl::StatusOr<std::unique_ptr<EventWatch>> FakeServer::WatchEvents(
    const v1::WatchEventsRequest& request) {
  MutexLock lock(&mu_);
  last_watch = request;
  if (!failure_.ok()) return failure_;
  return std::make_unique<FakeWatch>(events, events_end, request.follow());
}

absl::StatusOr<v1::CreateSnapshotsResponse> FakeServer::CreateSnapshots(
    const v1::CreateSnapshotsRequest& request) {
  MutexLock lock(&mu_);
  last_snapshots = request;
  v1::CreateSnapshotsResponse response;
  for (const v1::CreateSnapshotRequest& one : request.snapshots()) {
    absl::Status found = CheckLocked(one.volume());
    if (!found.ok()) return found;
    v1::Snapshot& snapshot = *response.add_snapshots();
    snapshot.set_name(one.name().empty() ? "chosen" : one.name());
    snapshot.set_source(one.volume());
    *snapshot.mutable_labels() = one.labels();
  }
  return response;
}

v1::Volume FakeServer::Describe(const v1::CreateVolumeRequest& request) {
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
  if (request.has_ttl()) *volume.mutable_ttl() = request.ttl();
  return volume;
}

absl::StatusOr<v1::Volume> FakeServer::CreateVolume(
    const v1::CreateVolumeRequest& request) {
  Volume volume;
  {
    MutexLock lock(&mu_);
    last_create = request;
    if (!failure_.ok()) return failure_;
    auto found = volumes_.find(request.name());
    if (found != volumes_.end()) {
      if (!request.request_id().empty() &&
          found->second.request_id == request.request_id()) {
        return found->second.settings;
      }
      return WithReason(absl::AlreadyExistsError(absl::StrCat(
                            "volume \"", request.name(), "\" exists")),
                        reason::kVolumeExists);
    }
    volume.settings = Describe(request);
    if (request.validate_only()) return volume.settings;
    volume.settings.set_etag(absl::StrCat("etag-", ++etags_));
    volume.settings.set_uid(absl::StrCat("uid-", etags_));
    volume.data = std::make_shared<FakeVolume>(request.size_bytes());
    volume.request_id = request.request_id();
    volumes_[request.name()] = volume;
  }
  if (on_create) on_create(*volume.data);
  return volume.settings;
}

absl::StatusOr<v1::Volume> FakeServer::GetVolume(
    const v1::GetVolumeRequest& request) {
  absl::StatusOr<Volume> found = Find(request.name());
  if (!found.ok()) return found.status();
  return found->settings;
}

absl::StatusOr<v1::ListVolumesResponse> FakeServer::ListVolumes(
    const v1::ListVolumesRequest& request) {
  MutexLock lock(&mu_);
  if (!failure_.ok()) return failure_;
  v1::ListVolumesResponse response;
  auto next = volumes_.upper_bound(request.page_token());
  while (next != volumes_.end() && response.volumes_size() < kVolumesPerPage) {
    *response.add_volumes() = next->second.settings;
    ++next;
  }
  if (next != volumes_.end()) {
    response.set_next_page_token(
        response.volumes(response.volumes_size() - 1).name());
  }
  return response;
}

absl::Status FakeServer::CheckUnattached() const {
  if (!attached) return absl::OkStatus();
  return WithReason(absl::FailedPreconditionError("is attached by 1 client"),
                    reason::kVolumeAttached);
}

absl::StatusOr<v1::Volume> FakeServer::UpdateVolume(
    const v1::UpdateVolumeRequest& request) {
  MutexLock lock(&mu_);
  last_update = request;
  absl::Status found = CheckLocked(request.name());
  if (found.ok() && request.if_unattached()) found = CheckUnattached();
  if (!found.ok()) return found;
  v1::Volume& volume = volumes_.at(request.name()).settings;
  if (!request.etag().empty() && request.etag() != volume.etag()) {
    return WithReason(absl::AbortedError("changed meanwhile"),
                      reason::kEtagMismatch);
  }
  for (const std::string& path : request.update_mask().paths()) {
    const v1::Volume& wanted = request.volume();
    if (path == "size_bytes") {
      volume.set_size_bytes(wanted.size_bytes());
      volumes_.at(request.name()).data->Resize(wanted.size_bytes());
    }
    if (path == "ttl") {
      volume.clear_ttl();
      if (wanted.ttl().seconds() > 0) *volume.mutable_ttl() = wanted.ttl();
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
  MutexLock lock(&mu_);
  last_delete = request;
  absl::Status found = CheckLocked(request.name());
  if (found.ok()) volumes_.erase(request.name());
  return found;
}

absl::StatusOr<v1::VolumeStats> FakeServer::StatVolume(
    const v1::StatVolumeRequest& request) {
  absl::StatusOr<Volume> found = Find(request.name());
  if (!found.ok()) return found.status();
  v1::VolumeStats answer = stats;
  answer.set_size_bytes(found->settings.size_bytes());
  answer.set_logical_bytes(found->data->allocated_bytes());
  return answer;
}

absl::StatusOr<v1::ListClientsResponse> FakeServer::ListClients(
    const v1::ListClientsRequest& request) {
  absl::StatusOr<Volume> found = Find(request.name());
  if (!found.ok()) return found.status();
  const size_t index = request.page_token().size();
  v1::ListClientsResponse response;
  if (index < clients.size()) *response.add_clients() = clients[index];
  if (index + 1 < clients.size()) {
    response.set_next_page_token(std::string(index + 1, 'x'));
  }
  return response;
}

absl::StatusOr<v1::GetServerInfoResponse> FakeServer::GetServerInfo() {
  MutexLock lock(&mu_);
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
  info.set_nbd_tls(nbd_tls);
  info.set_vhost_user_dir(vhost_user_dir);
  return info;
}

absl::Status FakeServer::CheckHealth() {
  MutexLock lock(&mu_);
  return failure_;
}

absl::StatusOr<std::shared_ptr<VolumeConnection>> FakeServer::Open(
    const std::string& name, const OpenOptions& options) {
  absl::StatusOr<Volume> found = Find(name);
  if (!found.ok()) return found.status();
  if (options.if_unattached) {
    absl::Status alone = CheckUnattached();
    if (!alone.ok()) return alone;
  }
  return found->data;
}

void FakeServer::set_failure(absl::Status failure) {
  MutexLock lock(&mu_);
  failure_ = std::move(failure);
}

FakeVolume& FakeServer::Add(const std::string& name, int64_t size_bytes) {
  v1::CreateVolumeRequest request;
  request.set_name(name);
  request.set_size_bytes(size_bytes);
  CreateVolume(request).status().IgnoreError();
  return data(name);
}

void FakeServer::Wipe() {
  MutexLock lock(&mu_);
  volumes_.clear();
}

v1::Volume& FakeServer::settings(const std::string& name) {
  MutexLock lock(&mu_);
  return volumes_.at(name).settings;
}

}  // namespace ramvol
