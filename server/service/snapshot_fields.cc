#include "server/service/snapshot_fields.h"

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/reason.h"
#include "server/engine/types/options.h"
#include "server/service/volume_fields.h"

namespace ramvol::service {
namespace {

// A name has at most 63 characters; this leaves room for "-20260131-235959" and
// a number.
constexpr size_t kMaxStemBytes = 40;

absl::Status CheckOne(const v1::CreateSnapshotRequest& request) {
  if (request.volume().empty()) {
    return InvalidField("volume", "volume is empty; name the volume to keep",
                        reason::kInvalidName);
  }
  if (!request.name().empty()) {
    absl::Status name = engine::ValidateName(BareName(request.name()));
    if (!name.ok()) {
      return InvalidField("name", std::string(name.message()),
                          reason::kInvalidName);
    }
  }
  if (!request.request_id().empty()) {
    return InvalidField(
        "snapshots",
        "a snapshot has a request_id of its own; give the whole request one");
  }
  return CheckLabels("labels", request.labels());
}

}  // namespace

absl::Status CheckCreateSnapshots(const v1::CreateSnapshotsRequest& request) {
  const int count = request.snapshots_size();
  if (count < 1 || count > kMaxSnapshotsAtOnce) {
    return InvalidField(
        "snapshots",
        absl::StrCat("the request is for ", count, " snapshots; ask for 1 to ",
                     kMaxSnapshotsAtOnce, " at once"));
  }
  absl::flat_hash_set<std::string> volumes;
  for (const v1::CreateSnapshotRequest& one : request.snapshots()) {
    absl::Status valid = CheckOne(one);
    if (!valid.ok()) return valid;
    if (volumes.insert(one.volume()).second) continue;
    return InvalidField(
        "snapshots", absl::StrCat("the request names volume \"", one.volume(),
                                  "\" twice; one instant needs one "
                                  "snapshot"));
  }
  return CheckRequestId(request.request_id());
}

std::string ChooseName(std::string_view volume, absl::Time now, int count) {
  const std::string_view stem = volume.substr(0, kMaxStemBytes);
  std::string name =
      absl::StrCat(absl::string_view(stem.data(), stem.size()), "-",
                   absl::FormatTime("%Y%m%d-%H%M%S", now, absl::UTCTimeZone()));
  if (count > 1) absl::StrAppend(&name, "-", count);
  return name;
}

}  // namespace ramvol::service
