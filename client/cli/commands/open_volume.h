// Opens the volume that a command works on.
#ifndef RAMVOL_CLIENT_CLI_COMMANDS_OPEN_VOLUME_H_
#define RAMVOL_CLIENT_CLI_COMMANDS_OPEN_VOLUME_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/invocation.h"
#include "client/options.h"
#include "client/remote_volume.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {

struct OpenVolume {
  v1::Volume settings;
  RemoteVolume remote;
};

// Fails at once when no server answers. Operations on the open volume wait up
// to 10 s for a server that went away.
absl::StatusOr<OpenVolume> OpenByName(const Invocation& invocation,
                                      const std::string& name,
                                      const OpenOptions& options = {});

// OUT_OF_RANGE unless the range lies in the volume. The server checks this,
// too. Commands that would touch a local file before check it here.
absl::Status CheckRange(const v1::Volume& volume, int64_t offset,
                        int64_t length);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_COMMANDS_OPEN_VOLUME_H_
