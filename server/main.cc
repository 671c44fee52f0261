// ramvold: compressed RAM volumes over gRPC, NBD and vhost-user.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/listen_address.h"
#include "base/metrics/host_rule.h"
#include "base/metrics/process_memory.h"
#include "base/program.h"
#include "base/size.h"
#include "base/size_flag.h"
#include "base/systemd.h"
#include "base/tls/tls_server.h"
#include "nbd_bridge/nbd_address.h"
#include "nbd_bridge/nbd_tls.h"
#include "server/engine/metrics/metric_labels.h"
#include "server/saves/save_writer.h"
#include "server/server.h"
#include "server/service/volumes_file.h"

using ramvol::SizeFlag;

ABSL_FLAG(std::string, listen, "",
          "Where gRPC listens: HOST:PORT, [IPV6]:PORT, unix:PATH, or systemd "
          "for the sockets named grpc that it passed; several with commas "
          "between them. Port 0 takes any free port. When not given: systemd "
          "if such sockets were passed, else 127.0.0.1:7420.");
ABSL_FLAG(std::string, metrics_listen, "127.0.0.1:7421",
          "Where Prometheus finds /metrics, and probes /healthz and /readyz: "
          "HOST:PORT. With --auth_policy, metrics and the status page want the "
          "token of one who may see all volumes. Empty turns it off.");
ABSL_FLAG(
    bool, status_page, true,
    "Whether / of --metrics_listen serves a page that shows volumes, memory, "
    "clients and errors, and the last ten minutes as plots.");
ABSL_FLAG(std::string, status_page_hosts, "",
          "Names by which browsers may ask for the status page and its JSON, "
          "beside IP addresses and localhost: names with commas between them, "
          ".example for all below.");
ABSL_FLAG(
    int, metrics_max_volumes,
    static_cast<int>(ramvol::server::ServerOptions().metrics_max_volumes),
    "Most volumes, and most snapshots, that have metrics of their own, the "
    "first in order of names; those of the others are added up as "
    "\"_other\".");
ABSL_FLAG(std::string, metrics_labels, "",
          "Labels of volumes and snapshots that their metrics have, too, as "
          "label_KEY: keys with commas between them, at most 8, such as "
          "team,env.");
ABSL_FLAG(std::string, nbd_listen, "",
          "Where NBD clients are served: unix:PATH, HOST:PORT, [IPV6]:PORT, "
          "vsock:PORT, or systemd for the sockets that it passed and that are "
          "not named grpc; several with commas between them. Port 0 takes any "
          "free port. When not given: systemd if such sockets were passed, "
          "else nowhere.");
ABSL_FLAG(
    std::string, vhost_user_dir, "",
    "A directory in which each volume and snapshot has a Unix socket NAME.sock "
    "for a virtual machine, which attaches it by vhost-user. It is made if it "
    "is missing. Only this process's user may connect; where the directory has "
    "the setgid bit, its group may, too. Empty: none.");
ABSL_FLAG(std::string, default_export, "",
          "The volume that NBD clients mean by the empty name. Empty: none.");
ABSL_FLAG(bool, nbd_read_only, false, "Whether NBD clients may only read.");
ABSL_FLAG(int, nbd_max_connections, 4096,
          "Most NBD connections at a time, 1 to 65536; further clients wait.");
ABSL_FLAG(
    std::string, tls_cert, "",
    "The server's certificate, and those that signed it, in PEM. With it, "
    "gRPC over TCP and --metrics_listen speak TLS only. The file is read "
    "again when it changes, as are those of the next flags. Empty: no "
    "TLS.");
ABSL_FLAG(std::string, tls_key, "", "The key of --tls_cert, in PEM.");
ABSL_FLAG(std::string, tls_client_ca, "",
          "The certificates that sign those of clients, in PEM. Empty: clients "
          "need none.");
ABSL_FLAG(std::string, tls_client_auth, "require",
          "With --tls_client_ca, whether gRPC and NBD clients must show a "
          "certificate: require or optional. One that is shown must be good.");
