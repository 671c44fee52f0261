#include "client/cli/commands/volume_commands.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/reason.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/create_flags.h"
#include "client/cli/commands/usage_flags.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/cli/output/message_text.h"
#include "client/client.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

constexpr char kRenameHelp[] =
    R"(Clients that have the volume attached go on. Those that come later name it by
its new name: mind fstab, scripts, and "ramvol attach" after the next boot.

)";

absl::Status PrintVolume(const Invocation& invocation,
                         const absl::StatusOr<v1::Volume>& volume) {
  if (!volume.ok()) return volume.status();
  return invocation.PrintVolumes(
      *volume, VolumeText(*volume, invocation.context().now()),
      {volume->name()});
}

struct CreateArguments {
  std::string name;
  int64_t size_bytes = 0;
  bool dry_run = false;
  CreateFlags flags;
};

absl::Status Create(const Invocation& invocation,
                    const CreateArguments& arguments) {
  v1::CreateVolumeRequest request = arguments.flags.Request();
  request.set_name(arguments.name);
  request.set_size_bytes(arguments.size_bytes);
  request.set_validate_only(arguments.dry_run);
  return PrintVolume(invocation,
                     invocation.ControlClient().CreateVolume(request));
}

void AddCreate(CommandSet& commands) {
  auto arguments = std::make_shared<CreateArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "create", "Make a volume",
      [&invocation, arguments] { return Create(invocation, *arguments); });
  AddVolumeName(command, &arguments->name);
  AddSize(command, "SIZE", &arguments->size_bytes,
          "Its size: 10G, 1.5T, or bytes")
      ->required();
  arguments->flags.AddTo(command);
  command->add_flag("--dry-run", arguments->dry_run,
                    "Check everything and show the volume, but make none");
}

struct SetArguments {
  std::string name;
  std::optional<int> level;
  std::optional<int> merge_level;
  std::optional<int64_t> memory_limit;
  std::optional<bool> read_only;
  std::vector<Label> labels;
  std::vector<std::string> unlabels;
  std::optional<absl::Duration> ttl;
  UsageFlags usage;
};

// Labels are replaced as a whole, so the new ones are made from those that are
// there; the etag makes sure that nobody changes them in between.
absl::Status UpdateLabels(const Client& client, const SetArguments& arguments,
                          v1::UpdateVolumeRequest* request) {
  if (arguments.labels.empty() && arguments.unlabels.empty()) {
    return absl::OkStatus();
  }
  absl::StatusOr<v1::Volume> volume = client.GetVolume(arguments.name);
  if (!volume.ok()) return volume.status();
  auto& labels = *request->mutable_volume()->mutable_labels();
  labels = volume->labels();
  for (const std::string& key : arguments.unlabels) labels.erase(key);
  for (const Label& label : arguments.labels) labels[label.key] = label.value;
  request->mutable_update_mask()->add_paths("labels");
  request->set_etag(volume->etag());
  return absl::OkStatus();
}

absl::Status Set(const Invocation& invocation, const SetArguments& arguments) {
  v1::UpdateVolumeRequest request;
  request.set_name(arguments.name);
  v1::Volume& volume = *request.mutable_volume();
  auto& mask = *request.mutable_update_mask();
  if (arguments.level.has_value()) {
    volume.set_zstd_level(*arguments.level);
    mask.add_paths("zstd_level");
  }
  if (arguments.merge_level.has_value()) {
    volume.set_merge_zstd_level(*arguments.merge_level);
    mask.add_paths("merge_zstd_level");
  }
  if (arguments.memory_limit.has_value()) {
    volume.set_memory_limit_bytes(*arguments.memory_limit);
    mask.add_paths("memory_limit_bytes");
  }
  if (arguments.read_only.has_value()) {
    volume.set_read_only(*arguments.read_only);
    mask.add_paths("read_only");
  }
  if (arguments.ttl.has_value()) {
    *volume.mutable_ttl() = ToProto(*arguments.ttl);
    mask.add_paths("ttl");
  }
  if (arguments.usage.given()) {
    arguments.usage.Fill(volume.mutable_limits(), &mask);
  }
  const Client client = invocation.ControlClient();
  absl::Status labelled = UpdateLabels(client, arguments, &request);
  if (!labelled.ok()) return labelled;
  if (mask.paths().empty()) {
    return UsageError("nothing to change; see \"ramvol set --help\"");
  }
  return PrintVolume(invocation, client.UpdateVolume(request));
}

