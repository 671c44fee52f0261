#include "client/cli/commands/wait_command.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/duration_text.h"
#include "base/file_error.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/invocation.h"
#include "client/client.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

constexpr char kHelp[] =
    R"(Without a name: until the server serves. A server that does not answer is
waited for. With --within the command fails after that time, with exit code 5.

)";

constexpr absl::Duration kPollInterval = absl::Milliseconds(100);

struct WaitArguments {
  std::string name;
  std::string state = "there";
  std::optional<absl::Duration> within;
};

// Whether the wanted state is reached. An error when waiting will not help.
absl::StatusOr<bool> IsSo(const Client& client,
                          const WaitArguments& arguments) {
  if (arguments.name.empty()) {
    const absl::Status health = client.CheckHealth();
    if (health.ok()) return true;
    if (absl::IsFailedPrecondition(health)) return false;  // It is stopping.
    return health;
  }
  const absl::StatusOr<v1::VolumeStats> stats =
      client.StatVolume(arguments.name);
  if (absl::IsNotFound(stats.status())) return arguments.state == "gone";
  if (!stats.ok()) return stats.status();
  if (arguments.state == "gone") return false;
  return arguments.state == "there" || stats->attached_clients() == 0;
}

absl::Status TooLate(const WaitArguments& arguments) {
  return absl::DeadlineExceededError(
      arguments.name.empty()
          ? absl::StrCat("the server did not serve within ",
                         DurationText(*arguments.within))
          : absl::StrCat("volume \"", arguments.name, "\" was not ",
                         arguments.state, " within ",
                         DurationText(*arguments.within)));
}

absl::Status Wait(const Invocation& invocation,
                  const WaitArguments& arguments) {
  const CliContext& context = invocation.context();
  const Client client = invocation.ControlClient();
  const absl::Time deadline = arguments.within.has_value()
                                  ? context.now() + *arguments.within
                                  : absl::InfiniteFuture();
  for (;;) {
    const absl::StatusOr<bool> so = IsSo(client, arguments);
    if (so.ok() && *so) return absl::OkStatus();
    const bool may_come = so.ok() || absl::IsUnavailable(so.status()) ||
                          absl::IsDeadlineExceeded(so.status());
    if (!may_come) return so.status();
    if (context.interrupted->load()) return InterruptedError();
    const absl::Duration left = deadline - context.now();
    if (left <= absl::ZeroDuration()) return TooLate(arguments);
    absl::SleepFor(std::min(left, kPollInterval));
  }
}

}  // namespace

void AddWaitCommand(CommandSet& commands) {
  auto arguments = std::make_shared<WaitArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "wait", "Wait for the server or for a volume",
      [&invocation, arguments] { return Wait(invocation, *arguments); });
  command->add_option("NAME", arguments->name, "The volume")->type_name("");
  Restrict(command->add_option("--until", arguments->state,
                               "What is waited for: the volume is there (the "
                               "default), gone, or free of clients"),
           {"there", "gone", "free"});
  AddTime(command, "--within", &arguments->within,
          "Fail after this time (default: wait for ever)");
  command->footer(std::string(kHelp) + kCommonHelp);
}

}  // namespace ramvol::cli
