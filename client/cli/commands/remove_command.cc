#include "client/cli/commands/remove_command.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/printable.h"
#include "base/reason.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/volume_selection.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/cli/output/message_text.h"
#include "client/cli/output/words.h"
#include "client/client.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

constexpr char kHelp[] =
    R"(Several volumes that are chosen by a pattern or by labels are shown first, and
only removed when the answer is yes; without a terminal --yes is needed.

)";

struct RemoveArguments {
  VolumeSelection selection;
  bool force = false;
  bool yes = false;
};

class RemoveCommand {
 public:
  RemoveCommand(const Invocation& invocation, const RemoveArguments& arguments)
      : invocation_(invocation),
        arguments_(arguments),
        client_(invocation.ControlClient()) {}

  absl::Status Run() {
    if (arguments_.selection.empty()) {
      return UsageError("name the volumes, or choose them with --selector");
    }
    if (!arguments_.selection.by_rule()) {
      for (const std::string& name : arguments_.selection.names) {
        Remove(name, "");
      }
    } else {
      absl::Status removed = RemoveChosen();
      if (!removed.ok()) return removed;
    }
    absl::Status printed = Print();
    return last_failure_.ok() ? printed : last_failure_;
  }

 private:
  // The etag makes sure that this is the volume that was shown.
  absl::Status RemoveChosen() {
    absl::StatusOr<std::vector<v1::Volume>> volumes =
        SelectVolumes(client_, arguments_.selection);
    if (!volumes.ok()) return volumes.status();
    if (!arguments_.yes && !volumes->empty()) {
      absl::Status agreed = Ask(*volumes);
      if (!agreed.ok()) return agreed;
    }
    for (const v1::Volume& volume : *volumes) {
      Remove(volume.name(), volume.etag());
    }
    return absl::OkStatus();
  }

  absl::Status Ask(const std::vector<v1::Volume>& volumes) const {
    const std::string what =
        CountOf(static_cast<int64_t>(volumes.size()), "volume");
    if (!invocation_.context().in_is_terminal ||
        !invocation_.context().err_is_terminal) {
      return UsageError(absl::StrCat(
          "this removes ", what, ", ", Printable(volumes.front().name()),
          volumes.size() > 1 ? " and others" : "",
          "; give --yes, or look first with \"ramvol ls\""));
    }
    invocation_.PrintError(
        absl::StrCat(VolumesText(volumes, {}), "Remove ", what, "? [y/N] "));
    if (invocation_.ReadYes()) return absl::OkStatus();
    return WithReason(absl::FailedPreconditionError("nothing was removed"),
                      "NOT_CONFIRMED");
  }

  // Goes on after a failure. Reports all failures but the last, which Run
  // returns.
  void Remove(const std::string& name, const std::string& etag) {
    v1::DeleteVolumeRequest request;
    request.set_name(name);
    request.set_etag(etag);
    request.set_force(arguments_.force);
    absl::Status removed = client_.DeleteVolume(request);
    if (removed.ok()) {
      message_.add_removed(name);
      return;
    }
    if (!last_failure_.ok()) invocation_.PrintFailure("rm", last_failure_);
    last_failure_ = removed;
  }

  absl::Status Print() const {
    const std::vector<std::string> names(message_.removed().begin(),
                                         message_.removed().end());
    std::string text;
    for (const std::string& name : names) {
      absl::StrAppend(&text, "removed ", Printable(name), "\n");
    }
    return invocation_.PrintVolumes(message_, text, names);
  }

  const Invocation& invocation_;
  const RemoveArguments& arguments_;
  const Client client_;
  output::v1::RemoveOutput message_;
  absl::Status last_failure_;
};

}  // namespace

void AddRemoveCommand(CommandSet& commands) {
  auto arguments = std::make_shared<RemoveArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command =
      commands.Add("rm", "Delete volumes and give their memory back",
                   [&invocation, arguments] {
                     return RemoveCommand(invocation, *arguments).Run();
                   });
  command->alias("delete");
  AddSelection(command, &arguments->selection);
  command->add_flag("--force", arguments->force,
                    "Also while clients are attached; they get errors then");
  command->add_flag("--yes", arguments->yes, "Do not ask");
  command->footer(std::string(kHelp) + kCommonHelp);
}

}  // namespace ramvol::cli
