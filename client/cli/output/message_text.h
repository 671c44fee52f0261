// The server's answers as text for people.
#ifndef RAMVOL_CLIENT_CLI_OUTPUT_MESSAGE_TEXT_H_
#define RAMVOL_CLIENT_CLI_OUTPUT_MESSAGE_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {

// "zstd", "sparse", "malloc".
std::string AllocatorName(v1::Allocator allocator);

// "10 GiB (10737418240 bytes)". Below 1 KiB, only the bytes.
std::string FormatBytes(int64_t bytes);

// The table of `ls`. With `stats` (one for each volume, in the same order),
// also tells what each volume holds. With `now`, tells when each expires.
std::string VolumesText(const std::vector<v1::Volume>& volumes,
                        const std::vector<v1::VolumeStats>& stats,
                        std::optional<absl::Time> now = std::nullopt);
// The settings of `show`; `now` tells when it expires.
std::string VolumeText(const v1::Volume& volume, absl::Time now);
// The measurements of `stat`.
std::string StatsText(const std::string& name, const v1::VolumeStats& stats);
// The table of `snapshot ls`, and what `snapshot show` tells.
std::string SnapshotsText(const std::vector<v1::Snapshot>& snapshots);
std::string SnapshotText(const v1::Snapshot& snapshot);
// The table of `clients`. Tells how long before `now` each one came. `wide`
// adds the numbers of operations.
std::string ClientsText(const std::vector<v1::AttachedClient>& clients,
                        absl::Time now, bool wide);
// The text of `server`. The server's uptime ends at `now`.
std::string ServerText(const v1::GetServerInfoResponse& info, absl::Time now);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_OUTPUT_MESSAGE_TEXT_H_
