#include "csi/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file_descriptor.h"
#include "base/mutex.h"

extern char** environ;

namespace ramvol::csi_driver {
namespace {

// How long a program that is killed may take to end. Exits are fast, unless
// they wait in the kernel; then longer ones are no use.
constexpr absl::Duration kKillTimeout = absl::Seconds(1);
constexpr absl::Duration kLookInterval = absl::Milliseconds(1);

// A lock that children inherit, unlike those of POSIX, and that can be asked
// about without taking it, unlike flock's.
constexpr struct flock kWholeFile = {.l_type = F_WRLCK,
                                     .l_whence = SEEK_SET,
                                     .l_start = 0,
                                     .l_len = 0,
                                     .l_pid = 0};

// Signals as a program expects them: this process blocks and ignores some.
void SetSignals(posix_spawnattr_t* attributes) {
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(attributes, &none);
  posix_spawnattr_setsigdefault(attributes, &all);
  posix_spawnattr_setpgroup(attributes, 0);
  posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK |
                                           POSIX_SPAWN_SETSIGDEF |
                                           POSIX_SPAWN_SETPGROUP);
}

// Starts the program with both outputs to `out`, in a process group of its own.
absl::StatusOr<pid_t> Spawn(const Command& command, int out) {
  std::vector<std::string> words = command;
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null",
                                   O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
  SetSignals(&attributes);
  pid_t pid = -1;
  const int error =
      posix_spawnp(&pid, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error == 0) return pid;
  return absl::InternalError(
      absl::StrCat("cannot start ", command[0], ": ", std::strerror(error)));
}

int MillisecondsLeft(absl::Time deadline) {
  const absl::Duration left =
      std::clamp(deadline - absl::Now(), absl::ZeroDuration(), absl::Hours(1));
  return static_cast<int>(absl::ToInt64Milliseconds(left));
}

// Reads until the other end is closed; false when the deadline comes first.
bool ReadAll(int fd, absl::Time deadline, std::string* output) {
  char buffer[4096];
  while (true) {
    pollfd wait = {.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = poll(&wait, 1, MillisecondsLeft(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    const ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return true;
    const size_t room = kMaxCommandOutputBytes - output->size();
    output->append(buffer, std::min(room, static_cast<size_t>(n)));
  }
}

// Whether the program has ended, and how. Its number may be another one's from
// then on.
bool HasEnded(pid_t pid, int* status) {
  const pid_t found = waitpid(pid, status, WNOHANG);
  return found == pid || (found < 0 && errno != EINTR);
}

// The same, but waits until the deadline.
bool WaitForEnd(pid_t pid, absl::Time deadline, int* status) {
  while (!HasEnded(pid, status)) {
    if (absl::Now() >= deadline) return false;
    absl::SleepFor(kLookInterval);
  }
  return true;
}

bool ShareAPath(const Command& a, const Command& b) {
  return std::any_of(a.begin() + 1, a.end(), [&b](const std::string& word) {
    return word.rfind('/', 0) == 0 &&
           std::find(b.begin() + 1, b.end(), word) != b.end();
  });
}

}  // namespace

absl::StatusOr<CommandResult> SystemCommands::Run(const Command& command,
                                                  absl::Time deadline) {
  const absl::Status alone = CheckAlone(command);
  if (!alone.ok()) return alone;
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) {
    return absl::InternalError(absl::StrCat("pipe: ", std::strerror(errno)));
  }
  const absl::Cleanup close_read = [&fds] { close(fds[0]); };
  // It ends with this process, so that no mkfs of an earlier driver goes on
  // beside the next one.
  Command bound = {"setpriv", "--pdeathsig", "KILL", "--"};
  bound.insert(bound.end(), command.begin(), command.end());
  const absl::StatusOr<pid_t> pid = Spawn(bound, fds[1]);
  close(fds[1]);
  if (!pid.ok()) return pid.status();
  CommandResult result;
  int status = 0;
  // Its outputs may be closed while it waits for the end of what it wrote.
  if (!ReadAll(fds[0], deadline, &result.output) ||
      !WaitForEnd(*pid, deadline, &status)) {
    return Kill(*pid, command);
  }
  absl::StripTrailingAsciiWhitespace(&result.output);
  if (!WIFEXITED(status)) {
    return absl::InternalError(absl::StrCat(
        absl::StrJoin(command, " "), " ended with signal ", WTERMSIG(status)));
  }
  result.exit_code = WEXITSTATUS(status);
  return result;
}

absl::Status SystemCommands::Kill(pid_t pid, const Command& command) {
  kill(-pid, SIGKILL);
  int status = 0;
  std::string text =
      absl::StrCat(absl::StrJoin(command, " "), " took too long");
  if (!WaitForEnd(pid, absl::Now() + kKillTimeout, &status)) {
    absl::StrAppend(&text, ", and goes on though it was killed: process ", pid,
                    " waits for the kernel, perhaps for a device without "
                    "ramvold");
    const MutexLock lock(&mu_);
    going_on_[pid] = command;
  }
  return absl::DeadlineExceededError(text);
}

absl::Status SystemCommands::CheckAlone(const Command& command) {
  const MutexLock lock(&mu_);
  for (auto each = going_on_.begin(); each != going_on_.end();) {
    int status = 0;
    if (HasEnded(each->first, &status)) {
      each = going_on_.erase(each);
      continue;
    }
    if (ShareAPath(each->second, command)) {
      return absl::AbortedError(absl::StrCat(
          absl::StrJoin(command, " "), " waits for the end of process ",
          each->first, ", ", absl::StrJoin(each->second, " "),
          ", which took too long and was killed"));
    }
    ++each;
  }
  return absl::OkStatus();
}

absl::Status SystemCommands::Start(const Command& command,
                                   const std::string& log,
                                   absl::Time deadline) {
  const FileDescriptor out(
      open(log.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  if (out.is_open() && fcntl(out.get(), F_OFD_SETLK, &kWholeFile) != 0 &&
      errno == EAGAIN) {
    return absl::AlreadyExistsError(
        absl::StrCat(log, " is of a program that is there"));
  }
  if (!out.is_open() || ftruncate(out.get(), 0) != 0) {
    return absl::InternalError(absl::StrCat(log, ": ", std::strerror(errno)));
  }
  // It becomes a child of init, which waits for its end.
  Command detached = {"setsid", "--fork"};
  detached.insert(detached.end(), command.begin(), command.end());
  const absl::StatusOr<pid_t> pid = Spawn(detached, out.get());
  if (!pid.ok()) return pid.status();
  int status = 0;
  if (!WaitForEnd(*pid, deadline, &status)) return Kill(*pid, detached);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("cannot start ", command[0]));
}

bool IsStarted(const std::string& log) {
  const FileDescriptor file(open(log.c_str(), O_RDONLY | O_CLOEXEC));
  struct flock found = kWholeFile;
  return file.is_open() && fcntl(file.get(), F_OFD_GETLK, &found) == 0 &&
         found.l_type != F_UNLCK;
}

absl::StatusOr<std::string> CommandRunner::Output(const Command& command,
                                                  absl::Time deadline) {
  absl::StatusOr<CommandResult> result = Run(command, deadline);
  if (!result.ok()) return result.status();
  if (result->exit_code == 0) return std::move(result->output);
  return absl::InternalError(absl::StrCat(absl::StrJoin(command, " "),
                                          " ended with ", result->exit_code,
                                          ": ", result->output));
}

}  // namespace ramvol::csi_driver
