#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/channel_credentials.h"
#include "client/client_connection.h"
#include "client/client_counters.h"
#include "client/event_watch.h"
#include "client/grpc_io_transport.h"
#include "client/image_stream.h"
#include "client/io_transport.h"
#include "client/options.h"
#include "client/pipelined_connection.h"
#include "client/retry.h"
#include "client/timer.h"
#include "client/volume_connection.h"
#include "grpc/grpc.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"
#include "grpcpp/support/status.h"
#include "grpcpp/support/sync_stream.h"
#include "proto/status.h"
#include "ramvol/v1/access_service.grpc.pb.h"
#include "ramvol/v1/access_service.pb.h"
#include "ramvol/v1/block_service.grpc.pb.h"
#include "ramvol/v1/block_service.pb.h"
#include "ramvol/v1/volume_service.grpc.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol {
namespace {

constexpr int kMaxChannels = 16;
// Far more than any message has: 1 MiB of data from us, up to 16 MiB from the
// server.
constexpr int kMaxMessageBytes = 64 << 20;
// Keepalives notice a TCP peer that is dead.
constexpr absl::Duration kKeepaliveTime = absl::Seconds(30);
constexpr absl::Duration kKeepaliveTimeout = absl::Seconds(10);
// How long one attempt to connect may take.
constexpr absl::Duration kConnectTimeout = absl::Seconds(5);
// The longest pause between attempts to connect. It is short because a stream
// that starts meanwhile fails at once; ChannelStream then pauses by itself.
constexpr absl::Duration kMaxConnectPause = absl::Milliseconds(250);

ClientOptions Normalize(ClientOptions options) {
  options.channels = std::clamp(options.channels, 1, kMaxChannels);
  options.max_inflight_bytes = std::clamp<size_t>(
      options.max_inflight_bytes, 1, std::numeric_limits<int64_t>::max());
  for (absl::Duration* duration :
       {&options.timeout, &options.reconnect_timeout}) {
    *duration = std::max(*duration, absl::ZeroDuration());
  }
  options.initial_backoff =
      std::max(options.initial_backoff, absl::Milliseconds(1));
  options.max_backoff = std::max(options.max_backoff, options.initial_backoff);
  return options;
}

int ToMilliseconds(absl::Duration duration) {
  return static_cast<int>(
      std::min<int64_t>(absl::ToInt64Milliseconds(duration), INT32_MAX));
}

std::shared_ptr<grpc::Channel> NewChannel(
    const ClientOptions& options,
    const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments arguments;
  // Without this, channels to one address would share a socket.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  // The SDK retries by itself. gRPC's retries would keep a second copy of what
  // was sent.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
                   ToMilliseconds(options.initial_backoff));
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
                   ToMilliseconds(kConnectTimeout));
  arguments.SetInt(
      GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
      ToMilliseconds(std::min(options.max_backoff, kMaxConnectPause)));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, ToMilliseconds(kKeepaliveTime));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                   ToMilliseconds(kKeepaliveTimeout));
  return grpc::CreateCustomChannel(options.server, credentials, arguments);
}

// `request` with an id, so that a repetition is known as such.
template <typename Request>
Request Identified(Request request) {
  if (!request.request_id().empty()) return request;
  absl::BitGen random;
  request.set_request_id(absl::StrFormat("%016x%016x",
                                         absl::Uniform<uint64_t>(random),
                                         absl::Uniform<uint64_t>(random)));
  return request;
}

void SetDeadline(absl::Duration left, grpc::ClientContext& context) {
  if (left < absl::Hours(24 * 365)) {
    context.set_deadline(std::chrono::system_clock::now() +
                         absl::ToChronoMicroseconds(left));
  }
}

