// Writes an image from its first byte to its last, without going back.
#ifndef RAMVOL_QCOW2_STREAM_WRITER_H_
#define RAMVOL_QCOW2_STREAM_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "qcow2/cluster_sums.h"
#include "qcow2/format.h"
#include "qcow2/image_digest.h"

namespace ramvol::qcow2 {

// A group that has something, and the clusters that its data gets in the file.
struct GroupRoom {
  uint32_t group = 0;
  uint32_t clusters = 0;
};

// A cluster that has something, of a group.
struct ClusterPlan {
  uint16_t index = 0;  // In the group.
  ClusterKind kind = ClusterKind::kZeroes;
  uint32_t bytes = 0;  // Of kCompressed: at most kMaxCompressedBytes.
  uint32_t mark = 0;   // The source's.
};
// A cluster that takes more is written as it is.
inline constexpr uint32_t kMaxCompressedBytes = kClusterBytes - 1024;
// What the data of a group consists of.
struct GroupData {
  uint64_t compressed = 0;  // Clusters.
  uint64_t compressed_bytes = 0;
  uint64_t raw = 0;  // Clusters.

  void Add(ClusterKind kind, uint64_t bytes) {
    if (kind == ClusterKind::kRaw) ++raw;
    if (kind != ClusterKind::kCompressed) return;
    ++compressed;
    compressed_bytes += bytes;
  }
};
// The clusters of a file that it takes, with its sums.
constexpr uint64_t RoomFor(const GroupData& data) {
  const uint64_t sums = kSumBytes * (1 + data.compressed + data.raw);
  const auto clusters = [](uint64_t bytes) {
    return (bytes + kClusterBytes - 1) / kClusterBytes;
  };
  if (data.raw > 0) {
    return clusters(data.compressed_bytes) + data.raw + clusters(sums);
  }
  const uint64_t sectors =
      (data.compressed_bytes + kSectorBytes - 1) / kSectorBytes;
  return clusters(sectors * kSectorBytes + sums);
}

// What an image is made of. It must not change.
class ClusterSource {
 public:
  virtual ~ClusterSource() = default;

  // The groups, in order.
  virtual absl::StatusOr<std::vector<GroupRoom>> Survey() = 0;
  // Fills `*plan` with the clusters of a group, in order. They fit into `room`
  // clusters, as RoomFor has it.
  virtual absl::Status PlanGroup(uint32_t group, uint32_t room,
                                 std::vector<ClusterPlan>* plan) = 0;
  // Fills `out`, of `plan.bytes` or kClusterBytes, with a cluster of the group
  // that was planned last: first the compressed ones, in order, then the raw
  // ones.
  virtual absl::Status ReadCluster(const ClusterPlan& plan,
                                   absl::Span<char> out) = 0;
};

// The file, in this order: header, L1 table, refcount table; for each group its
// L2 table, compressed clusters one right after the other, raw clusters, the
// sums of all of these; the refcount blocks, each behind the clusters that it
// counts; 512 bytes with the digest. So memory is bounded by 8 bytes for each
// group, 8 MiB at most, and by a group's tables, and a reader that does not go
// back sees each group's table before its data.
//
// Not thread-safe. Borrows the source.
class StreamWriter {
 public:
  // `header` needs size_bytes of its origin, and names; the rest is set here.
  // Without `digest` the image carries none. FAILED_PRECONDITION, reason
  // TOO_LARGE_IMAGE, for a disk of more than kMaxSizeBytes; the source's
  // errors.
  static absl::StatusOr<std::unique_ptr<StreamWriter>> Make(
      ClusterSource* source, Header header, bool digest);

  uint64_t file_bytes() const { return file_bytes_; }
  bool done() const { return phase_ == Phase::kDone; }

  // Appends the next bytes of the file to `*out`, until it has `want` or more,
  // by a few clusters at most, or the file is done.
  absl::Status Append(size_t want, std::string* out);

 private:
  enum class Phase {
    kHead,
    kL1,
    kRefcountTable,
    kTable,
    kData,
    kEnd,
    kTrailer,
    kDone
  };

  // Where things are, in clusters. Walked over the groups once for each table.
  struct Layout {
    uint64_t next = 0;
    uint64_t refcount_blocks = 0;

    // The place of the group's table, behind which its data lies.
    uint64_t Add(const GroupRoom& room);
    // Refcount blocks that must come now, one at each of `next`, `next + 1`…
    bool BlockIsDue(bool at_end) const;
  };

  StreamWriter(ClusterSource* source, Header header, bool digest)
      : source_(*source), header_(std::move(header)), has_digest_(digest) {}

  absl::Status Plan();
  void PlaceAll();
  Layout FirstLayout() const;
  absl::Status Step(std::string* out);
  void AppendL1(std::string* out);
  void AppendRefcountTable(std::string* out);
  absl::Status BeginGroup(std::string* out);
  absl::Status AppendData(std::string* out);
  void AppendSums(std::string* out);
  void EndGroup(std::string* out);
  void AppendBlocks(bool at_end, std::string* out);
  void AppendTrailer(std::string* out);
  // Counts the clusters of `bytes` bytes at `offset`, by their sectors.
  void Count(uint64_t offset, uint64_t bytes);

  ClusterSource& source_;
  Header header_;
  const bool has_digest_;
  ImageDigest digest_;
  ImageDigest front_;
  std::string head_;
  std::vector<GroupRoom> groups_;
  std::vector<uint64_t> block_places_;  // Of refcount blocks, in clusters.
  uint64_t l1_clusters_ = 0;
  uint64_t table_clusters_ = 0;
  uint64_t file_bytes_ = 0;

  Phase phase_ = Phase::kHead;
  uint64_t done_ = 0;  // Clusters of the phase.
  // Of the L1 table, then of the data: what comes next.
  Layout layout_;
  size_t group_ = 0;
  std::vector<ClusterPlan> plan_;  // Compressed ones first.
  size_t cluster_ = 0;
  uint64_t at_ = 0;  // The offset in the file of the next byte of data.
  // Of the group: its table's, and its clusters' by their indexes.
  uint64_t table_sum_ = 0;
  std::vector<std::pair<uint16_t, uint64_t>> sums_;
  bool sums_are_due_ = false;
  // From the first cluster without a refcount block on.
  std::deque<uint16_t> counts_;
  uint64_t counts_begin_ = 0;
};

}  // namespace ramvol::qcow2

#endif  // RAMVOL_QCOW2_STREAM_WRITER_H_
