// Reads the volumes to create at the start from a file in the text format of
// ramvol.v1.VolumesFile.
#ifndef RAMVOL_SERVER_SERVICE_VOLUMES_FILE_H_
#define RAMVOL_SERVER_SERVICE_VOLUMES_FILE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ramvol/v1/volume_service.pb.h"
#include "server/service/catalog.h"

namespace ramvol::service {

inline constexpr size_t kMaxVolumesFileBytes = size_t{64} << 20;

struct VolumesFileEntry {
  v1::CreateVolumeRequest request;
  // For error messages: "volumes.textproto:12:1: entry 3 (\"scratch\")".
  std::string where;
};

// The entries of the file in its order; none when `path` is "".
// INVALID_ARGUMENT when the file cannot be read or parsed, or when two entries
// have the same name. The error begins with file, line and column.
absl::StatusOr<std::vector<VolumesFileEntry>> ReadVolumesFile(
    const std::string& path);

// Creates all volumes. One that outlived an earlier server stays as it is.
// Stops at the first failure and returns CreateVolume's error, which begins
// with the entry's `where`; earlier volumes exist then.
absl::Status CreateVolumes(const std::vector<VolumesFileEntry>& entries,
                           Catalog* catalog);

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_VOLUMES_FILE_H_