class GrpcEventWatch : public EventWatch {
 public:
  // Keeps the connection of `stub` by itself.
  GrpcEventWatch(v1::VolumeService::Stub& stub,
                 const v1::WatchEventsRequest& request,
                 absl::Duration timeout) {
    SetDeadline(timeout, context_);
    reader_ = stub.WatchEvents(&context_, request);
  }
  ~GrpcEventWatch() override {
    // gRPC wants to be told that nobody waits for the rest.
    context_.TryCancel();
    if (!finished_) reader_->Finish().ok();
  }

  absl::StatusOr<std::optional<v1::WatchEventsResponse>> Next() override {
    v1::WatchEventsResponse response;
    if (!finished_ && reader_->Read(&response)) return response;
    if (!finished_) end_ = FromGrpcStatus(reader_->Finish());
    finished_ = true;
    if (!end_.ok()) return end_;
    return std::nullopt;
  }

  void Cancel() override { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchEventsResponse>> reader_;
  bool finished_ = false;
  absl::Status end_;
};

class GrpcImageReader : public ImageReader {
 public:
  // Keeps the connection of `stub` by itself.
  GrpcImageReader(v1::BlockService::Stub& stub, const v1::SaveRequest& request)
      : reader_(stub.Save(&context_, request)) {}
  ~GrpcImageReader() override {
    context_.TryCancel();
    if (!finished_) reader_->Finish().ok();
  }

  // Waits for the first message.
  absl::Status Begin() {
    if (reader_->Read(&response_)) {
      info_ = std::move(*response_.mutable_info());
      return absl::OkStatus();
    }
    finished_ = true;
    absl::Status status = FromGrpcStatus(reader_->Finish());
    return status.ok() ? absl::InternalError("the server sent no image")
                       : status;
  }

  const v1::SaveInfo& info() const override { return info_; }

  absl::StatusOr<bool> Next(std::string* data) override {
    if (!finished_ && reader_->Read(&response_)) {
      data->swap(*response_.mutable_data());
      return true;
    }
    if (!finished_) end_ = FromGrpcStatus(reader_->Finish());
    finished_ = true;
    if (!end_.ok()) return end_;
    return false;
  }

  void Cancel() override { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::SaveResponse>> reader_;
  v1::SaveResponse response_;
  v1::SaveInfo info_;
  bool finished_ = false;
  absl::Status end_;
};

class GrpcImageWriter : public ImageWriter {
 public:
  // Keeps the connection of `stub` by itself.
  GrpcImageWriter(v1::BlockService::Stub& stub,
                  const v1::CreateVolumeRequest& volume)
      : writer_(stub.Restore(&context_, &response_)) {
    *request_.mutable_volume() = volume;
  }
  ~GrpcImageWriter() override {
    context_.TryCancel();
    if (!finished_) writer_->Finish().ok();
  }

  absl::Status Write(std::string data) override {
    if (finished_) return end_;
    *request_.mutable_data() = std::move(data);
    const bool sent = writer_->Write(request_);
    request_.Clear();
    return sent ? absl::OkStatus() : End();
  }

  absl::StatusOr<v1::Volume> Finish() override {
    // The server answers what is wrong with an empty image, too.
    if (request_.has_volume() && !finished_) (void)Write("");
    if (!finished_) {
      (void)writer_->WritesDone();
      (void)End();
    }
    if (!end_.ok()) return end_;
    return response_.volume();
  }

  void Cancel() override { context_.TryCancel(); }

 private:
  absl::Status End() {
    end_ = FromGrpcStatus(writer_->Finish());
    finished_ = true;
    return end_;
  }

  grpc::ClientContext context_;
  v1::RestoreResponse response_;
  std::unique_ptr<grpc::ClientWriter<v1::RestoreRequest>> writer_;
  v1::RestoreRequest request_;
  bool finished_ = false;
  absl::Status end_;
};

class GrpcClientConnection : public ClientConnection {
 public:
  explicit GrpcClientConnection(ClientOptions options)
      : options_(std::move(options)), timer_(MakeThreadTimer()) {
    const auto credentials = NewChannelCredentials(options_);
    std::vector<std::shared_ptr<grpc::Channel>> channels;
    for (int i = 0; i < options_.channels; ++i) {
      channels.push_back(NewChannel(options_, credentials));
    }
    control_channel_ = channels.front();
    stub_ = v1::VolumeService::NewStub(control_channel_);
    block_stub_ = v1::BlockService::NewStub(control_channel_);
    access_stub_ = v1::AccessService::NewStub(control_channel_);
    health_stub_ = grpc::health::v1::Health::NewStub(control_channel_);
    transport_ = MakeGrpcIoTransport(std::move(channels), timer_);
  }

