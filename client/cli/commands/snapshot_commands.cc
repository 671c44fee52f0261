#include "client/cli/commands/snapshot_commands.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/printable.h"
#include "base/reason.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/create_flags.h"
#include "client/cli/commands/image_commands.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/cli/output/message_text.h"
#include "client/client.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

constexpr char kSnapshotHelp[] =
    R"(The actions:

    create VOLUME [NAME]      keep what the volume holds now; without NAME the
                              server chooses one
    create VOLUME@[NAME]...   the same of several volumes, all at one instant
    ls [VOLUME]               list all snapshots, or those of a volume
    show NAME                 show one
    rm NAME...                delete snapshots and give their memory back

Names may be written with "@". Where a command reads a volume, @NAME reads the
snapshot: "ramvol export @monday monday.img".

)";

// "@monday", as all commands take it.
std::string At(const std::string& name) {
  return name.rfind('@', 0) == 0 ? name : absl::StrCat("@", name);
}

struct SnapshotArguments {
  std::string action;
  std::vector<std::string> names;
  std::vector<Label> labels;
  bool force = false;
};

absl::Status PrintSnapshot(const Invocation& invocation,
                           const absl::StatusOr<v1::Snapshot>& snapshot) {
  if (!snapshot.ok()) return snapshot.status();
  return invocation.PrintVolumes(*snapshot, SnapshotText(*snapshot),
                                 {At(snapshot->name())});
}

absl::Status PrintSnapshots(const Invocation& invocation,
                            const std::vector<v1::Snapshot>& snapshots) {
  output::v1::SnapshotListOutput message;
  std::vector<std::string> names;
  for (const v1::Snapshot& snapshot : snapshots) {
    *message.add_snapshots() = snapshot;
    names.push_back(At(snapshot.name()));
  }
  return invocation.PrintVolumes(message, SnapshotsText(snapshots), names);
}

// Whether it is a volume and a snapshot's name, "disk@monday" or "disk@".
bool NamesBoth(const std::string& word) {
  return word.find('@', 1) != std::string::npos;
}

// What each word of "create" asks for.
absl::StatusOr<std::vector<v1::CreateSnapshotRequest>> WantedSnapshots(
    const std::vector<std::string>& words) {
  std::vector<v1::CreateSnapshotRequest> wanted;
  if (absl::c_none_of(words, NamesBoth) && words.size() <= 2) {
    wanted.emplace_back().set_volume(words[0]);
    if (words.size() > 1) wanted[0].set_name(words[1]);
    return wanted;
  }
  for (const std::string& word : words) {
    if (!NamesBoth(word)) {
      return UsageError(absl::StrCat(
          "to take several snapshots, write each as VOLUME@NAME, or as VOLUME@ "
          "to have its name chosen; \"",
          word, "\" is neither"));
    }
    const size_t at = word.find('@', 1);
    v1::CreateSnapshotRequest& one = wanted.emplace_back();
    one.set_volume(word.substr(0, at));
    one.set_name(word.substr(at + 1));
  }
  return wanted;
}

absl::Status CreateSnapshots(const Invocation& invocation,
                             const SnapshotArguments& arguments) {
  auto wanted = WantedSnapshots(arguments.names);
  if (!wanted.ok()) return wanted.status();
  v1::CreateSnapshotsRequest request;
  for (v1::CreateSnapshotRequest& one : *wanted) {
    for (const Label& label : arguments.labels) {
      (*one.mutable_labels())[label.key] = label.value;
    }
    *request.add_snapshots() = std::move(one);
  }
  const absl::StatusOr<std::vector<v1::Snapshot>> made =
      invocation.ControlClient().CreateSnapshots(request);
  if (!made.ok()) return made.status();
  return made->size() == 1 ? PrintSnapshot(invocation, made->front())
                           : PrintSnapshots(invocation, *made);
}

absl::Status ListSnapshots(const Invocation& invocation,
                           const SnapshotArguments& arguments) {
  const absl::StatusOr<std::vector<v1::Snapshot>> snapshots =
      invocation.ControlClient().ListSnapshots(
          arguments.names.empty() ? "" : arguments.names[0]);
  if (!snapshots.ok()) return snapshots.status();
  return PrintSnapshots(invocation, *snapshots);
}

