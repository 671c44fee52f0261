// The settings of a volume that travel in its image.
#ifndef RAMVOL_SERVER_SERVICE_IMAGE_SETTINGS_H_
#define RAMVOL_SERVER_SERVICE_IMAGE_SETTINGS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "qcow2/format.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::service {

// Allocator, frame sizes, levels, labels and limits, as
// qcow2::Origin::settings.
std::string EncodeSettings(const v1::Volume& volume);

// INVALID_ARGUMENT when `wanted`, of RestoreRequest, has fields that make no
// sense there.
absl::Status CheckRestore(const v1::CreateVolumeRequest& wanted);

// What a volume of the image is to be created from: the image's settings and
// size, and over them what `wanted` has. INVALID_ARGUMENT when that is smaller
// than the image's disk, or the settings are damaged.
absl::StatusOr<v1::CreateVolumeRequest> RequestFor(
    const qcow2::Header& header, const v1::CreateVolumeRequest& wanted);

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_IMAGE_SETTINGS_H_
