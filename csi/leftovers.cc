#include "csi/leftovers.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "csi/device_attacher.h"
#include "csi/mounter.h"
#include "csi/volume_handle.h"
#include "csi/volume_locks.h"
#include "csi/volumes.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {

std::optional<std::string> Leftovers::TakeDevice(const std::string& name,
                                                 absl::Time deadline) {
  bool is_there = false;
  for (const AttachedDevice& attached : attacher_->List()) {
    if (attached.name != name) continue;
    if (mounter_->IsMounted(attached.device)) return std::nullopt;
    is_there = true;
  }
  if (!is_there) return std::nullopt;
  return Count(Counter::kDevice,
               absl::StrCat("detached volume ", name, ", which nothing used"),
               attacher_->Detach(name, deadline));
}

std::optional<std::string> Leftovers::TakeInline(const v1::Volume& volume,
                                                 absl::Time deadline) {
  const std::string target = LabelOf(volume, label::kEphemeral);
  if (target.empty() || LabelOf(volume, label::kNode) != volumes_->node_id()) {
    return std::nullopt;
  }
  const auto attached = attacher_->Find(volume.name());
  if (attached.has_value() && mounter_->IsMounted(attached->device))
    return std::nullopt;
  return Count(Counter::kInlineVolume,
               absl::StrCat("deleted inline volume ", HandleOf(volume)),
               volumes_->Delete(HandleOf(volume), deadline));
}

std::string Leftovers::Count(Counter what, const std::string& did,
                             const absl::Status& status) {
  counts_.Add(status.ok() ? what : Counter::kFailure, 1);
  if (status.ok()) return did;
  return absl::StrCat("not ", did, ": ", std::string(status.message()));
}

LeftoverCounts Leftovers::counts() const {
  return {.devices = counts_.Sum(Counter::kDevice),
          .volumes = counts_.Sum(Counter::kInlineVolume),
          .failures = counts_.Sum(Counter::kFailure)};
}

absl::StatusOr<std::vector<std::string>> Leftovers::TakeAway(
    absl::Time deadline) {
  // First: of what is attached later, calls take care.
  const std::vector<AttachedDevice> devices = attacher_->List();
  const auto all = volumes_->List();
  if (!all.ok()) {
    counts_.Add(Counter::kFailure, 1);
    return all.status();
  }
  std::vector<std::string> did;
  const auto take = [&](const std::string& name, const auto& with_lock) {
    const auto lock = locks_->TakeNamed(name);
    // Whoever has it cares for it.
    if (!lock.ok()) return;
    std::optional<std::string> line = with_lock();
    if (line.has_value()) did.push_back(*std::move(line));
  };
  for (const AttachedDevice& attached : devices) {
    take(attached.name, [&] { return TakeDevice(attached.name, deadline); });
  }
  for (const v1::Volume& volume : *all) {
    take(volume.name(), [&] { return TakeInline(volume, deadline); });
  }
  return did;
}

}  // namespace ramvol::csi_driver
