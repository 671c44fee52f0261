#include "tests/client/fake_grpc_server.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "client/extent.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "proto/status.h"
#include "ramvol/v1/volume_service.grpc.pb.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/client/fake_server.h"
#include "tests/client/fake_volume.h"

namespace ramvol {
namespace {

constexpr int kWindowOperations = 64;
constexpr int64_t kWindowBytes = int64_t{8} << 20;
constexpr int64_t kMaxDataBytes = int64_t{1} << 20;
constexpr int kMaxMessageBytes = 32 << 20;
// Far fewer than clients ask for, so that there are pages.
constexpr int kExtentsPerPage = 3;

absl::Status ListExtents(const FakeVolume& volume, const v1::IoGetExtents& get,
                         v1::IoResult& result) {
  absl::Status status = volume.CheckRange(get.offset(), get.length());
  if (!status.ok()) return status;
  result.set_next_offset(get.offset());
  for (const Extent& extent :
       volume.ListExtents(get.offset(), get.length(), kExtentsPerPage)) {
    v1::Extent& listed = *result.add_extents();
    listed.set_offset(extent.offset);
    listed.set_length(extent.length);
    listed.set_hole(extent.hole);
    result.set_next_offset(extent.offset + extent.length);
  }
  return absl::OkStatus();
}

absl::Status Clear(FakeVolume& volume, int64_t offset, int64_t length) {
  absl::Status status = volume.CheckRange(offset, length);
  if (status.ok()) volume.Clear(offset, length);
  return status;
}

absl::Status Apply(FakeVolume& volume, const v1::IoOperation& operation,
                   v1::IoResult& result) {
  if (operation.has_read()) {
    const v1::IoRead& read = operation.read();
    absl::Status status = volume.CheckRange(read.offset(), read.length());
    if (status.ok()) {
      result.set_data(volume.Content(read.offset(), read.length()));
    }
    return status;
  }
  if (operation.has_write()) {
    const v1::IoWrite& write = operation.write();
    const auto length = static_cast<int64_t>(write.data().size());
    absl::Status status = volume.CheckRange(write.offset(), length);
    if (status.ok()) volume.Fill(write.offset(), write.data());
    return status;
  }
  if (operation.has_trim()) {
    return Clear(volume, operation.trim().offset(), operation.trim().length());
  }
  if (operation.has_write_zeroes()) {
    return Clear(volume, operation.write_zeroes().offset(),
                 operation.write_zeroes().length());
  }
  if (operation.has_get_extents()) {
    return ListExtents(volume, operation.get_extents(), result);
  }
  return absl::OkStatus();
}

}  // namespace

class FakeGrpcServer::Control : public v1::VolumeService::Service {
 public:
  explicit Control(FakeGrpcServer& server)
      : server_(server), volumes_(server.volumes_) {}

  grpc::Status CreateVolume(grpc::ServerContext*,
                            const v1::CreateVolumeRequest* request,
                            v1::CreateVolumeResponse* response) override {
    return Run([&] {
      return Fill(volumes_.CreateVolume(*request), *response->mutable_volume());
    });
  }
  grpc::Status GetVolume(grpc::ServerContext*,
                         const v1::GetVolumeRequest* request,
                         v1::GetVolumeResponse* response) override {
    return Run([&] {
      return Fill(volumes_.GetVolume(*request), *response->mutable_volume());
    });
  }
  grpc::Status ListVolumes(grpc::ServerContext*,
                           const v1::ListVolumesRequest* request,
                           v1::ListVolumesResponse* response) override {
    return Run([&] { return Fill(volumes_.ListVolumes(*request), *response); });
  }
  grpc::Status UpdateVolume(grpc::ServerContext*,
                            const v1::UpdateVolumeRequest* request,
                            v1::UpdateVolumeResponse* response) override {
    return Run([&] {
      return Fill(volumes_.UpdateVolume(*request), *response->mutable_volume());
    });
  }
  grpc::Status RenameVolume(grpc::ServerContext*,
                            const v1::RenameVolumeRequest* request,
                            v1::RenameVolumeResponse* response) override {
    return Run([&] {
      return Fill(volumes_.RenameVolume(*request), *response->mutable_volume());
    });
  }
  grpc::Status DeleteVolume(grpc::ServerContext*,
                            const v1::DeleteVolumeRequest* request,
                            v1::DeleteVolumeResponse*) override {
    return Run([&] { return volumes_.DeleteVolume(*request); });
  }
  grpc::Status StatVolume(grpc::ServerContext*,
                          const v1::StatVolumeRequest* request,
                          v1::StatVolumeResponse* response) override {
    return Run([&] {
      return Fill(volumes_.StatVolume(*request), *response->mutable_stats());
    });
  }
  grpc::Status WatchEvents(
      grpc::ServerContext* context, const v1::WatchEventsRequest* request,
      grpc::ServerWriter<v1::WatchEventsResponse>* writer) override {
    return Run([&] {
      auto watch = volumes_.WatchEvents(*request);
      if (!watch.ok()) return watch.status();
      for (const v1::WatchEventsResponse& message : volumes_.events) {
        writer->Write(message);
      }
      // Until the client is gone.
      while (request->follow() && !context->IsCancelled() &&
             !server_.stopping()) {
        absl::SleepFor(absl::Milliseconds(1));
      }
      return volumes_.events_end;
    });
  }
  grpc::Status GetServerInfo(grpc::ServerContext*,
                             const v1::GetServerInfoRequest*,
                             v1::GetServerInfoResponse* response) override {
    return Run([&] { return Fill(volumes_.GetServerInfo(), *response); });
  }

