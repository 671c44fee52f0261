// A number of places that peers share, so that none can take them all.
#ifndef RAMVOL_BASE_FAIR_SHARE_H_
#define RAMVOL_BASE_FAIR_SHARE_H_

#include <cstddef>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "base/mutex.h"

namespace ramvol {

// A peer may always hold kAlways places, and beyond that as many as are free.
// So a single greedy peer gets half of all places, two get a third each, and
// some places are always left for the next one.
//
// A peer may have parts, such as the connections of a client. A part may always
// hold kAlways places, and beyond that an eighth of what its peer may still
// take.
//
// Thread-safe.
class FairShare {
 public:
  static constexpr size_t kAlways = 8;

  enum class Answer {
    kEntered,
    kFull,     // No place is free.
    kTooMany,  // The peer, or its part, has its share.
  };

  explicit FairShare(size_t most) : most_(most) {}
  FairShare(const FairShare&) = delete;
  FairShare& operator=(const FairShare&) = delete;

  // Takes a place for the holder that `path` names: the peer, then the part, if
  // there is one. For an empty path or name only the number of places counts.
  Answer Enter(absl::Span<const std::string> path) ABSL_LOCKS_EXCLUDED(mu_);
  // Gives the place back. True when no place was free before.
  bool Leave(absl::Span<const std::string> path) ABSL_LOCKS_EXCLUDED(mu_);

  size_t most() const { return most_; }
  size_t held() const ABSL_LOCKS_EXCLUDED(mu_);
  bool full() const { return held() >= most_; }

 private:
  const size_t most_;
  mutable Mutex mu_;
  size_t held_ ABSL_GUARDED_BY(mu_) = 0;
  // Only holders of at least one place.
  absl::flat_hash_map<std::string, size_t> holders_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_FAIR_SHARE_H_