ABSL_FLAG(
    std::string, nbd_tls, "",
    "Whether NBD clients encrypt: off, allow or require, on all addresses "
    "of --nbd_listen. When not given: require with --tls_cert or "
    "--nbd_tls_psk, else off.");
ABSL_FLAG(std::string, nbd_tls_psk, "",
          "A file of keys that NBD clients may have instead of a certificate: "
          "lines USER:HEXKEY, as psktool of GnuTLS writes them. Empty: none.");
ABSL_FLAG(bool, insecure, false,
          "Whether to listen without TLS where other machines can reach it. "
          "Everyone who does may then do everything.");
ABSL_FLAG(SizeFlag, memory_limit, {},
          "Most memory that all volumes may take together, such as 2G or 512M; "
          "at least 16M. 0 means 80% of the smaller of the cgroup's limit and "
          "the machine's RAM, or less, down to 3/8 of it, where that would not "
          "leave --client_memory and 96M for the rest of the process.");
ABSL_FLAG(SizeFlag, client_memory, {},
          "Most memory that requests, answers and connections of all clients "
          "may take together, beside --memory_limit; at least 160M. What does "
          "not fit waits, and clients that hold much and take nothing are "
          "sent away then. 0 means a quarter of --memory_limit, at least "
          "160M, at most 1G.");
ABSL_FLAG(SizeFlag, hot_cache, {},
          "Most memory for uncompressed blocks, a part of --memory_limit: at "
          "least 1M, at most half of it. 0 means an eighth of it, at most 1G.");
ABSL_FLAG(int, background_threads, 0,
          "Threads that compress and merge in the background. 0 means one for "
          "each core, at most 64.");
ABSL_FLAG(absl::Duration, merge_interval,
          absl::Milliseconds(ramvol::engine::EngineOptions().merge_interval_ms),
          "Data that was not touched for this time, or up to twice as long, is "
          "recompressed in the background, in larger frames: 1ms to 1h.");
ABSL_FLAG(int, max_volumes, ramvol::engine::EngineOptions().max_volumes,
          "Most volumes at a time.");
ABSL_FLAG(std::string, state_dir, "",
          "A directory on a tmpfs, such as /dev/shm/ramvol, that holds the "
          "volumes' memory, so that they outlive this process: a new one with "
          "the same directory goes on with them, whatever ended the old one "
          "but the machine. The tmpfs needs room for --memory_limit. Empty: "
          "volumes end with the process.");
ABSL_FLAG(std::string, save_dir, "",
          "A directory on a disk, to which all volumes and snapshots are saved "
          "when SIGTERM or SIGINT stop this process and when ramvol save --all "
          "asks for it, and from which a new one reads them, unless there are "
          "volumes in its --state_dir. It needs room for two saves. Empty: "
          "nowhere.");
ABSL_FLAG(std::string, volumes_file, "",
          "A file with the volumes to create before the ready line, in the "
          "text format of ramvol.v1.VolumesFile: volumes { name: \"scratch\" "
          "size_bytes: 1073741824 }. Those that are there already, of the "
          "--state_dir or the --save_dir, stay as they are. Empty: none.");
ABSL_FLAG(SizeFlag, volume_bps_total, {},
          "Most bytes a second that all clients of a volume without a limit "
          "of its own may read and write together, such as 200M; what comes "
          "too soon waits. 0 means no limit.");
ABSL_FLAG(SizeFlag, volume_bps_total_max, {},
          "Most of these bytes that may come at once after a pause, at least "
          "--volume_bps_total. 0 means what comes in a tenth of a second.");
ABSL_FLAG(int, volume_io_streams, 0,
          "Most Io streams at a time on a volume without a limit of its own. "
          "0 means no limit.");
ABSL_FLAG(int64_t, volume_iops_total, 0,
          "Most reads, writes and writes of zeroes a second of all clients of "
          "a volume without a limit of its own together; those that come too "
          "soon wait. 0 means no limit.");
ABSL_FLAG(int64_t, volume_iops_total_max, 0,
          "Most of these operations that may come at once after a pause, at "
          "least --volume_iops_total. 0 means what comes in a tenth of a "
          "second.");
