#include "client/cli/commands/diff_command.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file_error.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/extent_printer.h"
#include "client/cli/commands/open_volume.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/client.h"
#include "client/extent.h"
#include "client/remote_volume.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

constexpr ExtentWords kWords = {.json_field = "changed",
                                .set = "changed",
                                .unset = "same",
                                .json_set_bytes = "changedBytes",
                                .json_unset_bytes = "sameBytes",
                                .set_title = "Changed:  ",
                                .unset_title = "Same:     "};

constexpr char kHelp[] =
    R"(Lists where the volume, or the other snapshot, may differ from @SNAPSHOT. All
blocks that differ are named, and of 64 KiB with such a block perhaps others.
Without a second name, it is the volume that the snapshot is of.

)";

// At most 262144 extents.
constexpr int64_t kWindowBytes = int64_t{1} << 30;

struct DiffArguments {
  std::string since;
  std::string name;
  ExtentFlags flags;
};

// Asks for a window at a time, and for larger ones where nothing changed.
absl::Status PrintChanges(const Invocation& invocation,
                          const RemoteVolume& remote, const std::string& since,
                          int64_t offset, int64_t end, ExtentPrinter* printer) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  for (int64_t window = kWindowBytes; offset < end;) {
    if (invocation.context().interrupted->load()) return InterruptedError();
    const int64_t asked = std::min(window, end - offset);
    const absl::StatusOr<std::vector<ChangedExtent>> changes =
        remote.Changes(since, offset, asked);
    if (!changes.ok()) return changes.status();
    bool any = false;
    for (const ChangedExtent& extent : *changes) {
      any |= extent.changed;
      absl::Status added = printer->Add(extent.offset, extent.length,
                                        extent.changed, extent.changed);
      if (!added.ok()) return added;
    }
    offset += asked;
    window = any ? kWindowBytes : window > kMax / 4 ? window : window * 4;
  }
  return printer->Finish();
}

absl::Status Diff(const Invocation& invocation,
                  const DiffArguments& arguments) {
  if (invocation.names()) return NoNames();
  const std::string since = absl::StartsWith(arguments.since, "@")
                                ? arguments.since
                                : absl::StrCat("@", arguments.since);
  std::string name = arguments.name;
  if (name.empty()) {
    const absl::StatusOr<v1::Snapshot> snapshot =
        invocation.ControlClient().GetSnapshot(since);
    if (!snapshot.ok()) return snapshot.status();
    name = snapshot->source();
  }
  absl::StatusOr<OpenVolume> volume = OpenByName(invocation, name);
  if (!volume.ok()) return volume.status();
  const auto range = RangeOf(volume->settings, arguments.flags);
  if (!range.ok()) return range.status();
  ExtentPrinter printer(invocation, kWords, range->end, arguments.flags.totals);
  return PrintChanges(invocation, volume->remote, since, range->offset,
                      range->end, &printer);
}

}  // namespace

void AddDiffCommand(CommandSet& commands) {
  auto arguments = std::make_shared<DiffArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "diff", "List what has changed since a snapshot",
      [&invocation, arguments] { return Diff(invocation, *arguments); });
  command->add_option("SNAPSHOT", arguments->since, "The snapshot, @NAME")
      ->required()
      ->type_name("");
  command
      ->add_option("NAME", arguments->name,
                   "The volume, or the other snapshot as @NAME")
      ->type_name("");
  AddExtentFlags(command, &arguments->flags);
  command->footer(std::string(kHelp) + kCommonHelp);
}

}  // namespace ramvol::cli
