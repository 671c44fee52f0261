#include "qcow2/cluster_sums.h"

#include <algorithm>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace ramvol::qcow2 {
namespace {

// Of a cluster's sum: the rest is its length, 0 for all of kClusterBytes.
constexpr int kHashBits = 48;
constexpr uint64_t kHashMask = (uint64_t{1} << kHashBits) - 1;

bool HasSum(const ClusterEntry& entry) {
  return entry.kind == ClusterKind::kRaw ||
         entry.kind == ClusterKind::kCompressed;
}

}  // namespace

uint64_t TableSum(std::string_view table) {
  return XXH3_64bits(table.data(), table.size());
}

uint64_t ClusterSum(std::string_view bytes) {
  return (TableSum(bytes) & kHashMask) | uint64_t{bytes.size() % kClusterBytes}
                                             << kHashBits;
}

bool IsClusterSum(uint64_t sum, std::string_view bytes) {
  const uint64_t named = sum >> kHashBits;
  const uint64_t length = named == 0 ? kClusterBytes : named;
  return length <= bytes.size() && ClusterSum(bytes.substr(0, length)) == sum;
}

SumPlaces PlacesOfSums(uint64_t table_offset, std::string_view table,
                       size_t index) {
  SumPlaces places{.table = table_offset + kClusterBytes, .cluster = 0};
  uint64_t before = 0;
  for (size_t i = 0; i < table.size() / 8; ++i) {
    const ClusterEntry entry =
        ParseEntry(LoadBig64(table.data() + 8 * i), 3, kClusterBits);
    if (!HasSum(entry)) continue;
    if (i < index) ++before;
    const bool raw = entry.kind == ClusterKind::kRaw;
    places.table = std::max(places.table,
                            entry.offset + (raw ? kClusterBytes : entry.bytes));
  }
  places.cluster = places.table + kSumBytes * (1 + before);
  return places;
}

}  // namespace ramvol::qcow2
