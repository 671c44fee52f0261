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

// A peer may always hold kAlways places, and beyond that as many as are free:
// alone it gets half of all, two that are greedy a third each, and something is
// always left for who comes next.
//
// A peer may have parts, such as the connections of a client. Each may hold
// kAlways, and beyond that an eighth of what its peer may still take.
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

  // Takes a place for the holder that `path` names: its peer, and then the
  // peer's part, if it has any. An empty path or name is bounded by nothing but
  // the number of places.
  Answer Enter(absl::Span<const std::string> path) ABSL_LOCKS_EXCLUDED(mu_);
  // Gives it back. True when no place was free before.
  bool Leave(absl::Span<const std::string> path) ABSL_LOCKS_EXCLUDED(mu_);

  size_t most() const { return most_; }
  size_t held() const ABSL_LOCKS_EXCLUDED(mu_);
  bool full() const { return held() >= most_; }

 private:
  const size_t most_;
  mutable Mutex mu_;
  size_t held_ ABSL_GUARDED_BY(mu_) = 0;
  // Nobody is in it who holds nothing.
  absl::flat_hash_map<std::string, size_t> holders_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_FAIR_SHARE_H_
