// The clients that have a volume attached.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_HOLDERS_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_HOLDERS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/counters.h"
#include "base/mutex.h"

namespace ramvol::engine {

// What a client did that succeeded.
enum class Traffic {
  kReads,
  kWrites,
  kReadBytes,
  kWrittenBytes,
  kCount,
};

// One client, described for people.
struct Holder {
  std::string over;  // The protocol: "nbd", "io".
  std::string from;  // Its address: "127.0.0.1:40112".
  absl::Time since = absl::Now();
  // Its own, so that counting makes no other client wait.
  std::shared_ptr<Counters<Traffic>> traffic =
      std::make_shared<Counters<Traffic>>();
};

// Thread-safe.
class Holders {
 public:
  using Id = uint64_t;

  Id Add(Holder holder) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return AddLocked(std::move(holder));
  }
  // Adds the holder only if there is none yet; else returns false.
  bool AddFirst(Holder holder, Id* id) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    if (!holders_.empty()) return false;
    *id = AddLocked(std::move(holder));
    return true;
  }
  // Returns the holder that it removed.
  Holder Remove(Id id) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    auto left = holders_.extract(id);
    return left.empty() ? Holder() : std::move(left.mapped());
  }

  size_t size() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return holders_.size();
  }
  // How many have been added so far.
  uint64_t added() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return last_id_;
  }
  // The oldest `max` holders, and the number of all.
  std::pair<std::vector<Holder>, size_t> List(size_t max) const
      ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    std::vector<Holder> first;
    for (const auto& [id, holder] : holders_) {
      if (first.size() == max) break;
      first.push_back(holder);
    }
    return {std::move(first), holders_.size()};
  }
  // Up to `max` that came after the one with id `after`, with their ids.
  std::vector<std::pair<Id, Holder>> ListAfter(Id after, size_t max) const
      ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    std::vector<std::pair<Id, Holder>> found;
    auto it = holders_.upper_bound(after);
    for (; it != holders_.end() && found.size() < max; ++it) {
      found.emplace_back(it->first, it->second);
    }
    return found;
  }

 private:
  Id AddLocked(Holder holder) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    holders_.emplace(++last_id_, std::move(holder));
    return last_id_;
  }

  mutable Mutex mu_;
  Id last_id_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<Id, Holder> holders_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_HOLDERS_H_
