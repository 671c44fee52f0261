#include "server/server.h"

#include <unistd.h>

#include <algorithm>
#include <exception>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/ext/channelz_service_plugin.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "server/service/limits.h"

namespace ramvol::server {
namespace {

constexpr int kMinServiceThreads = 4;

int ServiceThreads(int wanted) {
  if (wanted > 0) return wanted;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(cores, kMinServiceThreads);
}

// gRPC keeps these in globals that a builder reads.
void EnableStandardServices() {
  static const bool enabled = [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::channelz::experimental::InitChannelzService();
    return true;
  }();
  (void)enabled;
}

// A port with no free one given, filled in by gRPC.
struct Listener {
  ListenAddress address;
  int bound_port = 0;
};

absl::Status CannotListen(const std::string &address, const std::string &why) {
  return absl::UnavailableError(
      absl::StrCat("cannot listen on ", address, ": ", why));
}

}  // namespace

Server::Server(std::unique_ptr<engine::Engine> engine, int service_threads)
    : engine_(std::move(engine)),
      catalog_(engine_.get()),
      executor_(service_threads),
      volume_service_(engine_.get(), &catalog_, &executor_),
      block_service_(engine_.get(), &executor_) {}

Server::~Server() {
  if (grpc_ != nullptr) Shutdown(absl::ZeroDuration());
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(
    const ServerOptions &options) {
  auto engine = engine::Engine::Create(options.engine);
  if (!engine.ok()) return engine.status();
  std::unique_ptr<Server> server(
      new Server(*std::move(engine), ServiceThreads(options.service_threads)));
  absl::Status status = server->StartMetrics(options.metrics_listen);
  if (status.ok()) status = server->StartGrpc(options.listen);
  if (!status.ok()) return status;
  return server;
}

absl::Status Server::StartMetrics(const std::string &address) {
  if (address.empty()) return absl::OkStatus();
  auto parsed = ParseListenAddress(address);
  if (!parsed.ok()) return parsed.status();
  if (parsed->is_unix()) {
    return CannotListen(address, "metrics are served over TCP only");
  }
  try {
    exposer_ = std::make_unique<prometheus::Exposer>(address);
    parsed->port = exposer_->GetListeningPorts().at(0);
  } catch (const std::exception &) {
    return CannotListen(address, WhyNotBindable(*parsed));
  }
  engine_metrics_ = std::make_shared<metrics::EngineMetrics>(engine_.get());
  exposer_->RegisterCollectable(engine_metrics_);
  metrics_url_ = absl::StrCat("http://", parsed->ToString(), "/metrics");
  return absl::OkStatus();
}

absl::Status Server::StartGrpc(const std::vector<ListenAddress> &addresses) {
  EnableStandardServices();
  grpc::ServerBuilder builder;
  std::vector<Listener> listeners;
  for (const ListenAddress &address : addresses) {
    absl::Status status = PrepareUnixSocket(address);
    if (!status.ok()) return status;
    listeners.push_back({address});
  }
  for (Listener &listener : listeners) {
    builder.AddListeningPort(listener.address.ToString(),
                             grpc::InsecureServerCredentials(),
                             &listener.bound_port);
  }
  builder.RegisterService(&volume_service_);
  builder.RegisterService(&block_service_);
  builder.SetMaxReceiveMessageSize(service::kMaxReceiveBytes);
  builder.SetMaxSendMessageSize(-1);
  // Else a second server would share the port silently.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // For reflection, health and channelz, the only synchronous services.
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  grpc_ = builder.BuildAndStart();
  for (const Listener &listener : listeners) {
    // gRPC binds in order and gives up at the first failure.
    if (grpc_ == nullptr && listener.bound_port == 0) {
      return CannotListen(listener.address.ToString(),
                          WhyNotBindable(listener.address));
    }
    ListenAddress bound = listener.address;
    if (!bound.is_unix()) bound.port = listener.bound_port;
    grpc_addresses_.push_back(bound.ToString());
    if (bound.is_unix()) unix_paths_.push_back(bound.unix_path);
  }
  if (grpc_ == nullptr) return absl::InternalError("gRPC did not start");
  volume_service_.set_grpc_addresses(grpc_addresses_);
  SetServing(true);
  return absl::OkStatus();
}

void Server::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface *health = grpc_->GetHealthCheckService();
  health->SetServingStatus(serving);
  for (const char *service : {v1::VolumeService::service_full_name(),
                              v1::BlockService::service_full_name()}) {
    health->SetServingStatus(service, serving);
  }
}

void Server::Shutdown(absl::Duration drain_timeout) {
  SetServing(false);
  block_service_.Drain();
  grpc_->Shutdown(absl::ToChronoTime(absl::Now() + drain_timeout));
  grpc_.reset();
  exposer_.reset();
  for (const std::string &path : unix_paths_) unlink(path.c_str());
}

}  // namespace ramvol::server
