#include "server/saves/save_plan.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "ramvol/state/v1/state.pb.h"

namespace ramvol::saves {
namespace {

// Relatives of a root that it is compared with, and that a search looks at.
constexpr size_t kMaxCandidates = 4;
constexpr size_t kMaxVisited = 64;
constexpr size_t kRangesAtOnce = 4096;

uint64_t ParseUid(const std::string& text) {
  uint64_t uid = 0;
  return absl::SimpleHexAtoi(text, &uid) ? uid : 0;
}

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) +
         absl::Nanoseconds(time.nanos());
}

template <typename Settings>
void TakeFrom(const Settings& settings, Root* root) {
  root->source_uid = ParseUid(settings.source_uid());
  root->created = FromProto(settings.create_time());
  root->labels = settings.labels();
}

// What was made from what: a graph of uids, also of roots that are gone.
class Relatives {
 public:
  explicit Relatives(const std::vector<Root>& roots) : roots_(roots) {
    for (size_t i = 0; i < roots.size(); ++i) {
      by_uid_[roots[i].uid] = i;
      if (roots[i].source_uid != 0) {
        made_from_[roots[i].source_uid].push_back(i);
      }
    }
  }

  // Up to kMaxCandidates roots before `root`, the nearest first.
  std::vector<size_t> Before(size_t root) const {
    std::vector<size_t> found;
    std::deque<uint64_t> next = {roots_[root].uid};
    absl::flat_hash_set<uint64_t> seen = {roots_[root].uid};
    while (!next.empty() && seen.size() < kMaxVisited) {
      const uint64_t uid = next.front();
      next.pop_front();
      const auto here = by_uid_.find(uid);
      if (here != by_uid_.end() && here->second < root) {
        found.push_back(here->second);
        if (found.size() == kMaxCandidates) break;
      }
      for (const uint64_t other : NeighboursOf(uid, root)) {
        if (seen.insert(other).second) next.push_back(other);
      }
    }
    return found;
  }

 private:
  // What it was made from, and of what was made from it the last ones before
  // `root` and the first ones from it on.
  std::vector<uint64_t> NeighboursOf(uint64_t uid, size_t root) const {
    std::vector<uint64_t> uids;
    const auto here = by_uid_.find(uid);
    if (here != by_uid_.end() && roots_[here->second].source_uid != 0) {
      uids.push_back(roots_[here->second].source_uid);
    }
    const auto made = made_from_.find(uid);
    if (made == made_from_.end()) return uids;
    const std::vector<size_t>& all = made->second;
    const auto middle = std::lower_bound(all.begin(), all.end(), root);
    auto before = middle;
    for (size_t i = 0; i < kMaxCandidates && before != all.begin(); ++i) {
      uids.push_back(roots_[*--before].uid);
    }
    auto after = middle;
    for (size_t i = 0; i < kMaxCandidates && after != all.end(); ++i) {
      uids.push_back(roots_[*after++].uid);
    }
    return uids;
  }

  const std::vector<Root>& roots_;
  absl::flat_hash_map<uint64_t, size_t> by_uid_;
  // In order.
  absl::flat_hash_map<uint64_t, std::vector<size_t>> made_from_;
};

// The bytes in which they differ, or `most` if these are as many or more.
absl::StatusOr<uint64_t> Difference(engine::Volume& volume,
                                    const engine::Volume& since,
                                    uint64_t most) {
  const uint64_t end = volume.size_bytes();
  uint64_t bytes = 0;
  for (uint64_t offset = 0; offset < end && bytes < most;) {
    auto changes =
        volume.GetChanges(since, offset, end - offset, kRangesAtOnce);
    if (!changes.ok()) return changes.status();
    for (const auto& range : changes->ranges) bytes += range.length_bytes;
    offset = changes->next_offset_bytes;
  }
  return std::min(bytes, most);
}

absl::StatusOr<int> ChooseBacking(const std::vector<Root>& roots, size_t root,
                                  const std::vector<size_t>& candidates) {
  if (candidates.empty()) return -1;
  engine::Volume& content = *roots[root].content;
  // To lie on one from which it differs in more gains nothing.
  uint64_t least = content.Stats().logical_bytes;
  int best = -1;
  for (const size_t candidate : candidates) {
    const auto bytes = Difference(content, *roots[candidate].content, least);
    // One of them was deleted meanwhile.
    if (absl::IsNotFound(bytes.status())) continue;
    if (!bytes.ok()) return bytes.status();
    if (*bytes >= least) continue;
    least = *bytes;
    best = static_cast<int>(candidate);
  }
  return best;
}

}  // namespace

Root Describe(const engine::NamedVolume& named) {
  Root root;
  const engine::Volume& volume = *named.volume;
  root.name = named.name;
  root.uid = volume.uid();
  root.options = volume.options();
  root.options.name = named.name;
  root.attributes = volume.attributes();
  if (volume.is_snapshot()) {
    state::v1::KeptSnapshot kept;
    if (kept.ParseFromString(root.attributes)) TakeFrom(kept.snapshot(), &root);
  } else {
    state::v1::KeptVolume kept;
    if (kept.ParseFromString(root.attributes)) TakeFrom(kept.settings(), &root);
  }
  return root;
}

absl::Status Plan(std::vector<Root>* roots) {
  // Snapshots first, for volumes change after they were taken; older ones
  // first, for the others were made from them.
  std::sort(roots->begin(), roots->end(), [](const Root& a, const Root& b) {
    return std::tuple(a.name[0] != '@', a.created, a.name) <
           std::tuple(b.name[0] != '@', b.created, b.name);
  });
  const Relatives relatives(*roots);
  for (size_t i = 0; i < roots->size(); ++i) {
    const auto backing = ChooseBacking(*roots, i, relatives.Before(i));
    if (!backing.ok()) return backing.status();
    (*roots)[i].backing = *backing;
  }
  return absl::OkStatus();
}

}  // namespace ramvol::saves