 private:
  template <typename Message>
  static absl::Status Fill(absl::StatusOr<Message> result, Message& out) {
    if (result.ok()) out = *std::move(result);
    return result.status();
  }

  template <typename Body>
  grpc::Status Run(Body body) {
    bool applied = false;
    absl::Status fault = server_.NextFault(&applied);
    if (!fault.ok() && !applied) return ToGrpcStatus(fault);
    absl::Status status = body();
    return ToGrpcStatus(fault.ok() ? status : fault);
  }

  FakeGrpcServer& server_;
  FakeServer& volumes_;
};

class FakeGrpcServer::Block : public v1::BlockService::Service {
 public:
  explicit Block(FakeGrpcServer& server) : server_(server) {}

  grpc::Status Read(grpc::ServerContext*, const v1::ReadRequest* request,
                    v1::ReadResponse* response) override {
    absl::StatusOr<FakeServer::Volume> found =
        server_.volumes_.Find(request->volume());
    if (!found.ok()) return ToGrpcStatus(found.status());
    v1::IoOperation operation;
    operation.mutable_read()->set_offset(request->offset());
    operation.mutable_read()->set_length(request->length());
    v1::IoResult result;
    absl::Status status = Apply(*found->data, operation, result);
    *response->mutable_data() = std::move(*result.mutable_data());
    return ToGrpcStatus(status);
  }

  grpc::Status
  Io(grpc::ServerContext* context,
     grpc::ServerReaderWriter<v1::IoResponse, v1::IoRequest>* stream) override {
    return server_.ServeIo(*context, *stream);
  }

 private:
  FakeGrpcServer& server_;
};

FakeGrpcServer::FakeGrpcServer()
    : control_(std::make_unique<Control>(*this)),
      block_(std::make_unique<Block>(*this)) {}

FakeGrpcServer::~FakeGrpcServer() { Stop(); }

bool FakeGrpcServer::Start(const std::string& address) {
  {
    MutexLock lock(&mu_);
    stopping_ = false;
  }
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.RegisterService(control_.get());
  builder.RegisterService(block_.get());
  server_ = builder.BuildAndStart();
  return server_ != nullptr;
}

void FakeGrpcServer::SetServing(bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(serving);
}

void FakeGrpcServer::Stop() {
  if (server_ == nullptr) return;
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
  }
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_ = nullptr;
}

void FakeGrpcServer::FailControlCall(int nth, absl::Status status,
                                     bool applied) {
  MutexLock lock(&mu_);
  fault_in_ = nth;
  fault_ = std::move(status);
  fault_applied_ = applied;
}

void FakeGrpcServer::BreakStreamsEvery(int operations) {
  MutexLock lock(&mu_);
  break_every_ = operations;
  until_break_ = operations;
}

void FakeGrpcServer::SetMute(bool mute) {
  MutexLock lock(&mu_);
  mute_ = mute;
  changed_.SignalAll();
}

void FakeGrpcServer::AwaitReceived(int64_t operations) {
  MutexLock lock(&mu_);
  while (received_ < operations) changed_.Wait(&mu_);
}

int64_t FakeGrpcServer::control_calls() {
  MutexLock lock(&mu_);
  return control_calls_;
}

absl::Status FakeGrpcServer::NextFault(bool* applied) {
  MutexLock lock(&mu_);
  ++control_calls_;
  *applied = fault_applied_;
  if (fault_in_ == 0) return absl::OkStatus();
  --fault_in_;
  return fault_in_ == 0 ? fault_ : absl::OkStatus();
}

bool FakeGrpcServer::CountReceived(grpc::ServerContext& context,
                                   int operations) {
  MutexLock lock(&mu_);
  received_ += operations;
  changed_.SignalAll();
  while (mute_ && !stopping_ && !context.IsCancelled()) changed_.Wait(&mu_);
  if (break_every_ == 0) return false;
  until_break_ -= operations;
  if (until_break_ > 0) return false;
  until_break_ = break_every_;
  return true;
}

grpc::Status FakeGrpcServer::ServeIo(
    grpc::ServerContext& context,
    grpc::ServerReaderWriter<v1::IoResponse, v1::IoRequest>& stream) {
  v1::IoRequest request;
  if (!stream.Read(&request)) return grpc::Status::OK;
  absl::StatusOr<FakeServer::Volume> volume = volumes_.Find(request.volume());
  if (!volume.ok()) return ToGrpcStatus(volume.status());
  v1::IoResponse response;
  v1::IoOpened& opened = *response.mutable_opened();
  opened.set_size_bytes(volume->settings.size_bytes());
  opened.set_window_operations(kWindowOperations);
  opened.set_window_bytes(kWindowBytes);
  opened.set_max_data_bytes(kMaxDataBytes);
  opened.set_uid(volume->settings.uid());
  do {
    const bool breaks = CountReceived(context, request.operations_size());
    for (const v1::IoOperation& operation : request.operations()) {
      v1::IoResult& result = *response.add_results();
      result.set_id(operation.id());
      absl::Status status = Apply(*volume->data, operation, result);
      if (!status.ok()) *result.mutable_error() = ToRpcStatus(status);
    }
    if (breaks) {
      return ToGrpcStatus(absl::UnavailableError("broken for the test"));
    }
    // In an order that is not theirs.
    std::reverse(response.mutable_results()->pointer_begin(),
                 response.mutable_results()->pointer_end());
    if (!stream.Write(response)) break;
    response.Clear();
  } while (stream.Read(&request));
  return grpc::Status::OK;
}

}  // namespace ramvol
