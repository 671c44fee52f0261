// ramvol-csi gives the volumes of this node's ramvold to pods: the driver of
// the Container Storage Interface, all services in one process.
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/program.h"
#include "client/options.h"
#include "client/server_address.h"
#include "csi/choose_attacher.h"
#include "csi/command.h"
#include "csi/driver.h"
#include "csi/fuse_process.h"
#include "csi/init.h"
#include "csi/volumes.h"

ABSL_FLAG(std::string, endpoint, "unix:/run/ramvol-csi/csi.sock",
          "The Unix socket of the services: unix:PATH or unix://PATH.");
ABSL_FLAG(std::string, node_id, "",
          "The name of this node, as Kubernetes has it, of at most 63 "
          "characters. Required.");
ABSL_FLAG(std::string, ramvold, "",
          "Where this node's ramvold listens: unix:PATH, HOST or HOST:PORT. "
          "When not given: the environment's RAMVOL_SERVER, or "
          "127.0.0.1:7420.");
ABSL_FLAG(std::string, nbd, "",
          "Where NBD is served, for --attach=nbd: unix:PATH or HOST:PORT. When "
          "not given: what ramvold says.");
ABSL_FLAG(std::string, state_dir, "/run/ramvol-csi/volumes",
          "A folder for what --attach=fuse mounts. It must be the same after a "
          "restart.");
ABSL_FLAG(std::string, attach, "auto",
          "How volumes become block devices: nbd by the kernel's driver, fuse "
          "by FUSE and a loop device, auto for nbd where there is the driver, "
          "else fuse.");
ABSL_FLAG(
    absl::Duration, reconnect_timeout, absl::Minutes(10),
    "How long reads and writes of pods wait for a lost ramvold. Then they "
    "fail.");
ABSL_FLAG(std::string, serve_file, "",
          "For the driver itself, which starts itself with it for each volume "
          "that it attaches by FUSE: the file, DIR/VOLUME@UID, at which that "
          "is mounted.");
ABSL_FLAG(double, overcommit, 3,
          "How many times the free part of ramvold's memory limit new volumes "
          "may promise, 0.1 to 1000.");
ABSL_FLAG(absl::Duration, trim_interval, absl::Minutes(30),
          "How often mounted file systems are trimmed, beside what they trim "
          "at once. 0: never.");
ABSL_FLAG(std::string, tls_ca, "",
          "The certificates that sign ramvold's, in PEM, or \"system\" for "
          "those of this machine. When not given: the environment's "
          "RAMVOL_TLS_CA; without, ramvold is reached without TLS.");
ABSL_FLAG(std::string, tls_cert, "",
          "The certificate by which ramvold knows this program, in PEM. When "
          "not given: RAMVOL_TLS_CERT.");
ABSL_FLAG(std::string, tls_key, "",
          "The key of --tls_cert, in PEM. When not given: RAMVOL_TLS_KEY.");
ABSL_FLAG(std::string, token_file, "",
          "A file with the token by which ramvold knows this program. When not "
          "given: RAMVOL_TOKEN_FILE.");
ABSL_FLAG(std::string, metrics_listen, "",
          "Where Prometheus finds /metrics, and probes /healthz and /readyz: "
          "HOST:PORT. Off when not given.");
ABSL_FLAG(std::string, log_format, "text",
          "The format of the log on standard error: text, or json for one "
          "object a line.");
ABSL_FLAG(std::string, log_level, "info",
          "The lowest level to log: info, warning or error.");
ABSL_FLAG(absl::Duration, drain_timeout, absl::Seconds(10),
          "How long calls under way may go on after SIGTERM or SIGINT.");

