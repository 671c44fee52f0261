#include "client/client.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client_connection.h"
#include "client/event_watch.h"
#include "client/image_stream.h"
#include "client/options.h"
#include "client/remote_volume.h"
#include "client/volume_connection.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol {
namespace {

constexpr int kVolumesPerPage = 1000;

absl::Status Unsupported() {
  return absl::UnimplementedError("this connection knows no snapshots");
}

}  // namespace

Client::Client(ClientOptions options)
    : Client(MakeGrpcClientConnection(std::move(options))) {}

Client::Client(std::shared_ptr<ClientConnection> connection)
    : connection_(std::move(connection)) {}

absl::StatusOr<v1::Volume> Client::CreateVolume(
    v1::CreateVolumeRequest request) const {
  return connection_->CreateVolume(request);
}

absl::StatusOr<v1::Volume> Client::GetVolume(std::string_view name) const {
  v1::GetVolumeRequest request;
  request.set_name(name.data(), name.size());
  return connection_->GetVolume(request);
}

absl::StatusOr<std::vector<v1::Volume>> Client::ListVolumes() const {
  std::vector<v1::Volume> all;
  std::string token;
  do {
    absl::StatusOr<v1::ListVolumesResponse> page = ListVolumesFrom(token);
    if (!page.ok()) return page.status();
    for (v1::Volume& volume : *page->mutable_volumes()) {
      all.push_back(std::move(volume));
    }
    token = page->next_page_token();
  } while (!token.empty());
  return all;
}

absl::StatusOr<v1::ListVolumesResponse> Client::ListVolumesFrom(
    const std::string& page_token) const {
  v1::ListVolumesRequest request;
  request.set_page_size(kVolumesPerPage);
  request.set_page_token(page_token);
  absl::StatusOr<v1::ListVolumesResponse> page =
      connection_->ListVolumes(request);
  if (page.ok() && !page_token.empty() &&
      page->next_page_token() == page_token) {
    return absl::InternalError(
        "the server gave the same page token twice while listing volumes");
  }
  return page;
}

absl::StatusOr<v1::Volume> Client::UpdateVolume(
    const v1::UpdateVolumeRequest& request) const {
  return connection_->UpdateVolume(request);
}

absl::StatusOr<v1::Volume> Client::RenameVolume(
    const v1::RenameVolumeRequest& request) const {
  return connection_->RenameVolume(request);
}

absl::StatusOr<v1::Volume> ClientConnection::RenameVolume(
    const v1::RenameVolumeRequest&) {
  return absl::UnimplementedError("this connection renames no volumes");
}

absl::Status Client::DeleteVolume(
    const v1::DeleteVolumeRequest& request) const {
  return connection_->DeleteVolume(request);
}

absl::StatusOr<v1::VolumeStats> Client::StatVolume(
    std::string_view name) const {
  v1::StatVolumeRequest request;
  request.set_name(name.data(), name.size());
  return connection_->StatVolume(request);
}

