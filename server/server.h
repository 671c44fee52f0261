// The whole server: engine, services and listeners.
#ifndef RAMVOL_SERVER_SERVER_H_
#define RAMVOL_SERVER_SERVER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/client_memory.h"
#include "base/door_stats.h"
#include "base/listen_address.h"
#include "base/metrics/endpoint.h"
#include "base/metrics/host_rule.h"
#include "base/secure_stream.h"
#include "base/ticker.h"
#include "base/tls/tls_server.h"
#include "base/usage_limits.h"
#include "base/usage_timer.h"
#include "grpcpp/server.h"
#include "nbd_bridge/nbd_server.h"
#include "nbd_bridge/stats.h"
#include "server/access/audit_log.h"
#include "server/access/authority.h"
#include "server/access/sessions.h"
#include "server/connection_acceptor.h"
#include "server/engine/engine.h"
#include "server/engine/metrics/metric_labels.h"
#include "server/engine/metrics/snapshot_metrics.h"
#include "server/engine_exports.h"
#include "server/saves/save_dir.h"
#include "server/service/access_service.h"
#include "server/service/block_service.h"
#include "server/service/call_access.h"
#include "server/service/call_gate.h"
#include "server/service/catalog.h"
#include "server/service/event_feed.h"
#include "server/service/event_watchers.h"
#include "server/service/executor.h"
#include "server/service/limit_watch.h"
#include "server/service/rpc_stats.h"
#include "server/service/volume_service.h"
#include "server/service/volumes_file.h"
#include "server/status/server_state.h"
#include "server/status/status_pages.h"
#include "server/status/volume_table.h"
#include "server/vhost_volumes.h"
#include "vhost_user/stats.h"
#include "vhost_user/vhost_server.h"

namespace ramvol::server {

struct ServerOptions {
  engine::EngineOptions engine;
  // Where gRPC listens. At least one address or one of `grpc_sockets`.
  std::vector<ListenAddress> listen;
  // Listening sockets for gRPC, as systemd passes them. The server owns them.
  std::vector<int> grpc_sockets;
  // Where to serve /metrics, /healthz and /readyz: "HOST:PORT", or "" for
  // nowhere.
  std::string metrics_listen;
  // Most volumes, and most snapshots, with their own metrics.
  size_t metrics_max_volumes = 1000;
  // Labels of volumes and snapshots that are on their metrics.
  std::vector<metrics::MetricLabel> metrics_labels;
  // Whether the metrics address serves the status page.
  bool status_page = true;
  // The hosts that it is served for.
  metrics::HostRule status_page_hosts;
  // There is no NBD server when `nbd.listen` is empty. Of `nbd.tls`, only the
  // mode counts.
  nbd::NbdServerOptions nbd;
  // Where virtual machines find volumes, see vhost::VhostServer; "" for
  // nowhere.
  std::string vhost_user_dir;
  // With a certificate, gRPC over TCP and metrics are encrypted.
  TlsFiles tls;
  // Of clients of gRPC and NBD, with `tls.client_ca`.
  ClientAuth client_auth = ClientAuth::kRequire;
  // Whether to listen where other machines reach it without TLS. Counts for
  // NBD, too, in place of `nbd.insecure`.
  bool insecure = false;
  // Bounds requests, answers and connections of all clients, beside the
  // engine's memory. At least kMinClientMemoryBytes.
  uint64_t client_memory_bytes = uint64_t{1} << 30;
  // Threads for each of the executor's two lanes. 0 means one for each core, at
  // least 4.
  int service_threads = 0;
  // Where all volumes are saved, and read from at the start unless the
  // state_dir has some; "": nowhere. See saves::SaveDir.
  std::string save_dir;
  // Called while they are read; an error ends Start with it. May be null.
  saves::Progress save_progress;
  // See Authority; "" for none.
  std::string auth_policy;
  std::string token_file;
  // See AuditLog; "" for none.
  std::string audit_log;
  // Of volumes that have none of their own.
  UsageLimits volume_limits;
  // Volumes to create before anything listens.
  std::vector<service::VolumesFileEntry> volumes;
};

inline constexpr uint64_t kMinClientMemoryBytes = uint64_t{160} << 20;

// A quarter of the memory limit, from kMinClientMemoryBytes to 1 GiB.
uint64_t DefaultClientMemory(uint64_t memory_limit_bytes);

// The default memory limit of a process that may take `available_bytes`: 80 %,
// or less, so that `client_memory_bytes` (0: the default) and 128 MiB for code,
// threads and malloc fit beside it. At least three eighths, unless the client
// memory was given.
uint64_t DefaultMemoryLimit(uint64_t available_bytes,
                            uint64_t client_memory_bytes = 0);

// Serves from Start to Shutdown. Thread-safe, except that Shutdown is called at
// most once.
class Server {
 public:
  // Returns when all addresses are bound. INVALID_ARGUMENT for bad options;
  // UNAVAILABLE names the address that cannot be bound and the reason;
  // FAILED_PRECONDITION when the engine cannot go on with its state_dir, or the
  // save_dir has what cannot be read; also CreateVolume's errors for `volumes`.
  static absl::StatusOr<std::unique_ptr<Server>> Start(
      const ServerOptions& options);
  // Shuts down at once if Shutdown was not called.
  ~Server();

  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Reports NOT_SERVING, stops accepting, and answers calls under way. Cancels
  // those that are not done after `drain_timeout`. Returns when all have ended.
  void Shutdown(absl::Duration drain_timeout);

