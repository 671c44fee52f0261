// ramvol-nbd serves the volumes of a remote ramvold over NBD.
#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/client_memory.h"
#include "base/door_stats.h"
#include "base/metrics/client_memory_metrics.h"
#include "base/metrics/door_metrics.h"
#include "base/metrics/endpoint.h"
#include "base/metrics/process_metrics.h"
#include "base/program.h"
#include "base/secure_stream.h"
#include "base/size_flag.h"
#include "base/systemd.h"
#include "base/tls/tls_server.h"
#include "client/client.h"
#include "client/options.h"
#include "client/server_address.h"
#include "nbd_bridge/metrics/bridge_metrics.h"
#include "nbd_bridge/metrics/nbd_metrics.h"
#include "nbd_bridge/nbd_address.h"
#include "nbd_bridge/nbd_server.h"
#include "nbd_bridge/nbd_tls.h"
#include "nbd_bridge/remote_device.h"
#include "nbd_bridge/stats.h"

ABSL_FLAG(std::string, server, "",
          "Where ramvold listens: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH. "
          "When not "
          "given: the environment's RAMVOL_SERVER, or 127.0.0.1:7420.");
ABSL_FLAG(std::string, tls_ca, "",
          "The certificates that sign ramvold's, in PEM, or \"system\" for "
          "those of this machine. When not given: the environment's "
          "RAMVOL_TLS_CA; without, ramvold is reached without TLS. This file "
          "and those of the next flags are read again when they change.");
ABSL_FLAG(std::string, tls_cert, "",
          "The certificate by which ramvold knows this program, in PEM. When "
          "not given: RAMVOL_TLS_CERT.");
ABSL_FLAG(std::string, tls_key, "",
          "The key of --tls_cert, in PEM. When not given: RAMVOL_TLS_KEY.");
ABSL_FLAG(std::string, token_file, "",
          "A file with the token by which ramvold knows this program. When not "
          "given: RAMVOL_TOKEN_FILE.");
ABSL_FLAG(
    std::string, nbd_tls, "",
    "Whether NBD clients encrypt: off, allow or require, on all addresses "
    "of --listen. When not given: require with --nbd_tls_cert or "
    "--nbd_tls_psk, else off.");
ABSL_FLAG(std::string, nbd_tls_cert, "",
          "The certificate for NBD clients, and those that signed it, in PEM. "
          "--metrics_listen has it, too.");
ABSL_FLAG(std::string, nbd_tls_key, "", "The key of --nbd_tls_cert, in PEM.");
ABSL_FLAG(std::string, nbd_tls_client_ca, "",
          "The certificates that sign those of NBD clients, in PEM. Such a "
          "certificate is then required. Empty: they need none.");
ABSL_FLAG(std::string, nbd_tls_psk, "",
          "A file of keys that NBD clients may have instead of a certificate: "
          "lines USER:HEXKEY, as psktool of GnuTLS writes them. Empty: none.");
ABSL_FLAG(bool, insecure, false,
          "Whether to listen without TLS where other machines can reach it. "
          "Everyone who does may then do everything.");
ABSL_FLAG(
    std::string, listen, "",
    "Where NBD clients are served: unix:PATH, HOST:PORT, [IPV6]:PORT, "
    "vsock:PORT, or systemd for the sockets that systemd or a client such "
    "as nbdcopy passed; several with commas between them. Port 0 takes any "
    "free port. When not given: systemd if sockets were passed, else "
    "127.0.0.1:10809.");
ABSL_FLAG(std::string, metrics_listen, "",
          "Where Prometheus finds /metrics, and probes /healthz and /readyz: "
          "HOST:PORT. Off when not given, so that several may run side by "
          "side.");
ABSL_FLAG(std::string, default_export, "",
          "The volume that NBD clients mean by the empty name. Empty: none.");
ABSL_FLAG(bool, read_only, false, "Whether NBD clients may only read.");
ABSL_FLAG(int, max_connections, 4096,
          "Most NBD connections at a time, 1 to 65536; further clients wait.");
