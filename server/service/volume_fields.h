// Translates fields of Volume messages to and from the engine's options.
#ifndef RAMVOL_SERVER_SERVICE_VOLUME_FIELDS_H_
#define RAMVOL_SERVER_SERVICE_VOLUME_FIELDS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/usage_limits.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/map.h"
#include "google/protobuf/timestamp.pb.h"
#include "ramvol/v1/volume_service.pb.h"
#include "server/engine/types/options.h"
#include "server/engine/types/stats.h"
#include "server/engine/volume.h"

namespace ramvol::service {

inline constexpr size_t kMaxLabels = 64;
inline constexpr size_t kMaxLabelValueBytes = 256;
inline constexpr size_t kMaxRequestIdBytes = 128;
inline constexpr absl::Duration kMinTtl = absl::Seconds(1);
inline constexpr absl::Duration kMaxTtl = absl::Hours(24 * 3650);

using Labels = google::protobuf::Map<std::string, std::string>;

// What UpdateVolume changes.
struct VolumeChange {
  engine::VolumeUpdate engine;
  bool set_labels = false;
  Labels labels;
  std::optional<absl::Duration> ttl;  // 0: none any more.
  // Of UsageLimits.
  v1::UsageLimits limits;
  std::vector<const google::protobuf::FieldDescriptor*> limit_fields;
};

// Checks every field and fills in defaults. INVALID_ARGUMENT names the field as
// users know it, its value, and what is accepted. With a source, a size of 0
// and missing fields are to be taken from it by InheritMissing.
absl::StatusOr<engine::VolumeOptions> ParseCreate(
    const v1::CreateVolumeRequest& request);
// Takes what `request` leaves open from the options of its source.
// INVALID_ARGUMENT when that does not fit.
absl::Status InheritMissing(const v1::CreateVolumeRequest& request,
                            const engine::VolumeOptions& source,
                            engine::VolumeOptions* options);
// The same for UpdateVolume, with fields "volume.…" and "update_mask".
absl::StatusOr<VolumeChange> ParseUpdate(
    const v1::UpdateVolumeRequest& request);

// Checks new_name and request_id, as ParseCreate does.
absl::Status CheckRename(const v1::RenameVolumeRequest& request);
// The checks of one field, for other requests.
absl::Status CheckLabels(const std::string& field, const Labels& labels);
absl::Status CheckRequestId(const std::string& request_id);

// Changes what `change` names. INVALID_ARGUMENT when the limits do not fit
// together then.
absl::Status ApplyLimits(const VolumeChange& change, v1::UsageLimits* limits);
// What holds for a volume with these `limits`. They are valid.
UsageLimits ResolveLimits(const v1::UsageLimits& limits,
                          const UsageLimits& defaults);

// Sets the fields that the engine knows.
void FillVolume(const engine::VolumeOptions& options, v1::Volume* volume);
// And uid and state.
void FillVolume(const engine::Volume& from, v1::Volume* volume);
v1::VolumeState StateOf(const engine::Volume& volume);

google::protobuf::Timestamp ToProto(absl::Time time);
google::protobuf::Duration ToProto(absl::Duration duration);
absl::Time FromProto(const google::protobuf::Timestamp& time);
// Of a valid duration.
absl::Duration FromProto(const google::protobuf::Duration& duration);

v1::VolumeStats MakeStats(const engine::VolumeStats& stats);

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_VOLUME_FIELDS_H_
