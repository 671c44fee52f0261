#include "client/cli/commands/data_commands.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/printable.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/open_volume.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/cli/local_file.h"
#include "client/cli/transfer/export_transfer.h"
#include "client/cli/transfer/import_transfer.h"
#include "client/cli/transfer/transfer.h"
#include "client/remote_volume.h"

namespace ramvol::cli {
namespace {

// Nobody reads more text than this on a terminal.
constexpr int64_t kMaxTerminalBytes = 64 << 10;

struct ReadArguments {
  std::string name;
  int64_t offset = 0;
  int64_t length = 0;
  std::string file = "-";
  bool force = false;
};

// Whether a terminal shows the character and does nothing else.
bool IsText(std::string data) {
  absl::c_replace_if(data, [](char c) { return c == '\n' || c == '\t'; }, ' ');
  return Printable(data) == data;
}

// Shows data on a terminal if it is text, and not too long.
absl::Status CheckForTerminal(const RemoteVolume& volume,
                              const ReadArguments& arguments) {
  if (arguments.length > kMaxTerminalBytes) return BinaryToTerminal();
  absl::StatusOr<std::string> data =
      volume.Read(arguments.offset, arguments.length);
  if (!data.ok()) return data.status();
  return IsText(*std::move(data)) ? absl::OkStatus() : BinaryToTerminal();
}

absl::Status Read(const Invocation& invocation,
                  const ReadArguments& arguments) {
  const CliContext& context = invocation.context();
  absl::StatusOr<OpenVolume> volume = OpenByName(invocation, arguments.name);
  if (!volume.ok()) return volume.status();
  absl::Status in_range =
      CheckRange(volume->settings, arguments.offset, arguments.length);
  if (!in_range.ok()) return in_range;
  if (arguments.file == "-" && !arguments.force &&
      context.out_terminal().has_value()) {
    absl::Status shown = CheckForTerminal(volume->remote, arguments);
    if (!shown.ok()) return shown;
  }
  absl::StatusOr<LocalFile> file = LocalFile::OpenForWriting(
      arguments.file, context.out_fd, *context.interrupted);
  if (!file.ok()) return file.status();
  std::atomic<int64_t> done_bytes{0};
  absl::StatusOr<ExportResult> result =
      Export(volume->remote, *file,
             {.offset = arguments.offset, .length = arguments.length},
             {.interrupted = *context.interrupted, .done_bytes = done_bytes});
  absl::Status closed = file->Close();
  return result.ok() ? closed : result.status();
}

void AddRead(CommandSet& commands) {
  auto arguments = std::make_shared<ReadArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "read", "Write a volume's bytes to standard output",
      [&invocation, arguments] { return Read(invocation, *arguments); });
  AddVolumeName(command, &arguments->name);
  AddSize(command, "OFFSET", &arguments->offset, "Where to begin")->required();
  AddSize(command, "LENGTH", &arguments->length, "How many bytes")->required();
  command->add_option("--out", arguments->file, "Write them to a file")
      ->type_name("FILE");
  command->add_flag("--force", arguments->force,
                    "Write them to a terminal also when they are no text");
}

struct WriteArguments {
  std::string name;
  int64_t offset = 0;
  std::string file = "-";
  bool force = false;
};

absl::Status Write(const Invocation& invocation,
                   const WriteArguments& arguments) {
  const CliContext& context = invocation.context();
  absl::StatusOr<LocalFile> file = LocalFile::OpenForReading(
      arguments.file, context.in_fd, *context.interrupted);
  if (!file.ok()) return file.status();
  absl::StatusOr<OpenVolume> volume = OpenByName(
      invocation, arguments.name, {.if_unattached = !arguments.force});
  if (!volume.ok()) return volume.status();
  absl::Status in_range = CheckRange(volume->settings, arguments.offset, 0);
  if (!in_range.ok()) return in_range;
  std::atomic<int64_t> done_bytes{0};
  return Import(
             *file, volume->remote,
             {.volume_offset = arguments.offset,
              .room_bytes = volume->settings.size_bytes() - arguments.offset},
             {.interrupted = *context.interrupted, .done_bytes = done_bytes})
      .status();
}

void AddWrite(CommandSet& commands) {
  auto arguments = std::make_shared<WriteArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "write", "Write bytes of a file or of standard input into a volume",
      [&invocation, arguments] { return Write(invocation, *arguments); });
  AddVolumeName(command, &arguments->name);
  AddSize(command, "OFFSET", &arguments->offset, "Where to begin")->required();
  command
      ->add_option("FILE", arguments->file,
                   "What to write; - (the default) is standard input")
      ->type_name("");
  AddForce(command, &arguments->force);
}

struct TrimArguments {
  std::string name;
  std::optional<int64_t> offset;
  std::optional<int64_t> length;
  bool all = false;
  bool force = false;
};

absl::Status Trim(const Invocation& invocation,
                  const TrimArguments& arguments) {
  const bool range = arguments.length.has_value();
  if (arguments.all == arguments.offset.has_value() ||
      range != arguments.offset.has_value()) {
    return UsageError("give OFFSET and LENGTH, or --all for the whole volume");
  }
  absl::StatusOr<OpenVolume> volume = OpenByName(
      invocation, arguments.name, {.if_unattached = !arguments.force});
  if (!volume.ok()) return volume.status();
  return volume->remote.Trim(
      arguments.offset.value_or(0),
      arguments.length.value_or(volume->settings.size_bytes()));
}

void AddTrim(CommandSet& commands) {
  auto arguments = std::make_shared<TrimArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "trim", "Give a range's memory back; it reads as zero after",
      [&invocation, arguments] { return Trim(invocation, *arguments); });
  AddVolumeName(command, &arguments->name);
  AddSize(command, "OFFSET", &arguments->offset, "Where to begin");
  AddSize(command, "LENGTH", &arguments->length, "How many bytes");
  command->add_flag("--all", arguments->all, "The whole volume");
  AddForce(command, &arguments->force);
}

}  // namespace

void AddDataCommands(CommandSet& commands) {
  AddRead(commands);
  AddWrite(commands);
  AddTrim(commands);
}

}  // namespace ramvol::cli
