#include "server/server.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/duration_text.h"
#include "base/event_log.h"
#include "base/metrics/client_memory_metrics.h"
#include "base/metrics/door_metrics.h"
#include "base/metrics/process_metrics.h"
#include "base/reason.h"
#include "google/protobuf/message.h"
#include "google/protobuf/stubs/logging.h"
#include "grpc/grpc.h"
#include "grpc/health/v1/health.pb.h"
#include "grpc/support/log.h"
#include "grpcpp/ext/channelz_service_plugin.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "nbd_bridge/metrics/nbd_metrics.h"
#include "server/access/access_metrics.h"
#include "server/access/identity.h"
#include "server/access/monitoring.h"
#include "server/end_connections.h"
#include "server/engine/metrics/engine_metrics.h"
#include "server/engine/metrics/volume_metrics.h"
#include "server/http2/gated_sockets.h"
#include "server/saves/save_metrics.h"
#include "server/service/catalog_metrics.h"
#include "server/service/grpc_metrics.h"
#include "server/service/limits.h"
#include "server/service/rpc_counter.h"
#include "vhost_user/metrics/vhost_metrics.h"

namespace ramvol::server {
namespace {

constexpr int kMinServiceThreads = 4;
// A connection that was silent for kKeepaliveMs is pinged, and ends unless the
// answer comes within kKeepaliveWaitMs.
constexpr int kKeepaliveMs = 60'000;
constexpr int kKeepaliveWaitMs = 20'000;
constexpr int kMinClientKeepaliveMs = 5'000;
constexpr int kHandshakeMs = 10'000;
// Longest frame of data that clients may send, and most that is read at once.
constexpr int kMaxFrameBytes = 256 << 10;
// How long clients may stay connected when all calls are answered.
constexpr absl::Duration kGoodbyeTime = absl::Milliseconds(200);
// How long gRPC gets to notice that its connections have ended.
constexpr absl::Duration kEndTime = absl::Milliseconds(200);

int ServiceThreads(int wanted) {
  if (wanted > 0) return wanted;
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(cores, kMinServiceThreads);
}

// The bounds that gRPC enforces itself; http2::FrameGate has the others.
void BoundConnections(grpc::ServerBuilder* builder) {
  // A call's window stays what http2::Inflow takes it to be.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kMaxFrameBytes);
  builder->AddChannelArgument(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, kMaxFrameBytes);
  // A few bytes would become megabytes, which Inflow does not see.
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  // From the preface to the client's settings.
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                              kHandshakeMs);
}

// gRPC keeps these settings in global variables that a builder reads.
void EnableStandardServices() {
  static const bool enabled = [] {
    // gRPC's own health service has no linked descriptor, but reflection needs
    // it.
    google::protobuf::LinkMessageReflection<
        grpc::health::v1::HealthCheckRequest>();
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    // Never undone: when the last of its objects goes, gRPC 1.51 waits for its
    // own poller, sometimes for ten seconds (docs/decisions/0012).
    grpc_init();
    // Protobuf would log every malformed message to standard error. The client
    // gets an error instead.
    google::protobuf::SetLogHandler(nullptr);
    return true;
  }();
  (void)enabled;
}

// Of all servers that are built from now on.
void EnableChannelz() {
  static const bool enabled = [] {
    grpc::channelz::experimental::InitChannelzService();
    return true;
  }();
  (void)enabled;
}

// How often times are looked at.
constexpr absl::Duration kTick = absl::Seconds(1);
// How soon rights that are taken away are gone, at most.
constexpr absl::Duration kAccessTick = absl::Milliseconds(250);
// For code, threads, their buffers, and what malloc keeps.
constexpr uint64_t kBaseBytes = uint64_t{128} << 20;
constexpr uint64_t kDefaultMemoryPercent = 80;
// Client memory is a quarter of the memory limit.
constexpr uint64_t kClientMemoryDivisor = 4;
constexpr uint64_t kMaxDefaultClientMemoryBytes = uint64_t{1} << 30;

ClientMemory::Options ClientMemoryOptions(uint64_t client_memory_bytes) {
  ClientMemory::Options options;
  options.limit_bytes = client_memory_bytes;
  return options;
}

// What became of the volumes of an earlier server.
void LogRecovery(engine::Engine& engine) {
  const engine::Engine::Recovered& recovered = engine.recovered();
  const std::string& dir = engine.options().state_dir;
  if (dir.empty()) return;
  if (!recovered.warning.empty()) {
    LogEvent(Event::kStateWarning, {.message = recovered.warning});
  }
  if (recovered.lost) {
    LogEvent(Event::kDataLoss,
             {.reason = reason::kVolumeDamaged,
              .message = absl::StrCat(
                  "the list of volumes in ", dir,
                  " is damaged, and some may be missing: test the machine's "
                  "memory")});
  }
  for (const std::string& name : recovered.damaged) {
    const auto volume = engine.Find(name);
    if (!volume.ok()) continue;
    const std::string why((*volume)->Flush().message());
    LogEvent(Event::kDataLoss, {.volume = name,
                                .reason = reason::kVolumeDamaged,
                                .message = why,
                                .uid = (*volume)->uid()});
  }
  LogEvent(Event::kRecovered,
           {.message =
                absl::StrCat(recovered.volumes, " volumes and snapshots from ",
                             dir, " in ", DurationText(recovered.took), ", ",
                             recovered.damaged.size(), " damaged"),
            .count = recovered.volumes});
}

// Volumes of which a part is to be read from a save that is not there.
void LogMissing(const engine::Engine& engine, const std::string& why) {
  for (const char* const after : {"", "@"}) {
    for (const auto& [name, volume] :
         engine.List(after, std::numeric_limits<size_t>::max())) {
      if (volume->completeness() != engine::Completeness::kIncomplete) continue;
      LogEvent(
          Event::kDataLoss,
          {.volume = name,
           .reason = reason::kDamagedImage,
           .message = absl::StrCat(
               "some of it was not read from its save before the server ended, "
               "and cannot be read: ",
               why, "; start ramvold with the --save_dir that has that save"),
           .uid = volume->uid()});
    }
  }
}

// What an earlier server had not read yet of its save.
absl::Status ResumeSave(saves::SaveDir* saves, engine::Engine& engine) {
  if (engine.recovered().outside == 0) return absl::OkStatus();
  if (saves == nullptr) {
    LogMissing(engine, "there is no --save_dir");
    return absl::OkStatus();
  }
  const absl::Status status = saves->Resume(&engine).status();
  if (!absl::IsNotFound(status)) return status;
  LogMissing(engine, std::string(status.message()));
  return absl::OkStatus();
}

// What was saved is read, unless newer volumes are there. Null without a
// save_dir.
absl::StatusOr<std::unique_ptr<saves::SaveDir>> OpenSaves(
    const ServerOptions& options, engine::Engine& engine) {
  std::unique_ptr<saves::SaveDir> saves;
  if (!options.save_dir.empty()) {
    auto opened = saves::SaveDir::Open(options.save_dir);
    if (!opened.ok()) return opened.status();
    saves = *std::move(opened);
  }
  if (engine.recovered().volumes > 0) {
    absl::Status resumed = ResumeSave(saves.get(), engine);
    if (!resumed.ok()) return resumed;
    if (saves != nullptr && engine.recovered().outside == 0) {
      LogEvent(Event::kNote,
               {.message = absl::StrCat(
                    "nothing is read from ", options.save_dir, ", for ",
                    engine.options().state_dir, " has what is newer")});
    }
    return saves;
  }
  if (saves == nullptr) return nullptr;
  auto begun = saves->Begin(&engine, options.save_progress);
  if (!begun.ok()) return begun.status();
  return saves;
}

}  // namespace

