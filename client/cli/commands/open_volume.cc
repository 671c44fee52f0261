#include "client/cli/commands/open_volume.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "client/cli/invocation.h"
#include "client/options.h"
#include "client/remote_volume.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {

absl::StatusOr<OpenVolume> OpenByName(const Invocation& invocation,
                                      const std::string& name,
                                      const OpenOptions& options) {
  absl::StatusOr<v1::Volume> settings =
      invocation.ControlClient().GetVolume(name);
  if (!settings.ok()) return settings.status();
  absl::StatusOr<RemoteVolume> remote =
      invocation.DataClient().Open(name, options);
  if (!remote.ok()) return remote.status();
  return OpenVolume{.settings = *std::move(settings),
                    .remote = *std::move(remote)};
}

absl::Status CheckRange(const v1::Volume& volume, int64_t offset,
                        int64_t length) {
  const int64_t size = volume.size_bytes();
  if (length <= size && offset <= size - length) return absl::OkStatus();
  return WithReason(
      absl::OutOfRangeError(absl::StrCat(
          "the range of ", length, " bytes at offset ", offset,
          " ends past volume \"", volume.name(), "\" of ", size, " bytes")),
      reason::kPastEnd);
}

}  // namespace ramvol::cli
