#include "client/cli/commands/export_command.h"

#include <cstdint>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/file_error.h"
#include "base/reason.h"
#include "base/size.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/open_volume.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/cli/local_file.h"
#include "client/cli/output/progress.h"
#include "client/cli/transfer/export_transfer.h"
#include "client/client.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

constexpr char kHelp[] =
    R"(Holes are neither read nor written: a regular file stays sparse. When the
export fails or is interrupted, a file that it made is removed.

)";

struct ExportArguments {
  std::string name;
  std::string file;
  bool keep_partial = false;
  bool force = false;
};

absl::StatusOr<ExportResult> Transfer(const Invocation& invocation,
                                      const ExportArguments& arguments,
                                      const OpenVolume& volume,
                                      LocalFile& file) {
  const CliContext& context = invocation.context();
  const Client control = invocation.ControlClient();
  int64_t total = 0;
  if (context.err_is_terminal) {
    absl::StatusOr<v1::VolumeStats> stats = control.StatVolume(arguments.name);
    if (stats.ok()) total = stats->logical_bytes();
  }
  ProgressBar progress(context, absl::StrCat("export ", arguments.name), total,
                       [&]() -> absl::StatusOr<double> {
                         absl::StatusOr<v1::VolumeStats> stats =
                             control.StatVolume(arguments.name);
                         if (!stats.ok()) return stats.status();
                         return stats->ratio();
                       });
  return Export(volume.remote, file,
                {.offset = 0, .length = volume.settings.size_bytes()},
                {.interrupted = *context.interrupted,
                 .done_bytes = progress.done_bytes()});
}

absl::Status Report(const Invocation& invocation,
                    const ExportArguments& arguments, const OpenVolume& volume,
                    const LocalFile& file, const ExportResult& result,
                    absl::Duration elapsed) {
  invocation.Remark(absl::StrCat(
      "exported ", arguments.name, " to ", file.name(), ": ",
      FormatSize(volume.settings.size_bytes()), ", of which ",
      FormatSize(result.read_bytes), " data, in ", FormatClock(elapsed)));
  // Then standard output holds the volume's data.
  if (arguments.file == "-") return absl::OkStatus();
  output::v1::ExportOutput message;
  message.set_name(arguments.name);
  message.set_size_bytes(volume.settings.size_bytes());
  message.set_read_bytes(result.read_bytes);
  message.set_written_bytes(result.written_bytes);
  return invocation.PrintVolumes(message, "", {arguments.name});
}

// Adds to the error what became of the file.
absl::Status GiveUp(const absl::Status& failure, bool keep_partial,
                    LocalFile& file) {
  if (IsBrokenPipe(failure)) return failure;
  const bool removed = !keep_partial && file.RemoveIfCreated();
  return Annotate(
      failure, absl::StrCat(file.name(),
                            removed ? " is removed again" : " is incomplete"));
}

absl::Status RunExport(const Invocation& invocation,
                       const ExportArguments& arguments) {
  const CliContext& context = invocation.context();
  const absl::Time start = context.now();
  if (arguments.file == "-" && !arguments.force &&
      context.out_terminal().has_value()) {
    return BinaryToTerminal();
  }
  absl::StatusOr<OpenVolume> volume = OpenByName(invocation, arguments.name);
  if (!volume.ok()) return volume.status();
  absl::StatusOr<LocalFile> file = LocalFile::OpenForWriting(
      arguments.file, context.out_fd, *context.interrupted);
  if (!file.ok()) return file.status();
  absl::StatusOr<ExportResult> result =
      Transfer(invocation, arguments, *volume, *file);
  absl::Status closed = file->Close();
  if (!result.ok()) {
    return GiveUp(result.status(), arguments.keep_partial, *file);
  }
  if (!closed.ok()) return GiveUp(closed, arguments.keep_partial, *file);
  return Report(invocation, arguments, *volume, *file, *result,
                context.now() - start);
}

}  // namespace

void AddExportCommand(CommandSet& commands) {
  auto arguments = std::make_shared<ExportArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "export", "Copy a volume into a file",
      [&invocation, arguments] { return RunExport(invocation, *arguments); });
  AddVolumeName(command, &arguments->name);
  command
      ->add_option("FILE", arguments->file,
                   "A file, emptied if it is there, or - for standard output")
      ->required()
      ->type_name("");
  command->add_flag("--keep-partial", arguments->keep_partial,
                    "Keep a new file when the export fails");
  command->add_flag("--force", arguments->force,
                    "Also to a terminal as standard output");
  command->footer(std::string(kHelp) + kCommonHelp);
}

}  // namespace ramvol::cli