uint64_t DefaultClientMemory(uint64_t memory_limit_bytes) {
  return std::clamp(memory_limit_bytes / kClientMemoryDivisor,
                    kMinClientMemoryBytes, kMaxDefaultClientMemoryBytes);
}

uint64_t DefaultMemoryLimit(uint64_t available_bytes,
                            uint64_t client_memory_bytes) {
  const uint64_t least = available_bytes / 8 * 3;
  if (available_bytes <= kBaseBytes) return least;
  const uint64_t rest = available_bytes - kBaseBytes;
  // The memory limit and its default client memory together must fit in `rest`.
  uint64_t client = client_memory_bytes;
  if (client == 0) {
    client =
        std::clamp((rest + kClientMemoryDivisor) / (kClientMemoryDivisor + 1),
                   kMinClientMemoryBytes, kMaxDefaultClientMemoryBytes);
  }
  const uint64_t most = available_bytes / 100 * kDefaultMemoryPercent;
  const uint64_t left = rest > client ? rest - client : 0;
  return std::min(most,
                  client_memory_bytes == 0 ? std::max(left, least) : left);
}

Server::Server(std::unique_ptr<access::Authority> authority,
               std::unique_ptr<access::AuditLog> audit,
               std::unique_ptr<engine::Engine> engine,
               std::unique_ptr<saves::SaveDir> saves,
               const ServerOptions& options)
    : authority_(std::move(authority)),
      audit_(std::move(audit)),
      engine_(std::move(engine)),
      saves_(std::move(saves)),
      client_memory_(std::make_shared<ClientMemory>(
          ClientMemoryOptions(options.client_memory_bytes))),
      catalog_(engine_.get()),
      access_({.authority = authority_.get(),
               .sessions = &sessions_,
               .names_of =
                   [](const std::string& grpc_peer) {
                     const auto peer = http2::FindPeer(grpc_peer);
                     return peer == nullptr ? std::vector<std::string>()
                                            : access::NamesOf(*peer);
                   },
               .audit = audit_.get(),
               .engine = engine_.get(),
               .catalog = &catalog_}),
      watchers_(&feed_, &gate_, client_memory_),
      executor_(ServiceThreads(options.service_threads)),
      volume_service_(engine_.get(), &catalog_, &watchers_, &executor_, &gate_,
                      &access_, client_memory_),
      block_service_(engine_.get(), &catalog_, &executor_, &gate_, &access_,
                     client_memory_),
      access_service_(&access_, &executor_, &gate_, client_memory_),
      exports_(engine_.get(), &catalog_),
      vhost_exports_(engine_.get(), &catalog_,
                     {.over = "vhost-user", .shared_buffers = true}),
      client_auth_(options.client_auth),
      encrypts_tcp_(!options.tls.cert.empty()),
      limit_watch_(engine_.get()),
      ticker_(kTick, [this] { Tick(); }),
      access_ticker_(kAccessTick, [this] { ReviewAccess(); }) {
  volume_service_.set_save_dir(saves_.get());
  exports_.set_access(&access_);
  vhost_exports_.set_access(&access_);
  exports_.set_runner([this](bool may_wait, std::function<void()> call) {
    using service::Lane;
    if (!executor_.Submit(may_wait ? Lane::kMayWait : Lane::kPrompt, call)) {
      call();
    }
  });
  authority_->LimitUsage(&usage_timer_);
  catalog_.SetUsage(options.volume_limits, &usage_timer_);
  EventLog::OfProcess().AddObserver(&feed_);
}

