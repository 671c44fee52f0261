#include "client/cli/commands/extents_command.h"

#include <cstdint>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file_error.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/extent_printer.h"
#include "client/cli/commands/open_volume.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/cli/transfer/extent_walk.h"
#include "client/remote_volume.h"

namespace ramvol::cli {
namespace {

constexpr ExtentWords kWords = {.json_field = "hole",
                                .set = "hole",
                                .unset = "data",
                                .json_set_bytes = "holeBytes",
                                .json_unset_bytes = "dataBytes",
                                .set_title = "Holes:    ",
                                .unset_title = "Data:     "};

struct ExtentsArguments {
  std::string name;
  ExtentFlags flags;
};

absl::Status Extents(const Invocation& invocation,
                     const ExtentsArguments& arguments) {
  if (invocation.names()) return NoNames();
  absl::StatusOr<OpenVolume> volume = OpenByName(invocation, arguments.name);
  if (!volume.ok()) return volume.status();
  const auto range = RangeOf(volume->settings, arguments.flags);
  if (!range.ok()) return range.status();
  ExtentPrinter printer(invocation, kWords, range->end, arguments.flags.totals);
  absl::Status walked = WalkExtents(
      volume->remote, range->offset, range->end - range->offset,
      [&](const Extent& extent) {
        if (invocation.context().interrupted->load()) return InterruptedError();
        return printer.Add(extent.offset, extent.length, extent.hole);
      });
  return walked.ok() ? printer.Finish() : walked;
}

}  // namespace

void AddExtentsCommand(CommandSet& commands) {
  auto arguments = std::make_shared<ExtentsArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "extents", "List which parts of a volume hold data",
      [&invocation, arguments] { return Extents(invocation, *arguments); });
  AddVolumeName(command, &arguments->name);
  AddExtentFlags(command, &arguments->flags);
}

}  // namespace ramvol::cli