  absl::StatusOr<v1::Volume> CreateVolume(
      const v1::CreateVolumeRequest& request) override {
    v1::CreateVolumeResponse response;
    absl::Status status = Call(&v1::VolumeService::Stub::CreateVolume,
                               Identified(request), response);
    if (!status.ok()) return status;
    return std::move(*response.mutable_volume());
  }

  absl::StatusOr<v1::Volume> GetVolume(
      const v1::GetVolumeRequest& request) override {
    v1::GetVolumeResponse response;
    absl::Status status =
        Call(&v1::VolumeService::Stub::GetVolume, request, response);
    if (!status.ok()) return status;
    return std::move(*response.mutable_volume());
  }

  absl::StatusOr<v1::ListVolumesResponse> ListVolumes(
      const v1::ListVolumesRequest& request) override {
    v1::ListVolumesResponse response;
    absl::Status status =
        Call(&v1::VolumeService::Stub::ListVolumes, request, response);
    if (!status.ok()) return status;
    return response;
  }

  absl::StatusOr<v1::Volume> UpdateVolume(
      const v1::UpdateVolumeRequest& request) override {
    v1::UpdateVolumeResponse response;
    absl::Status status =
        Call(&v1::VolumeService::Stub::UpdateVolume, request, response);
    if (!status.ok()) return status;
    return std::move(*response.mutable_volume());
  }

  absl::StatusOr<v1::Volume> RenameVolume(
      const v1::RenameVolumeRequest& request) override {
    v1::RenameVolumeResponse response;
    absl::Status status = Call(&v1::VolumeService::Stub::RenameVolume,
                               Identified(request), response);
    if (!status.ok()) return status;
    return std::move(*response.mutable_volume());
  }

  absl::Status DeleteVolume(const v1::DeleteVolumeRequest& request) override {
    v1::DeleteVolumeResponse response;
    return Delete(&v1::VolumeService::Stub::DeleteVolume, request, response);
  }

  absl::StatusOr<v1::Snapshot> CreateSnapshot(
      const v1::CreateSnapshotRequest& request) override {
    v1::CreateSnapshotResponse response;
    absl::Status status = Call(&v1::VolumeService::Stub::CreateSnapshot,
                               Identified(request), response);
    if (!status.ok()) return status;
    return std::move(*response.mutable_snapshot());
  }

  absl::StatusOr<v1::CreateSnapshotsResponse> CreateSnapshots(
      const v1::CreateSnapshotsRequest& request) override {
    v1::CreateSnapshotsResponse response;
    absl::Status status = Call(&v1::VolumeService::Stub::CreateSnapshots,
                               Identified(request), response);
    if (!status.ok()) return status;
    return response;
  }

  absl::StatusOr<v1::Snapshot> GetSnapshot(
      const v1::GetSnapshotRequest& request) override {
    v1::GetSnapshotResponse response;
    absl::Status status =
        Call(&v1::VolumeService::Stub::GetSnapshot, request, response);
    if (!status.ok()) return status;
    return std::move(*response.mutable_snapshot());
  }

  absl::StatusOr<v1::ListSnapshotsResponse> ListSnapshots(
      const v1::ListSnapshotsRequest& request) override {
    v1::ListSnapshotsResponse response;
    absl::Status status =
        Call(&v1::VolumeService::Stub::ListSnapshots, request, response);
    if (!status.ok()) return status;
    return response;
  }

