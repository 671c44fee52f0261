#include "server/service/volume_service.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/metrics/process_memory.h"
#include "base/reason.h"
#include "base/version.h"
#include "server/service/call_message.h"
#include "server/service/limits.h"
#include "server/service/page_token.h"
#include "server/service/peer_text.h"
#include "server/service/unary.h"
#include "server/service/volume_fields.h"

namespace ramvol::service {
namespace {

constexpr int32_t kDefaultPageSize = 100;
constexpr int32_t kMaxPageSize = 1000;
// Their answers have less than kMaxPageBytes.
constexpr int32_t kMaxClientsPageSize = 250;
// Volumes that are copied at a time. Bounds memory: each may have 20 KiB of
// labels.
constexpr int32_t kVolumesAtOnce = 32;

// Of `wanted` in a request.
absl::StatusOr<int32_t> PageSize(int32_t wanted, int32_t max) {
  if (wanted < 0) {
    return InvalidField("page_size", absl::StrCat("page_size is ", wanted,
                                                  "; it must not be negative"));
  }
  return wanted == 0 ? kDefaultPageSize : std::min(wanted, max);
}

// Fills a page of up to `size` items, each with a name, from after the page
// that `token` ends. `list(after, max)` gives items in order, and whether more
// follow; `add(item)` puts one into the answer. Those that `sees(item)` denies
// are left out; null denies none.
template <typename List, typename Sees, typename Add>
absl::Status FillPage(int32_t size, const std::string& token, const List& list,
                      const Sees& sees, const Add& add,
                      std::string* next_token) {
  auto last = ParsePageToken(token);
  if (!last.ok()) return last.status();
  size_t bytes = 0;
  int32_t count = 0;
  bool more = true;
  while (more && count < size) {
    auto [items, others] = list(
        *last, static_cast<size_t>(std::min(size - count, kVolumesAtOnce)));
    more = others;
    for (auto& item : items) {
      if (sees != nullptr && !sees(item)) {
        *last = item.name();
        continue;
      }
      bytes += item.ByteSizeLong();
      // At least one item a page, so that a listing always moves on.
      if (bytes > kMaxPageBytes && count > 0) {
        *next_token = MakePageToken(*last);
        return absl::OkStatus();
      }
      *last = item.name();
      add(std::move(item));
      ++count;
    }
  }
  if (more) *next_token = MakePageToken(*last);
  return absl::OkStatus();
}

// Moves the volume, if there is one, into `response`.
template <typename Response>
absl::Status Answer(absl::StatusOr<v1::Volume> volume, Response* response) {
  if (!volume.ok()) return volume.status();
  *response->mutable_volume() = *std::move(volume);
  return absl::OkStatus();
}

}  // namespace

VolumeService::VolumeService(engine::Engine* engine, Catalog* catalog,
                             EventWatchers* watchers, Executor* executor,
                             CallGate* gate, const CallAccess* access,
                             std::shared_ptr<ClientMemory> memory)
    : engine_(engine),
      catalog_(catalog),
      watchers_(watchers),
      gate_(gate),
      access_(access),
      runner_(executor, gate, std::move(memory)),
      start_time_(absl::Now()) {}

template <typename Request, typename Response, typename Call>
UnaryTask VolumeService::Task(grpc::CallbackServerContext* context,
                              const grpc::ByteBuffer* request,
                              grpc::ByteBuffer* response, Call call) const {
  auto allowed = [this, context, call = std::move(call)](const Request& request,
                                                         Response* response) {
    return access_->Run(*context, request,
                        [&] { return call(request, response); });
  };
  return {.context = context,
          .request_bytes = request->Length(),
          .answer_bytes = 0,
          .response = response,
          .run = OnMessages<Request, Response>(request, response,
                                               std::move(allowed))};
}

void VolumeService::set_grpc_addresses(std::vector<std::string> addresses) {
  MutexLock lock(&mu_);
  grpc_addresses_ = std::move(addresses);
}

void VolumeService::set_nbd_addresses(std::vector<std::string> addresses,
                                      bool tls) {
  MutexLock lock(&mu_);
  nbd_addresses_ = std::move(addresses);
  nbd_tls_ = tls;
}

void VolumeService::set_vhost_user_dir(std::string dir) {
  MutexLock lock(&mu_);
  vhost_user_dir_ = std::move(dir);
}

grpc::ServerUnaryReactor* VolumeService::CreateVolume(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::CreateVolumeRequest, v1::CreateVolumeResponse>(
      context, request, response,
      [this, client = PeerText(context->peer())](
          const v1::CreateVolumeRequest& request,
          v1::CreateVolumeResponse* response) {
        return Answer(catalog_->Create(request, client), response);
      });
  return runner_.Run(Lane::kPrompt, std::move(task));
}

grpc::ServerUnaryReactor* VolumeService::GetVolume(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::GetVolumeRequest, v1::GetVolumeResponse>(
      context, request, response,
      [this](const v1::GetVolumeRequest& request,
             v1::GetVolumeResponse* response) {
        return Answer(catalog_->Get(request.name()), response);
      });
  return runner_.RunHere(Lane::kPrompt, std::move(task));
}

grpc::ServerUnaryReactor* VolumeService::ListVolumes(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::ListVolumesRequest, v1::ListVolumesResponse>(
      context, request, response,
      [this, context](const v1::ListVolumesRequest& request,
                      v1::ListVolumesResponse* response) {
        return List(access_->VolumesFor(*context), request, response);
      });
  task.answer_bytes = kMaxPageBytes;
  return runner_.Run(Lane::kPrompt, std::move(task));
}

absl::Status VolumeService::List(const CallAccess::Sees& sees,
                                 const v1::ListVolumesRequest& request,
                                 v1::ListVolumesResponse* response) const {
  const auto size = PageSize(request.page_size(), kMaxPageSize);
  if (!size.ok()) return size.status();
  return FillPage(
      *size, request.page_token(),
      [this](std::string_view after, size_t max) {
        return catalog_->List(after, max);
      },
      sees,
      [response](v1::Volume volume) {
        *response->add_volumes() = std::move(volume);
      },
      response->mutable_next_page_token());
}

grpc::ServerUnaryReactor* VolumeService::UpdateVolume(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::UpdateVolumeRequest, v1::UpdateVolumeResponse>(
      context, request, response,
      [this, client = PeerText(context->peer())](
          const v1::UpdateVolumeRequest& request,
          v1::UpdateVolumeResponse* response) {
        return Answer(catalog_->Update(request, client), response);
      });
  return runner_.Run(Lane::kPrompt, std::move(task));
}

grpc::ServerUnaryReactor* VolumeService::RenameVolume(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::RenameVolumeRequest, v1::RenameVolumeResponse>(
      context, request, response,
      [this, client = PeerText(context->peer())](
          const v1::RenameVolumeRequest& request,
          v1::RenameVolumeResponse* response) {
        return Answer(catalog_->Rename(request, client), response);
      });
  return runner_.Run(Lane::kPrompt, std::move(task));
}

grpc::ServerUnaryReactor* VolumeService::DeleteVolume(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::DeleteVolumeRequest, v1::DeleteVolumeResponse>(
      context, request, response,
      [this, client = PeerText(context->peer())](
          const v1::DeleteVolumeRequest& request, v1::DeleteVolumeResponse*) {
        return catalog_->Delete(request, client);
      });
  return runner_.Run(Lane::kPrompt, std::move(task));
}

grpc::ServerUnaryReactor* VolumeService::StatVolume(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::StatVolumeRequest, v1::StatVolumeResponse>(
      context, request, response,
      [this](const v1::StatVolumeRequest& request,
             v1::StatVolumeResponse* response) {
        auto stats = catalog_->Stat(request.name());
        if (!stats.ok()) return stats.status();
        *response->mutable_stats() = MakeStats(*stats);
        response->mutable_stats()->set_restoring_bytes(
            RestoringBytes(request.name()));
        return absl::OkStatus();
      });
  return runner_.Run(Lane::kPrompt, std::move(task));
}

grpc::ServerUnaryReactor* VolumeService::ListClients(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::ListClientsRequest, v1::ListClientsResponse>(
      context, request, response,
      [this](const v1::ListClientsRequest& request,
             v1::ListClientsResponse* response) {
        return ListHolders(request, response);
      });
  task.answer_bytes = kMaxPageBytes;
  return runner_.Run(Lane::kPrompt, std::move(task));
}

absl::Status VolumeService::ListHolders(
    const v1::ListClientsRequest& request,
    v1::ListClientsResponse* response) const {
  const auto size = PageSize(request.page_size(), kMaxClientsPageSize);
  if (!size.ok()) return size.status();
  const auto token = ParsePageToken(request.page_token());
  if (!token.ok()) return token.status();
  engine::Holders::Id last = 0;
  if (!token->empty() && !absl::SimpleAtoi(*token, &last)) {
    return InvalidField("page_token", "page_token was not given by this call");
  }
  const auto volume = catalog_->FindVolume(request.name());
  if (!volume.ok()) return volume.status();
  const auto most = static_cast<size_t>(*size);
  auto holders = (*volume)->holders().ListAfter(last, most + 1);
  const bool more = holders.size() > most;
  if (more) holders.pop_back();
  for (const auto& [id, holder] : holders) {
    v1::AttachedClient& client = *response->add_clients();
    client.set_protocol(holder.over);
    client.set_address(holder.from);
    *client.mutable_attach_time() = ToProto(holder.since);
    const auto sum = [&traffic = *holder.traffic](engine::Traffic what) {
      return static_cast<int64_t>(traffic.Sum(what));
    };
    client.set_read_operations(sum(engine::Traffic::kReads));
    client.set_write_operations(sum(engine::Traffic::kWrites));
    client.set_read_bytes(sum(engine::Traffic::kReadBytes));
    client.set_written_bytes(sum(engine::Traffic::kWrittenBytes));
    last = id;
  }
  if (more) response->set_next_page_token(MakePageToken(absl::StrCat(last)));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* VolumeService::CreateSnapshot(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::CreateSnapshotRequest, v1::CreateSnapshotResponse>(
      context, request, response,
      [this, client = PeerText(context->peer())](
          const v1::CreateSnapshotRequest& request,
          v1::CreateSnapshotResponse* response) {
        v1::CreateSnapshotsRequest all;
        *all.add_snapshots() = request;
        all.mutable_request_id()->swap(
            *all.mutable_snapshots(0)->mutable_request_id());
        auto made = catalog_->snapshots().Create(all, client);
        if (!made.ok()) return made.status();
        *response->mutable_snapshot() = std::move(made->front());
        return absl::OkStatus();
      });
  return runner_.Run(Lane::kPrompt, std::move(task));
}

grpc::ServerUnaryReactor* VolumeService::CreateSnapshots(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task =
      Task<v1::CreateSnapshotsRequest, v1::CreateSnapshotsResponse>(
          context, request, response,
          [this, client = PeerText(context->peer())](
              const v1::CreateSnapshotsRequest& request,
              v1::CreateSnapshotsResponse* response) {
            auto made = catalog_->snapshots().Create(request, client);
            if (!made.ok()) return made.status();
            for (v1::Snapshot& snapshot : *made) {
              *response->add_snapshots() = std::move(snapshot);
            }
            return absl::OkStatus();
          });
  // It has the request's labels, and little more for each snapshot.
  task.answer_bytes = request->Length() + kMaxPageBytes;
  return runner_.Run(Lane::kPrompt, std::move(task));
}

grpc::ServerUnaryReactor* VolumeService::GetSnapshot(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::GetSnapshotRequest, v1::GetSnapshotResponse>(
      context, request, response,
      [this](const v1::GetSnapshotRequest& request,
             v1::GetSnapshotResponse* response) {
        auto snapshot = catalog_->snapshots().Get(request.name());
        if (!snapshot.ok()) return snapshot.status();
        *response->mutable_snapshot() = *std::move(snapshot);
        return absl::OkStatus();
      });
  return runner_.Run(Lane::kPrompt, std::move(task));
}

grpc::ServerUnaryReactor* VolumeService::ListSnapshots(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::ListSnapshotsRequest, v1::ListSnapshotsResponse>(
      context, request, response,
      [this, context](const v1::ListSnapshotsRequest& request,
                      v1::ListSnapshotsResponse* response) {
        return ListKept(access_->SnapshotsFor(*context), request, response);
      });
  task.answer_bytes = kMaxPageBytes;
  return runner_.Run(Lane::kPrompt, std::move(task));
}

absl::Status VolumeService::ListKept(
    const CallAccess::SeesSnapshot& sees,
    const v1::ListSnapshotsRequest& request,
    v1::ListSnapshotsResponse* response) const {
  const auto size = PageSize(request.page_size(), kMaxPageSize);
  if (!size.ok()) return size.status();
  return FillPage(
      *size, request.page_token(),
      [this, &request](std::string_view after, size_t max) {
        return catalog_->snapshots().List(request.volume(), after, max);
      },
      sees,
      [response](v1::Snapshot snapshot) {
        *response->add_snapshots() = std::move(snapshot);
      },
      response->mutable_next_page_token());
}

grpc::ServerUnaryReactor* VolumeService::DeleteSnapshot(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::DeleteSnapshotRequest, v1::DeleteSnapshotResponse>(
      context, request, response,
      [this, client = PeerText(context->peer())](
          const v1::DeleteSnapshotRequest& request,
          v1::DeleteSnapshotResponse*) {
        return catalog_->snapshots().Delete(request, client);
      });
  return runner_.Run(Lane::kPrompt, std::move(task));
}

grpc::ServerUnaryReactor* VolumeService::RevertVolume(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::RevertVolumeRequest, v1::RevertVolumeResponse>(
      context, request, response,
      [this, client = PeerText(context->peer())](
          const v1::RevertVolumeRequest& request,
          v1::RevertVolumeResponse* response) {
        return Answer(catalog_->Revert(request, client), response);
      });
  return runner_.Run(Lane::kPrompt, std::move(task));
}

grpc::ServerUnaryReactor* VolumeService::SaveAll(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::SaveAllRequest, v1::SaveAllResponse>(
      context, request, response,
      [this, context](const v1::SaveAllRequest&,
                      v1::SaveAllResponse* response) {
        return Save(*context, response);
      });
  return runner_.Run(Lane::kMayWait, std::move(task));
}

absl::Status VolumeService::Save(const grpc::CallbackServerContext& context,
                                 v1::SaveAllResponse* response) const {
  if (save_dir_ == nullptr) {
    return WithReason(
        absl::FailedPreconditionError(
            "the server has no directory for saves; start ramvold with "
            "--save_dir=DIR, or save single volumes (BlockService.Save)"),
        reason::kNoSaveDir);
  }
  auto saved =
      save_dir_->Save(engine_, /*quiet=*/false, [this, &context](uint64_t) {
        if (context.IsCancelled()) return absl::CancelledError("cancelled");
        return gate_->closed() ? ShuttingDownError() : absl::OkStatus();
      });
  if (!saved.ok()) return saved.status();
  response->set_directory(saved->path);
  response->set_volumes(static_cast<int32_t>(saved->volumes));
  response->set_snapshots(static_cast<int32_t>(saved->snapshots));
  response->set_bytes(static_cast<int64_t>(saved->bytes));
  *response->mutable_took() = ToProto(saved->took);
  for (saves::LeftOut& one : saved->left_out) {
    v1::SaveAllResponse::LeftOut& out = *response->add_left_out();
    out.set_name(std::move(one.name));
    out.set_why(std::move(one.why));
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* VolumeService::GetServerInfo(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  UnaryTask task = Task<v1::GetServerInfoRequest, v1::GetServerInfoResponse>(
      context, request, response,
      [this](const v1::GetServerInfoRequest&,
             v1::GetServerInfoResponse* response) {
        FillInfo(response);
        return absl::OkStatus();
      });
  return runner_.Run(Lane::kPrompt, std::move(task));
}

EventWatchers::Reactor* VolumeService::WatchEvents(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return watchers_->Watch(context, request, *access_);
}

int64_t VolumeService::RestoringBytes(const std::string& name) const {
  if (save_dir_ == nullptr) return 0;
  const auto volume = engine_->Find(name);
  if (!volume.ok()) return 0;
  return static_cast<int64_t>(save_dir_->RestoringBytes((*volume)->uid()));
}

void VolumeService::FillInfo(v1::GetServerInfoResponse* info) const {
  const auto i64 = [](uint64_t value) { return static_cast<int64_t>(value); };
  const engine::EngineStats stats = engine_->Stats();
  info->set_version(std::string(kVersion));
  info->mutable_start_time()->set_seconds(absl::ToUnixSeconds(start_time_));
  info->set_volumes(static_cast<int32_t>(stats.volumes));
  info->set_max_volumes(engine_->options().max_volumes);
  info->set_memory_limit_bytes(i64(stats.memory_limit_bytes));
  info->set_memory_used_bytes(i64(stats.memory_used_bytes));
  info->set_memory_allocated_bytes(i64(stats.memory_allocated_bytes));
  info->set_memory_resident_bytes(i64(metrics::ResidentBytes()));
  info->set_hot_cache_limit_bytes(i64(stats.hot_cache_limit_bytes));
  info->set_hot_cache_bytes(i64(stats.hot_cache_bytes));
  info->set_hot_cache_dirty_bytes(i64(stats.hot_cache_dirty_bytes));
  info->set_snapshots(static_cast<int32_t>(stats.snapshots));
  info->set_shared_bytes(i64(stats.shared_bytes));
  if (save_dir_ != nullptr) {
    info->set_restoring_bytes(i64(save_dir_->stats().restoring_bytes));
  }
  info->set_max_data_bytes(kMaxDataBytes);
  info->set_io_window_operations(static_cast<int32_t>(kMaxWindowOperations));
  info->set_io_window_bytes(kMaxWindowBytes);
  MutexLock lock(&mu_);
  for (const std::string& address : grpc_addresses_) {
    info->add_grpc_addresses(address);
  }
  for (const std::string& address : nbd_addresses_) {
    info->add_nbd_addresses(address);
  }
  info->set_nbd_tls(nbd_tls_);
  info->set_vhost_user_dir(vhost_user_dir_);
}

}  // namespace ramvol::service