ABSL_FLAG(ramvol::SizeFlag, client_memory,
          ramvol::SizeFlag{ramvol::ClientMemory::Options().limit_bytes},
          "What may be held for NBD clients: requests, replies that they have "
          "not taken, and their connections. At least 96M. On its way from and "
          "to ramvold, the data may take as much again.");
ABSL_FLAG(absl::Duration, reconnect_timeout,
          ramvol::ClientOptions().reconnect_timeout,
          "How long requests wait for a lost ramvold. Then they fail with EIO, "
          "and later ones try again. 0: they fail at once.");
// What one receive brought goes out as one message over one channel: with two,
// each message has half of it, and wakes as many threads (docs/decisions/0050).
ABSL_FLAG(int, channels, 1,
          "Connections to ramvold, which all NBD connections share: 1 to 16.");
ABSL_FLAG(std::string, log_format, "text",
          "The format of the log on standard error: text, or json for one "
          "object a line.");
ABSL_FLAG(std::string, log_level, "info",
          "The lowest level to log: info, warning or error.");
ABSL_FLAG(absl::Duration, drain_timeout, absl::Seconds(10),
          "How long requests under way may go on after SIGTERM or SIGINT.");

namespace {

using ramvol::nbd::NbdServer;
using ramvol::nbd::NbdServerOptions;

constexpr char kDefaultListen[] = "127.0.0.1:10809";
constexpr int kMaxChannels = 16;
// The largest request fits beside a client that holds all it may.
constexpr size_t kMinClientMemoryBytes = size_t{96} << 20;
// Long, because a change that timed out might still happen: a slow server is
// better waited for. Keepalives notice a lost one.
constexpr absl::Duration kRequestTimeout = absl::Minutes(10);
// Short: requests wait for the server, and a try costs little.
constexpr absl::Duration kMaxBackoff = absl::Milliseconds(500);
// Twice what a session lets in, so that calls never block in the SDK.
constexpr size_t kMaxInflightBytes = size_t{128} << 20;

constexpr char kUsage[] =
    "ramvol-nbd serves the volumes of a ramvold elsewhere to NBD clients.\n\n"
    "Usage: ramvol-nbd [flags]\n\n"
    "An NBD URI is nbd://HOST:PORT/VOLUME or nbd+unix:///VOLUME?socket=PATH. "
    "Clients can start it themselves: nbdinfo --map -- [ ramvol-nbd "
    "--default_export=VOLUME ]. When all addresses are bound it prints one "
    "line, \"ramvol-nbd ready: ...\", with each of them (to standard error, "
    "when "
    "the sockets were passed); ramvold need not be there yet. It logs to "
    "standard error. SIGTERM and SIGINT stop it cleanly.";

// The flag's value, or else the environment's, or else "".
std::string Value(const absl::Flag<std::string>& flag, const char* variable) {
  std::string value = absl::GetFlag(flag);
  if (!value.empty()) return value;
  const char* const set = std::getenv(variable);
  return set == nullptr ? "" : set;
}

std::string ServerAddress() {
  const std::string address = Value(FLAGS_server, "RAMVOL_SERVER");
  return address.empty() ? ramvol::ClientOptions().server
                         : ramvol::WithDefaultPort(address);
}

absl::StatusOr<ramvol::ClientOptions> ClientOptionsFromFlags() {
  ramvol::ClientOptions options;
  options.server = ServerAddress();
  options.channels = absl::GetFlag(FLAGS_channels);
  if (options.channels < 1 || options.channels > kMaxChannels) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--channels is ", options.channels, "; give 1 to ", kMaxChannels));
  }
  options.reconnect_timeout = absl::GetFlag(FLAGS_reconnect_timeout);
  absl::Status valid =
      ramvol::CheckTimeoutFlag("reconnect_timeout", options.reconnect_timeout);
  if (!valid.ok()) return valid;
  options.timeout = options.reconnect_timeout + kRequestTimeout;
  options.max_backoff = kMaxBackoff;
  options.max_inflight_bytes = kMaxInflightBytes;
  options.tls_ca = Value(FLAGS_tls_ca, "RAMVOL_TLS_CA");
  options.tls_cert = Value(FLAGS_tls_cert, "RAMVOL_TLS_CERT");
  options.tls_key = Value(FLAGS_tls_key, "RAMVOL_TLS_KEY");
  options.token_file = Value(FLAGS_token_file, "RAMVOL_TOKEN_FILE");
  valid = ramvol::CheckCredentials(options);
  if (!valid.ok()) return valid;
  return options;
}

