// Checksums of the clusters of an image of ramvol, so that one can be checked
// that is read alone.
#ifndef RAMVOL_QCOW2_CLUSTER_SUMS_H_
#define RAMVOL_QCOW2_CLUSTER_SUMS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "qcow2/format.h"

namespace ramvol::qcow2 {

// Each group has its own, of 8 bytes each: of its L2 table, and of each of its
// raw and compressed clusters, by their indexes. They lie behind the data of
// the group, from the end of its last sector on, where no other program looks.
inline constexpr uint64_t kSumBytes = 8;

// The sum of a table.
uint64_t TableSum(std::string_view table);
// The sum of a cluster, and how many bytes these are, since a compressed one's
// entry names more.
uint64_t ClusterSum(std::string_view bytes);
// Whether the sum is that of the cluster that `bytes` begins with.
bool IsClusterSum(uint64_t sum, std::string_view bytes);

// Where the sums of a group are in the file, by its table: that of the table,
// and that of the cluster with this index, which has one.
struct SumPlaces {
  uint64_t table = 0;
  uint64_t cluster = 0;
};
SumPlaces PlacesOfSums(uint64_t table_offset, std::string_view table,
                       size_t index);

}  // namespace ramvol::qcow2

#endif  // RAMVOL_QCOW2_CLUSTER_SUMS_H_
