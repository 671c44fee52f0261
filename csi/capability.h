// What a pod wants to do with a volume.
#ifndef RAMVOL_CSI_CAPABILITY_H_
#define RAMVOL_CSI_CAPABILITY_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "csi.pb.h"
#include "csi/volumes.h"
#include "google/protobuf/repeated_field.h"

namespace ramvol::csi_driver {

// INVALID_ARGUMENT says what this driver cannot do: volumes live on one node,
// and file systems are ext4, xfs and btrfs.
absl::Status CheckCapability(const ::csi::v1::VolumeCapability& capability);

// Of all of them, which must be at least one.
absl::Status CheckCapabilities(
    const google::protobuf::RepeatedPtrField<::csi::v1::VolumeCapability>&
        capabilities);

// INVALID_ARGUMENT: a size is negative.
absl::StatusOr<SizeRange> ToRange(const ::csi::v1::CapacityRange& range);

bool IsReadOnly(const ::csi::v1::VolumeCapability& capability);

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_CAPABILITY_H_
