// ramvold: compressed RAM volumes over gRPC and NBD.
#include <malloc.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "nbd_bridge/nbd_address.h"
#include "proto/base/listen_address.h"
#include "proto/base/size.h"
#include "proto/base/version.h"
#include "server/metrics/process_memory.h"
#include "server/server.h"

namespace {

// A flag that takes sizes for people: "2G", "512M", "1073741824".
struct SizeFlag {
  uint64_t bytes = 0;
};

bool AbslParseFlag(absl::string_view text, SizeFlag* flag, std::string* error) {
  auto size = ramvol::ParseSize({text.data(), text.size()});
  if (!size.ok()) {
    *error = std::string(size.status().message());
    return false;
  }
  flag->bytes = *size;
  return true;
}

std::string AbslUnparseFlag(SizeFlag flag) {
  return ramvol::FormatExactSize(flag.bytes);
}

}  // namespace

ABSL_FLAG(std::string, listen, "127.0.0.1:7420",
          "Where gRPC listens: HOST:PORT, [IPV6]:PORT or unix:PATH, several "
          "with commas between them. Port 0 takes any free port.");
ABSL_FLAG(std::string, metrics_listen, "127.0.0.1:7421",
          "Where Prometheus finds /metrics: HOST:PORT. Empty turns it off.");
ABSL_FLAG(std::string, nbd_listen, "",
          "Where NBD clients are served: unix:PATH, HOST:PORT, [IPV6]:PORT, "
          "vsock:PORT, or systemd for the sockets of a .socket unit; several "
          "with commas between them. Port 0 takes any free port. Empty: "
          "nowhere.");
ABSL_FLAG(std::string, default_export, "",
          "The volume that NBD clients mean by the empty name. Empty: none.");
ABSL_FLAG(bool, nbd_read_only, false, "Whether NBD clients may only read.");
ABSL_FLAG(int, nbd_max_connections, 4096,
          "Most NBD connections at a time, 1 to 65536; further clients wait.");
ABSL_FLAG(SizeFlag, memory_limit, {},
          "Most memory that all volumes may take together, such as 2G or 512M; "
          "at least 16M. 0 means 80% of the smaller of the cgroup's limit and "
          "the machine's RAM.");
ABSL_FLAG(SizeFlag, hot_cache, {},
          "Most memory for uncompressed blocks, a part of --memory_limit: at "
          "least 1M, at most half of it. 0 means an eighth of it, at most 1G.");
ABSL_FLAG(int, background_threads, 0,
          "Threads that compress and merge in the background. 0 means one for "
          "each core, at most 64.");
ABSL_FLAG(int, max_volumes, ramvol::engine::EngineOptions().max_volumes,
          "Most volumes at a time.");
ABSL_FLAG(absl::Duration, drain_timeout, absl::Seconds(10),
          "How long requests under way may go on after SIGTERM or SIGINT.");

namespace {

using ramvol::server::Server;
using ramvol::server::ServerOptions;

// Of the machine's or cgroup's memory, when --memory_limit is not given.
constexpr uint64_t kDefaultMemoryPercent = 80;
constexpr absl::Duration kMaxDrainTimeout = absl::Hours(24);
// For what may outlast the draining: a call of the engine that does not return.
constexpr absl::Duration kShutdownGrace = absl::Seconds(5);

// Few arenas hold little; the service's threads allocate large buffers, seldom.
constexpr int kMallocArenas = 2;
// Larger buffers go back to the system when they are freed. Smaller ones are
// reused: taking pages anew costs more than the copy.
constexpr int kMallocMmapBytes = 4 << 20;
constexpr int kMallocTrimBytes = 32 << 20;
constexpr absl::Duration kMallocTrimInterval = absl::Seconds(5);

constexpr char kUsage[] =
    "ramvold serves named, compressed RAM volumes over gRPC and NBD.\n\n"
    "Usage: ramvold [flags]\n\n"
    "When all addresses are bound it prints one line, \"ramvold ready: ...\", "
    "with each of them. It logs to standard error. SIGTERM and SIGINT stop it "
    "cleanly.";

void Log(const std::string& message) {
  const std::string line =
      absl::StrCat(absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(),
                                    absl::UTCTimeZone()),
                   " ramvold: ", message, "\n");
  std::fputs(line.c_str(), stderr);
}

bool IsOurFlagFile(absl::string_view file) {
  return absl::EndsWith(file, "server/main.cc");
}

// What --help and --version print.
void ConfigureHelp() {
  absl::SetProgramUsageMessage(kUsage);
  absl::FlagsUsageConfig config;
  config.contains_help_flags = IsOurFlagFile;
  config.contains_helpshort_flags = IsOurFlagFile;
  config.version_string = [] {
    const std::string_view version = ramvol::kVersion;
    return absl::StrCat(
        "ramvold ", absl::string_view(version.data(), version.size()), "\n");
  };
  absl::SetFlagsUsageConfig(config);
}

// Abseil exits with 1 after --help; scripts expect 0.
bool AsksForHelp(int argc, char** argv) {
  return std::any_of(argv + 1, argv + argc, [](absl::string_view arg) {
    return arg == "--help" || arg == "-help";
  });
}

void ExitWithSuccess() {
  std::cout.flush();
  std::fflush(nullptr);
  _exit(EXIT_SUCCESS);
}

absl::StatusOr<uint64_t> MemoryLimit() {
  const uint64_t given = absl::GetFlag(FLAGS_memory_limit).bytes;
  if (given != 0) return given;
  const std::optional<uint64_t> available =
      ramvol::metrics::AvailableMemoryBytes();
  if (!available.has_value()) {
    return absl::NotFoundError(
        "the machine's memory is unknown; give --memory_limit");
  }
  return *available / 100 * kDefaultMemoryPercent;
}