Server::~Server() {
  if (grpc_ != nullptr) Shutdown(absl::ZeroDuration());
  EventLog::OfProcess().RemoveObserver(&feed_);
}

void Server::Tick() {
  catalog_.ExpireDue();
  limit_watch_.Look();
}

void Server::ReviewAccess() {
  if (!access_.on()) return;
  authority_->Reload();
  sessions_.Review();
  if (audit_ != nullptr) audit_->Reopen();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(
    const ServerOptions& options) {
  for (const ListenAddress& address : options.listen) {
    absl::Status status = CheckListenable(address);
    if (!status.ok()) return status;
  }
  if (options.client_memory_bytes < kMinClientMemoryBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the client memory is ", options.client_memory_bytes,
        " bytes; it must be at least ", kMinClientMemoryBytes, " (160M)"));
  }
  auto authority =
      access::Authority::Make(options.auth_policy, options.token_file);
  if (!authority.ok()) return authority.status();
  std::unique_ptr<access::AuditLog> audit;
  if (!options.audit_log.empty()) {
    auto opened = access::AuditLog::Open(options.audit_log);
    if (!opened.ok()) return opened.status();
    audit = *std::move(opened);
  }
  auto engine = engine::Engine::Create(options.engine);
  if (!engine.ok()) return engine.status();
  auto saves = OpenSaves(options, **engine);
  if (!saves.ok()) return saves.status();
  std::unique_ptr<Server> server(
      new Server(*std::move(authority), std::move(audit), *std::move(engine),
                 *std::move(saves), options));
  LogRecovery(*server->engine_);
  absl::Status status =
      service::CreateVolumes(options.volumes, &server->catalog_);
  if (status.ok()) status = server->StartTls(options);
  if (status.ok()) status = server->StartMetrics(options);
  if (status.ok()) status = server->StartNbd(options);
  if (status.ok()) status = server->StartVhostUser(options);
  if (status.ok()) status = server->StartGrpc(options);
  if (!status.ok()) return status;
  return server;
}

