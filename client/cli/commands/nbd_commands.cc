#include "client/cli/commands/nbd_commands.h"

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/attach/nbd_endpoint.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/client.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

struct NbdArguments {
  std::string name;
  std::string nbd;
  bool drive = false;
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

absl::Status PrintQemu(const Invocation& invocation,
                       const NbdArguments& arguments) {
  absl::StatusOr<v1::Volume> volume =
      invocation.ControlClient().GetVolume(arguments.name);
  if (!volume.ok()) return volume.status();
  absl::StatusOr<NbdEndpoint> endpoint =
      FindNbdEndpoint(invocation, arguments.nbd);
  if (!endpoint.ok()) return endpoint.status();
  const auto write = arguments.drive ? QemuDrive : QemuBlockdev;
  const std::string line =
      write(*endpoint, arguments.name, volume->read_only());
  output::v1::QemuOutput message;
  message.set_arguments(line);
  return invocation.PrintMessage(message, line + "\n");
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
  command->add_flag("--drive", qemu->drive,
                    "The older -drive instead of -blockdev and -device");
}

}  // namespace ramvol::cli
