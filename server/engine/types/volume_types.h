// What calls of a Volume take and answer.
#ifndef RAMVOL_SERVER_ENGINE_TYPES_VOLUME_TYPES_H_
#define RAMVOL_SERVER_ENGINE_TYPES_VOLUME_TYPES_H_

#include <cstdint>
#include <optional>
#include <vector>

namespace ramvol::engine {

// A run of bytes in one state. Boundaries are multiples of kBlockBytes, except
// at the ends of the range asked for.
struct Extent {
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
  bool hole = false;  // Holds nothing; reads as zero.

  friend bool operator==(const Extent&, const Extent&) = default;
};

struct Extents {
  std::vector<Extent> extents;
  // Where to go on; the end of the range when all of it was answered.
  uint64_t next_offset_bytes = 0;
};

// What Update changes; what is left out stays.
struct VolumeUpdate {
  std::optional<uint64_t> size_bytes;
  std::optional<int> write_level;
  std::optional<int> merge_level;
  std::optional<uint64_t> memory_limit_bytes;
  std::optional<bool> read_only;
  // Change nothing while a client has the volume attached.
  bool if_unattached = false;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_TYPES_VOLUME_TYPES_H_