absl::Status Server::StartMetrics(const ServerOptions& options) {
  if (options.metrics_listen.empty()) return absl::OkStatus();
  if (options.status_page) {
    pages_ = std::make_unique<status::StatusPages>(
        engine_.get(), client_memory_.get(), [this] { return GetState(); },
        [this](const std::string& volume) { return LabelsOf(volume); });
  }
  auto endpoint = metrics::Endpoint::Start(
      options.metrics_listen, AllMetrics(options),
      [this] { return WhyNotReady(); }, &http_door_, pages_.get(),
      options.status_page_hosts,
      // Probes have no certificate.
      SecureTcp(ClientAuth::kNone, /*protocol=*/nullptr), options.insecure,
      [this](std::string_view authorization) {
        return access::MayMonitor(*authority_, authorization);
      });
  if (!endpoint.ok()) return endpoint.status();
  metrics_ = *std::move(endpoint);
  metrics_url_ = metrics_->url();
  return absl::OkStatus();
}

metrics::Endpoint::Metrics Server::AllMetrics(const ServerOptions& options) {
  const std::vector<metrics::DoorMetrics::Door> doors = {
      {"grpc", grpc_door_.get()},
      {"nbd", &nbd_stats_.door()},
      {"http", &http_door_}};
  return {
      std::make_shared<metrics::ProcessMetrics>(),
      std::make_shared<metrics::EngineMetrics>(engine_.get()),
      std::make_shared<metrics::GrpcMetrics>(
          &rpc_stats_, [this] { return block_service_.io_streams(); }),
      std::make_shared<metrics::CatalogMetrics>(&catalog_, &watchers_),
      std::make_shared<metrics::NbdMetrics>(&nbd_stats_),
      std::make_shared<metrics::VhostMetrics>(&vhost_stats_),
      std::make_shared<metrics::SaveMetrics>(saves_.get()),
      std::make_shared<metrics::ClientMemoryMetrics>(client_memory_.get()),
      std::make_shared<metrics::DoorMetrics>(doors),
      std::make_shared<metrics::AccessMetrics>(authority_.get(), audit_.get()),
      std::make_shared<metrics::VolumeMetrics>(
          engine_.get(), options.metrics_max_volumes,
          metrics::MetricLabels{
              options.metrics_labels,
              [this](const std::string& name) { return LabelsOf(name); }}),
      std::make_shared<metrics::SnapshotMetrics>(
          engine_.get(), options.metrics_max_volumes, options.metrics_labels,
          [this](const std::string& name) { return InfoOf(name); })};
}

std::string Server::WhyNotReady() const {
  if (const char* busy = busy_.load(std::memory_order_acquire)) return busy;
  if (std::string shut = acceptor_->WhyShut(); !shut.empty()) {
    return absl::StrCat("gRPC accepts nobody: ", shut);
  }
  if (std::string shut = nbd_ == nullptr ? "" : nbd_->WhyShut();
      !shut.empty()) {
    return absl::StrCat("NBD accepts nobody: ", shut);
  }
  if (!engine_->MemoryExhausted()) return "";
  const engine::EngineStats stats = engine_->Stats();
  return absl::StrCat("memory exhausted: ", stats.memory_used_bytes,
                      " bytes of the limit of ", stats.memory_limit_bytes,
                      " are in use; trim or delete volumes, or raise "
                      "--memory_limit");
}

absl::Status Server::StartTls(const ServerOptions& options) {
  if (options.tls.cert.empty() && options.tls.psk.empty()) {
    return absl::OkStatus();
  }
  auto tls = TlsServer::Make(options.tls);
  if (!tls.ok()) return tls.status();
  tls_ = *std::move(tls);
  tls_->Watch();
  return absl::OkStatus();
}

Securer Server::SecureTcp(ClientAuth client_auth, const char* protocol) {
  if (!encrypts_tcp_) return nullptr;
  return [this, client_auth, protocol](int fd) {
    return tls_->Begin(fd, {.client_auth = client_auth, .protocol = protocol});
  };
}

absl::Status Server::StartNbd(const ServerOptions& server_options) {
  nbd::NbdServerOptions options = server_options.nbd;
  if (options.listen.empty()) return absl::OkStatus();
  options.insecure = server_options.insecure;
  options.tls.begin = [this](int fd) {
    return tls_->Begin(fd, {.client_auth = client_auth_, .psk = true});
  };
  // gRPC may have the other half of the connections that there is memory for.
  const auto places = static_cast<int>(client_memory_->max_open() / 2);
  if (options.max_connections > places) options.max_connections = places;
  auto server = nbd::NbdServer::Start(options, &exports_, client_memory_.get(),
                                      &nbd_stats_);
  if (!server.ok()) return server.status();
  nbd_ = *std::move(server);
  volume_service_.set_nbd_addresses(
      nbd_->addresses(), options.tls.mode == nbd::NbdTls::Mode::kRequire);
  return absl::OkStatus();
}