  absl::Status DeleteSnapshot(
      const v1::DeleteSnapshotRequest& request) override {
    v1::DeleteSnapshotResponse response;
    return Delete(&v1::VolumeService::Stub::DeleteSnapshot, request, response);
  }

  absl::StatusOr<v1::Volume> RevertVolume(
      const v1::RevertVolumeRequest& request) override {
    v1::RevertVolumeResponse response;
    absl::Status status =
        request.etag().empty()
            ? CallOnce(&v1::VolumeService::Stub::RevertVolume, request,
                       response, options_.timeout)
            : Call(&v1::VolumeService::Stub::RevertVolume, request, response);
    if (!status.ok()) return status;
    return std::move(*response.mutable_volume());
  }

  absl::StatusOr<v1::VolumeStats> StatVolume(
      const v1::StatVolumeRequest& request) override {
    v1::StatVolumeResponse response;
    absl::Status status =
        Call(&v1::VolumeService::Stub::StatVolume, request, response);
    if (!status.ok()) return status;
    return std::move(*response.mutable_stats());
  }

  absl::StatusOr<v1::ListClientsResponse> ListClients(
      const v1::ListClientsRequest& request) override {
    v1::ListClientsResponse response;
    absl::Status status =
        Call(&v1::VolumeService::Stub::ListClients, request, response);
    if (!status.ok()) return status;
    return response;
  }

  absl::StatusOr<v1::WhoAmIResponse> WhoAmI() override {
    v1::WhoAmIResponse response;
    absl::Status status = AskAccess(&v1::AccessService::Stub::WhoAmI,
                                    v1::WhoAmIRequest(), response);
    if (!status.ok()) return status;
    return response;
  }

  absl::StatusOr<v1::CheckAccessResponse> CheckAccess(
      const v1::CheckAccessRequest& request) override {
    v1::CheckAccessResponse response;
    absl::Status status =
        AskAccess(&v1::AccessService::Stub::CheckAccess, request, response);
    if (!status.ok()) return status;
    return response;
  }

  absl::StatusOr<std::unique_ptr<EventWatch>> WatchEvents(
      const v1::WatchEventsRequest& request) override {
    return std::make_unique<GrpcEventWatch>(
        *stub_, request,
        request.follow() ? absl::InfiniteDuration() : options_.timeout);
  }

  absl::StatusOr<std::unique_ptr<ImageReader>> Save(
      const v1::SaveRequest& request) override {
    auto reader = std::make_unique<GrpcImageReader>(*block_stub_, request);
    absl::Status begun = reader->Begin();
    if (!begun.ok()) return begun;
    return reader;
  }

  absl::StatusOr<std::unique_ptr<ImageWriter>> Restore(
      const v1::CreateVolumeRequest& volume) override {
    return std::make_unique<GrpcImageWriter>(*block_stub_, volume);
  }

  absl::StatusOr<v1::SaveAllResponse> SaveAll(
      const v1::SaveAllRequest& request) override {
    v1::SaveAllResponse response;
    absl::Status status = CallOnce(&v1::VolumeService::Stub::SaveAll, request,
                                   response, absl::InfiniteDuration());
    if (!status.ok()) return status;
    return response;
  }

  absl::StatusOr<v1::GetServerInfoResponse> GetServerInfo() override {
    v1::GetServerInfoResponse response;
    absl::Status status = Call(&v1::VolumeService::Stub::GetServerInfo,
                               v1::GetServerInfoRequest(), response);
    if (!status.ok()) return status;
    return response;
  }

  absl::Status CheckHealth() override {
    using grpc::health::v1::HealthCheckResponse;
    HealthCheckResponse response;
    absl::Status status = Retry([&](absl::Duration left) {
      grpc::ClientContext context;
      SetDeadline(left, context);
      response.Clear();
      return FromGrpcStatus(health_stub_->Check(
          &context, grpc::health::v1::HealthCheckRequest(), &response));
    });
    if (!status.ok() || response.status() == HealthCheckResponse::SERVING) {
      return status;
    }
    return absl::FailedPreconditionError(
        absl::StrCat("the server says ",
                     HealthCheckResponse::ServingStatus_Name(response.status()),
                     "; it is stopping, or not ready yet"));
  }