ABSL_FLAG(int, volume_nbd_connections, 0,
          "Most NBD connections at a time on a volume without a limit of its "
          "own. 0 means no limit.");
ABSL_FLAG(std::string, auth_policy, "",
          "A file that says who may do what, in the text format of "
          "ramvol.v1.AccessPolicy; read again when it changes. Nobody may do "
          "what it does not grant. Empty: everyone who can connect may do "
          "everything.");
ABSL_FLAG(std::string, token_file, "",
          "A file with the bearer tokens that are known, a line of "
          "NAME:sha256:HEX for each; read again when it changes. \"ramvol auth "
          "new-token NAME\" makes tokens. Empty: none.");
ABSL_FLAG(std::string, audit_log, "",
          "A file to which a line of JSON is added for each call that changes "
          "or opens something, and for each that is refused; - is standard "
          "output. Empty: none.");
ABSL_FLAG(std::string, log_format, "text",
          "The format of the log on standard error: text, or json for one "
          "object a line.");
ABSL_FLAG(std::string, log_level, "info",
          "The lowest level to log: info, warning or error.");
ABSL_FLAG(absl::Duration, drain_timeout, absl::Seconds(10),
          "How long requests under way may go on after SIGTERM or SIGINT.");

namespace {

using ramvol::server::Server;
using ramvol::server::ServerOptions;

// When there is a --state_dir or a --save_dir that this process cannot go on
// with.
constexpr int kExitStateRefused = 3;
// When it stopped, and not all volumes are saved.
constexpr int kExitNotSaved = 4;
// How often systemd hears that a save is read or written.
constexpr absl::Duration kBusyInterval = absl::Seconds(5);
constexpr absl::Duration kMaxMergeInterval = absl::Hours(1);
constexpr char kDefaultListen[] = "127.0.0.1:7420";
// In --listen and --nbd_listen, stands for the passed sockets.
constexpr char kSystemd[] = "systemd";
constexpr char kGrpcSocketName[] = "grpc";

constexpr char kUsage[] =
    "ramvold serves named, compressed RAM volumes over gRPC and NBD.\n\n"
    "Usage: ramvold [flags]\n\n"
    "When all addresses are bound it prints one line, \"ramvold ready: ...\", "
    "with each of them. It logs to standard error. SIGTERM and SIGINT stop it "
    "cleanly. It exits with 3 when it cannot go on with what is in its "
    "--state_dir or --save_dir, which it leaves as they are, with 4 when it "
    "stopped without saving all volumes to its --save_dir, and with 1 after "
    "other failures.";

absl::StatusOr<uint64_t> MemoryLimit() {
  const uint64_t given = absl::GetFlag(FLAGS_memory_limit).bytes;
  if (given != 0) return given;
  const std::optional<uint64_t> available =
      ramvol::metrics::AvailableMemoryBytes();
  if (!available.has_value()) {
    return absl::NotFoundError(
        "the machine's memory is unknown; give --memory_limit");
  }
  return ramvol::server::DefaultMemoryLimit(
      *available, absl::GetFlag(FLAGS_client_memory).bytes);
}

// Assigns the passed sockets to gRPC and NBD by their names.
void TakeSystemdSockets(ServerOptions* options) {
  for (const ramvol::SystemdSocket& socket : ramvol::SystemdSockets(
           std::getenv("LISTEN_PID"), std::getenv("LISTEN_FDS"),
           std::getenv("LISTEN_FDNAMES"))) {
    auto& sockets = socket.name == kGrpcSocketName
                        ? options->grpc_sockets
                        : options->nbd.systemd_sockets;
    sockets.push_back(socket.fd);
  }
}

// Sets `listen`, and keeps `grpc_sockets` only if --listen names them.
absl::Status SetGrpcListen(ServerOptions* options) {
  std::string flag = absl::GetFlag(FLAGS_listen);
  if (flag.empty()) {
    flag = options->grpc_sockets.empty() ? kDefaultListen : kSystemd;
  }
  std::vector<std::string> addresses = absl::StrSplit(flag, ',');
  const auto systemd =
      std::remove(addresses.begin(), addresses.end(), kSystemd);
  const bool wanted = systemd != addresses.end();
  addresses.erase(systemd, addresses.end());
  if (!wanted) options->grpc_sockets.clear();
  if (wanted && options->grpc_sockets.empty()) {
    return absl::InvalidArgumentError(
        "--listen says systemd, and no socket named grpc was passed to this "
        "process; start it by a systemd .socket unit with "
        "FileDescriptorName=grpc, or give an address to listen on");
  }
  if (wanted && addresses.empty()) return absl::OkStatus();
  auto listen = ramvol::ParseListenAddresses(absl::StrJoin(addresses, ","));
  if (!listen.ok()) return listen.status();
  options->listen = *std::move(listen);
  return absl::OkStatus();
}

absl::StatusOr<int> MergeIntervalMs() {
  const absl::Duration interval = absl::GetFlag(FLAGS_merge_interval);
  if (interval < absl::Milliseconds(1) || interval > kMaxMergeInterval) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--merge_interval is ", absl::FormatDuration(interval),
        "; it must be 1ms to ", absl::FormatDuration(kMaxMergeInterval)));
  }
  return static_cast<int>(absl::ToInt64Milliseconds(interval));
}

