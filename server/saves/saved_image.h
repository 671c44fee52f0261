// An image of a save, read at any place.
#ifndef RAMVOL_SERVER_SAVES_SAVED_IMAGE_H_
#define RAMVOL_SERVER_SAVES_SAVED_IMAGE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "qcow2/cluster_sums.h"
#include "qcow2/format.h"
#include "qcow2/trailer.h"
#include "ramvol/state/v1/state.pb.h"
#include "server/engine/types/encoded_chunk.h"
#include "server/saves/directory.h"

namespace ramvol::saves {

// INVALID_ARGUMENT, reason DAMAGED_IMAGE, unless it begins and ends like the
// image of `root`.
absl::Status CheckHeader(const state::v1::SavedRoot& root,
                         const qcow2::Header& header);
absl::Status CheckTrailer(const state::v1::SavedRoot& root,
                          const qcow2::Trailer& trailer);

// One that StreamWriter wrote. Keeps no file open. Thread-safe, cheap to copy.
// Errors are DAMAGED_IMAGE, FOREIGN_IMAGE and those of files.
class SavedImage {
 public:
  SavedImage() = default;
  // Reads its beginning and its end, and checks them.
  static absl::StatusOr<SavedImage> Open(const Directory& dir,
                                         const state::v1::SavedRoot& root);

  // Calls visit for all clusters, in order. The bytes are what they take in the
  // file, about. Reads the tables, which are a small part of the image.
  using Visit = absl::FunctionRef<absl::Status(
      uint64_t cluster, qcow2::ClusterKind kind, uint64_t bytes)>;
  absl::Status ForEachCluster(const Directory& dir, Visit visit) const;

  // Fills `*chunk` with a cluster, which is checked.
  absl::Status ReadChunk(const Directory& dir, uint64_t cluster,
                         engine::EncodedChunk* chunk) const;

  // The sums (qcow2/cluster_sums.h) of a group's clusters, by their indexes;
  // empty for an image of an earlier version, which has none.
  absl::StatusOr<std::vector<uint64_t>> ReadSums(const Directory& dir,
                                                 uint64_t group) const;

 private:
  // Fills `*table` with the L2 table of a group, which is at `offset`, and
  // checks it. Returns where the sums are, that of the cluster `index`, too.
  absl::StatusOr<qcow2::SumPlaces> ReadTable(const OldFile& file,
                                             uint64_t group, uint64_t offset,
                                             uint64_t index,
                                             std::string* table) const;

  std::string file_;
  uint64_t size_bytes_ = 0;
  uint64_t l1_offset_ = 0;
  uint64_t l1_entries_ = 0;
  bool has_sums_ = false;
};

}  // namespace ramvol::saves

#endif  // RAMVOL_SERVER_SAVES_SAVED_IMAGE_H_