absl::StatusOr<std::vector<v1::AttachedClient>> Client::ListClients(
    std::string_view name) const {
  std::vector<v1::AttachedClient> clients;
  v1::ListClientsRequest request;
  request.set_name(std::string(name));
  do {
    absl::StatusOr<v1::ListClientsResponse> page =
        connection_->ListClients(request);
    if (!page.ok()) return page.status();
    clients.insert(clients.end(), page->clients().begin(),
                   page->clients().end());
    // Without this bound, a server that repeats page tokens would hang its
    // client.
    if (!page->next_page_token().empty() &&
        page->next_page_token() == request.page_token()) {
      return absl::InternalError(
          "the server gave the same page token twice while listing clients");
    }
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  return clients;
}

absl::StatusOr<v1::ListClientsResponse> ClientConnection::ListClients(
    const v1::ListClientsRequest&) {
  return absl::UnimplementedError("this connection lists no clients");
}

absl::StatusOr<std::unique_ptr<EventWatch>> Client::WatchEvents(
    const v1::WatchEventsRequest& request) const {
  return connection_->WatchEvents(request);
}

absl::StatusOr<std::unique_ptr<EventWatch>> ClientConnection::WatchEvents(
    const v1::WatchEventsRequest&) {
  return absl::UnimplementedError("this connection watches no events");
}

absl::StatusOr<v1::Snapshot> Client::CreateSnapshot(
    const v1::CreateSnapshotRequest& request) const {
  return connection_->CreateSnapshot(request);
}

absl::StatusOr<std::vector<v1::Snapshot>> Client::CreateSnapshots(
    const v1::CreateSnapshotsRequest& request) const {
  const auto made = connection_->CreateSnapshots(request);
  if (!made.ok()) return made.status();
  return std::vector<v1::Snapshot>(made->snapshots().begin(),
                                   made->snapshots().end());
}

absl::StatusOr<v1::Snapshot> Client::GetSnapshot(std::string_view name) const {
  v1::GetSnapshotRequest request;
  request.set_name(name.data(), name.size());
  return connection_->GetSnapshot(request);
}

absl::StatusOr<std::vector<v1::Snapshot>> Client::ListSnapshots(
    std::string_view volume) const {
  std::vector<v1::Snapshot> all;
  std::string token;
  do {
    absl::StatusOr<v1::ListSnapshotsResponse> page =
        ListSnapshotsFrom(volume, token);
    if (!page.ok()) return page.status();
    for (v1::Snapshot& snapshot : *page->mutable_snapshots()) {
      all.push_back(std::move(snapshot));
    }
    token = page->next_page_token();
  } while (!token.empty());
  return all;
}

absl::StatusOr<v1::ListSnapshotsResponse> Client::ListSnapshotsFrom(
    std::string_view volume, const std::string& page_token) const {
  v1::ListSnapshotsRequest request;
  request.set_volume(volume.data(), volume.size());
  request.set_page_size(kVolumesPerPage);
  request.set_page_token(page_token);
  absl::StatusOr<v1::ListSnapshotsResponse> page =
      connection_->ListSnapshots(request);
  if (page.ok() && !page_token.empty() &&
      page->next_page_token() == page_token) {
    return absl::InternalError(
        "the server gave the same page token twice while listing snapshots");
  }
  return page;
}

absl::Status Client::DeleteSnapshot(
    const v1::DeleteSnapshotRequest& request) const {
  return connection_->DeleteSnapshot(request);
}

absl::StatusOr<v1::Volume> Client::RevertVolume(
    const v1::RevertVolumeRequest& request) const {
  return connection_->RevertVolume(request);
}

absl::StatusOr<v1::Snapshot> ClientConnection::CreateSnapshot(
    const v1::CreateSnapshotRequest&) {
  return Unsupported();
}

absl::StatusOr<v1::CreateSnapshotsResponse> ClientConnection::CreateSnapshots(
    const v1::CreateSnapshotsRequest&) {
  return Unsupported();
}

absl::StatusOr<v1::Snapshot> ClientConnection::GetSnapshot(
    const v1::GetSnapshotRequest&) {
  return Unsupported();
}

absl::StatusOr<v1::ListSnapshotsResponse> ClientConnection::ListSnapshots(
    const v1::ListSnapshotsRequest&) {
  return Unsupported();
}

absl::Status ClientConnection::DeleteSnapshot(
    const v1::DeleteSnapshotRequest&) {
  return Unsupported();
}

absl::StatusOr<v1::Volume> ClientConnection::RevertVolume(
    const v1::RevertVolumeRequest&) {
  return Unsupported();
}

absl::StatusOr<v1::WhoAmIResponse> Client::WhoAmI() const {
  return connection_->WhoAmI();
}

absl::StatusOr<v1::CheckAccessResponse> Client::CheckAccess(
    const v1::CheckAccessRequest& request) const {
  return connection_->CheckAccess(request);
}

absl::StatusOr<v1::WhoAmIResponse> ClientConnection::WhoAmI() {
  return Unsupported();
}

absl::StatusOr<v1::CheckAccessResponse> ClientConnection::CheckAccess(
    const v1::CheckAccessRequest&) {
  return Unsupported();
}

absl::StatusOr<std::unique_ptr<ImageReader>> Client::Save(
    const v1::SaveRequest& request) const {
  return connection_->Save(request);
}

absl::StatusOr<std::unique_ptr<ImageWriter>> Client::Restore(
    const v1::CreateVolumeRequest& volume) const {
  return connection_->Restore(volume);
}

absl::StatusOr<std::unique_ptr<ImageReader>> ClientConnection::Save(
    const v1::SaveRequest&) {
  return absl::UnimplementedError("this connection saves no images");
}

absl::StatusOr<std::unique_ptr<ImageWriter>> ClientConnection::Restore(
    const v1::CreateVolumeRequest&) {
  return absl::UnimplementedError("this connection restores no images");
}

absl::StatusOr<v1::SaveAllResponse> Client::SaveAll(
    const v1::SaveAllRequest& request) const {
  return connection_->SaveAll(request);
}

absl::StatusOr<v1::SaveAllResponse> ClientConnection::SaveAll(
    const v1::SaveAllRequest&) {
  return Unsupported();
}

absl::StatusOr<v1::GetServerInfoResponse> Client::GetServerInfo() const {
  return connection_->GetServerInfo();
}

absl::Status Client::CheckHealth() const { return connection_->CheckHealth(); }

absl::StatusOr<RemoteVolume> Client::Open(std::string_view name,
                                          const OpenOptions& options) const {
  absl::StatusOr<std::shared_ptr<VolumeConnection>> opened =
      connection_->Open(std::string(name), options);
  if (!opened.ok()) return opened.status();
  return RemoteVolume(*std::move(opened));
}

uint64_t Client::reconnects() const { return connection_->reconnects(); }
uint64_t Client::lost_streams() const { return connection_->lost_streams(); }

}  // namespace ramvol
