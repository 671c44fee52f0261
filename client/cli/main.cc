// The process of the ramvol command line.
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "client/attach/nbd_netlink.h"
#include "client/cli/cli_context.h"
#include "client/cli/run_cli.h"

namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void Interrupt(int) { interrupted.store(true); }

// The first signal stops the command cleanly, the second one at once. System
// calls are not restarted, so that a wait for a pipe ends.
void CatchSignals() {
  struct sigaction action = {};
  action.sa_handler = Interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  // A closed pipe makes write fail. It does not end the process.
  signal(SIGPIPE, SIG_IGN);
}

using ramvol::cli::TerminalSize;

std::optional<TerminalSize> SizeOfTerminal(int fd) {
  if (isatty(fd) != 1) return std::nullopt;
  winsize size = {};
  const bool known = ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? TerminalSize{size.ws_col, size.ws_row} : TerminalSize();
}

std::optional<std::string> Environment(const std::string& name) {
  const char* value = getenv(name.c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  CatchSignals();
  ramvol::cli::CliContext context;
  context.open_nbd_netlink = ramvol::OpenNbdNetlink;
  context.in_is_terminal = isatty(STDIN_FILENO) == 1;
  context.err_is_terminal = isatty(STDERR_FILENO) == 1;
  context.terminal_columns = [] {
    return SizeOfTerminal(STDERR_FILENO).value_or(TerminalSize()).columns;
  };
  context.out_terminal = [] { return SizeOfTerminal(STDOUT_FILENO); };
  context.env = Environment;
  context.cpus = static_cast<int>(std::thread::hardware_concurrency());
  context.interrupted = &interrupted;
  return ramvol::cli::RunCli(std::vector<std::string>(argv + 1, argv + argc),
                             context);
}
