#include "base/program.h"

#include <malloc.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/event_log.h"
#include "base/systemd.h"
#include "base/version.h"

namespace ramvol {
namespace {

constexpr absl::Duration kMaxTimeoutFlag = absl::Hours(24);
// How long to wait after draining for a call that does not return.
constexpr absl::Duration kShutdownGrace = absl::Seconds(5);
// How long a start or a stop may go on without another word.
constexpr absl::Duration kBusyExtension = absl::Seconds(60);
// For whoever reads the log, at the end.
constexpr absl::Duration kLogFlushTime = absl::Seconds(1);

// Each arena keeps free memory of its own. The daemons' threads allocate large
// buffers seldom, so they do not contend for two arenas.
constexpr int kMallocArenas = 2;
// Larger buffers go back to the system when they are freed. Smaller ones are
// reused: faulting in new pages costs more than the copy into them. qemu-img
// sends and asks for 2 MiB at a time.
constexpr int kMallocMmapBytes = 2304 << 10;
constexpr int kMallocTrimBytes = 16 << 20;
constexpr absl::Duration kMallocTrimInterval = absl::Seconds(1);

constexpr rlim_t kWantedFiles = 65536;

// Abseil exits with 1 after --help; scripts expect 0.
bool AsksForHelp(int argc, char** argv) {
  return std::any_of(argv + 1, argv + argc, [](absl::string_view arg) {
    return arg == "--help" || arg == "-help";
  });
}

// Flags are spelled with underscores here, and with dashes by the command line:
// either is taken. What follows "--" are no flags.
std::vector<std::string> WithUnderscores(int argc, char** argv) {
  std::vector<std::string> words(argv, argv + argc);
  for (std::string& word : words) {
    if (word == "--") break;
    if (!absl::StartsWith(word, "--")) continue;
    const size_t end = std::min(word.find('='), word.size());
    std::replace(word.begin() + 2, word.begin() + static_cast<ptrdiff_t>(end),
                 '-', '_');
  }
  return words;
}

void ExitWithSuccess() {
  std::cout.flush();
  std::fflush(nullptr);
  _exit(EXIT_SUCCESS);
}

// Many threads allocate and free request buffers of up to 16 MiB. By default,
// malloc keeps several times what is in use, outside any limit of ours.
// docs/decisions/0014 has figures.
void BoundMalloc() {
  mallopt(M_ARENA_MAX, kMallocArenas);
  mallopt(M_MMAP_THRESHOLD, kMallocMmapBytes);
  mallopt(M_TRIM_THRESHOLD, kMallocTrimBytes);
}

// The usual soft limit of 1024 is for programs that call select. Each
// connection takes a descriptor.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur =
      std::max(limit.rlim_cur, std::min(limit.rlim_max, kWantedFiles));
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

Program::Program(std::string name, std::string usage, std::string main_file)
    : name_(std::move(name)),
      usage_(std::move(usage)),
      main_file_(std::move(main_file)) {
  sigemptyset(&stop_signals_);
  sigaddset(&stop_signals_, SIGTERM);
  sigaddset(&stop_signals_, SIGINT);
  caught_signals_ = stop_signals_;
  for (const int number : {SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGIO, SIGPWR}) {
    sigaddset(&caught_signals_, number);
  }
  for (int number = SIGRTMIN; number <= SIGRTMAX; ++number) {
    sigaddset(&caught_signals_, number);
  }
  EventLog::OfProcess().Configure({.program = name_});
}

Program::~Program() { EventLog::OfProcess().Flush(kLogFlushTime); }

bool Program::ParseFlags(int argc, char** argv) const {
  absl::SetProgramUsageMessage(usage_);
  const auto is_ours = [file = main_file_](absl::string_view path) {
    return absl::EndsWith(path, file);
  };
  absl::FlagsUsageConfig config;
  config.contains_help_flags = is_ours;
  config.contains_helpshort_flags = is_ours;
  config.version_string = [name = name_] {
    return absl::StrCat(
        name, " ", absl::string_view(kVersion.data(), kVersion.size()), "\n");
  };
  absl::SetFlagsUsageConfig(config);
  if (AsksForHelp(argc, argv)) std::atexit(ExitWithSuccess);
  std::vector<std::string> words = WithUnderscores(argc, argv);
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  const std::vector<char*> rest = absl::ParseCommandLine(argc, pointers.data());
  if (rest.size() <= 1) return true;
  Log(absl::StrCat("unknown argument \"", rest[1],
                   "\"; flags begin with --, and --help lists them"));
  return false;
}

absl::Status Program::SetLog(const std::string& format,
                             const std::string& level) const {
  const auto parsed_format = ParseLogFormat(format);
  if (!parsed_format.ok()) return parsed_format.status();
  const auto parsed_level = ParseLogLevel(level);
  if (!parsed_level.ok()) return parsed_level.status();
  const bool journal = IsJournal(std::getenv("JOURNAL_STREAM"), STDERR_FILENO);
  EventLog::OfProcess().Configure(
      {name_, *parsed_format, *parsed_level, journal});
  return absl::OkStatus();
}

void Program::Log(const std::string& message) const {
  LogEvent(Event::kNote, {.message = message});
}

int Program::Fail(const absl::Status& status, int exit_code) const {
  LogEvent(Event::kFailed, {.message = std::string(status.message())});
  return exit_code;
}

void Program::Prepare() {
  BoundMalloc();
  RaiseFileLimit();
  pthread_sigmask(SIG_BLOCK, &caught_signals_, nullptr);
  signal(SIGPIPE, SIG_IGN);
  // A file that may not grow (RLIMIT_FSIZE) is an error of the write.
  signal(SIGXFSZ, SIG_IGN);
  EventLog::OfProcess().Start();
}

void Program::PrintReady(const std::string& what) const {
  std::puts(absl::StrCat(name_, " ready: ", what).c_str());
  std::fflush(stdout);
  Notify(absl::StrCat("READY=1\nSTATUS=Serving: ", what));
}

void Program::LogReady(const std::string& what) const {
  Log(absl::StrCat("ready: ", what));
  Notify(absl::StrCat("READY=1\nSTATUS=Serving: ", what));
}

void Program::Notify(const std::string& state) const {
  const char* socket = std::getenv("NOTIFY_SOCKET");
  const absl::Status status =
      NotifySystemd(socket == nullptr ? "" : socket, state);
  if (!status.ok()) Fail(status);
}

// Meanwhile gives memory that malloc keeps back to the system now and then.
void Program::WaitForStopSignal() const {
  const timespec interval = absl::ToTimespec(kMallocTrimInterval);
  int number = -1;
  while (number < 0 || sigismember(&stop_signals_, number) != 1) {
    number = sigtimedwait(&caught_signals_, nullptr, &interval);
    if (number < 0) {
      malloc_trim(0);
    } else if (sigismember(&stop_signals_, number) != 1) {
      Log(absl::StrCat("got signal ", number, " (", strsignal(number),
                       "), which changes nothing; SIGTERM stops"));
    }
  }
  Log(absl::StrCat("got ", number == SIGINT ? "SIGINT" : "SIGTERM",
                   ", finishing what is under way; once more stops at once"));
  Notify("STOPPING=1\nSTATUS=Finishing what is under way");
  pthread_sigmask(SIG_UNBLOCK, &stop_signals_, nullptr);
}

bool Program::StopIsPending() const {
  sigset_t pending;
  sigemptyset(&pending);
  sigpending(&pending);
  return sigismember(&pending, SIGTERM) == 1 ||
         sigismember(&pending, SIGINT) == 1;
}

void Program::StillBusy(const std::string& what) const {
  Notify(absl::StrCat(
      "EXTEND_TIMEOUT_USEC=", absl::ToInt64Microseconds(kBusyExtension),
      "\nSTATUS=", what));
}

void Program::Stop(absl::Duration drain_timeout,
                   const std::function<void()>& shut_down,
                   const std::function<void()>& left) const {
  auto done = std::async(std::launch::async, shut_down);
  if (done.wait_for(absl::ToChronoMilliseconds(
          drain_timeout + kShutdownGrace)) != std::future_status::ready) {
    Log("requests are still under way after --drain_timeout; leaving them");
    if (left != nullptr) left();
    std::fflush(nullptr);
    EventLog::OfProcess().Flush(kLogFlushTime);
    _exit(EXIT_FAILURE);
  }
}

void Program::ExitAtOnce(int exit_code) {
  std::fflush(nullptr);
  EventLog::OfProcess().Flush(kLogFlushTime);
  _exit(exit_code);
}

absl::Status CheckTimeoutFlag(const std::string& flag, absl::Duration value) {
  if (value >= absl::ZeroDuration() && value <= kMaxTimeoutFlag) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, " is ", absl::FormatDuration(value),
                   "; give 0 to ", absl::FormatDuration(kMaxTimeoutFlag)));
}

}  // namespace ramvol