// Goes on after a failure, and reports every one but the last, which it
// returns.
absl::Status RemoveSnapshots(const Invocation& invocation,
                             const SnapshotArguments& arguments) {
  const Client client = invocation.ControlClient();
  output::v1::RemoveOutput message;
  std::vector<std::string> names;
  std::string text;
  absl::Status last_failure;
  for (const std::string& name : arguments.names) {
    v1::DeleteSnapshotRequest request;
    request.set_name(name);
    request.set_force(arguments.force);
    absl::Status removed = client.DeleteSnapshot(request);
    if (!removed.ok()) {
      if (!last_failure.ok()) invocation.PrintFailure("snapshot", last_failure);
      last_failure = removed;
      continue;
    }
    names.push_back(At(name));
    message.add_removed(names.back());
    absl::StrAppend(&text, "removed ", Printable(names.back()), "\n");
  }
  absl::Status printed = invocation.PrintVolumes(message, text, names);
  return last_failure.ok() ? printed : last_failure;
}

// What an action takes, and does.
struct Action {
  const char* name;
  size_t min_names;
  size_t max_names;
  const char* usage;
  absl::Status (*run)(const Invocation&, const SnapshotArguments&);
};

constexpr size_t kAnyNumber = SIZE_MAX;
const Action kActions[] = {
    {"create", 1, kAnyNumber, "create VOLUME [NAME]", &CreateSnapshots},
    {"ls", 0, 1, "ls [VOLUME]", &ListSnapshots},
    {"show", 1, 1, "show NAME",
     [](const Invocation& invocation, const SnapshotArguments& arguments) {
       return PrintSnapshot(invocation, invocation.ControlClient().GetSnapshot(
                                            arguments.names[0]));
     }},
    {"rm", 1, kAnyNumber, "rm NAME...", &RemoveSnapshots},
};

absl::Status Snapshot(const Invocation& invocation,
                      const SnapshotArguments& arguments) {
  for (const Action& action : kActions) {
    if (arguments.action != action.name) continue;
    const size_t names = arguments.names.size();
    if (names < action.min_names || names > action.max_names) {
      return UsageError(
          absl::StrCat("this is \"ramvol snapshot ", action.usage, "\""));
    }
    if (!arguments.labels.empty() && arguments.action != "create") {
      return UsageError("--label is for \"ramvol snapshot create\"");
    }
    if (arguments.force && arguments.action != "rm") {
      return UsageError("--force is for \"ramvol snapshot rm\"");
    }
    return action.run(invocation, arguments);
  }
  return UsageError(absl::StrCat("\"", arguments.action,
                                 "\" is none of create, ls, show, rm"));
}

void AddSnapshot(CommandSet& commands) {
  auto arguments = std::make_shared<SnapshotArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "snapshot", "Keep what a volume holds at an instant, and see to it",
      [&invocation, arguments] { return Snapshot(invocation, *arguments); });
  Restrict(command->add_option("ACTION", arguments->action, "What to do"),
           {"create", "ls", "show", "rm"})
      ->required();
  command->add_option("NAME", arguments->names, "Volumes and snapshots")
      ->type_name("");
  AddLabels(command, &arguments->labels,
            "A label of the new snapshots; may be repeated");
  command->add_flag("--force", arguments->force,
                    "Remove it also while clients are attached; they get "
                    "errors then");
  command->footer(std::string(kSnapshotHelp) + kCommonHelp);
}

// "SERVER!NAME", or a name on the usual server.
struct Located {
  std::string server;
  std::string name;
};

Located Locate(const std::string& text) {
  const size_t mark = text.rfind('!');
  if (mark == std::string::npos) return {"", text};
  return {text.substr(0, mark), text.substr(mark + 1)};
}

struct CloneArguments {
  std::string source;
  std::string name;
  int64_t size_bytes = 0;
  CreateFlags flags;
};

