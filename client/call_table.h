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

// Most data in one part. Larger reads and writes are cut.
inline constexpr int64_t kMaxPartBytes = int64_t{1} << 20;

// An ended call whose callback has not run yet.
struct Completion {
  std::shared_ptr<Call> call;

  void Run();
};

// Holds calls from Add until their completions are taken, and cuts them into
// parts. A call ends with its last part, or by End. If a part fails, no further
// part of its call is cut, and the call ends when none is out. The completion
// waits until no thread holds the call's buffer.
//
// Not thread-safe: the owner guards it. Runs no callbacks.
class CallTable {
 public:
  // Reads and writes are cut at multiples of `part_bytes`. So two operations
  // never share an aligned block of a power of two up to that size.
  void set_part_bytes(int64_t part_bytes) { part_bytes_ = part_bytes; }

  // Puts `call` behind all others.
  void Add(std::shared_ptr<Call> call);

  // Adds a call without an operation. Only End ends it.
  void AddWaiter(std::shared_ptr<Call> call);

  // A quick test. If it is true, NextPartBytes returns nothing.
  bool nothing_queued() const { return replay_.empty() && uncut_.empty(); }
  // The window_bytes of the part that TakePart would return. Nothing when there
  // is no part to take.
  std::optional<int64_t> NextPartBytes();
  // Takes the next part of the oldest call. There must be one.
  Part TakePart();

  // Puts parts back. They are taken again before all others, in this order.
  void Replay(std::vector<Part> parts);

  // Records the answer to a part. Does nothing if the call has ended.
  void Finish(const Part& part, absl::Status status);
  // The same for a part that lists extents.
  void FinishExtents(const Part& part, const std::vector<Extent>& extents,
                     int64_t next_offset, int64_t volume_size_bytes);

  // Ends the call now, even if parts of it are out. Does nothing if the call
  // has ended.
  void End(const std::shared_ptr<Call>& call, absl::Status status);
  void EndAll(const absl::Status& status);

  // A pinned call's completion is held back.
  void Pin(Call& call) { ++call.pins; }
  void Unpin(const std::shared_ptr<Call>& call);

  // The calls that have not ended and whose deadline has come.
  std::vector<std::shared_ptr<Call>> Expired(absl::Time now) const;
  // The earliest deadline; infinite when there is no call.
  absl::Time next_deadline() const;

  // The calls that have ended since the last time.
  std::vector<Completion> TakeCompletions();

  // Whether all calls have ended.
  bool empty() const { return active_.empty(); }
  // Bytes of the calls that have not ended, without their finished parts, plus
  // a small charge for each call.
  int64_t admitted_bytes() const { return admitted_bytes_; }

 private:
  void Insert(std::shared_ptr<Call> call);
  // Drops ended calls, and their parts, from the fronts of the queues.
  void SkipEnded();
  // The next part of a call, without cutting it.
  Part NextCut(const Call& call) const;
  void Uncharge(Call& call, int64_t bytes);

  int64_t part_bytes_ = kMaxPartBytes;
  int64_t admitted_bytes_ = 0;
  // Calls that have not ended, by deadline.
  std::multimap<absl::Time, std::shared_ptr<Call>> active_;
  // Calls that are not wholly cut. Ended ones are dropped by SkipEnded.
  std::deque<std::shared_ptr<Call>> uncut_;
  std::deque<Part> replay_;
  std::vector<Completion> completions_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CALL_TABLE_H_