void AddSet(CommandSet& commands) {
  auto arguments = std::make_shared<SetArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "set", "Change a volume's settings",
      [&invocation, arguments] { return Set(invocation, *arguments); });
  AddVolumeName(command, &arguments->name);
  AddInt(command, "--level", &arguments->level,
         "zstd level for writes, -50 to 19; 0 means the default")
      ->type_name("LEVEL");
  AddInt(command, "--merge-level", &arguments->merge_level,
         "zstd level for what has gone cold; 0 means the default")
      ->type_name("LEVEL");
  AddSize(command, "--memory-limit", &arguments->memory_limit,
          "Most memory that it may take; 0 means no limit of its own");
  Restrict(command->add_option("--read-only", arguments->read_only,
                               "Whether it refuses writes"),
           {"true", "false"});
  AddLabels(command, &arguments->labels, "Add or change a label");
  command->add_option("--unlabel", arguments->unlabels, "Remove a label")
      ->type_name("KEY")
      ->type_size(1)
      ->allow_extra_args(false);
  AddTtl(
      command, &arguments->ttl,
      "Delete it when it was not used for so long from now on; 0 means never");
  arguments->usage.AddTo(command);
}

struct ResizeArguments {
  std::string name;
  int64_t size_bytes = 0;
  bool shrink = false;
  bool force = false;
};

absl::Status Resize(const Invocation& invocation,
                    const ResizeArguments& arguments) {
  const Client client = invocation.ControlClient();
  absl::StatusOr<v1::Volume> volume = client.GetVolume(arguments.name);
  if (!volume.ok()) return volume.status();
  const bool shrinks = arguments.size_bytes < volume->size_bytes();
  if (shrinks && !arguments.shrink) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat(
            "volume \"", arguments.name, "\" has ", volume->size_bytes(),
            " bytes; making it ", arguments.size_bytes,
            " loses the data at its end, so it needs --shrink")),
        "SHRINK_LOSES_DATA");
  }
  v1::UpdateVolumeRequest request;
  request.set_name(arguments.name);
  request.mutable_volume()->set_size_bytes(arguments.size_bytes);
  request.mutable_update_mask()->add_paths("size_bytes");
  request.set_etag(volume->etag());
  request.set_if_unattached(shrinks && !arguments.force);
  return PrintVolume(invocation, client.UpdateVolume(request));
}

void AddResize(CommandSet& commands) {
  auto arguments = std::make_shared<ResizeArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "resize", "Change a volume's size, also while it is used",
      [&invocation, arguments] { return Resize(invocation, *arguments); });
  AddVolumeName(command, &arguments->name);
  AddSize(command, "SIZE", &arguments->size_bytes,
          "The new size: 10G, 1.5T, or bytes")
      ->required();
  command->add_flag("--shrink", arguments->shrink,
                    "Allow a smaller size; the data past it is lost");
  command->add_flag("--force", arguments->force,
                    "Shrink it also while other clients have it attached");
}

absl::Status Rename(const Invocation& invocation,
                    const v1::RenameVolumeRequest& request) {
  return PrintVolume(invocation,
                     invocation.ControlClient().RenameVolume(request));
}

void AddRename(CommandSet& commands) {
  auto request = std::make_shared<v1::RenameVolumeRequest>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "rename", "Give a volume another name, also while it is used",
      [&invocation, request] { return Rename(invocation, *request); });
  AddVolumeName(command, request->mutable_name());
  command->add_option("NEW-NAME", *request->mutable_new_name(), "Its new name")
      ->required()
      ->type_name("");
  command->footer(std::string(kRenameHelp) + kCommonHelp);
}

}  // namespace

void AddVolumeCommands(CommandSet& commands) {
  AddCreate(commands);
  AddSet(commands);
  AddResize(commands);
  AddRename(commands);
}

}  // namespace ramvol::cli
