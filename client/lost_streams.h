// Changes that wait for the server to let go of a lost stream.
#ifndef RAMVOL_CLIENT_LOST_STREAMS_H_
#define RAMVOL_CLIENT_LOST_STREAMS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/call.h"

namespace ramvol {

// Most lost streams that one stream replaces; the server allows no more.
inline constexpr size_t kMaxReplaces = 64;

// A lost stream of which the server may still be running changes.
struct LostStream {
  uint64_t id = 0;
  absl::Time since;
  // To be sent again, in this order. Their calls may have ended meanwhile.
  std::vector<Part> changes;
};

// The lost streams of one volume, oldest first.
//
// A change that a lost stream did not answer must not be sent again at once:
// the first sending could land after what the caller writes later. So it waits
// here. A new stream names the lost ones that it replaces, and the server opens
// it when it runs nothing of them any more.
//
// There are few: each stream that opens replaces those that were here when it
// started. Not thread-safe.
class LostStreams {
 public:
  // `lost.changes` may be empty: changes whose calls have ended may still run,
  // and what comes later must not overtake them either.
  void Add(LostStream lost);

  // What a stream that starts now has to replace: the oldest, at most
  // kMaxReplaces.
  std::vector<uint64_t> ids() const;

  // Nothing of these streams runs any more. Forgets them, and returns their
  // changes.
  std::vector<Part> Replaced(absl::Span<const uint64_t> ids);

  // When the first stream that has changes here was lost; infinite if there is
  // none.
  absl::Time waiting_since() const {
    for (const LostStream& lost : streams_) {
      if (!lost.changes.empty()) return lost.since;
    }
    return absl::InfiniteFuture();
  }

  // Returns the streams that were lost at `lost_by` or before, with their
  // changes. They stay here without.
  std::vector<LostStream> TakeChanges(absl::Time lost_by);

  // The calls of all changes have ended.
  void DropChanges();

 private:
  std::vector<LostStream> streams_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_LOST_STREAMS_H_
