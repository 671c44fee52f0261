// Fills a volume with what a stream of images holds.
#ifndef RAMVOL_SERVER_ARCHIVE_VOLUME_SINK_H_
#define RAMVOL_SERVER_ARCHIVE_VOLUME_SINK_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "qcow2/format.h"
#include "qcow2/stream_reader.h"
#include "qcow2/trailer.h"
#include "server/engine/types/encoded_chunk.h"
#include "server/engine/volume.h"

namespace ramvol::archive {

// The first image is a whole one; each that follows has the changes since the
// one before it, and gives the volume its size. Frames go into the volume as
// they are: those of its own images with the checksums that came with them, all
// others once they proved to hold something. The digest of each image has to be
// right at its end. Until then, and after an error, nobody must see the volume.
//
// Not thread-safe; the engine's threads help.
class VolumeSink final : public qcow2::StreamSink {
 public:
  // Makes the volume for the first image, with nothing in it.
  using MakeVolume =
      std::function<absl::StatusOr<std::shared_ptr<engine::Volume>>(
          const qcow2::Header&)>;

  explicit VolumeSink(MakeVolume make) : make_(std::move(make)) {}

  // Raw blocks of its own images did not compress, unless they are of a volume
  // that never tried. Then call this, before the first one.
  void TryRaw() { tries_raw_ = true; }

  // nullptr before there is one.
  const std::shared_ptr<engine::Volume>& volume() const { return volume_; }

  absl::Status OnHeader(const qcow2::Header& header) override;
  absl::Status OnCluster(uint64_t cluster, qcow2::ClusterKind kind,
                         absl::Span<char> bytes) override;
  absl::Status OnTrailer(const qcow2::Trailer& trailer) override;

 private:
  // Chunks that are written together, on several threads.
  static constexpr size_t kBatchChunks = 64;

  absl::Status Follow(const qcow2::Header& header);
  absl::Status WriteBatch();
  // The image is of a volume's frames, as a server wrote it.
  bool own() const { return origin_.id != 0; }

  const MakeVolume make_;
  std::shared_ptr<engine::Volume> volume_;
  qcow2::Origin origin_;  // Of the image that is being read.
  bool on_top_ = false;   // It is not the first one.
  bool tries_raw_ = false;
  std::vector<engine::EncodedChunk> batch_;
};

}  // namespace ramvol::archive

#endif  // RAMVOL_SERVER_ARCHIVE_VOLUME_SINK_H_