namespace ramvol::csi_driver {
namespace {

constexpr char kUsage[] =
    "ramvol-csi gives the volumes of this node's ramvold to pods.\n\n"
    "Usage: ramvol-csi --endpoint=unix:PATH --node_id=NAME [flags]\n\n"
    "It serves the Container Storage Interface's Identity, Controller, "
    "GroupController, SnapshotMetadata and Node services. When the socket is "
    "there it prints one line, \"ramvol-csi "
    "ready: ...\"; ramvold need not be there yet. It logs to standard error. "
    "SIGTERM and SIGINT stop it cleanly; volumes stay attached and mounted.";

// Calls to ramvold wait so long for it. Kubernetes repeats what fails.
constexpr absl::Duration kReconnectTimeout = absl::Seconds(2);
constexpr absl::Duration kCallTimeout = absl::Seconds(20);

// The flag's value, or else the environment's, or else "".
std::string Value(const absl::Flag<std::string>& flag, const char* variable) {
  std::string value = absl::GetFlag(flag);
  if (!value.empty()) return value;
  const char* const set = std::getenv(variable);
  return set == nullptr ? "" : set;
}

absl::StatusOr<ClientOptions> ClientOptionsFromFlags() {
  ClientOptions options;
  const std::string address = Value(FLAGS_ramvold, "RAMVOL_SERVER");
  if (!address.empty()) options.server = WithDefaultPort(address);
  options.channels = 1;
  options.timeout = kCallTimeout;
  options.reconnect_timeout = kReconnectTimeout;
  options.tls_ca = Value(FLAGS_tls_ca, "RAMVOL_TLS_CA");
  options.tls_cert = Value(FLAGS_tls_cert, "RAMVOL_TLS_CERT");
  options.tls_key = Value(FLAGS_tls_key, "RAMVOL_TLS_KEY");
  options.token_file = Value(FLAGS_token_file, "RAMVOL_TOKEN_FILE");
  const absl::Status valid = CheckCredentials(options);
  if (!valid.ok()) return valid;
  return options;
}

absl::StatusOr<VolumesOptions> VolumesOptionsFromFlags() {
  VolumesOptions options = {.node_id = absl::GetFlag(FLAGS_node_id),
                            .overcommit = absl::GetFlag(FLAGS_overcommit)};
  const absl::Status valid = options.Validate();
  if (!valid.ok()) return valid;
  return options;
}

// gRPC's form of the endpoint: "unix:PATH".
absl::StatusOr<std::string> EndpointFromFlags() {
  std::string endpoint = absl::GetFlag(FLAGS_endpoint);
  if (!absl::StartsWith(endpoint, "unix:") || endpoint.size() <= 5) {
    return absl::InvalidArgumentError(
        absl::StrCat("--endpoint is \"", endpoint, "\"; give unix:PATH"));
  }
  std::string path = endpoint.substr(5);
  if (absl::StartsWith(path, "//")) path = path.substr(2);
  return "unix:" + path;
}

absl::Status MakeFolders(const std::string& path) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      return absl::InvalidArgumentError(
          absl::StrCat("--state_dir: ", part, ": ", std::strerror(errno)));
    }
    if (slash == std::string::npos) return absl::OkStatus();
  }
}

// This program, also after another version was put in its place.
std::string OwnPath() {
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  if (length <= 0) return "ramvol-csi";
  return std::string(absl::StripSuffix(
      absl::string_view(path, static_cast<size_t>(length)), " (deleted)"));
}

// Flags that are not given come from the environment, which it has as well.
Command ServeCommand() {
  Command command = {OwnPath(), absl::StrCat("--reconnect_timeout=",
                                             absl::FormatDuration(absl::GetFlag(
                                                 FLAGS_reconnect_timeout)))};
  for (const auto& [name, flag] :
       {std::pair("--ramvold=", &FLAGS_ramvold),
        std::pair("--tls_ca=", &FLAGS_tls_ca),
        std::pair("--tls_cert=", &FLAGS_tls_cert),
        std::pair("--tls_key=", &FLAGS_tls_key),
        std::pair("--token_file=", &FLAGS_token_file)}) {
    const std::string value = absl::GetFlag(*flag);
    if (!value.empty()) command.push_back(absl::StrCat(name, value));
  }
  return command;
}

// The whole of a process that --serve_file starts.
int ServeFile(Program& program) {
  auto options = ClientOptionsFromFlags();
  if (!options.ok()) return program.Fail(options.status());
  const absl::Status served =
      ServeFuseFile(program,
                    PatientOptions(*std::move(options),
                                   absl::GetFlag(FLAGS_reconnect_timeout)),
                    absl::GetFlag(FLAGS_serve_file));
  const int code = served.ok() ? EXIT_SUCCESS : program.Fail(served);
  // Operations of an unmounted file have nobody who waits for them.
  Program::ExitAtOnce(code);
}

