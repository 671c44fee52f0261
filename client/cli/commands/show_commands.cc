#include "client/cli/commands/show_commands.h"

#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/printable.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/output/json.h"
#include "client/cli/output/message_text.h"
#include "client/cli/session.h"
#include "client/client.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

struct ListArguments {
  bool measured = false;
  bool quiet = false;
};

// Leaves out volumes that were deleted since they were listed.
absl::StatusOr<std::vector<v1::VolumeStats>> Measure(
    const Client& client, std::vector<v1::Volume>* volumes) {
  std::vector<v1::Volume> measured;
  std::vector<v1::VolumeStats> all;
  for (v1::Volume& volume : *volumes) {
    absl::StatusOr<v1::VolumeStats> stats = client.StatVolume(volume.name());
    if (absl::IsNotFound(stats.status())) continue;
    if (!stats.ok()) return stats.status();
    all.push_back(*std::move(stats));
    measured.push_back(std::move(volume));
  }
  *volumes = std::move(measured);
  return all;
}

absl::Status PrintNames(const Session& session,
                        const std::vector<v1::Volume>& volumes) {
  std::string text;
  for (const v1::Volume& volume : volumes) {
    absl::StrAppend(&text, Printable(volume.name()), "\n");
  }
  return session.Print(text);
}

absl::Status List(const Session& session, const ListArguments& arguments) {
  const Client client = session.ControlClient();
  absl::StatusOr<std::vector<v1::Volume>> volumes = client.ListVolumes();
  if (!volumes.ok()) return volumes.status();
  if (arguments.quiet) return PrintNames(session, *volumes);
  if (session.json()) {
    v1::ListVolumesResponse response;
    for (const v1::Volume& volume : *volumes) *response.add_volumes() = volume;
    return session.PrintMessage(response, "");
  }
  std::vector<v1::VolumeStats> stats;
  if (arguments.measured) {
    absl::StatusOr<std::vector<v1::VolumeStats>> measured =
        Measure(client, &*volumes);
    if (!measured.ok()) return measured.status();
    stats = *std::move(measured);
  }
  return session.Print(VolumesText(*volumes, stats));
}

void AddList(CommandSet& commands) {
  auto arguments = std::make_shared<ListArguments>();
  Session& session = commands.session();
  CLI::App* command =
      commands.Add("ls", "List the volumes",
                   [&session, arguments] { return List(session, *arguments); });
  command->add_flag("-l,--long", arguments->measured,
                    "Also show what each holds (in the table)");
  command->add_flag("-q,--quiet", arguments->quiet,
                    "Only the names, one a line");
}

absl::Status Show(const Session& session, const std::string& name) {
  absl::StatusOr<v1::Volume> volume = session.ControlClient().GetVolume(name);
  if (!volume.ok()) return volume.status();
  return session.PrintMessage(*volume, VolumeText(*volume));
}

absl::Status Stat(const Session& session, const std::string& name) {
  absl::StatusOr<v1::VolumeStats> stats =
      session.ControlClient().StatVolume(name);
  if (!stats.ok()) return stats.status();
  return session.PrintMessage(*stats, StatsText(name, *stats));
}

absl::Status ShowServer(const Session& session) {
  absl::StatusOr<v1::GetServerInfoResponse> info =
      session.ControlClient().GetServerInfo();
  if (!info.ok()) return info.status();
  return session.PrintMessage(*info,
                              ServerText(*info, session.context().now()));
}

absl::Status CheckHealth(const Session& session) {
  absl::Status status = session.ControlClient().CheckHealth();
  if (!status.ok()) return status;
  return session.Print(session.json()
                           ? ToJson({{"status", JsonString("SERVING")}})
                           : "SERVING\n");
}

}  // namespace

void AddShowCommands(CommandSet& commands) {
  Session& session = commands.session();
  AddList(commands);
  auto name = std::make_shared<std::string>();
  AddVolumeName(commands.Add("show", "Show a volume's settings",
                             [&session, name] { return Show(session, *name); }),
                name.get());
  AddVolumeName(
      commands.Add("stat", "Measure a volume: data, ratio, memory, I/O",
                   [&session, name] { return Stat(session, *name); }),
      name.get());
  commands.Add("server", "Describe the server: version, limits, memory",
               [&session] { return ShowServer(session); });
  commands.Add("health",
               "Ask whether the server serves; fails if not, for health checks",
               [&session] { return CheckHealth(session); });
}

}  // namespace ramvol::cli
