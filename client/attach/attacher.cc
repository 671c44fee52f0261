#include "client/attach/attacher.h"

#include <linux/nbd.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/duration_text.h"
#include "base/file_error.h"
#include "base/reason.h"
#include "client/attach/kernel_nbd.h"
#include "client/attach/nbd_connection.h"
#include "client/attach/nbd_devices.h"

namespace ramvol {
namespace {

constexpr uint64_t kSector = 512;
constexpr uint32_t kMinBlock = 512;
constexpr uint32_t kMaxBlock = 4096;
constexpr absl::Duration kRetryInterval = absl::Seconds(1);
constexpr absl::Duration kLookInterval = absl::Seconds(1);

absl::Status Busy(const std::string& message) {
  return WithReason(absl::FailedPreconditionError(message), "DEVICE_BUSY");
}

absl::StatusOr<int> NotAttached(const std::string& name) {
  return WithReason(absl::FailedPreconditionError(absl::StrCat(
                        "volume \"", name, "\" is not attached any more")),
                    "NOT_ATTACHED");
}

absl::Status Replaced(const std::string& name, const std::string& device) {
  return WithReason(
      absl::AbortedError(absl::StrCat(
          device, " holds an earlier volume \"", name,
          "\", which is gone, perhaps because the server was restarted; "
          "unmount what is on it and run \"ramvol detach --force ",
          device, "\", then attach the new volume")),
      reason::kVolumeReplaced);
}

// The device's logical block size.
absl::StatusOr<uint32_t> ChooseBlock(const NbdExport& exported,
                                     std::optional<uint32_t> wanted) {
  const uint32_t block =
      wanted.value_or(std::max(kMinBlock, exported.min_block_bytes));
  if (block < exported.min_block_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a block size of ", block, " bytes is too small: the server takes no ",
        "less than ", exported.min_block_bytes));
  }
  if (block < kMinBlock || block > kMaxBlock || (block & (block - 1)) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the kernel's blocks are 512, 1024, 2048 or 4096 bytes, ",
                     "not ", block));
  }
  if (exported.size_bytes < block) {
    return absl::FailedPreconditionError(
        absl::StrCat("the volume of ", exported.size_bytes,
                     " bytes is smaller than a block of ", block));
  }
  return block;
}

std::vector<int> Sockets(const std::vector<NbdConnection>& connections) {
  std::vector<int> sockets;
  sockets.reserve(connections.size());
  for (const NbdConnection& one : connections) sockets.push_back(one.fd());
  return sockets;
}

void SayGoodbye(const std::vector<NbdConnection>& connections) {
  for (const NbdConnection& one : connections) DisconnectNbd(one.fd());
}

}  // namespace

Attacher::Attacher(AttachWorld world, AttachRequest request)
    : world_(std::move(world)), request_(std::move(request)) {}

absl::StatusOr<int> Attacher::Attach() {
  absl::StatusOr<std::string> uid = world_.find_uid();
  if (!uid.ok()) return uid.status();
  uid_ = *uid;
  const absl::Status ours = CheckNotForPods();
  if (!ours.ok()) return ours;
  absl::StatusOr<std::optional<NbdDevice>> device = FindAttached();
  if (!device.ok()) return device.status();
  if (!device->has_value()) {
    return request_.must_be_attached ? NotAttached(request_.name) : AttachNew();
  }
  absl::Status holds = CheckHolds(**device);
  if (!holds.ok()) return holds;
  const int connections =
      std::max((*device)->queues, request_.connections.value_or(1));
  absl::Status status = Reattach(**device, connections);
  if (!status.ok()) return status;
  index_ = (*device)->index;
  reattached_ = true;
  return index_;
}

// A second device would not see what the first one writes.
absl::Status Attacher::CheckNotForPods() const {
  if (request_.by_csi) return absl::OkStatus();
  const std::optional<NbdDevice> device =
      FindNbdDeviceOf(world_.sys, uid_, /*by_csi=*/true);
  if (!device.has_value()) return absl::OkStatus();
  const std::string path = NbdDevicePath(device->index);
  return Busy(absl::StrCat("ramvol-csi has attached volume \"", request_.name,
                           "\" for pods, as ", path,
                           "; delete them first, or clone the volume, or, if "
                           "the driver is gone, detach ",
                           path));
}