// TLS for NBD clients and HTTP; null without.
absl::StatusOr<std::unique_ptr<ramvol::TlsServer>> TlsFromFlags() {
  const ramvol::TlsFiles files = {
      .cert = absl::GetFlag(FLAGS_nbd_tls_cert),
      .key = absl::GetFlag(FLAGS_nbd_tls_key),
      .client_ca = absl::GetFlag(FLAGS_nbd_tls_client_ca),
      .psk = absl::GetFlag(FLAGS_nbd_tls_psk)};
  if (files.cert.empty() != files.key.empty()) {
    return absl::InvalidArgumentError(
        "--nbd_tls_cert and --nbd_tls_key go together; give both or neither");
  }
  if (files.cert.empty() && !files.client_ca.empty()) {
    return absl::InvalidArgumentError(
        "--nbd_tls_client_ca needs --nbd_tls_cert and --nbd_tls_key");
  }
  if (files.cert.empty() && files.psk.empty()) return nullptr;
  return ramvol::TlsServer::Make(files);
}

absl::Status SetNbdTls(ramvol::TlsServer* tls, NbdServerOptions* options) {
  const auto mode = ramvol::nbd::ParseNbdTlsMode(
      "nbd_tls", absl::GetFlag(FLAGS_nbd_tls), tls != nullptr);
  if (!mode.ok()) return mode.status();
  options->insecure = absl::GetFlag(FLAGS_insecure);
  options->tls.mode = *mode;
  options->tls.begin = [tls](int fd) {
    return tls->Begin(
        fd, {.client_auth = ramvol::ClientAuth::kRequire, .psk = true});
  };
  return absl::OkStatus();
}

// Null without a certificate.
ramvol::Securer SecureHttp(ramvol::TlsServer* tls) {
  if (absl::GetFlag(FLAGS_nbd_tls_cert).empty()) return nullptr;
  return [tls](int fd) { return tls->Begin(fd, {}); };
}

absl::StatusOr<NbdServerOptions> NbdOptionsFromFlags() {
  NbdServerOptions options;
  options.default_export = absl::GetFlag(FLAGS_default_export);
  options.read_only = absl::GetFlag(FLAGS_read_only);
  options.max_connections = absl::GetFlag(FLAGS_max_connections);
  for (const ramvol::SystemdSocket& socket : ramvol::SystemdSockets(
           std::getenv("LISTEN_PID"), std::getenv("LISTEN_FDS"),
           std::getenv("LISTEN_FDNAMES"))) {
    options.systemd_sockets.push_back(socket.fd);
  }
  std::string listen = absl::GetFlag(FLAGS_listen);
  if (listen.empty()) {
    listen = options.systemd_sockets.empty() ? kDefaultListen : "systemd";
  }
  auto addresses = ramvol::nbd::ParseNbdAddresses(listen);
  if (!addresses.ok()) return addresses.status();
  options.listen = *std::move(addresses);
  return options;
}

absl::StatusOr<ramvol::ClientMemory::Options> MemoryOptionsFromFlags() {
  ramvol::ClientMemory::Options options;
  options.limit_bytes = absl::GetFlag(FLAGS_client_memory).bytes;
  if (options.limit_bytes < kMinClientMemoryBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("--client_memory is ", options.limit_bytes,
                     " bytes; give at least ", kMinClientMemoryBytes));
  }
  return options;
}

// Why the program is not ready; null while it serves.
std::atomic<const char*> busy = "starting";