absl::Status Server::StartVhostUser(const ServerOptions& options) {
  if (options.vhost_user_dir.empty()) return absl::OkStatus();
  auto server =
      vhost::VhostServer::Start(options.vhost_user_dir, &vhost_exports_,
                                client_memory_.get(), &vhost_stats_);
  if (!server.ok()) return server.status();
  vhost_ = *std::move(server);
  volume_service_.set_vhost_user_dir(
      std::filesystem::absolute(vhost_->dir()).string());
  vhost_volumes_ = std::make_unique<VhostVolumes>(vhost_.get());
  return vhost_->AddAll();
}

void Server::StopVhostUser() {
  if (vhost_ == nullptr) return;
  vhost_volumes_.reset();
  vhost_->Shutdown();
  vhost_.reset();
}

absl::Status Server::StartGrpc(const ServerOptions& options) {
  EnableStandardServices();
  // It tells everyone who is connected.
  if (!authority_->has_policy()) EnableChannelz();
  grpc::ServerBuilder builder;
  std::vector<
      std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>>
      interceptors;
  interceptors.push_back(
      std::make_unique<service::RpcCounterFactory>(&rpc_stats_));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  builder.RegisterService(&volume_service_);
  builder.RegisterService(&block_service_);
  builder.RegisterService(&access_service_);
  builder.SetMaxReceiveMessageSize(service::kMaxReceiveBytes);
  builder.SetMaxSendMessageSize(-1);
  // Notices vanished clients, so that their volumes are detached.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveWaitMs);
  // Lets clients ping the server, too.
  builder.AddChannelArgument(
      GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
      kMinClientKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  BoundConnections(&builder);
  // Only reflection, health and channelz are synchronous services.
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  auto acceptor = ConnectionAcceptor::Create(
      options.listen, options.grpc_sockets, grpc_door_, client_memory_,
      SecureTcp(client_auth_, "h2"), options.insecure, &builder);
  if (!acceptor.ok()) return acceptor.status();
  acceptor_ = *std::move(acceptor);
  grpc_ = builder.BuildAndStart();
  if (grpc_ == nullptr) {
    return absl::UnavailableError(
        "gRPC does not start; its own message is above");
  }
  // What it has to say from now on is what clients did wrong; they are told.
  gpr_set_log_function([](gpr_log_func_args*) {});
  grpc_addresses_ = acceptor_->addresses();
  volume_service_.set_grpc_addresses(grpc_addresses_);
  SetServing(true);
  acceptor_->Start();
  return absl::OkStatus();
}

void Server::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* health = grpc_->GetHealthCheckService();
  health->SetServingStatus(serving);
  for (const char* service : {v1::VolumeService::service_full_name(),
                              v1::BlockService::service_full_name(),
                              v1::AccessService::service_full_name()}) {
    health->SetServingStatus(service, serving);
  }
  busy_.store(serving ? nullptr : "shutting down", std::memory_order_release);
}

absl::Status Server::Save(bool quiet, const saves::Progress& progress) {
  if (saves_ == nullptr) return absl::OkStatus();
  auto saved = saves_->Save(engine_.get(), quiet, progress);
  if (!saved.ok() || saved->left_out.empty()) return saved.status();
  return absl::FailedPreconditionError(
      absl::StrCat(saved->left_out.size(), " volumes or snapshots are not in ",
                   saved->path, ", as was said above"));
}

void Server::Shutdown(absl::Duration drain_timeout) {
  SetServing(false);
  if (acceptor_ != nullptr) acceptor_->Stop();
  gate_.Close();
  // What limits hold up is answered, too.
  usage_timer_.Release();
  block_service_.Drain();
  watchers_.Drain();
  const absl::Time deadline = absl::Now() + drain_timeout;
  StopVhostUser();
  if (nbd_ != nullptr) nbd_->Shutdown(drain_timeout);
  const bool drained = gate_.WaitUntilEmpty(
      std::max(deadline - absl::Now(), absl::ZeroDuration()));
  // The gate refuses calls that arrive now. Watches of the health service never
  // end by themselves, so their connections are ended, too.
  const absl::Time now = absl::Now();
  const absl::Time goodbye =
      drained ? std::min(deadline, now + kGoodbyeTime) : now;
  EndConnections(grpc_addresses_, goodbye);
  grpc_->Shutdown(absl::ToChronoTime(absl::Now() + kEndTime));
  grpc_.reset();
  // Before NBD and the acceptor, because readiness asks both.
  metrics_.reset();
  pages_.reset();
  nbd_.reset();
  // Also removes the files of Unix sockets.
  acceptor_.reset();
}

}  // namespace ramvol::server
