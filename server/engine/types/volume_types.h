// Arguments and results of a Volume's calls.
#ifndef RAMVOL_SERVER_ENGINE_TYPES_VOLUME_TYPES_H_
#define RAMVOL_SERVER_ENGINE_TYPES_VOLUME_TYPES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ramvol::engine {

// Who may change a buffer while a call has it.
enum class BufferOf {
  kCaller,  // Nobody: it is the caller's alone.
  // Others, as virtual machines that share their memory. What they write
  // meanwhile may be what is written or read, and does no other harm.
  kOthers,
};

// A run of bytes in one state. Boundaries are multiples of kBlockBytes, except
// at the ends of the requested range.
struct Extent {
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
  bool hole = false;  // Stores nothing; reads as zero.

  friend bool operator==(const Extent&, const Extent&) = default;
};

struct Extents {
  std::vector<Extent> extents;
  // Where to continue; the end of the range when it is complete.
  uint64_t next_offset_bytes = 0;
};

// Ranges that may differ, in order, with gaps of at least a block.
struct Changes {
  struct Range {
    uint64_t offset_bytes = 0;
    uint64_t length_bytes = 0;

    friend bool operator==(const Range&, const Range&) = default;
  };
  std::vector<Range> ranges;
  // Where to continue; the end of the range asked for when it is complete.
  uint64_t next_offset_bytes = 0;
};

// What Update changes. Fields without a value stay as they are.
struct VolumeUpdate {
  std::optional<uint64_t> size_bytes;
  std::optional<int> write_level;
  std::optional<int> merge_level;
  std::optional<uint64_t> memory_limit_bytes;
  std::optional<bool> read_only;
  // What the caller keeps with the volume, see Engine::CreateVolume.
  std::optional<std::string> attributes;
  // Refuse while a client has the volume attached.
  bool if_unattached = false;
};

// By what it is known whether a volume was used: it is another one then.
struct VolumeUse {
  // Reads, writes, trims and writes of zeroes that ended, and what failed.
  uint64_t operations = 0;
  // Clients that have attached it so far.
  uint64_t attachments = 0;
  // Snapshots and clones that were made of it, and reverts.
  uint64_t copies = 0;
  bool attached = false;

  friend bool operator==(const VolumeUse&, const VolumeUse&) = default;
};

// How much of the content of a volume of an earlier server is there.
enum class Completeness : uint8_t {
  kComplete,
  kRestoring,   // Some is still to be read.
  kIncomplete,  // Some is lost.
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_TYPES_VOLUME_TYPES_H_
