// A terminal whose whole screen a command redraws.
#ifndef RAMVOL_CLIENT_CLI_OUTPUT_LIVE_TERMINAL_H_
#define RAMVOL_CLIENT_CLI_OUTPUT_LIVE_TERMINAL_H_

#include <signal.h>
#include <termios.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ramvol::cli {

// From construction to destruction, shows the terminal's second screen and
// reads single keys. A process can have one at a time. Not thread-safe.
class LiveTerminal {
 public:
  // Reads keys from `in_fd` if it is a terminal. `out_fd` must be a terminal.
  LiveTerminal(int in_fd, int out_fd);
  ~LiveTerminal();

  LiveTerminal(const LiveTerminal&) = delete;
  LiveTerminal& operator=(const LiveTerminal&) = delete;

  // Shows `lines`, each with a newline at its end, in place of the old ones.
  absl::Status Draw(const std::string& lines) const;

  // Waits for a key. nullopt at `deadline`, and when a signal comes, for
  // example because the window was resized.
  std::optional<char> WaitForKey(absl::Time deadline);

 private:
  const int in_fd_;
  const int out_fd_;
  bool reads_keys_ = false;
  termios modes_before_ = {};
  struct sigaction resize_before_ = {};
};

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_OUTPUT_LIVE_TERMINAL_H_
