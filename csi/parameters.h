// The parameters of a StorageClass, or of an inline volume.
#ifndef RAMVOL_CSI_PARAMETERS_H_
#define RAMVOL_CSI_PARAMETERS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::csi_driver {

inline constexpr uint64_t kDefaultVolumeBytes = uint64_t{1} << 30;

struct Parameters {
  v1::Allocator allocator = v1::ALLOCATOR_UNSPECIFIED;  // The default.
  int32_t zstd_level = 0;                               // 0: the default.
  int32_t merge_zstd_level = 0;
  int32_t min_frame_bytes = 0;
  int32_t max_frame_bytes = 0;
  // At most one of both is set: memoryLimit as a size, or in per cent of the
  // volume's size.
  uint64_t memory_limit_bytes = 0;
  int memory_limit_percent = 0;
  // "ext4", "xfs", "btrfs", or "" for what the capability says.
  std::string fs_type;
  // A volume or "@SNAPSHOT" that the volume becomes a clone of, or "".
  std::string image;
  // "class", for metrics, or "".
  std::string class_name;
  // "whenLost": a volume that its node lost is made anew.
  bool recreate = false;
  // "size" of inline volumes; 0: the default.
  uint64_t size_bytes = 0;

  // The request for a volume of `size_bytes`, without name, labels and source.
  v1::CreateVolumeRequest ToRequest(uint64_t size_bytes) const;
};

using ParameterMap = std::map<std::string, std::string>;

// Takes the names allocator, zstdLevel, mergeZstdLevel, minFrame, maxFrame,
// memoryLimit, fsType and image; for an inline volume size as well, for others
// class and whenLost. Names that begin with "csi.storage.k8s.io/" belong to
// Kubernetes and are ignored.
//
// INVALID_ARGUMENT names the parameter, its value and what is accepted.
// ramvold checks the rest.
absl::StatusOr<Parameters> ParseParameters(const ParameterMap& map,
                                           bool is_inline);

// What the context of a volume, which Kubernetes keeps, holds so that the
// volume can be made anew: `map`, of which `parameters` are, and its size.
ParameterMap RecreationContext(const ParameterMap& map, uint64_t size_bytes);
// The parameters in a context; nullopt if it has none, since the volume is not
// to be made anew. INVALID_ARGUMENT as above.
absl::StatusOr<std::optional<Parameters>> ParseRecreation(
    const ParameterMap& context);

// Of snapshots, which have no parameters but Kubernetes' own. INVALID_ARGUMENT
// names another one.
absl::Status CheckNoParameters(const ParameterMap& map);

// Whether `fs_type` is one that the driver makes. "" is one, too.
bool IsFileSystem(const std::string& fs_type);

}  // namespace ramvol::csi_driver

#endif  // RAMVOL_CSI_PARAMETERS_H_
