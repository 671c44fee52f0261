// Changes that wait until the server runs nothing of a lost stream any more.
#ifndef RAMVOL_CLIENT_LOST_STREAMS_H_
#define RAMVOL_CLIENT_LOST_STREAMS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/call.h"

namespace ramvol {

// Most lost streams that one stream replaces. The server allows no more.
inline constexpr size_t kMaxReplaces = 64;

// A lost stream whose changes may still run on the server.
struct LostStream {
  uint64_t id = 0;
  absl::Time since;
  // Changes to send again, in this order. Their calls may have ended meanwhile.
  std::vector<Part> changes;
};

// The lost streams of one volume, oldest first.
//
// A change that a lost stream has not answered must not be sent again at once:
// its first sending could land after the caller's next write. So the change
// waits here. A new stream names the lost ones that it replaces, and the server
// opens the new stream when it runs nothing of them any more.
//
// The list stays short: a stream that opens replaces all streams that were here
// when it started. Not thread-safe.
class LostStreams {
 public:
  // `lost.changes` may be empty: later changes must not overtake those of ended
  // calls either, which may still run.
  void Add(LostStream lost);

  // The streams that a stream which starts now has to replace: the oldest ones,
  // at most kMaxReplaces.
  std::vector<uint64_t> ids() const;

  // The server runs nothing of these streams any more. Forgets them, and
  // returns their changes.
  std::vector<Part> Replaced(absl::Span<const uint64_t> ids);

  // When the oldest stream that has changes here was lost. Infinite if there is
  // none.
  absl::Time waiting_since() const {
    for (const LostStream& lost : streams_) {
      if (!lost.changes.empty()) return lost.since;
    }
    return absl::InfiniteFuture();
  }

  // Takes the changes of the streams that were lost at `lost_by` or before. The
  // streams stay here, without changes.
  std::vector<LostStream> TakeChanges(absl::Time lost_by);

  // Drops all changes, because their calls have ended.
  void DropChanges();

 private:
  std::vector<LostStream> streams_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_LOST_STREAMS_H_
