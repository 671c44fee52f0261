#include "csi/leftovers.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "csi/device_attacher.h"
#include "csi/mounter.h"
#include "csi/volume_handle.h"
#include "csi/volume_locks.h"
#include "csi/volumes.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {
namespace {

// One that hangs does not keep the others waiting for longer.
constexpr absl::Duration kSuspectTimeout = absl::Seconds(10);

}  // namespace

absl::Status Leftovers::FindSuspects() {
  // First: of what is attached later, calls take care.
  const std::vector<AttachedDevice> devices = attacher_->List();
  const auto all = volumes_->List();
  if (!all.ok()) return all.status();
  suspects_.emplace();
  for (const AttachedDevice& attached : devices) {
    suspects_->push_back({attached.name, attached.uid, std::nullopt});
  }
  for (const v1::Volume& volume : *all) {
    if (LabelOf(volume, label::kEphemeral).empty() ||
        LabelOf(volume, label::kNode) != volumes_->node_id()) {
      continue;
    }
    suspects_->push_back({volume.name(), "", volume});
  }
  return absl::OkStatus();
}

std::optional<Leftovers::Deed> Leftovers::TakeDevice(
    const std::string& name, const std::string& uid,
    absl::Time deadline) const {
  bool is_there = false;
  for (const AttachedDevice& attached : attacher_->List()) {
    if (attached.name != name) continue;
    if (mounter_->IsMounted(attached.device)) return std::nullopt;
    is_there = is_there || attached.uid == uid;
  }
  if (!is_there) return std::nullopt;
  return Deed{Counter::kDevice,
              absl::StrCat("detached volume ", name, ", which nothing used"),
              absl::StrCat("detach volume ", name, ", which nothing uses"),
              attacher_->Detach(name, deadline)};
}

std::optional<Leftovers::Deed> Leftovers::TakeInline(
    const v1::Volume& volume, absl::Time deadline) const {
  const auto attached = attacher_->Find(volume.name());
  if (attached.has_value() && mounter_->IsMounted(attached->device))
    return std::nullopt;
  return Deed{Counter::kInlineVolume,
              absl::StrCat("deleted inline volume ", HandleOf(volume)),
              absl::StrCat("delete inline volume ", HandleOf(volume)),
              volumes_->Delete(HandleOf(volume), deadline)};
}

std::optional<std::string> Leftovers::TakeNext(absl::Time deadline) {
  Suspect suspect = std::move(suspects_->front());
  suspects_->pop_front();
  const auto lock = locks_->TakeNamed(suspect.name);
  if (!lock.ok()) {
    suspects_->push_back(std::move(suspect));
    return std::nullopt;
  }
  const std::optional<Deed> deed =
      suspect.inline_volume.has_value()
          ? TakeInline(*suspect.inline_volume, deadline)
          : TakeDevice(suspect.name, suspect.uid, deadline);
  if (!deed.has_value()) return std::nullopt;
  counts_.Add(deed->status.ok() ? deed->kind : Counter::kFailure, 1);
  if (deed->status.ok()) {
    pause_ = kMinPause;
    return absl::StrCat("cleaned up: ", deed->done);
  }
  const bool is_known = std::exchange(suspect.failed, true);
  suspects_->push_back(std::move(suspect));
  if (is_known) return std::nullopt;
  return absl::StrCat("cannot ", deed->failed, ": ",
                      std::string(deed->status.message()), "; trying again");
}

absl::StatusOr<std::vector<std::string>> Leftovers::TakeAway(
    absl::Time deadline) {
  if (!suspects_.has_value()) {
    const absl::Status found = FindSuspects();
    if (!found.ok()) {
      counts_.Add(Counter::kFailure, 1);
      return found;
    }
  }
  std::vector<std::string> did;
  for (size_t i = suspects_->size(); i > 0 && absl::Now() < deadline; --i) {
    std::optional<std::string> line =
        TakeNext(std::min(deadline, absl::Now() + kSuspectTimeout));
    if (line.has_value()) did.push_back(*std::move(line));
  }
  next_try_ =
      suspects_->empty() ? absl::InfiniteFuture() : absl::Now() + pause_;
  pause_ = std::min(2 * pause_, kMaxPause);
  return did;
}

LeftoverCounts Leftovers::counts() const {
  return {.devices = counts_.Sum(Counter::kDevice),
          .volumes = counts_.Sum(Counter::kInlineVolume),
          .failures = counts_.Sum(Counter::kFailure)};
}

}  // namespace ramvol::csi_driver
