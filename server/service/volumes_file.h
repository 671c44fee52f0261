// The volumes that a server begins with, from a file in the text format of
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
  // For messages: "volumes.textproto:12:1: entry 3 (\"scratch\")".
  std::string where;
};

// The file's entries, in its order; none when `path` is "". INVALID_ARGUMENT
// when it cannot be read or parsed, or two entries have one name; the message
// begins with the file, the line and the column.
absl::StatusOr<std::vector<VolumesFileEntry>> ReadVolumesFile(
    const std::string& path);

// Creates them all. CreateVolume's error for the first that cannot be, after
// its `where`; those before it exist then.
absl::Status CreateVolumes(const std::vector<VolumesFileEntry>& entries,
                           Catalog* catalog);

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_VOLUMES_FILE_H_