  absl::StatusOr<std::shared_ptr<VolumeConnection>> Open(
      const std::string& name, const OpenOptions& options) override {
    return OpenPipelined(name, options_, transport_, timer_, counters_,
                         options);
  }

  uint64_t reconnects() const override {
    return counters_->reconnects.load(std::memory_order_relaxed);
  }
  uint64_t lost_streams() const override {
    return counters_->lost_streams.load(std::memory_order_relaxed);
  }

 private:
  template <typename Request, typename Response>
  using Method = grpc::Status (v1::VolumeService::Stub::*)(grpc::ClientContext*,
                                                           const Request&,
                                                           Response*);

  template <typename Request, typename Response>
  absl::Status CallOnce(Method<Request, Response> method,
                        const Request& request, Response& response,
                        absl::Duration left) {
    grpc::ClientContext context;
    SetDeadline(left, context);
    response.Clear();
    return FromGrpcStatus(((*stub_).*method)(&context, request, &response));
  }

  template <typename Request, typename Response>
  absl::Status AskAccess(grpc::Status (v1::AccessService::Stub::*method)(
                             grpc::ClientContext*, const Request&, Response*),
                         const Request& request, Response& response) {
    return Retry([&](absl::Duration left) {
      grpc::ClientContext context;
      SetDeadline(left, context);
      response.Clear();
      return FromGrpcStatus(
          ((*access_stub_).*method)(&context, request, &response));
    });
  }

  // Calls until there is an answer. What a call deleted whose answer was lost
  // is not missed.
  template <typename Request, typename Response>
  absl::Status Delete(Method<Request, Response> method, const Request& request,
                      Response& response) {
    bool answer_lost = false;
    return Retry([&](absl::Duration left) {
      const bool was_ready =
          control_channel_->GetState(false) == GRPC_CHANNEL_READY;
      absl::Status status = CallOnce(method, request, response, left);
      if (answer_lost && absl::IsNotFound(status)) return absl::OkStatus();
      // An attempt that found no connection has deleted nothing. After any
      // other, NOT_FOUND may mean that it deleted what was named.
      answer_lost |= absl::IsUnavailable(status) &&
                     (was_ready || control_channel_->GetState(false) !=
                                       GRPC_CHANNEL_TRANSIENT_FAILURE);
      return status;
    });
  }

  absl::Status Retry(
      const std::function<absl::Status(absl::Duration)>& attempt) {
    absl::BitGen random;
    return RetryUnavailable(options_, *timer_, random, attempt);
  }

  template <typename Request, typename Response>
  absl::Status Call(Method<Request, Response> method, const Request& request,
                    Response& response) {
    return Retry([&](absl::Duration left) {
      return CallOnce(method, request, response, left);
    });
  }

  const ClientOptions options_;
  const std::shared_ptr<Timer> timer_;
  std::shared_ptr<grpc::Channel> control_channel_;
  std::unique_ptr<v1::VolumeService::Stub> stub_;
  std::unique_ptr<v1::BlockService::Stub> block_stub_;
  std::unique_ptr<v1::AccessService::Stub> access_stub_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_stub_;
  std::shared_ptr<IoTransport> transport_;
  const std::shared_ptr<ClientCounters> counters_ =
      std::make_shared<ClientCounters>();
};

}  // namespace

std::shared_ptr<ClientConnection> MakeGrpcClientConnection(
    ClientOptions options) {
  // Called once and never undone: when gRPC's last object goes, gRPC waits for
  // one of its own pollers, sometimes for ten seconds.
  [[maybe_unused]] static const bool initialized = (grpc_init(), true);
  return std::make_shared<GrpcClientConnection>(Normalize(std::move(options)));
}

}  // namespace ramvol
