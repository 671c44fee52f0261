// Changes of a volume in the form in which clients ask for them.
#ifndef RAMVOL_SERVER_ENGINE_CHANGED_EXTENTS_H_
#define RAMVOL_SERVER_ENGINE_CHANGED_EXTENTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/volume.h"

namespace ramvol::engine {

// A run of bytes. Boundaries are as those of Extent.
struct ChangedExtent {
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
  bool changed = false;  // May differ.

  friend bool operator==(const ChangedExtent&, const ChangedExtent&) = default;
};

struct ChangedExtents {
  std::vector<ChangedExtent> extents;
  // Where to continue; the end of the range when it is complete.
  uint64_t next_offset_bytes = 0;
};

// The first `max_extents` (at least 1) extents of [offset, offset + length), by
// Volume::GetChanges, whose errors it returns. They adjoin, and neighbours
// differ in state.
absl::StatusOr<ChangedExtents> ListChanges(Volume& volume, const Volume& since,
                                           uint64_t offset, uint64_t length,
                                           size_t max_extents);

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_CHANGED_EXTENTS_H_