absl::Status SetMetrics(ServerOptions* options) {
  options->metrics_listen = absl::GetFlag(FLAGS_metrics_listen);
  const int max_volumes = absl::GetFlag(FLAGS_metrics_max_volumes);
  if (max_volumes < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--metrics_max_volumes is ", max_volumes, "; it must not be negative"));
  }
  options->metrics_max_volumes = static_cast<size_t>(max_volumes);
  auto labels =
      ramvol::metrics::ParseMetricLabels(absl::GetFlag(FLAGS_metrics_labels));
  if (!labels.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--metrics_labels: ", labels.status().message()));
  }
  options->metrics_labels = *std::move(labels);
  options->status_page = absl::GetFlag(FLAGS_status_page);
  auto hosts =
      ramvol::metrics::HostRule::Parse(absl::GetFlag(FLAGS_status_page_hosts));
  if (!hosts.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--status_page_hosts: ", hosts.status().message()));
  }
  options->status_page_hosts = *std::move(hosts);
  return absl::OkStatus();
}

absl::Status SetTls(ServerOptions* options) {
  options->tls = {.cert = absl::GetFlag(FLAGS_tls_cert),
                  .key = absl::GetFlag(FLAGS_tls_key),
                  .client_ca = absl::GetFlag(FLAGS_tls_client_ca),
                  .psk = absl::GetFlag(FLAGS_nbd_tls_psk)};
  const ramvol::TlsFiles& files = options->tls;
  if (files.cert.empty() != files.key.empty()) {
    return absl::InvalidArgumentError(
        "--tls_cert and --tls_key go together; give both or neither");
  }
  if (files.cert.empty() && !files.client_ca.empty()) {
    return absl::InvalidArgumentError(
        "--tls_client_ca needs a certificate of the server; give --tls_cert "
        "and --tls_key");
  }
  const std::string auth = absl::GetFlag(FLAGS_tls_client_auth);
  if (auth != "require" && auth != "optional") {
    return absl::InvalidArgumentError(absl::StrCat(
        "--tls_client_auth is \"", auth, "\"; it must be require or optional"));
  }
  options->client_auth = auth == "require" ? ramvol::ClientAuth::kRequire
                                           : ramvol::ClientAuth::kOptional;
  const bool has_credentials = !files.cert.empty() || !files.psk.empty();
  const auto mode = ramvol::nbd::ParseNbdTlsMode(
      "nbd_tls", absl::GetFlag(FLAGS_nbd_tls), has_credentials);
  if (!mode.ok()) return mode.status();
  options->nbd.tls.mode = *mode;
  options->insecure = absl::GetFlag(FLAGS_insecure);
  return absl::OkStatus();
}

