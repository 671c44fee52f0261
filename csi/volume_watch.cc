#include "csi/volume_watch.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/event_log.h"
#include "base/log_line.h"
#include "base/mutex.h"
#include "csi/condition.h"
#include "csi/device_attacher.h"
#include "csi/volume_handle.h"
#include "csi/volumes.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {
namespace {

std::string ClassOf(const v1::Volume& volume) {
  if (!LabelOf(volume, label::kEphemeral).empty()) return "inline";
  const std::string name = LabelOf(volume, label::kClass);
  return name.empty() ? "none" : name;
}

void AddToClass(const v1::Volume& volume, VolumesSummary* summary) {
  std::string name = ClassOf(volume);
  if (summary->classes.count(name) == 0 &&
      summary->classes.size() >= VolumeWatch::kMaxClasses) {
    name = "_other";
  }
  VolumesOfClass& of_class = summary->classes[name];
  ++of_class.volumes;
  of_class.provisioned_bytes += static_cast<uint64_t>(volume.size_bytes());
}

// The event that says best what the cause is.
Event EventOf(Cause cause) {
  switch (cause) {
    case Cause::kServerMemory:
    case Cause::kVolumeMemory:
      return Event::kMemoryLow;
    case Cause::kDamaged:
      return Event::kDataLoss;
    case Cause::kUnreachable:
    case Cause::kDeadDevice:
      return Event::kRequestsFail;
    case Cause::kNone:
    case Cause::kCount:
      break;
  }
  return Event::kNote;
}

}  // namespace

Condition VolumeWatch::Examine(
    const v1::Volume& volume,
    const absl::StatusOr<v1::GetServerInfoResponse>& server,
    const Devices& devices) const {
  const auto device = devices.find(volume.name());
  // One of an earlier volume of the name is as dead.
  if (device != devices.end() &&
      (!device->second.alive || device->second.uid != volume.uid())) {
    return DeadDevice();
  }
  if (device != devices.end() && has_stopped_(device->second)) {
    return StoppedFileSystem();
  }
  return ConditionOf(volumes_->client(), volume, server);
}

void VolumeWatch::LogChange(const std::string& handle,
                            const Condition& condition) {
  const auto before = abnormal_.find(handle);
  const Cause cause = before == abnormal_.end() ? Cause::kNone : before->second;
  if (cause == condition.cause) return;
  LogEvent(EventOf(condition.cause), {.volume = handle,
                                      .reason = NameOf(condition.cause),
                                      .message = condition.message});
}

void VolumeWatch::LogReach(const absl::Status& reached) {
  if (lost_ == !reached.ok()) return;
  lost_ = !reached.ok();
  const Cause cause = lost_ ? Cause::kUnreachable : Cause::kNone;
  const std::string message =
      lost_ ? std::string(reached.message()) : "ramvold answers again";
  LogEvent(lost_ ? Event::kRequestsFail : Event::kRequestsSucceed,
           {.reason = NameOf(cause), .message = message});
}

void VolumeWatch::Look() {
  const MutexLock look(&look_mu_);
  const auto server = volumes_->client().GetServerInfo();
  // One wait for a server that is away is enough.
  const absl::StatusOr<std::vector<v1::Volume>> all =
      server.ok() ? volumes_->List() : server.status();
  const absl::Status& reached = all.status();
  LogReach(reached);
  if (!reached.ok()) return Keep({});
  Devices devices;
  for (AttachedDevice& attached : attacher_->List()) {
    if (attached.device.empty()) continue;
    devices[attached.name] = std::move(attached);
  }
  VolumesSummary summary;
  summary.reached = true;
  summary.memory_limit_bytes =
      static_cast<uint64_t>(server->memory_limit_bytes());
  Conditions abnormal;
  absl::flat_hash_set<std::string> names;
  for (const v1::Volume& volume : *all) {
    AddToClass(volume, &summary);
    names.insert(volume.name());
    const Condition condition = Examine(volume, server, devices);
    ++summary.by_cause[static_cast<size_t>(condition.cause)];
    LogChange(HandleOf(volume), condition);
    if (condition.abnormal()) abnormal[HandleOf(volume)] = condition.cause;
  }
  for (const auto& [name, device] : devices) {
    if (names.contains(name)) continue;
    const auto there = HasVolume(volumes_->client(), name, device.uid);
    if (!there.ok() || *there) continue;
    ++summary.by_cause[static_cast<size_t>(Cause::kDeadDevice)];
    LogChange(name, DeadDevice());
    abnormal[name] = Cause::kDeadDevice;
  }
  abnormal_ = std::move(abnormal);
  Keep(std::move(summary));
}

void VolumeWatch::Keep(VolumesSummary summary) {
  const MutexLock lock(&mu_);
  summary_ = std::move(summary);
}

VolumesSummary VolumeWatch::summary() const {
  const MutexLock lock(&mu_);
  return summary_;
}

}  // namespace ramvol::csi_driver
