#include "csi/nbd_attacher.h"

#include <algorithm>
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
#include "csi/peoples_devices.h"

namespace ramvol::csi_driver {
namespace {

// Requests that a server which was killed had taken are sent again only after
// that; so it is the pause when ramvold crashes. Longer than any request takes.
constexpr absl::Duration kRequestTimeout = absl::Seconds(10);
// Between attempts to care for a device whose server is away.
constexpr absl::Duration kKeeperPause = absl::Milliseconds(500);

struct OwnDevice {
  int index = 0;
  NbdBackend backend;
};

// Those that a driver has attached, this one or an earlier one.
std::vector<OwnDevice> OwnDevices(const std::string& sys) {
  std::vector<OwnDevice> devices;
  for (const NbdDevice& device : AttachedNbdDevices(sys)) {
    std::optional<NbdBackend> backend = ParseNbdBackend(device.backend);
    if (!backend.has_value() || !backend->by_csi) continue;
    devices.push_back({device.index, *std::move(backend)});
  }
  return devices;
}

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

std::string NbdAttacher::PathOf(int index) const {
  return absl::StrCat(world_.dev, "/nbd", index);
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
  const absl::Status alone = CheckNotPeoples(world_.sys, volume);
  if (!alone.ok()) return alone;
  absl::StatusOr<int> index = AttachOnce(volume);
  if (HasReason(index.status(), reason::kVolumeReplaced)) {
    const absl::Status detached = Detach(volume.name, deadline);
    if (!detached.ok()) return detached;
    index = AttachOnce(volume);
  }
  if (!index.ok()) return index.status();
  SetDisconnected({*index, volume.uid}, false);
  Keep(volume.name);
  return PathOf(*index);
}

absl::Status NbdAttacher::Disconnect(int index, const NbdBackend& backend,
                                     absl::Time deadline) {
  // A flush would wait for a ramvold that is away.
  const auto there = world_.has_volume(backend.name, backend.uid);
  if (!there.ok()) return there.status();
  auto netlink = world_.open_netlink();
  if (!netlink.ok()) return netlink.status();
  KernelNbd kernel(netlink->get());
  DetachOptions options;
  options.index = index;
  // Nor is there a way to ramvold once it was disconnected.
  const Disconnected key = {index, backend.uid};
  options.flush = *there && !IsDisconnected(key);
  options.free_timeout = std::min(options.free_timeout, deadline - absl::Now());
  options.sys = world_.sys;
  options.dev = world_.dev;
  absl::Status done = DetachNbd(&kernel, options);
  // Flushed, disconnected, and still open.
  const bool is_busy =
      absl::IsDeadlineExceeded(done) && HasReason(done, "DEVICE_BUSY");
  if (is_busy || done.ok()) SetDisconnected(key, is_busy);
  return done;
}

bool NbdAttacher::IsDisconnected(const Disconnected& device) {
  const MutexLock lock(&mu_);
  return disconnected_.count(device) != 0;
}

void NbdAttacher::SetDisconnected(const Disconnected& device, bool is) {
  const MutexLock lock(&mu_);
  if (is) {
    disconnected_.insert(device);
  } else {
    disconnected_.erase(device);
  }
}

absl::Status NbdAttacher::Detach(const std::string& name, absl::Time deadline) {
  for (const OwnDevice& device : OwnDevices(world_.sys)) {
    if (device.backend.name != name) continue;
    const absl::Status done =
        Disconnect(device.index, device.backend, deadline);
    if (IsDisconnected({device.index, device.backend.uid})) Drop(name);
    if (!done.ok()) return done;
  }
  // Not before: a flush needs connections, and so does a device that stays.
  Drop(name);
  return absl::OkStatus();
}

absl::Status NbdAttacher::Grow(const AttachedDevice& attached, uint64_t bytes) {
  for (const OwnDevice& device : OwnDevices(world_.sys)) {
    if (PathOf(device.index) != attached.device ||
        device.backend.uid != attached.uid) {
      continue;
    }
    auto netlink = world_.open_netlink();
    if (!netlink.ok()) return netlink.status();
    KernelNbd kernel(netlink->get());
    NbdDeviceSettings settings;
    settings.index = device.index;
    settings.size_bytes = bytes;
    settings.backend = device.backend.ToString();
    return kernel.Reconfigure(settings);
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "volume \"", attached.name, "\" is not ", attached.device, " any more"));
}

std::vector<AttachedDevice> NbdAttacher::List() const {
  std::vector<AttachedDevice> devices;
  for (const OwnDevice& device : OwnDevices(world_.sys)) {
    devices.push_back({.name = device.backend.name,
                       .uid = device.backend.uid,
                       .device = PathOf(device.index),
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
  while (!ended.ok() && !keeper->interrupted && Find(name).has_value()) {
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