absl::Status SetVolumeLimits(ServerOptions* options) {
  struct {
    const char* flag;
    int64_t value;
    uint64_t ramvol::UsageLimits::* limit;
  } const limits[] = {
      {"volume_iops_total", absl::GetFlag(FLAGS_volume_iops_total),
       &ramvol::UsageLimits::iops_total},
      {"volume_iops_total_max", absl::GetFlag(FLAGS_volume_iops_total_max),
       &ramvol::UsageLimits::iops_total_max},
      {"volume_io_streams", absl::GetFlag(FLAGS_volume_io_streams),
       &ramvol::UsageLimits::io_streams},
      {"volume_nbd_connections", absl::GetFlag(FLAGS_volume_nbd_connections),
       &ramvol::UsageLimits::nbd_connections}};
  for (const auto& [flag, value, limit] : limits) {
    if (value < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", flag, " is ", value, "; it must not be negative"));
    }
    options->volume_limits.*limit = static_cast<uint64_t>(value);
  }
  ramvol::UsageLimits& all = options->volume_limits;
  all.bps_total = absl::GetFlag(FLAGS_volume_bps_total).bytes;
  all.bps_total_max = absl::GetFlag(FLAGS_volume_bps_total_max).bytes;
  const auto too_small = [](uint64_t most, uint64_t rate) {
    return most != 0 && most < rate;
  };
  if (too_small(all.iops_total_max, all.iops_total) ||
      too_small(all.bps_total_max, all.bps_total)) {
    return absl::InvalidArgumentError(
        "--volume_iops_total_max or --volume_bps_total_max is less than the "
        "flag without _max; make it as large or larger");
  }
  return absl::OkStatus();
}

absl::StatusOr<ServerOptions> OptionsFromFlags() {
  ServerOptions options;
  const absl::Status volume_limits = SetVolumeLimits(&options);
  if (!volume_limits.ok()) return volume_limits;
  const absl::Status tls = SetTls(&options);
  if (!tls.ok()) return tls;
  auto limit = MemoryLimit();
  if (!limit.ok()) return limit.status();
  options.engine.memory_limit_bytes = *limit;
  options.engine.hot_cache_bytes = absl::GetFlag(FLAGS_hot_cache).bytes;
  options.engine.background_threads = absl::GetFlag(FLAGS_background_threads);
  const absl::StatusOr<int> merge_interval_ms = MergeIntervalMs();
  if (!merge_interval_ms.ok()) return merge_interval_ms.status();
  options.engine.merge_interval_ms = *merge_interval_ms;
  options.engine.max_volumes = absl::GetFlag(FLAGS_max_volumes);
  options.engine.state_dir = absl::GetFlag(FLAGS_state_dir);
  options.save_dir = absl::GetFlag(FLAGS_save_dir);
  auto volumes =
      ramvol::service::ReadVolumesFile(absl::GetFlag(FLAGS_volumes_file));
  if (!volumes.ok()) return volumes.status();
  options.volumes = *std::move(volumes);
  options.auth_policy = absl::GetFlag(FLAGS_auth_policy);
  options.token_file = absl::GetFlag(FLAGS_token_file);
  options.audit_log = absl::GetFlag(FLAGS_audit_log);
  options.client_memory_bytes = absl::GetFlag(FLAGS_client_memory).bytes;
  if (options.client_memory_bytes == 0) {
    options.client_memory_bytes = ramvol::server::DefaultClientMemory(*limit);
  }
  if (options.client_memory_bytes < ramvol::server::kMinClientMemoryBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--client_memory is ",
        ramvol::FormatExactSize(options.client_memory_bytes),
        "; it must be at least ",
        ramvol::FormatExactSize(ramvol::server::kMinClientMemoryBytes)));
  }
  TakeSystemdSockets(&options);
  const absl::Status listen = SetGrpcListen(&options);
  if (!listen.ok()) return listen;
  const absl::Status metrics = SetMetrics(&options);
  if (!metrics.ok()) return metrics;
  options.vhost_user_dir = absl::GetFlag(FLAGS_vhost_user_dir);
  options.nbd.default_export = absl::GetFlag(FLAGS_default_export);
  options.nbd.read_only = absl::GetFlag(FLAGS_nbd_read_only);
  options.nbd.max_connections = absl::GetFlag(FLAGS_nbd_max_connections);
  std::string nbd_listen = absl::GetFlag(FLAGS_nbd_listen);
  if (nbd_listen.empty() && options.nbd.systemd_sockets.empty()) return options;
  if (nbd_listen.empty()) nbd_listen = kSystemd;
  auto nbd = ramvol::nbd::ParseNbdAddresses(nbd_listen);
  if (!nbd.ok()) return nbd.status();
  options.nbd.listen = *std::move(nbd);
  return options;
}

