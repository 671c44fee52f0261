#include "csi/choose_attacher.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/read_file.h"
#include "client/attach/nbd_connection.h"
#include "client/attach/nbd_endpoint.h"
#include "client/attach/nbd_netlink.h"
#include "csi/device_attacher.h"
#include "csi/fuse_attacher.h"
#include "csi/nbd_attacher.h"
#include "csi/node_cgroup.h"
#include "csi/two_way_attacher.h"
#include "csi/volumes.h"

namespace ramvol::csi_driver {
namespace {

constexpr absl::Duration kNbdTimeout = absl::Seconds(10);
// Of Linux, since when a device tells what it holds: no driver finds its
// devices again without.
constexpr std::pair<int, int> kNbdSince = {5, 14};

// FAILED_PRECONDITION: this kernel's nbd driver is too old.
absl::Status CheckKernel(const std::string& proc) {
  const std::string release(absl::StripAsciiWhitespace(
      ReadFile(absl::StrCat(proc, "/sys/kernel/osrelease")).value_or("")));
  const char* const end = release.data() + release.size();
  std::pair<int, int> version;
  // "5.10.0-28-amd64".
  const auto [dot, bad] = std::from_chars(release.data(), end, version.first);
  if (bad == std::errc() && dot != end) {
    std::from_chars(dot + 1, end, version.second);
  }
  if (version >= kNbdSince) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("Linux \"", release,
                   "\" is too old: nbd devices tell what they hold from ",
                   kNbdSince.first, ".", kNbdSince.second, " on"));
}

absl::StatusOr<NbdEndpoint> FindNbd(const Client& client,
                                    const std::string& server,
                                    const std::string& given) {
  if (!given.empty()) return ParseNbdEndpoint(given);
  const auto info = client.GetServerInfo();
  if (!info.ok()) return info.status();
  auto chosen = ChooseNbdEndpoint(
      {info->nbd_addresses().begin(), info->nbd_addresses().end()}, server);
  if (chosen.ok()) chosen->tls = info->nbd_tls();
  return chosen;
}

// What is missing is the error.
absl::StatusOr<std::unique_ptr<NbdNetlink>> OpenDriver(const AttachNode& node) {
  const absl::Status kernel = CheckKernel(node.proc);
  if (!kernel.ok()) return kernel;
  return node.open_netlink();
}

std::unique_ptr<NbdAttacher> MakeNbdAttacher(const Client& client,
                                             const AttachOptions& options,
                                             const AttachNode& node) {
  NbdWorld world;
  world.open_netlink = [node] { return OpenDriver(node); };
  world.sys = node.sys;
  world.dead_connection_timeout = options.reconnect_timeout;
  world.cpus =
      std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  world.connect =
      [client, server = options.server, nbd = options.nbd](
          const std::string& name) -> absl::StatusOr<NbdConnection> {
    const auto endpoint = FindNbd(client, server, nbd);
    if (!endpoint.ok()) return endpoint.status();
    return NbdConnection::Open(*endpoint, name, kNbdTimeout);
  };
  world.find_uid =
      [client](const std::string& name) -> absl::StatusOr<std::string> {
    const auto volume = client.GetVolume(name);
    if (!volume.ok()) return volume.status();
    return volume->uid();
  };
  world.has_volume = [client](const std::string& name, const std::string& uid) {
    return HasVolume(client, name, uid);
  };
  return std::make_unique<NbdAttacher>(std::move(world));
}

// What a container's end is to the processes that serve files; "" where there
// is no container.
std::string TellContainersEnd(bool was_init, const std::string& proc) {
  constexpr char kEndsWith[] = "; devices end with this container: ";
  if (was_init) {
    return absl::StrCat(kEndsWith, "it has process numbers of its own");
  }
  if (!IsInContainerOfNode(proc)) return "";
  const absl::Status outlives = CheckNodeCgroup(proc);
  if (outlives.ok()) return "; devices outlive this container";
  return absl::StrCat(kEndsWith, std::string(outlives.message()));
}

// `present`, and beside it `earlier` if that has devices, or begun to make one.
ChosenAttacher KeepDevices(ChosenAttacher present,
                           std::unique_ptr<DeviceAttacher> earlier) {
  const std::vector<AttachedDevice> all = earlier->List();
  if (all.empty()) return present;
  const auto devices = std::count_if(
      all.begin(), all.end(),
      [](const AttachedDevice& each) { return !each.device.empty(); });
  if (devices > 0) {
    absl::StrAppend(&present.reason, "; ", devices,
                    devices == 1 ? " device stays" : " devices stay",
                    " attached by ", earlier->way(), " until its end");
  }
  present.attacher = std::make_unique<TwoWayAttacher>(
      std::move(present.attacher), std::move(earlier));
  return present;
}

}  // namespace

ChosenAttacher ChooseAttacher(const Client& client,
                              const AttachOptions& options,
                              CommandRunner* commands, const Mounter* mounter,
                              const AttachNode& node) {
  const absl::Status driver = OpenDriver(node).status();
  auto nbd = MakeNbdAttacher(client, options, node);
  if (driver.ok()) nbd->KeepAll();
  auto fuse = std::make_unique<FuseAttacher>(
      commands, mounter, options.state_dir, options.serve_command, node.sys);
  if (options.way == AttachWay::kNbd ||
      (options.way == AttachWay::kAuto && driver.ok())) {
    const char* const why = options.way == AttachWay::kNbd
                                ? "--attach=nbd"
                                : "the kernel's nbd driver is loaded";
    return KeepDevices({std::move(nbd), why}, std::move(fuse));
  }
  const std::string why =
      options.way == AttachWay::kFuse
          ? "--attach=fuse"
          : absl::StrCat("no nbd: ", std::string(driver.message()));
  return KeepDevices(
      {std::move(fuse), why + TellContainersEnd(options.was_init, node.proc)},
      std::move(nbd));
}

}  // namespace ramvol::csi_driver
