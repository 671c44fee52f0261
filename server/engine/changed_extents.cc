#include "server/engine/changed_extents.h"

namespace ramvol::engine {

absl::StatusOr<ChangedExtents> ListChanges(Volume& volume, const Volume& since,
                                           uint64_t offset, uint64_t length,
                                           size_t max_extents) {
  // n ranges, if more follow, and what lies between make at least 2 n extents.
  const auto changes =
      volume.GetChanges(since, offset, length, max_extents / 2 + 1);
  if (!changes.ok()) return changes.status();
  ChangedExtents found;
  uint64_t at = offset;
  const auto add_up_to = [&](uint64_t end, bool changed) {
    if (end <= at || found.extents.size() == max_extents) return;
    found.extents.push_back({at, end - at, changed});
    at = end;
  };
  for (const Changes::Range& range : changes->ranges) {
    add_up_to(range.offset_bytes, false);
    add_up_to(range.offset_bytes + range.length_bytes, true);
  }
  add_up_to(changes->next_offset_bytes, false);
  found.next_offset_bytes = at;
  return found;
}

}  // namespace ramvol::engine
