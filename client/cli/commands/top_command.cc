#include "client/cli/commands/top_command.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/file_error.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/cli/output/live_terminal.h"
#include "client/cli/output/top_sample.h"
#include "client/cli/output/top_text.h"
#include "client/client.h"

namespace ramvol::cli {
namespace {

constexpr char kKeys[] =
    "q quits; sort by i iops, t throughput, l latency, m memory, r ratio, n "
    "name\n";
// The first picture comes after a shorter interval.
constexpr absl::Duration kFirstInterval = absl::Milliseconds(500);
// How often a wait checks whether the command was interrupted.
constexpr absl::Duration kNap = absl::Milliseconds(50);

struct TopArguments {
  bool once = false;
  absl::Duration interval = absl::Seconds(2);
  std::string order = kTopOrders[0];
};

bool Interrupted(const Invocation& invocation) {
  return invocation.context().interrupted->load();
}

TopOrder OrderOf(const std::string& word) {
  return *TopOrderOfKey(absl::ascii_tolower(word[0]));
}

absl::Status Once(const Invocation& invocation, const TopArguments& arguments) {
  const Client client = invocation.ControlClient();
  absl::StatusOr<TopSample> before = TakeTopSample(client, absl::Now());
  if (!before.ok()) return before.status();
  for (const absl::Time end = absl::Now() + arguments.interval;
       absl::Now() < end;) {
    if (Interrupted(invocation)) return InterruptedError();
    absl::SleepFor(std::min(kNap, end - absl::Now()));
  }
  absl::StatusOr<TopSample> after = TakeTopSample(client, absl::Now());
  if (!after.ok()) return after.status();
  TopView view = CompareTopSamples(*before, *after);
  SortTopLines(OrderOf(arguments.order), &view.volumes);
  return invocation.PrintMessage(
      TopMessage(view), TopText(view, invocation.flags().server, std::nullopt));
}

// Shows the screen, from the first sample to the key that ends the command.
class LiveTop {
 public:
  LiveTop(const Invocation& invocation, const TopArguments& arguments)
      : invocation_(invocation),
        client_(invocation.ControlClient()),
        interval_(arguments.interval),
        order_(OrderOf(arguments.order)) {}

  absl::Status Run() {
    // When there is no server, fails before the screen is taken.
    absl::StatusOr<TopSample> first = TakeTopSample(client_, absl::Now());
    if (!first.ok()) return first.status();
    last_ = *std::move(first);
    LiveTerminal terminal(invocation_.context().in_fd,
                          invocation_.context().out_fd);
    absl::Time next = absl::Now() + std::min(kFirstInterval, interval_);
    for (;;) {
      absl::Status drawn = terminal.Draw(Screen());
      if (!drawn.ok()) return drawn;
      const std::optional<char> key = terminal.WaitForKey(next);
      // SIGINT and SIGTERM are normal ways to end the command.
      if (key == 'q' || Interrupted(invocation_)) return absl::OkStatus();
      if (key.has_value()) order_ = TopOrderOfKey(*key).value_or(order_);
      if (absl::Now() < next) continue;
      Measure();
      next = absl::Now() + interval_;
    }
  }

 private:
  // The screen tells that the server does not answer. It may come back.
  void Measure() {
    absl::StatusOr<TopSample> sample = TakeTopSample(client_, absl::Now());
    error_ = sample.status();
    if (!sample.ok()) return;
    view_ = CompareTopSamples(last_, *sample);
    last_ = *std::move(sample);
  }

  std::string Screen() {
    TerminalSize size =
        invocation_.context().out_terminal().value_or(TerminalSize());
    std::string below = kKeys;
    if (!error_.ok()) {
      below = FormatError("top", error_, invocation_.flags().server);
    }
    below = below.substr(0, below.find('\n'));
    const auto width = static_cast<size_t>(std::max(size.columns - 1, 1));
    below = absl::StrCat(below.substr(0, width), "\n");
    if (!view_.has_value()) return absl::StrCat("Measuring\n", below);
    SortTopLines(order_, &view_->volumes);
    // One line for the message below, and one because the last newline moves
    // the cursor on.
    size.rows -= 2;
    return absl::StrCat(TopText(*view_, invocation_.flags().server, size),
                        below);
  }

  const Invocation& invocation_;
  const Client client_;
  const absl::Duration interval_;
  TopOrder order_;
  TopSample last_;
  std::optional<TopView> view_;
  absl::Status error_;
};

absl::Status Top(const Invocation& invocation, const TopArguments& arguments) {
  if (arguments.once) return Once(invocation, arguments);
  if (!invocation.context().out_terminal().has_value() ||
      invocation.structured()) {
    return UsageError(
        "without a terminal, or with --output=json, top needs --once");
  }
  return LiveTop(invocation, arguments).Run();
}

}  // namespace

void AddTopCommand(CommandSet& commands) {
  auto arguments = std::make_shared<TopArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "top", "Watch what the server and its volumes do",
      [&invocation, arguments] { return Top(invocation, *arguments); });
  command->add_flag("--once", arguments->once,
                    "Measure for one interval, print everything, and end");
  AddTime(command, "--interval", &arguments->interval,
          "Time between measurements (default 2s)");
  Restrict(command->add_option("--sort", arguments->order,
                               "What the volumes are sorted by"),
           {kTopOrders.begin(), kTopOrders.end()});
}

}  // namespace ramvol::cli