  // Saves all volumes to the save_dir, if there is one; see SaveDir::Save.
  // `quiet` after Shutdown. Logs what becomes of it.
  absl::Status Save(bool quiet, const saves::Progress& progress);

  // The bound addresses, with real ports in place of port 0: "127.0.0.1:7420",
  // "unix:/run/ramvol.sock".
  const std::vector<std::string>& grpc_addresses() const {
    return grpc_addresses_;
  }
  // "http://127.0.0.1:7421/metrics", or "" when off.
  const std::string& metrics_url() const { return metrics_url_; }

  // See NbdServer::addresses; empty when there is no NBD server.
  std::vector<std::string> nbd_addresses() const {
    return nbd_ == nullptr ? std::vector<std::string>() : nbd_->addresses();
  }

  // See ServerOptions.
  std::string vhost_user_dir() const {
    return vhost_ == nullptr ? "" : vhost_->dir();
  }

  engine::Engine& engine() { return *engine_; }
  // See IoStreamSet.
  void SetOperationHookForTest(service::IoStreamSet::Hook hook) {
    block_service_.SetOperationHookForTest(std::move(hook));
  }

 private:
  Server(std::unique_ptr<access::Authority> authority,
         std::unique_ptr<access::AuditLog> audit,
         std::unique_ptr<engine::Engine> engine,
         std::unique_ptr<saves::SaveDir> saves, const ServerOptions& options);

  absl::Status StartMetrics(const ServerOptions& options);
  metrics::Endpoint::Metrics AllMetrics(const ServerOptions& options);
  // See metrics::Endpoint::Readiness.
  std::string WhyNotReady() const;
  // For the status page.
  status::ServerState GetState();
  status::Labels LabelsOf(const std::string& volume) const;
  std::optional<metrics::SnapshotInfo> InfoOf(const std::string& snapshot);
  absl::Status StartTls(const ServerOptions& options);
  // Null when TCP is not encrypted.
  Securer SecureTcp(ClientAuth client_auth, const char* protocol);
  absl::Status StartNbd(const ServerOptions& options);
  absl::Status StartVhostUser(const ServerOptions& options);
  void StopVhostUser();
  absl::Status StartGrpc(const ServerOptions& options);
  void SetServing(bool serving);
  // Every second.
  void Tick();
  // More often.
  void ReviewAccess();

  // Later members use earlier ones.
  UsageTimer usage_timer_;
  const std::unique_ptr<access::Authority> authority_;
  const std::unique_ptr<access::AuditLog> audit_;  // Null: none.
  access::Sessions sessions_;
  const std::unique_ptr<engine::Engine> engine_;
  const std::unique_ptr<saves::SaveDir> saves_;  // May be null.
  // Shared: calls whose last bytes are still in a transport outlive the server.
  const std::shared_ptr<ClientMemory> client_memory_;
  service::EventFeed feed_;
  service::Catalog catalog_;
  const service::CallAccess access_;
  service::CallGate gate_;
  service::EventWatchers watchers_;
  service::Executor executor_;
  service::VolumeService volume_service_;
  service::BlockService block_service_;
  service::AccessService access_service_;
  EngineExports exports_;
  nbd::NbdStats nbd_stats_;
  EngineExports vhost_exports_;
  vhost::VhostStats vhost_stats_;
  const std::shared_ptr<DoorStats> grpc_door_ = std::make_shared<DoorStats>();
  DoorStats http_door_;
  const service::RpcStats rpc_stats_;
  // Why the server is not ready; null while it serves.
  std::atomic<const char*> busy_{"starting"};
  std::unique_ptr<TlsServer> tls_;  // Null when nothing is encrypted.
  const ClientAuth client_auth_;
  const bool encrypts_tcp_;  // gRPC's and HTTP's.
  std::unique_ptr<status::StatusPages> pages_;
  std::unique_ptr<metrics::Endpoint> metrics_;
  std::unique_ptr<nbd::NbdServer> nbd_;
  std::unique_ptr<vhost::VhostServer> vhost_;
  std::unique_ptr<VhostVolumes> vhost_volumes_;
  std::unique_ptr<grpc::Server> grpc_;
  std::unique_ptr<ConnectionAcceptor> acceptor_;

  // Constant after Start.
  std::vector<std::string> grpc_addresses_;
  std::string metrics_url_;

  service::LimitWatch limit_watch_;  // The ticker's.
  // Last: their threads use the others.
  Ticker ticker_;
  Ticker access_ticker_;
};

}  // namespace ramvol::server

#endif  // RAMVOL_SERVER_SERVER_H_
