#include "client/cli/commands/show_commands.h"

#include <memory>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/version.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/invocation.h"
#include "client/cli/output/message_text.h"
#include "client/client.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

absl::Status Show(const Invocation& invocation, const std::string& name) {
  absl::StatusOr<v1::Volume> volume =
      invocation.ControlClient().GetVolume(name);
  if (!volume.ok()) return volume.status();
  return invocation.PrintVolumes(
      *volume, VolumeText(*volume, invocation.context().now()), {name});
}

absl::Status Stat(const Invocation& invocation, const std::string& name) {
  absl::StatusOr<v1::VolumeStats> stats =
      invocation.ControlClient().StatVolume(name);
  if (!stats.ok()) return stats.status();
  return invocation.PrintVolumes(*stats, StatsText(name, *stats), {name});
}

absl::Status ListClients(const Invocation& invocation,
                         const std::string& name) {
  absl::StatusOr<std::vector<v1::AttachedClient>> clients =
      invocation.ControlClient().ListClients(name);
  if (!clients.ok()) return clients.status();
  v1::ListClientsResponse message;
  message.mutable_clients()->Add(clients->begin(), clients->end());
  return invocation.PrintMessage(
      message,
      ClientsText(*clients, invocation.context().now(), invocation.wide()));
}

absl::Status ShowServer(const Invocation& invocation) {
  absl::StatusOr<v1::GetServerInfoResponse> info =
      invocation.ControlClient().GetServerInfo();
  if (!info.ok()) return info.status();
  return invocation.PrintMessage(*info,
                                 ServerText(*info, invocation.context().now()));
}

absl::Status CheckHealth(const Invocation& invocation) {
  absl::Status status = invocation.ControlClient().CheckHealth();
  if (!status.ok()) return status;
  output::v1::HealthOutput message;
  message.set_status("SERVING");
  return invocation.PrintMessage(message, "SERVING\n");
}

// Leaves out the server's version if no server answers.
absl::Status ShowVersion(const Invocation& invocation) {
  output::v1::VersionOutput message;
  message.set_client(std::string(kVersion));
  std::string text = absl::StrCat("ramvol ", message.client(), "\n");
  absl::StatusOr<v1::GetServerInfoResponse> info =
      invocation.ControlClient().GetServerInfo();
  if (info.ok()) {
    message.set_server(info->version());
    absl::StrAppend(&text, "ramvold ", info->version(), " at ",
                    invocation.flags().server, "\n");
  }
  return invocation.PrintMessage(message, text);
}

}  // namespace

void AddShowCommands(CommandSet& commands) {
  Invocation& invocation = commands.invocation();
  auto name = std::make_shared<std::string>();
  AddVolumeName(
      commands.Add("show", "Show a volume's settings",
                   [&invocation, name] { return Show(invocation, *name); }),
      name.get());
  AddVolumeName(
      commands.Add("stat", "Measure a volume: data, ratio, memory, I/O",
                   [&invocation, name] { return Stat(invocation, *name); }),
      name.get());
  AddVolumeName(
      commands.Add(
          "clients", "List the clients that have a volume attached",
          [&invocation, name] { return ListClients(invocation, *name); }),
      name.get());
  commands.Add("server", "Describe the server: version, limits, memory",
               [&invocation] { return ShowServer(invocation); });
  commands.Add("version", "Show the versions of this program and of the server",
               [&invocation] { return ShowVersion(invocation); });
  commands.Add("health",
               "Ask whether the server serves; fails if not, for health checks",
               [&invocation] { return CheckHealth(invocation); });
}

}  // namespace ramvol::cli