absl::StatusOr<std::optional<NbdDevice>> Attacher::FindAttached() const {
  if (request_.index.has_value()) {
    return FindNbdDevice(world_.sys, *request_.index);
  }
  std::vector<NbdDevice> found;
  std::vector<std::string> paths;
  for (const NbdDevice& device : AttachedNbdDevices(world_.sys)) {
    const std::optional<NbdBackend> backend = ParseNbdBackend(device.backend);
    if (!backend.has_value() || backend->name != request_.name) continue;
    if (request_.by_csi != backend->by_csi) continue;
    found.push_back(device);
    paths.push_back(NbdDevicePath(device.index));
  }
  if (found.empty()) return std::optional<NbdDevice>();
  if (found.size() == 1) return std::optional<NbdDevice>(found[0]);
  return Busy(absl::StrCat("the volume is attached as ",
                           absl::StrJoin(paths, " and "),
                           "; say which one is meant"));
}

absl::Status Attacher::CheckHolds(const NbdDevice& device) const {
  const std::string path = NbdDevicePath(device.index);
  const std::optional<NbdBackend> backend = ParseNbdBackend(device.backend);
  if (backend.has_value() && backend->name == request_.name &&
      backend->by_csi == request_.by_csi) {
    return backend->uid == uid_ ? absl::OkStatus()
                                : Replaced(request_.name, path);
  }
  const bool is_for_pods = backend.has_value() && backend->by_csi;
  return Busy(absl::StrCat(path, " is attached to ",
                           backend.has_value()
                               ? absl::StrCat("volume \"", backend->name, "\"")
                               : "something else",
                           is_for_pods ? " for pods; choose another device"
                                       : "; choose another device, or detach "
                                         "it first"));
}

// Makes as many connections as wanted, or one if the server does not support
// several.
absl::StatusOr<std::vector<NbdConnection>> Attacher::Connect(int wanted) const {
  std::vector<NbdConnection> connections;
  for (int i = 0; i < wanted; ++i) {
    absl::StatusOr<NbdConnection> connection = world_.connect();
    if (!connection.ok()) {
      SayGoodbye(connections);
      return connection.status();
    }
    connections.push_back(*std::move(connection));
    if (!connections[0].description().multi_conn()) break;
  }
  return connections;
}

// The same, but makes sure that the connections lead to the volume with uid_.
// If the server was restarted meanwhile, its volume has another uid.
absl::StatusOr<std::vector<NbdConnection>> Attacher::ConnectToKnown(
    int wanted) const {
  absl::StatusOr<std::vector<NbdConnection>> connections = Connect(wanted);
  if (!connections.ok()) return connections.status();
  absl::StatusOr<std::string> uid = world_.find_uid();
  if (uid.ok() && *uid == uid_) return connections;
  SayGoodbye(*connections);
  if (!uid.ok()) return uid.status();
  return index_ >= 0
             ? Replaced(request_.name, NbdDevicePath(index_))
             : WithReason(
                   absl::AbortedError("the volume was replaced by another of "
                                      "its name just now; try again"),
                   reason::kVolumeReplaced);
}

absl::StatusOr<int> Attacher::AttachNew() {
  absl::StatusOr<std::vector<NbdConnection>> connections =
      ConnectToKnown(request_.connections.value_or(
          std::clamp(world_.cpus, 1, kDefaultNbdConnections)));
  if (!connections.ok()) return connections.status();
  const NbdExport& exported = connections->front().description();
  absl::StatusOr<uint32_t> block = ChooseBlock(exported, request_.block_bytes);
  if (!block.ok()) {
    SayGoodbye(*connections);
    return block.status();
  }
  NbdDeviceSettings settings;
  settings.index = request_.index;
  settings.size_bytes = exported.size_bytes;
  settings.block_bytes = *block;
  settings.request_timeout =
      request_.request_timeout.value_or(kDefaultRequestTimeout);
  settings.dead_connection_timeout = Patience();
  settings.server_flags = static_cast<uint16_t>(
      exported.flags | (request_.read_only ? NBD_FLAG_READ_ONLY : 0));
  settings.backend =
      NbdBackend{.name = request_.name, .uid = uid_, .by_csi = request_.by_csi}
          .ToString();
  settings.sockets = Sockets(*connections);
  absl::StatusOr<int> index = world_.kernel->Connect(settings);
  if (!index.ok()) {
    SayGoodbye(*connections);
    return index.status();
  }
  index_ = *index;
  return index_;
}