absl::StatusOr<AttachWay> AttachWayFromFlags() {
  const std::string flag = absl::GetFlag(FLAGS_attach);
  if (flag == "auto") return AttachWay::kAuto;
  if (flag == "nbd") return AttachWay::kNbd;
  if (flag == "fuse") return AttachWay::kFuse;
  return absl::InvalidArgumentError(
      absl::StrCat("--attach is \"", flag, "\"; give auto, nbd or fuse"));
}

absl::StatusOr<DriverOptions> OptionsFromFlags(bool was_init) {
  auto client = ClientOptionsFromFlags();
  if (!client.ok()) return client.status();
  auto volumes = VolumesOptionsFromFlags();
  if (!volumes.ok()) return volumes.status();
  const auto way = AttachWayFromFlags();
  if (!way.ok()) return way.status();
  auto endpoint = EndpointFromFlags();
  if (!endpoint.ok()) return endpoint.status();
  DriverOptions options;
  options.client = *std::move(client);
  options.volumes = *std::move(volumes);
  options.attach = {.way = *way,
                    .server = options.client.server,
                    .nbd = absl::GetFlag(FLAGS_nbd),
                    .reconnect_timeout = absl::GetFlag(FLAGS_reconnect_timeout),
                    .state_dir = absl::GetFlag(FLAGS_state_dir),
                    .serve_command = ServeCommand(),
                    .was_init = was_init};
  options.endpoint = *std::move(endpoint);
  options.trim_interval = absl::GetFlag(FLAGS_trim_interval);
  options.metrics_listen = absl::GetFlag(FLAGS_metrics_listen);
  return options;
}

int Run(Program& program, bool was_init) {
  const absl::Status log = program.SetLog(absl::GetFlag(FLAGS_log_format),
                                          absl::GetFlag(FLAGS_log_level));
  if (!log.ok()) return program.Fail(log);
  const absl::Duration drain_timeout = absl::GetFlag(FLAGS_drain_timeout);
  absl::Status valid = CheckTimeoutFlag("drain_timeout", drain_timeout);
  if (valid.ok()) {
    valid = CheckTimeoutFlag("reconnect_timeout",
                             absl::GetFlag(FLAGS_reconnect_timeout));
  }
  if (!valid.ok()) return program.Fail(valid);
  if (!absl::GetFlag(FLAGS_serve_file).empty()) return ServeFile(program);
  auto options = OptionsFromFlags(was_init);
  if (!options.ok()) return program.Fail(options.status());
  const absl::Status folders = MakeFolders(options->attach.state_dir);
  if (!folders.ok()) return program.Fail(folders);

  program.Prepare();
  options->log = [&program](const std::string& line) { program.Log(line); };
  auto driver = Driver::Start(*options);
  if (!driver.ok()) return program.Fail(driver.status());
  program.PrintReady((*driver)->description());
  program.WaitForStopSignal();
  program.Stop(drain_timeout, [&] { (*driver)->Shutdown(drain_timeout); });
  // The driver's own end would wait for a trim or a clean-up under way. No call
  // is left, and what is may be cut off anywhere, as by SIGKILL: all state is
  // the system's, and volumes stay attached. A program that runs for the
  // driver, even a mkfs that outlasted its call, ends with it by its
  // parent-death signal, and the next driver takes up what was begun.
  Program::ExitAtOnce(EXIT_SUCCESS);
}

}  // namespace

int Main(int argc, char** argv, bool was_init) {
  Program program("ramvol-csi", kUsage, "csi/main.cc");
  return program.ParseFlags(argc, argv) ? Run(program, was_init) : EXIT_FAILURE;
}

}  // namespace ramvol::csi_driver

int main(int argc, char** argv) {
  const bool was_init = ramvol::csi_driver::LeaveInitBehind();
  return ramvol::csi_driver::Main(argc, argv, was_init);
}
