// The JSON behind the status page. docs/status-page.md specifies it.
#ifndef RAMVOL_SERVER_STATUS_STATUS_JSON_H_
#define RAMVOL_SERVER_STATUS_STATUS_JSON_H_

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/client_memory.h"
#include "server/engine/engine.h"
#include "server/status/history.h"
#include "server/status/server_state.h"
#include "server/status/volume_table.h"

namespace ramvol::status {

// For /api/v1/status. `start` is when the server started.
std::string StatusJson(absl::Time start, absl::Time now,
                       const engine::Engine& engine,
                       const ClientMemory::Stats& client_memory,
                       const ServerState& state);
// For /api/v1/series.
std::string SeriesJson(absl::Time start, const std::vector<Sample>& samples);
// For /api/v1/volumes.
std::string VolumesJson(const VolumeQuery& query, const VolumePage& page,
                        const LabelSource& labels);
// For requests that are wrong.
std::string ErrorJson(const std::string& message);

}  // namespace ramvol::status

#endif  // RAMVOL_SERVER_STATUS_STATUS_JSON_H_
