#include "csi/init.h"

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace ramvol::csi_driver {
namespace {

// As shells have it.
constexpr int kKilledBySignal = 128;

int ExitCodeOf(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status)
                           : kKilledBySignal + WTERMSIG(status);
}

// Takes all exit codes that there are, and ends with the child's.
void TakeExitCodes(pid_t child) {
  int status = 0;
  pid_t ended = 0;
  while ((ended = waitpid(-1, &status, WNOHANG)) > 0) {
    if (ended == child) _exit(ExitCodeOf(status));
  }
  // Not to be, unless somebody ignores SIGCHLD.
  if (ended < 0 && errno == ECHILD) _exit(EXIT_FAILURE);
}

[[noreturn]] void ServeAsInit(pid_t child, const sigset_t& signals) {
  while (true) {
    const int number = sigwaitinfo(&signals, nullptr);
    if (number == SIGCHLD) TakeExitCodes(child);
    if (number > 0 && number != SIGCHLD) kill(child, number);
  }
}

}  // namespace

bool LeaveInitBehind() {
  if (getpid() != 1) return false;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  // What comes from now on waits for sigwaitinfo.
  sigprocmask(SIG_BLOCK, &all, &before);
  signal(SIGCHLD, SIG_DFL);
  const pid_t child = fork();
  if (child > 0) ServeAsInit(child, all);
  // Also when there is no child: better without init than not at all.
  sigprocmask(SIG_SETMASK, &before, nullptr);
  return true;
}

}  // namespace ramvol::csi_driver