absl::StatusOr<ServerOptions> OptionsFromFlags() {
  ServerOptions options;
  auto limit = MemoryLimit();
  if (!limit.ok()) return limit.status();
  options.engine.memory_limit_bytes = *limit;
  options.engine.hot_cache_bytes = absl::GetFlag(FLAGS_hot_cache).bytes;
  options.engine.background_threads = absl::GetFlag(FLAGS_background_threads);
  options.engine.max_volumes = absl::GetFlag(FLAGS_max_volumes);
  auto listen = ramvol::ParseListenAddresses(absl::GetFlag(FLAGS_listen));
  if (!listen.ok()) return listen.status();
  options.listen = *std::move(listen);
  options.metrics_listen = absl::GetFlag(FLAGS_metrics_listen);
  options.nbd.default_export = absl::GetFlag(FLAGS_default_export);
  options.nbd.read_only = absl::GetFlag(FLAGS_nbd_read_only);
  options.nbd.max_connections = absl::GetFlag(FLAGS_nbd_max_connections);
  options.nbd.systemd_sockets = ramvol::nbd::SystemdSockets(
      std::getenv("LISTEN_PID"), std::getenv("LISTEN_FDS"));
  const std::string nbd_listen = absl::GetFlag(FLAGS_nbd_listen);
  if (nbd_listen.empty()) return options;
  auto nbd = ramvol::nbd::ParseNbdAddresses(nbd_listen);
  if (!nbd.ok()) return nbd.status();
  options.nbd.listen = *std::move(nbd);
  return options;
}

absl::StatusOr<absl::Duration> DrainTimeout() {
  const absl::Duration timeout = absl::GetFlag(FLAGS_drain_timeout);
  if (timeout >= absl::ZeroDuration() && timeout <= kMaxDrainTimeout) {
    return timeout;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--drain_timeout is ", absl::FormatDuration(timeout),
                   "; give 0 to ", absl::FormatDuration(kMaxDrainTimeout)));
}

void PrintReady(const Server& server) {
  std::string line = absl::StrCat("ramvold ready: grpc ",
                                  absl::StrJoin(server.grpc_addresses(), ", "));
  if (const auto nbd = server.nbd_addresses(); !nbd.empty()) {
    absl::StrAppend(&line, "; nbd ", absl::StrJoin(nbd, ", "));
  }
  if (!server.metrics_url().empty()) {
    absl::StrAppend(&line, "; metrics ", server.metrics_url());
  }
  std::puts(line.c_str());
  std::fflush(stdout);
}

// Blocks the signals in this and all later threads, so that only sigwait gets
// them.
sigset_t BlockStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

// Buffers of requests are allocated and freed in sizes up to 16 MiB by many
// threads. Left alone, malloc keeps several times what is in use, outside of
// --memory_limit (measured in ARCHITECTURE.md, "Limits").
void BoundMalloc() {
  mallopt(M_ARENA_MAX, kMallocArenas);
  mallopt(M_MMAP_THRESHOLD, kMallocMmapBytes);
  mallopt(M_TRIM_THRESHOLD, kMallocTrimBytes);
}

// Gives memory that malloc keeps back to the system now and then meanwhile.
void WaitForStopSignal(const sigset_t& signals) {
  const timespec interval = absl::ToTimespec(kMallocTrimInterval);
  int number = -1;
  while (number < 0) {
    number = sigtimedwait(&signals, nullptr, &interval);
    if (number < 0) malloc_trim(0);
  }
  Log(absl::StrCat("got ", number == SIGINT ? "SIGINT" : "SIGTERM",
                   ", finishing what is under way; once more stops at once"));
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
}

// Shuts the server down, or ends the process when it takes too long.
void Stop(Server& server, absl::Duration drain_timeout) {
  auto done = std::async(std::launch::async, [&server, drain_timeout] {
    server.Shutdown(drain_timeout);
  });
  if (done.wait_for(absl::ToChronoMilliseconds(
          drain_timeout + kShutdownGrace)) == std::future_status::ready) {
    return;
  }
  Log("requests are still under way after --drain_timeout; leaving them");
  std::fflush(nullptr);
  _exit(EXIT_FAILURE);
}

int Main() {
  auto options = OptionsFromFlags();
  if (!options.ok()) {
    Log(std::string(options.status().message()));
    return EXIT_FAILURE;
  }
  const auto drain_timeout = DrainTimeout();
  if (!drain_timeout.ok()) {
    Log(std::string(drain_timeout.status().message()));
    return EXIT_FAILURE;
  }
  BoundMalloc();
  const sigset_t signals = BlockStopSignals();
  auto server = Server::Start(*options);
  if (!server.ok()) {
    Log(std::string(server.status().message()));
    return EXIT_FAILURE;
  }
  Log(absl::StrCat("memory limit ",
                   ramvol::FormatSize(options->engine.memory_limit_bytes)));
  PrintReady(**server);
  WaitForStopSignal(signals);
  Stop(**server, *drain_timeout);
  Log("stopped");
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
  ConfigureHelp();
  if (AsksForHelp(argc, argv)) std::atexit(ExitWithSuccess);
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  if (rest.size() > 1) {
    Log(absl::StrCat("unknown argument \"", rest[1],
                     "\"; flags begin with --, and --help lists them"));
    return EXIT_FAILURE;
  }
  return Main();
}
