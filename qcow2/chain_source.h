// A chain of images, of any kind, as the clusters of one.
#ifndef RAMVOL_QCOW2_CHAIN_SOURCE_H_
#define RAMVOL_QCOW2_CHAIN_SOURCE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "qcow2/format.h"
#include "qcow2/image_file.h"
#include "qcow2/stream_writer.h"

namespace ramvol::qcow2 {

// Clusters of zstd and 64 KiB go over as they are. All others are decompressed,
// and go over raw. There is no digest, for nobody has one.
//
// Not thread-safe.
class ChainSource final : public ClusterSource {
 public:
  // `images` are from the top to the bottom; not empty.
  explicit ChainSource(std::vector<std::unique_ptr<ImageFile>> images)
      : images_(std::move(images)) {}

  uint64_t size_bytes() const { return images_[0]->size_bytes(); }

  // INVALID_ARGUMENT, reason DAMAGED_IMAGE, also when the files cannot have as
  // much as they say.
  absl::StatusOr<std::vector<GroupRoom>> Survey() override;
  absl::Status PlanGroup(uint32_t group, uint32_t room,
                         std::vector<ClusterPlan>* plan) override;
  absl::Status ReadCluster(const ClusterPlan& plan,
                           absl::Span<char> out) override;

 private:
  struct Found {
    size_t image = 0;  // images_.size(): none has it, it is zero.
    Place place;
  };
  // The topmost image that has `offset`. The place's length is that for which
  // all images above it agree.
  absl::StatusOr<Found> Find(uint64_t offset);
  // How the cluster at `offset` goes over; kAbsent when it is zero.
  absl::StatusOr<ClusterPlan> PlanCluster(uint64_t offset);
  // The first cluster from `offset` on that may have something.
  absl::StatusOr<uint64_t> NextMaybe(uint64_t offset);

  // A file cannot have more clusters than it has bytes for: then some are used
  // again and again, and to read all could take for ever.
  absl::Status CountUse(size_t image, const Place& place);

  std::vector<std::unique_ptr<ImageFile>> images_;
  std::vector<uint64_t> used_bytes_;  // By image, as Survey counts them.
  bool counting_ = false;
  uint32_t group_ = 0;
};

}  // namespace ramvol::qcow2

#endif  // RAMVOL_QCOW2_CHAIN_SOURCE_H_
