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
#include "client/cli/output/message_text.h"
#include "client/cli/session.h"
#include "client/client.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

absl::Status Show(const Session& session, const std::string& name) {
  absl::StatusOr<v1::Volume> volume = session.ControlClient().GetVolume(name);
  if (!volume.ok()) return volume.status();
  return session.PrintVolumes(*volume, VolumeText(*volume), {name});
}

absl::Status Stat(const Session& session, const std::string& name) {
  absl::StatusOr<v1::VolumeStats> stats =
      session.ControlClient().StatVolume(name);
  if (!stats.ok()) return stats.status();
  return session.PrintVolumes(*stats, StatsText(name, *stats), {name});
}

absl::Status ListClients(const Session& session, const std::string& name) {
  absl::StatusOr<std::vector<v1::AttachedClient>> clients =
      session.ControlClient().ListClients(name);
  if (!clients.ok()) return clients.status();
  v1::ListClientsResponse message;
  message.mutable_clients()->Add(clients->begin(), clients->end());
  return session.PrintMessage(message,
                              ClientsText(*clients, session.context().now()));
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
  output::v1::HealthOutput message;
  message.set_status("SERVING");
  return session.PrintMessage(message, "SERVING\n");
}

// The version of a server that does not answer is left out.
absl::Status ShowVersion(const Session& session) {
  output::v1::VersionOutput message;
  message.set_client(std::string(kVersion));
  std::string text = absl::StrCat("ramvol ", message.client(), "\n");
  absl::StatusOr<v1::GetServerInfoResponse> info =
      session.ControlClient().GetServerInfo();
  if (info.ok()) {
    message.set_server(info->version());
    absl::StrAppend(&text, "ramvold ", info->version(), " at ",
                    session.flags().server, "\n");
  }
  return session.PrintMessage(message, text);
}

}  // namespace

void AddShowCommands(CommandSet& commands) {
  Session& session = commands.session();
  auto name = std::make_shared<std::string>();
  AddVolumeName(commands.Add("show", "Show a volume's settings",
                             [&session, name] { return Show(session, *name); }),
                name.get());
  AddVolumeName(
      commands.Add("stat", "Measure a volume: data, ratio, memory, I/O",
                   [&session, name] { return Stat(session, *name); }),
      name.get());
  AddVolumeName(
      commands.Add("clients", "List the clients that have a volume attached",
                   [&session, name] { return ListClients(session, *name); }),
      name.get());
  commands.Add("server", "Describe the server: version, limits, memory",
               [&session] { return ShowServer(session); });
  commands.Add("version", "Show the versions of this program and of the server",
               [&session] { return ShowVersion(session); });
  commands.Add("health",
               "Ask whether the server serves; fails if not, for health checks",
               [&session] { return CheckHealth(session); });
}

}  // namespace ramvol::cli