absl::Status Attacher::Reattach(const NbdDevice& device, int connections) {
  absl::StatusOr<std::vector<NbdConnection>> fresh =
      ConnectToKnown(connections);
  if (!fresh.ok()) return fresh.status();
  NbdDeviceSettings settings;
  settings.index = device.index;
  settings.request_timeout = request_.request_timeout;
  settings.dead_connection_timeout = request_.dead_connection_timeout;
  settings.backend = device.backend;
  settings.sockets = Sockets(*fresh);
  // ramvol-nbd's live connections keep the size that the volume had when they
  // were made. So the device's size does not change here.
  const uint64_t size = fresh->front().description().size_bytes;
  if (size / kSector != device.size_bytes / kSector) {
    world_.remark(absl::StrCat("the volume has ", size, " bytes by now; ",
                               NbdDevicePath(device.index),
                               " gets them when it is detached and attached"));
  }
  // The kernel does not tell which sockets it keeps. The others end without a
  // good-bye.
  return world_.kernel->Reconfigure(settings);
}

bool Attacher::Holds(const NbdDevice& device) const {
  const std::optional<NbdBackend> backend = ParseNbdBackend(device.backend);
  // Linux before 5.14 does not tell. Then the device was attached here a moment
  // ago.
  return device.backend.empty() ||
         (backend.has_value() && backend->uid == uid_);
}

absl::Status Attacher::Mend(const NbdDevice& device, int dead) {
  absl::StatusOr<std::string> uid = world_.find_uid();
  if (!uid.ok()) return uid.status();
  if (*uid != uid_) return Replaced(request_.name, NbdDevicePath(index_));
  return Reattach(device, std::min(dead, kMaxNbdConnections));
}

absl::Status Attacher::Monitor() {
  const std::string path = NbdDevicePath(index_);
  int dead = 0;
  absl::Time since;     // When the first of the dead connections died.
  absl::Time next_try;  // Set while some are dead.
  while (!world_.interrupted->load()) {
    absl::StatusOr<int> more = world_.kernel->CountDead(index_, kLookInterval);
    if (!more.ok()) return more.status();
    const std::optional<NbdDevice> device = FindNbdDevice(world_.sys, index_);
    if (!device.has_value() || !Holds(*device)) {
      world_.remark(absl::StrCat(path, " was detached"));
      return absl::OkStatus();
    }
    if (dead == 0 && *more != 0) {
      since = next_try = world_.now();
      world_.remark(absl::StrCat(path, " lost a connection"));
    }
    dead = *more < 0 ? device->queues : dead + *more;
    if (dead == 0 || world_.now() < next_try) continue;
    const absl::Status mended = Mend(*device, dead);
    if (mended.ok()) {
      world_.remark(absl::StrCat(path, " is connected again"));
      dead = 0;
      continue;
    }
    if (absl::IsAborted(mended) || absl::IsNotFound(mended)) return mended;
    const bool all_dead = dead >= device->queues;
    if (all_dead && world_.now() - since > Patience()) return Lost(mended);
    next_try = world_.now() + kRetryInterval;
  }
  world_.remark(absl::StrCat(path, " stays attached"));
  return absl::OkStatus();
}

absl::Duration Attacher::Patience() const {
  return request_.dead_connection_timeout.value_or(
      kDefaultDeadConnectionTimeout);
}

absl::Status Attacher::Lost(const absl::Status& cause) const {
  return WithReason(
      absl::DeadlineExceededError(absl::StrCat(
          NbdDevicePath(index_), " has had no connection for ",
          DurationText(Patience()),
          ", so the kernel fails what is asked of it: ", cause.message())),
      "CONNECTION_LOST");
}

}  // namespace ramvol
