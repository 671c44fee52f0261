#include "client/cli/commands/nbd_commands.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/attach/nbd_endpoint.h"
#include "client/attach/vhost_disk.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/client.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

constexpr char kQemu[] = "qemu";
constexpr char kCloudHypervisor[] = "cloud-hypervisor";
constexpr int64_t kMemoryUnit = 1 << 20;

struct NbdArguments {
  std::string name;
  std::string nbd;
  bool drive = false;
  bool vhost_user = false;
  std::string machine = kQemu;
  int64_t memory_bytes = int64_t{1} << 30;
};

// The absolute path: it means the same in every folder.
void MakeAbsolute(std::string* path) {
  std::error_code error;
  const std::filesystem::path absolute =
      std::filesystem::absolute(*path, error);
  if (!error) *path = absolute.string();
}

absl::Status PrintUri(const Invocation& invocation,
                      const NbdArguments& arguments) {
  absl::StatusOr<v1::Volume> volume =
      invocation.ControlClient().GetVolume(arguments.name);
  if (!volume.ok()) return volume.status();
  absl::StatusOr<NbdEndpoint> endpoint =
      FindNbdEndpoint(invocation, arguments.nbd);
  if (!endpoint.ok()) return endpoint.status();
  const std::string uri = NbdUri(*endpoint, arguments.name);
  output::v1::UriOutput message;
  message.set_uri(uri);
  return invocation.PrintMessage(message, uri + "\n");
}

absl::Status PrintLine(const Invocation& invocation, const std::string& line) {
  output::v1::QemuOutput message;
  message.set_arguments(line);
  return invocation.PrintMessage(message, line + "\n");
}

// NOT_FOUND unless there is the volume, or the snapshot "@NAME".
absl::Status CheckExists(const Invocation& invocation,
                         const std::string& name) {
  const Client& client = invocation.ControlClient();
  return absl::StartsWith(name, "@")
             ? client.GetSnapshot(name.substr(1)).status()
             : client.GetVolume(name).status();
}

absl::Status PrintVhostUser(const Invocation& invocation,
                            const NbdArguments& arguments) {
  if (arguments.memory_bytes < 0 || arguments.memory_bytes % kMemoryUnit != 0) {
    return UsageError(absl::StrCat("--memory: ", arguments.memory_bytes,
                                   " is not a multiple of 1 MiB"));
  }
  absl::Status exists = CheckExists(invocation, arguments.name);
  if (!exists.ok()) return exists;
  absl::StatusOr<v1::GetServerInfoResponse> info =
      invocation.ControlClient().GetServerInfo();
  if (!info.ok()) return info.status();
  absl::StatusOr<std::string> socket = VhostSocket(
      info->vhost_user_dir(), invocation.flags().server, arguments.name);
  if (!socket.ok()) return socket.status();
  const auto write =
      arguments.machine == kQemu ? QemuVhostDisk : CloudHypervisorVhostDisk;
  return PrintLine(invocation, write({.volume = arguments.name,
                                      .socket = *socket,
                                      .memory_bytes = arguments.memory_bytes}));
}

absl::Status PrintQemu(const Invocation& invocation,
                       const NbdArguments& arguments) {
  if (arguments.vhost_user) return PrintVhostUser(invocation, arguments);
  absl::StatusOr<v1::Volume> volume =
      invocation.ControlClient().GetVolume(arguments.name);
  if (!volume.ok()) return volume.status();
  absl::StatusOr<NbdEndpoint> endpoint =
      FindNbdEndpoint(invocation, arguments.nbd);
  if (!endpoint.ok()) return endpoint.status();
  const auto write = arguments.drive ? QemuDrive : QemuBlockdev;
  return PrintLine(invocation,
                   write(*endpoint, arguments.name, volume->read_only()));
}

void AddVhostUser(CLI::App* command, NbdArguments* arguments,
                  CLI::Option* drive) {
  CLI::Option* vhost_user =
      command
          ->add_flag("--vhost-user", arguments->vhost_user,
                     "A disk by vhost-user: the server reaches the machine's "
                     "memory itself. VOLUME may be @SNAPSHOT")
          ->excludes(drive);
  Restrict(command->add_option("--for", arguments->machine,
                               "With --vhost-user: whose arguments"),
           {kQemu, kCloudHypervisor})
      ->needs(vhost_user)
      ->capture_default_str();
  AddSize(command, "--memory", &arguments->memory_bytes,
          "With --vhost-user: the machine's memory (default: 1G); 0: say "
          "nothing of it, for a machine's second disk")
      ->needs(vhost_user);
}

}  // namespace

CLI::Option* AddNbdAddress(CLI::App* command, std::string* address) {
  return command
      ->add_option("--nbd", *address,
                   "Where NBD is served: unix:PATH or HOST:PORT (default: "
                   "RAMVOL_NBD, or what the server tells)")
      ->type_name("ADDR");
}

absl::StatusOr<NbdEndpoint> FindNbdEndpoint(const Invocation& invocation,
                                            std::string address) {
  if (address.empty()) {
    address = invocation.context().env("RAMVOL_NBD").value_or("");
  }
  if (address.empty()) {
    absl::StatusOr<v1::GetServerInfoResponse> info =
        invocation.ControlClient().GetServerInfo();
    if (!info.ok()) return info.status();
    absl::StatusOr<NbdEndpoint> chosen = ChooseNbdEndpoint(
        {info->nbd_addresses().begin(), info->nbd_addresses().end()},
        invocation.flags().server);
    if (chosen.ok()) chosen->tls = info->nbd_tls();
    return chosen;
  }
  absl::StatusOr<NbdEndpoint> endpoint = ParseNbdEndpoint(address);
  if (!endpoint.ok()) {
    return UsageError(
        absl::StrCat("--nbd: ", std::string(endpoint.status().message())));
  }
  if (endpoint->is_unix()) MakeAbsolute(&endpoint->unix_path);
  return endpoint;
}

void AddNbdCommands(CommandSet& commands) {
  Invocation& invocation = commands.invocation();
  auto uri = std::make_shared<NbdArguments>();
  CLI::App* command =
      commands.Add("uri", "Print a volume's NBD URI",
                   [&invocation, uri] { return PrintUri(invocation, *uri); });
  AddVolumeName(command, &uri->name);
  AddNbdAddress(command, &uri->nbd);

  auto qemu = std::make_shared<NbdArguments>();
  command = commands.Add(
      "qemu", "Print QEMU's arguments for a disk on a volume",
      [&invocation, qemu] { return PrintQemu(invocation, *qemu); });
  AddVolumeName(command, &qemu->name);
  AddNbdAddress(command, &qemu->nbd);
  CLI::Option* drive =
      command->add_flag("--drive", qemu->drive,
                        "The older -drive instead of -blockdev and -device");
  AddVhostUser(command, qemu.get(), drive);
}

}  // namespace ramvol::cli
