#include "client/lost_streams.h"

#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/call.h"

namespace ramvol {

void LostStreams::Add(LostStream lost) { streams_.push_back(std::move(lost)); }

std::vector<uint64_t> LostStreams::ids() const {
  std::vector<uint64_t> ids;
  for (const LostStream& lost : streams_) {
    if (ids.size() == kMaxReplaces) break;
    ids.push_back(lost.id);
  }
  return ids;
}

std::vector<Part> LostStreams::Replaced(absl::Span<const uint64_t> ids) {
  if (ids.empty()) return {};
  std::vector<Part> changes;
  std::vector<LostStream> others;
  for (LostStream& lost : streams_) {
    if (absl::c_linear_search(ids, lost.id)) {
      absl::c_move(lost.changes, std::back_inserter(changes));
    } else {
      others.push_back(std::move(lost));
    }
  }
  streams_ = std::move(others);
  return changes;
}

std::vector<LostStream> LostStreams::TakeChanges(absl::Time lost_by) {
  std::vector<LostStream> taken;
  for (LostStream& lost : streams_) {
    if (lost.since > lost_by) break;
    taken.push_back({.id = lost.id,
                     .since = lost.since,
                     .changes = std::exchange(lost.changes, {})});
  }
  return taken;
}

void LostStreams::DropChanges() {
  for (LostStream& lost : streams_) lost.changes.clear();
}

}  // namespace ramvol
