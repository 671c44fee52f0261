#include "csi/nbd_attacher.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/event_log.h"
#include "base/log_line.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "client/attach/attacher.h"
#include "client/attach/detach.h"
#include "client/attach/kernel_nbd.h"
#include "client/attach/nbd_devices.h"
#include "client/attach/nbd_netlink.h"
#include "csi/device_attacher.h"

namespace ramvol::csi_driver {
namespace {

// Requests that a server which was killed had taken are sent again only after
// that; so it is the pause when ramvold crashes. Longer than any request takes.
constexpr absl::Duration kRequestTimeout = absl::Seconds(10);
// Between attempts to care for a device whose server is away.
constexpr absl::Duration kKeeperPause = absl::Milliseconds(500);

}  // namespace

NbdAttacher::~NbdAttacher() {
  std::map<std::string, std::unique_ptr<Keeper>> keepers;
  {
    const MutexLock lock(&mu_);
    keepers.swap(keepers_);
  }
  for (auto& [name, keeper] : keepers) keeper->interrupted = true;
  for (auto& [name, keeper] : keepers) keeper->thread.join();
}

void NbdAttacher::KeepAll() {
  for (const AttachedDevice& attached : List()) {
    Keep(attached.name);
  }
}

AttachRequest NbdAttacher::RequestFor(const std::string& name) const {
  AttachRequest request;
  request.name = name;
  request.by_csi = true;
  request.request_timeout = kRequestTimeout;
  request.dead_connection_timeout = world_.dead_connection_timeout;
  return request;
}

AttachWorld NbdAttacher::WorldOf(const std::string& name, KernelNbd* kernel,
                                 const std::atomic<bool>* interrupted) const {
  AttachWorld world;
  world.kernel = kernel;
  world.sys = world_.sys;
  world.cpus = world_.cpus;
  world.connect = [this, name] { return world_.connect(name); };
  world.find_uid = [this, name] { return world_.find_uid(name); };
  world.remark = [name](const std::string& text) {
    LogEvent(Event::kNote, {.volume = name, .message = text});
  };
  world.now = [] { return absl::Now(); };
  world.interrupted = interrupted;
  return world;
}

absl::StatusOr<int> NbdAttacher::AttachOnce(const DeviceVolume& volume) const {
  auto netlink = world_.open_netlink();
  if (!netlink.ok()) return netlink.status();
  KernelNbd kernel(netlink->get());
  const std::atomic<bool> interrupted = false;
  AttachRequest request = RequestFor(volume.name);
  request.read_only = volume.read_only;
  Attacher attacher(WorldOf(volume.name, &kernel, &interrupted), request);
  return attacher.Attach();
}

absl::StatusOr<std::string> NbdAttacher::Attach(const DeviceVolume& volume,
                                                absl::Time deadline) {
  absl::StatusOr<int> index = AttachOnce(volume);
  if (HasReason(index.status(), reason::kVolumeReplaced)) {
    const absl::Status detached = Detach(volume.name, deadline);
    if (!detached.ok()) return detached;
    index = AttachOnce(volume);
  }
  if (!index.ok()) return index.status();
  Keep(volume.name);
  return absl::StrCat(world_.dev, "/nbd", *index);
}

absl::Status NbdAttacher::Disconnect(int index,
                                     const NbdBackend& backend) const {
  // A flush would wait for a ramvold that is away.
  const auto there = world_.has_volume(backend.name, backend.uid);
  if (!there.ok()) return there.status();
  auto netlink = world_.open_netlink();
  if (!netlink.ok()) return netlink.status();
  KernelNbd kernel(netlink->get());
  return DetachNbd(
      &kernel,
      {.index = index, .flush = *there, .sys = world_.sys, .dev = world_.dev});
}

absl::Status NbdAttacher::Detach(const std::string& name, absl::Time) {
  for (const NbdDevice& device : AttachedNbdDevices(world_.sys)) {
    const std::optional<NbdBackend> backend = ParseNbdBackend(device.backend);
    if (!backend.has_value() || backend->name != name) continue;
    const absl::Status done = Disconnect(device.index, *backend);
    if (!done.ok()) return done;
  }
  // Not before: a flush needs connections, and so does a device that stays.
  Drop(name);
  return absl::OkStatus();
}

absl::Status NbdAttacher::Grow(const AttachedDevice& device, uint64_t bytes) {
  const absl::StatusOr<int> index = FindDeviceOfVolume(world_.sys, device.name);
  if (!index.ok()) return index.status();
  auto netlink = world_.open_netlink();
  if (!netlink.ok()) return netlink.status();
  KernelNbd kernel(netlink->get());
  NbdDeviceSettings settings;
  settings.index = *index;
  settings.size_bytes = bytes;
  settings.backend =
      NbdBackend{.name = device.name, .uid = device.uid, .by_csi = device.ours}
          .ToString();
  return kernel.Reconfigure(settings);
}

std::vector<AttachedDevice> NbdAttacher::List() const {
  std::vector<AttachedDevice> devices;
  for (const NbdDevice& device : AttachedNbdDevices(world_.sys)) {
    const std::optional<NbdBackend> backend = ParseNbdBackend(device.backend);
    if (!backend.has_value()) continue;
    devices.push_back({.name = backend->name,
                       .uid = backend->uid,
                       .device = absl::StrCat(world_.dev, "/nbd", device.index),
                       .ours = backend->by_csi,
                       .way = way()});
  }
  return devices;
}

void NbdAttacher::Keep(const std::string& name) {
  const MutexLock lock(&mu_);
  std::unique_ptr<Keeper>& keeper = keepers_[name];
  if (keeper != nullptr && !keeper->over) return;
  if (keeper != nullptr) keeper->thread.join();
  keeper = std::make_unique<Keeper>();
  keeper->thread =
      std::thread([this, name, own = keeper.get()] { RunKeeper(name, own); });
}

void NbdAttacher::RunKeeper(const std::string& name, Keeper* keeper) const {
  AttachRequest request = RequestFor(name);
  // It may be detached at any time.
  request.must_be_attached = true;
  absl::Status ended = absl::UnavailableError("not begun");
  while (!ended.ok() && !keeper->interrupted &&
         FindDeviceOfVolume(world_.sys, name).ok()) {
    auto netlink = world_.open_netlink();
    if (netlink.ok()) {
      KernelNbd kernel(netlink->get());
      Attacher attacher(WorldOf(name, &kernel, &keeper->interrupted), request);
      ended = kernel.Listen();
      if (ended.ok()) ended = attacher.Attach().status();
      if (ended.ok()) ended = attacher.Monitor();
    } else {
      ended = netlink.status();
    }
    if (!ended.ok()) absl::SleepFor(kKeeperPause);
  }
  keeper->over = true;
}

void NbdAttacher::Drop(const std::string& name) {
  std::unique_ptr<Keeper> keeper;
  {
    const MutexLock lock(&mu_);
    const auto found = keepers_.find(name);
    if (found == keepers_.end()) return;
    keeper = std::move(found->second);
    keepers_.erase(found);
  }
  keeper->interrupted = true;
  keeper->thread.join();
}

}  // namespace ramvol::csi_driver
