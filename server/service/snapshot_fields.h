// Checks the fields of requests about snapshots, and names snapshots.
#ifndef RAMVOL_SERVER_SERVICE_SNAPSHOT_FIELDS_H_
#define RAMVOL_SERVER_SERVICE_SNAPSHOT_FIELDS_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::service {

// Most snapshots of one CreateSnapshots.
inline constexpr int kMaxSnapshotsAtOnce = 100;

// Whether `name` names a snapshot where it could name a volume, too.
inline bool NamesSnapshot(std::string_view name) {
  return !name.empty() && name[0] == '@';
}

// `name` without "@".
inline std::string_view BareName(std::string_view name) {
  return NamesSnapshot(name) ? name.substr(1) : name;
}

// INVALID_ARGUMENT names the field, its value, and what is accepted.
absl::Status CheckCreateSnapshots(const v1::CreateSnapshotsRequest& request);

// The `count`-th choice, from 1 on, of a name for a snapshot of `volume` that
// is made at `now`.
std::string ChooseName(std::string_view volume, absl::Time now, int count);

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_SNAPSHOT_FIELDS_H_