std::string ReadyLine(const Server& server) {
  std::string line =
      absl::StrCat("grpc ", absl::StrJoin(server.grpc_addresses(), ", "));
  if (const auto nbd = server.nbd_addresses(); !nbd.empty()) {
    absl::StrAppend(&line, "; nbd ", absl::StrJoin(nbd, ", "));
  }
  if (const std::string dir = server.vhost_user_dir(); !dir.empty()) {
    absl::StrAppend(&line, "; vhost-user ", dir);
  }
  if (!server.metrics_url().empty()) {
    absl::StrAppend(&line, "; metrics ", server.metrics_url());
  }
  return line;
}

// Tells systemd now and then that all goes on. Stops at a signal that stops the
// program, if `stoppable`.
ramvol::saves::Progress Busy(const ramvol::Program& program,
                             const std::string& what, bool stoppable) {
  return [&program, what, stoppable,
          last = absl::InfinitePast()](uint64_t done_bytes) mutable {
    if (stoppable && program.StopIsPending()) {
      return absl::CancelledError(
          "stopped by a signal while a save was read, which is still there");
    }
    const absl::Time now = absl::Now();
    if (now - last >= kBusyInterval) {
      last = now;
      program.StillBusy(
          absl::StrCat(what, ": ", ramvol::FormatSize(done_bytes)));
    }
    return absl::OkStatus();
  };
}

}  // namespace

int main(int argc, char** argv) {
  ramvol::Program program("ramvold", kUsage, "server/main.cc");
  if (!program.ParseFlags(argc, argv)) return EXIT_FAILURE;
  const absl::Status log = program.SetLog(absl::GetFlag(FLAGS_log_format),
                                          absl::GetFlag(FLAGS_log_level));
  if (!log.ok()) return program.Fail(log);
  auto options = OptionsFromFlags();
  if (!options.ok()) return program.Fail(options.status());
  const absl::Duration drain_timeout = absl::GetFlag(FLAGS_drain_timeout);
  const absl::Status valid =
      ramvol::CheckTimeoutFlag("drain_timeout", drain_timeout);
  if (!valid.ok()) return program.Fail(valid);

  program.Prepare();
  options->save_progress =
      Busy(program, "Reading the save", /*stoppable=*/true);
  const auto server = Server::Start(*options);
  if (!server.ok()) {
    const bool refused = absl::IsFailedPrecondition(server.status());
    return program.Fail(server.status(),
                        refused ? kExitStateRefused : EXIT_FAILURE);
  }
  program.Log(absl::StrCat(
      "memory limit ", ramvol::FormatSize(options->engine.memory_limit_bytes),
      ", client memory ", ramvol::FormatSize(options->client_memory_bytes)));
  program.PrintReady(ReadyLine(**server));
  program.WaitForStopSignal();
  const auto save = [&](bool quiet) {
    return (*server)->Save(
        quiet, Busy(program, "Saving all volumes", /*stoppable=*/false));
  };
  program.Stop(
      drain_timeout, [&] { (*server)->Shutdown(drain_timeout); },
      [&] { (void)save(/*quiet=*/false); });
  const absl::Status saved = save(/*quiet=*/true);
  int exit_code = EXIT_SUCCESS;
  if (!saved.ok()) exit_code = program.Fail(saved, kExitNotSaved);
  program.Log("stopped");
  // The next server needs what would be freed here.
  if (!options->engine.state_dir.empty()) {
    ramvol::Program::ExitAtOnce(exit_code);
  }
  return exit_code;
}
