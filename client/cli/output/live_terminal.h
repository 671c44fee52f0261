// A terminal whose whole screen a command draws again and again.
#ifndef RAMVOL_CLIENT_CLI_OUTPUT_LIVE_TERMINAL_H_
#define RAMVOL_CLIENT_CLI_OUTPUT_LIVE_TERMINAL_H_

#include <signal.h>
#include <termios.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace ramvol::cli {

// Takes the terminal's second screen and reads single keys, from construction
// to destruction. One at a time in a process. Not thread-safe.
class LiveTerminal {
 public:
  // Keys come from `in_fd`, when it is a terminal; `out_fd` must be one.
  LiveTerminal(int in_fd, int out_fd);
  ~LiveTerminal();

  LiveTerminal(const LiveTerminal&) = delete;
  LiveTerminal& operator=(const LiveTerminal&) = delete;

  // Shows `lines`, each ended by a newline, in place of what was there.
  absl::Status Draw(const std::string& lines) const;

  // Waits for a key, at most until `deadline`. nullopt after that, and early
  // when the window was resized or another signal came.
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
