#include "client/cli/commands/attach_commands.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/attach/attacher.h"
#include "client/attach/detach.h"
#include "client/attach/kernel_nbd.h"
#include "client/attach/nbd_connection.h"
#include "client/attach/nbd_devices.h"
#include "client/attach/nbd_endpoint.h"
#include "client/attach/nbd_netlink.h"
#include "client/cli/commands/command_set.h"
#include "client/cli/commands/nbd_commands.h"
#include "client/cli/errors.h"
#include "client/cli/invocation.h"
#include "client/client.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

// The time for each step of connecting.
constexpr absl::Duration kNbdTimeout = absl::Seconds(10);

struct AttachArguments {
  AttachRequest request;
  std::string device;
  std::string nbd;
  std::optional<int64_t> block_size;
  bool monitor = false;
};

struct DetachArguments {
  std::string target;
  bool force = false;
};

absl::StatusOr<int> IndexOf(const std::string& device) {
  const std::optional<int> index = ParseNbdDevice(device);
  if (index.has_value()) return *index;
  return UsageError(absl::StrCat("\"", device,
                                 "\" is no nbd device; write /dev/nbd0, "
                                 "/dev/nbd1 and so on"));
}

absl::StatusOr<std::string> FindUid(const Invocation& invocation,
                                    const std::string& name) {
  absl::StatusOr<v1::Volume> volume =
      invocation.ControlClient().GetVolume(name);
  if (!volume.ok()) return volume.status();
  return volume->uid();
}

absl::Status PrintDevice(const Invocation& invocation, int index,
                         bool reattached) {
  const std::string path = NbdDevicePath(index);
  output::v1::AttachOutput message;
  message.set_device(path);
  message.set_reattached(reattached);
  return invocation.PrintVolumes(message, path + "\n", {path});
}

AttachWorld MakeWorld(const Invocation& invocation, KernelNbd* kernel,
                      const std::string& name, const NbdEndpoint& endpoint) {
  AttachWorld world;
  world.kernel = kernel;
  world.sys = invocation.context().sys;
  world.cpus = invocation.context().cpus;
  world.connect = [name, endpoint, &invocation] {
    return NbdConnection::Open(
        endpoint, name, std::min(invocation.flags().timeout, kNbdTimeout));
  };
  world.find_uid = [name, &invocation] { return FindUid(invocation, name); };
  world.remark = [name, &invocation](const std::string& text) {
    invocation.PrintError(absl::StrCat("ramvol: attach: ", text, "\n"));
  };
  world.now = invocation.context().now;
  world.interrupted = invocation.context().interrupted;
  return world;
}

absl::Status Attach(const Invocation& invocation,
                    const AttachArguments& arguments) {
  AttachRequest request = arguments.request;
  if (!arguments.device.empty()) {
    absl::StatusOr<int> index = IndexOf(arguments.device);
    if (!index.ok()) return index.status();
    request.index = *index;
  }
  if (arguments.block_size.has_value()) {
    request.block_bytes = static_cast<uint32_t>(
        std::min<int64_t>(*arguments.block_size, UINT32_MAX));
  }
  const std::string name = request.name;
  // Checks the name before any step that needs the driver.
  absl::StatusOr<std::string> uid = FindUid(invocation, name);
  if (!uid.ok()) return uid.status();
  absl::StatusOr<NbdEndpoint> endpoint =
      FindNbdEndpoint(invocation, arguments.nbd);
  if (!endpoint.ok()) return endpoint.status();
  absl::StatusOr<std::unique_ptr<NbdNetlink>> netlink =
      invocation.context().open_nbd_netlink();
  if (!netlink.ok()) return netlink.status();
  KernelNbd kernel(netlink->get());
  if (arguments.monitor) {
    absl::Status listening = kernel.Listen();
    if (!listening.ok()) return listening;
  }
  Attacher attacher(MakeWorld(invocation, &kernel, name, *endpoint),
                    std::move(request));
  absl::StatusOr<int> index = attacher.Attach();
  if (!index.ok()) return index.status();
  absl::Status printed = PrintDevice(invocation, *index, attacher.reattached());
  if (!printed.ok() || !arguments.monitor) return printed;
  return attacher.Monitor();
}

absl::Status Detach(const Invocation& invocation,
                    const DetachArguments& arguments) {
  const CliContext& context = invocation.context();
  absl::StatusOr<int> index =
      arguments.target.find('/') == std::string::npos
          ? FindDeviceOfVolume(context.sys, arguments.target)
          : IndexOf(arguments.target);
  if (!index.ok()) return index.status();
  absl::StatusOr<std::unique_ptr<NbdNetlink>> netlink =
      context.open_nbd_netlink();
  if (!netlink.ok()) return netlink.status();
  KernelNbd kernel(netlink->get());
  return DetachNbd(&kernel, {.index = *index,
                             .force = arguments.force,
                             .sys = context.sys,
                             .dev = context.dev});
}

void AddAttachFlags(CLI::App* command, AttachArguments* arguments) {
  AttachRequest& request = arguments->request;
  AddNbdAddress(command, &arguments->nbd);
  command
      ->add_option_function<int>(
          "--connections",
          [&request](int connections) { request.connections = connections; },
          absl::StrCat("Connections to the server (default: one for each CPU, "
                       "at most ",
                       kDefaultNbdConnections, ")"))
      ->type_name("N")
      ->check(CLI::Range(1, kMaxNbdConnections));
  AddTime(command, "--request-timeout", &request.request_timeout,
          "Time after which a request's connection counts as dead and the "
          "request is sent on another (default 30s)");
  AddTime(command, "--dead-connection-timeout",
          &request.dead_connection_timeout,
          "How long requests wait for a new connection when all are dead, "
          "before they fail (default 60s)");
  AddSize(command, "--block-size", &arguments->block_size,
          "The device's logical block: 512 (the default) to 4096");
  command->add_flag("--read-only", request.read_only,
                    "Make the device read-only");
  command->add_flag("--monitor", arguments->monitor,
                    "Stay in the foreground and replace connections that die, "
                    "until the device is detached");
}

}  // namespace

void AddAttachCommands(CommandSet& commands) {
  Invocation& invocation = commands.invocation();
  auto attach = std::make_shared<AttachArguments>();
  CLI::App* command = commands.Add(
      "attach", "Attach a volume as a block device, by the kernel's nbd driver",
      [&invocation, attach] { return Attach(invocation, *attach); });
  AddVolumeName(command, &attach->request.name);
  command
      ->add_option("DEVICE", attach->device,
                   "/dev/nbd0 and so on; a free one when left out")
      ->type_name("");
  AddAttachFlags(command, attach.get());
  command->footer(
      std::string(
          "Prints the device's path. A device that holds the volume already "
          "gets new\nconnections for those that died.\n\n") +
      kCommonHelp);

  auto detach = std::make_shared<DetachArguments>();
  command = commands.Add(
      "detach", "Flush a device and detach its volume",
      [&invocation, detach] { return Detach(invocation, *detach); });
  command
      ->add_option("NAME", detach->target, "The volume, or its device's path")
      ->required()
      ->type_name("");
  command->add_flag("--force", detach->force,
                    "Also when it is in use or cannot be flushed: data that "
                    "was not yet written is lost");
}

}  // namespace ramvol::cli