// Null when --metrics_listen is not given.
absl::StatusOr<std::unique_ptr<ramvol::metrics::Endpoint>> StartMetrics(
    const ramvol::nbd::NbdStats& stats, ramvol::ClientMemory* client_memory,
    const ramvol::Client& client, ramvol::DoorStats* http_door,
    ramvol::TlsServer* tls) {
  const std::string address = absl::GetFlag(FLAGS_metrics_listen);
  if (address.empty()) return nullptr;
  return ramvol::metrics::Endpoint::Start(
      address,
      {std::make_shared<ramvol::metrics::ProcessMetrics>(),
       std::make_shared<ramvol::metrics::NbdMetrics>(&stats),
       std::make_shared<ramvol::metrics::ClientMemoryMetrics>(client_memory),
       std::make_shared<ramvol::metrics::DoorMetrics>(
           std::vector<ramvol::metrics::DoorMetrics::Door>{
               {"nbd", &stats.door()}, {"http", http_door}}),
       std::make_shared<ramvol::metrics::BridgeMetrics>(
           [client] { return client.reconnects(); },
           [client] { return client.lost_streams(); })},
      [] {
        const char* const doing = busy.load();
        return std::string(doing == nullptr ? "" : doing);
      },
      http_door, /*pages=*/nullptr, /*hosts=*/{}, SecureHttp(tls),
      absl::GetFlag(FLAGS_insecure));
}

int Run(ramvol::Program& program) {
  const absl::Status log = program.SetLog(absl::GetFlag(FLAGS_log_format),
                                          absl::GetFlag(FLAGS_log_level));
  if (!log.ok()) return program.Fail(log);
  const auto client_options = ClientOptionsFromFlags();
  if (!client_options.ok()) return program.Fail(client_options.status());
  auto nbd_options = NbdOptionsFromFlags();
  if (!nbd_options.ok()) return program.Fail(nbd_options.status());
  const auto tls = TlsFromFlags();
  if (!tls.ok()) return program.Fail(tls.status());
  const absl::Status nbd_tls = SetNbdTls(tls->get(), &*nbd_options);
  if (!nbd_tls.ok()) return program.Fail(nbd_tls);
  const auto memory_options = MemoryOptionsFromFlags();
  if (!memory_options.ok()) return program.Fail(memory_options.status());
  const absl::Duration drain_timeout = absl::GetFlag(FLAGS_drain_timeout);
  const absl::Status valid =
      ramvol::CheckTimeoutFlag("drain_timeout", drain_timeout);
  if (!valid.ok()) return program.Fail(valid);

  program.Prepare();
  if (*tls != nullptr) (*tls)->Watch();
  const ramvol::Client client(*client_options);
  ramvol::nbd::RemoteExports exports(client);
  ramvol::ClientMemory client_memory(*memory_options);
  ramvol::nbd::NbdStats stats;
  ramvol::DoorStats http_door;
  const auto metrics =
      StartMetrics(stats, &client_memory, client, &http_door, tls->get());
  if (!metrics.ok()) return program.Fail(metrics.status());
  const auto server =
      NbdServer::Start(*nbd_options, &exports, &client_memory, &stats);
  if (!server.ok()) return program.Fail(server.status());
  busy = nullptr;
  std::string ready =
      absl::StrCat("nbd ", absl::StrJoin((*server)->addresses(), ", "),
                   "; server ", client_options->server);
  if (*metrics != nullptr) {
    absl::StrAppend(&ready, "; metrics ", (*metrics)->url());
  }
  if (nbd_options->systemd_sockets.empty()) {
    program.PrintReady(ready);
  } else {
    // The program that passed the sockets, such as nbdcopy, shares its standard
    // output with this process and may write an image to it.
    program.LogReady(ready);
  }
  program.WaitForStopSignal();
  busy = "shutting down";
  program.Stop(drain_timeout, [&] { (*server)->Shutdown(drain_timeout); });
  program.Log("stopped");
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  ramvol::Program program("ramvol-nbd", kUsage, "nbd_bridge/main.cc");
  return program.ParseFlags(argc, argv) ? Run(program) : EXIT_FAILURE;
}