absl::Status Clone(const Invocation& invocation,
                   const CloneArguments& arguments) {
  const Located source = Locate(arguments.source);
  const Located target = Locate(arguments.name);
  const Client client = invocation.ControlClient(target.server);
  v1::CreateVolumeRequest request = arguments.flags.Request();
  request.set_name(target.name);
  request.set_size_bytes(arguments.size_bytes);
  absl::StatusOr<v1::Volume> volume;
  if (source.server == target.server) {
    request.set_source(source.name);
    volume = client.CreateVolume(request);
  } else {
    volume = CopyToServer(invocation, invocation.ControlClient(source.server),
                          source.name, client, request);
  }
  if (!volume.ok()) return volume.status();
  return invocation.PrintVolumes(
      *volume, VolumeText(*volume, invocation.context().now()),
      {volume->name()});
}

void AddClone(CommandSet& commands) {
  auto arguments = std::make_shared<CloneArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "clone", "Make a volume that begins as another volume or a snapshot",
      [&invocation, arguments] { return Clone(invocation, *arguments); });
  command->alias("cp");
  command
      ->add_option("SOURCE", arguments->source,
                   "The volume, or the snapshot as @NAME; of another server as "
                   "SERVER!NAME")
      ->required()
      ->type_name("");
  AddVolumeName(command, &arguments->name)
      ->description("The new volume; on another server SERVER!NAME");
  AddSize(command, "--size", &arguments->size_bytes,
          "Its size, if it is to be larger than the source");
  arguments->flags.AddTo(command);
  command->footer(
      std::string("It shares the memory of its source, costs a moment, and "
                  "lives on without it.\nWhat no flag sets, it has from its "
                  "source, but for limit, access and labels.\nBetween servers "
                  "it is copied, compressed, with its labels.\n\n") +
      kCommonHelp);
}

struct RevertArguments {
  std::string name;
  std::string snapshot;
  bool force = false;
  bool yes = false;
};

absl::Status Revert(const Invocation& invocation,
                    const RevertArguments& arguments) {
  const Client client = invocation.ControlClient();
  const absl::StatusOr<v1::Volume> volume = client.GetVolume(arguments.name);
  if (!volume.ok()) return volume.status();
  const std::string snapshot = At(arguments.snapshot);
  const CliContext& context = invocation.context();
  if (!arguments.yes && context.in_is_terminal && context.err_is_terminal) {
    invocation.PrintError(absl::StrCat("What ", Printable(arguments.name),
                                       " holds now is lost. Revert it to ",
                                       Printable(snapshot), "? [y/N] "));
    if (!invocation.ReadYes()) {
      return WithReason(absl::FailedPreconditionError("nothing was reverted"),
                        "NOT_CONFIRMED");
    }
  }
  v1::RevertVolumeRequest request;
  request.set_name(arguments.name);
  request.set_snapshot(snapshot);
  request.set_etag(volume->etag());
  request.set_force(arguments.force);
  const absl::StatusOr<v1::Volume> reverted = client.RevertVolume(request);
  if (!reverted.ok()) return reverted.status();
  return invocation.PrintVolumes(
      *reverted, VolumeText(*reverted, invocation.context().now()),
      {reverted->name()});
}

void AddRevert(CommandSet& commands) {
  auto arguments = std::make_shared<RevertArguments>();
  Invocation& invocation = commands.invocation();
  CLI::App* command = commands.Add(
      "revert", "Give a volume the content of a snapshot",
      [&invocation, arguments] { return Revert(invocation, *arguments); });
  AddVolumeName(command, &arguments->name);
  command->add_option("SNAPSHOT", arguments->snapshot, "The snapshot, @NAME")
      ->required()
      ->type_name("");
  command->add_flag("--force", arguments->force,
                    "Also while other clients have the volume attached");
  command->add_flag("--yes", arguments->yes, "Do not ask");
}

}  // namespace

void AddSnapshotCommands(CommandSet& commands) {
  AddSnapshot(commands);
  AddClone(commands);
  AddRevert(commands);
}

}  // namespace ramvol::cli
