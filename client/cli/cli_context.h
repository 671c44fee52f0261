// What the command line needs from its process. Tests give it another one.
#ifndef RAMVOL_CLIENT_CLI_CLI_CONTEXT_H_
#define RAMVOL_CLIENT_CLI_CLI_CONTEXT_H_

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/options.h"

namespace ramvol {

class NbdNetlink;  // client/attach/nbd_netlink.h

namespace cli {

struct TerminalSize {
  int columns = 80;
  int rows = 24;
};

struct CliContext {
  int in_fd = 0;
  int out_fd = 1;
  int err_fd = 2;
  // Whether questions can be asked and answered there.
  bool in_is_terminal = false;
  // Whether progress is shown, and how wide it may be.
  bool err_is_terminal = false;
  std::function<int()> terminal_columns = [] { return 80; };
  // Of standard output; nullopt when that is no terminal.
  std::function<std::optional<TerminalSize>()> out_terminal =
      []() -> std::optional<TerminalSize> { return std::nullopt; };

  std::function<absl::Time()> now = absl::Now;
  // The value of an environment variable.
  std::function<std::optional<std::string>(const std::string& name)> env =
      [](const std::string&) { return std::nullopt; };
  std::function<Client(const ClientOptions&)> connect =
      [](const ClientOptions& options) { return Client(options); };

  // What attaching needs of the kernel. Not to be called when it is empty: only
  // these commands need netlink.
  std::function<absl::StatusOr<std::unique_ptr<NbdNetlink>>()> open_nbd_netlink;
  std::string sys = "/sys";
  std::string dev = "/dev";
  int cpus = 1;

  // Set by a signal handler; commands that take long look at it.
  const std::atomic<bool>* interrupted = nullptr;  // Required.
};

}  // namespace cli
}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CLI_CLI_CONTEXT_H_
