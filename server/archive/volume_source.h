// What a snapshot holds, as the clusters of an image.
#ifndef RAMVOL_SERVER_ARCHIVE_VOLUME_SOURCE_H_
#define RAMVOL_SERVER_ARCHIVE_VOLUME_SOURCE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "qcow2/format.h"
#include "qcow2/stream_writer.h"
#include "server/engine/types/encoded_chunk.h"
#include "server/engine/volume.h"

namespace ramvol::archive {

// Frames go into the image as they are. What has to be compressed again is, of
// each group, kept in memory between planning and reading, up to kMaxKeptBytes.
//
// The content never changes, but background work may give it other frames at
// any time. So a group gets room for the frames that were there at first, and a
// cluster room for those that were there when its group was planned. Where more
// is needed later, chunks are compressed tightly to fit. ABORTED when even that
// does not: nobody has seen it.
//
// Not thread-safe.
class VolumeSource final : public qcow2::ClusterSource {
 public:
  static constexpr uint64_t kMaxKeptBytes = uint64_t{16} << 20;

  // `volume` is a snapshot. With `since`, another one, only the clusters that
  // may differ from it.
  VolumeSource(std::shared_ptr<engine::Volume> volume,
               std::shared_ptr<engine::Volume> since)
      : volume_(std::move(volume)), since_(std::move(since)) {}

  absl::StatusOr<std::vector<qcow2::GroupRoom>> Survey() override;
  absl::Status PlanGroup(uint32_t group, uint32_t room,
                         std::vector<qcow2::ClusterPlan>* plan) override;
  absl::Status ReadCluster(const qcow2::ClusterPlan& plan,
                           absl::Span<char> out) override;

 private:
  // A chunk that the image has; without `stored` it is a hole now.
  struct Chunk {
    uint64_t chunk = 0;
    bool is_stored = false;
    engine::StoredChunk stored = {};
  };
  using Visit = absl::FunctionRef<absl::Status(const Chunk&)>;

  // Calls visit for the chunks of [first, last] that the image has, in order.
  absl::Status ForEachChunk(uint64_t first, uint64_t last, Visit visit) const;
  absl::Status ForEachStored(uint64_t first, uint64_t last, bool holes,
                             Visit visit) const;
  absl::Status PlanChunk(const Chunk& chunk, qcow2::ClusterPlan* plan);
  // Fills encoded_ and cluster_.
  absl::Status Encode(uint64_t chunk, engine::EncodedForm form);
  // Plans it in that form, and keeps it if there is room.
  absl::Status PlanEncoded(uint64_t chunk, engine::EncodedForm form,
                           qcow2::ClusterPlan* plan);
  void Forget(uint64_t chunk);
  absl::Status FitIn(uint32_t room, std::vector<qcow2::ClusterPlan>* plan);
  absl::Status Tighten(qcow2::ClusterPlan* cluster);

  const std::shared_ptr<engine::Volume> volume_;
  const std::shared_ptr<engine::Volume> since_;  // May be null.
  uint32_t group_ = 0;
  // Clusters of the group that are ready, by chunk.
  absl::flat_hash_map<uint64_t, std::vector<char>> kept_;
  uint64_t kept_bytes_ = 0;
  engine::EncodedChunk encoded_;
  std::vector<char> cluster_;
};

}  // namespace ramvol::archive

#endif  // RAMVOL_SERVER_ARCHIVE_VOLUME_SOURCE_H_
