#include "client/cli/output/live_terminal.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "client/cli/local_file.h"

namespace ramvol::cli {
namespace {

// Control sequences of ECMA-48. Those for the second screen and the cursor are
// xterm's.
constexpr char kEnter[] = "\033[?1049h\033[?25l\033[2J";
constexpr char kLeave[] = "\033[?25h\033[?1049l";
constexpr char kHome[] = "\033[H";
constexpr char kClearLine[] = "\033[K\n";
constexpr char kClearBelow[] = "\033[J";

constexpr char kOut[] = "standard output";

// Does nothing: the signal itself interrupts poll().
void OnResize(int) {}

}  // namespace

LiveTerminal::LiveTerminal(int in_fd, int out_fd)
    : in_fd_(in_fd), out_fd_(out_fd) {
  reads_keys_ = tcgetattr(in_fd_, &modes_before_) == 0;
  if (reads_keys_) {
    termios modes = modes_before_;
    modes.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    modes.c_cc[VMIN] = 0;
    modes.c_cc[VTIME] = 0;
    tcsetattr(in_fd_, TCSADRAIN, &modes);
  }
  struct sigaction action = {};
  action.sa_handler = OnResize;
  sigaction(SIGWINCH, &action, &resize_before_);
  WriteAll(out_fd_, kEnter, kOut).IgnoreError();
}

LiveTerminal::~LiveTerminal() {
  WriteAll(out_fd_, kLeave, kOut).IgnoreError();
  sigaction(SIGWINCH, &resize_before_, nullptr);
  if (reads_keys_) tcsetattr(in_fd_, TCSADRAIN, &modes_before_);
}

absl::Status LiveTerminal::Draw(const std::string& lines) const {
  const std::string screen = absl::StrCat(
      kHome, absl::StrReplaceAll(lines, {{"\n", kClearLine}}), kClearBelow);
  return WriteAll(out_fd_, screen, kOut);
}

std::optional<char> LiveTerminal::WaitForKey(absl::Time deadline) {
  const absl::Duration left =
      std::max(deadline - absl::Now(), absl::ZeroDuration());
  pollfd input = {.fd = in_fd_, .events = POLLIN, .revents = 0};
  const int ready = poll(&input, reads_keys_ ? 1 : 0,
                         static_cast<int>(absl::ToInt64Milliseconds(
                             absl::Ceil(left, absl::Milliseconds(1)))));
  if (ready <= 0) return std::nullopt;
  char key = 0;
  if (read(in_fd_, &key, 1) == 1) return key;
  // The terminal has hung up. Asking again would not end.
  reads_keys_ = false;
  return std::nullopt;
}

}  // namespace ramvol::cli
