#include "csi/capability.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "csi.pb.h"
#include "csi/parameters.h"
#include "csi/volumes.h"
#include "google/protobuf/repeated_field.h"

namespace ramvol::csi_driver {
namespace {

using AccessMode = ::csi::v1::VolumeCapability::AccessMode;

}  // namespace

absl::Status CheckCapability(const ::csi::v1::VolumeCapability& capability) {
  if (!capability.has_block() && !capability.has_mount()) {
    return absl::InvalidArgumentError(
        "volume_capability has no access type; give block or mount");
  }
  if (!IsFileSystem(capability.mount().fs_type())) {
    return absl::InvalidArgumentError(
        absl::StrCat("fs_type is \"", capability.mount().fs_type(),
                     "\"; give ext4, xfs or btrfs"));
  }
  switch (capability.access_mode().mode()) {
    case AccessMode::SINGLE_NODE_WRITER:
    case AccessMode::SINGLE_NODE_READER_ONLY:
    case AccessMode::SINGLE_NODE_SINGLE_WRITER:
    case AccessMode::SINGLE_NODE_MULTI_WRITER:
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError(absl::StrCat(
          "access mode ",
          AccessMode::Mode_Name(capability.access_mode().mode()),
          " is not possible: a volume lives on one node; give ReadWriteOnce or "
          "ReadWriteOncePod"));
  }
}

absl::Status CheckCapabilities(
    const google::protobuf::RepeatedPtrField<::csi::v1::VolumeCapability>&
        capabilities) {
  if (capabilities.empty()) {
    return absl::InvalidArgumentError("volume_capabilities are missing");
  }
  for (const auto& capability : capabilities) {
    const absl::Status checked = CheckCapability(capability);
    if (!checked.ok()) return checked;
  }
  return absl::OkStatus();
}

absl::StatusOr<SizeRange> ToRange(const ::csi::v1::CapacityRange& range) {
  if (range.required_bytes() < 0 || range.limit_bytes() < 0) {
    return absl::InvalidArgumentError("capacity_range has a negative size");
  }
  return SizeRange{static_cast<uint64_t>(range.required_bytes()),
                   static_cast<uint64_t>(range.limit_bytes())};
}

bool IsReadOnly(const ::csi::v1::VolumeCapability& capability) {
  return capability.access_mode().mode() == AccessMode::SINGLE_NODE_READER_ONLY;
}

}  // namespace ramvol::csi_driver
