// The unfinished calls of one volume.
#ifndef RAMVOL_CLIENT_CALL_TABLE_H_
#define RAMVOL_CLIENT_CALL_TABLE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/call.h"
#include "client/extent.h"

namespace ramvol {

// Most data in one part; larger reads and writes are cut.
inline constexpr int64_t kMaxPartBytes = int64_t{1} << 20;

// A call whose `done` is to be called.
struct Completion {
  std::shared_ptr<Call> call;

  void Run();
};

// Holds the calls from Add until their completion is taken, and cuts them into
// parts. A call ends with its last part, with the first error of one (when no
// other is out), or by End. Its completion waits until nobody holds its buffer.
//
// Not thread-safe: the owner guards it. It calls nothing of the user's.
class CallTable {
 public:
  // Reads and writes are cut at multiples of `part_bytes`, so that one aligned
  // block of a power of two up to that is never shared by two operations.
  void set_part_bytes(int64_t part_bytes) { part_bytes_ = part_bytes; }

  // Takes over `call`, behind all others.
  void Add(std::shared_ptr<Call> call);

  // As Add, for a call that has no operation: only End completes it.
  void AddWaiter(std::shared_ptr<Call> call);

  // Quick, and true only if NextPartBytes has nothing.
  bool nothing_queued() const { return replay_.empty() && uncut_.empty(); }
  // The window_bytes of the part that TakePart would give; nothing when all
  // have been given.
  std::optional<int64_t> NextPartBytes();
  // The next part of the oldest call. To be called when there is one.
  Part TakePart();

  // Gives parts back, to be taken again before all others, in this order.
  void Replay(std::vector<Part> parts);

  // A part was answered. Ignored if its call has ended.
  void Finish(const Part& part, absl::Status status);
  // Likewise, for the kGetExtents among them.
  void FinishExtents(const Part& part, const std::vector<Extent>& extents,
                     int64_t next_offset, int64_t volume_size_bytes);

  // Ends the call now, whatever parts are out. Nothing if it has ended.
  void End(const std::shared_ptr<Call>& call, absl::Status status);
  void EndAll(const absl::Status& status);

  // While pinned, a call's completion is held back.
  void Pin(Call& call) { ++call.pins; }
  void Unpin(const std::shared_ptr<Call>& call);

  // The calls whose deadline has come; they have not ended yet.
  std::vector<std::shared_ptr<Call>> Expired(absl::Time now) const;
  // Infinite when there is no call.
  absl::Time next_deadline() const;

  // What has ended since the last time.
  std::vector<Completion> TakeCompletions();

  // No call is waiting for its end.
  bool empty() const { return active_.empty(); }
  // Bytes of the calls that have not ended, less their finished parts, with a
  // small charge for each call.
  int64_t admitted_bytes() const { return admitted_bytes_; }

 private:
  void Insert(std::shared_ptr<Call> call);
  // Forgets parts and calls at the front of the queues that are not to be sent.
  void SkipEnded();
  // Offset and length of the next part of a call.
  Part NextCut(const Call& call) const;
  void Uncharge(Call& call, int64_t bytes);

  int64_t part_bytes_ = kMaxPartBytes;
  int64_t admitted_bytes_ = 0;
  // By deadline.
  std::multimap<absl::Time, std::shared_ptr<Call>> active_;
  // Not cut to the end. Those that have ended are dropped when met.
  std::deque<std::shared_ptr<Call>> uncut_;
  std::deque<Part> replay_;
  std::vector<Completion> completions_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CALL_TABLE_H_
