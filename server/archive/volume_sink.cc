#include "server/archive/volume_sink.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "server/archive/cluster_codec.h"
#include "server/engine/types/blocks.h"
#include "server/engine/types/volume_types.h"

namespace ramvol::archive {
namespace {

using engine::kBlockBytes;
using engine::kChunkBytes;

std::string Id(uint64_t id) {
  return absl::StrCat(absl::Hex(id, absl::kZeroPad16));
}

absl::Status WrongOrder(const std::string& message) {
  return WithReason(absl::FailedPreconditionError(message),
                    reason::kWrongBacking);
}

}  // namespace

absl::Status VolumeSink::OnHeader(const qcow2::Header& header) {
  if (volume_ != nullptr) return Follow(header);
  if (!header.backing_file.empty()) {
    return WrongOrder(absl::StrCat(
        "the image holds only what changed since \"", header.backing_file,
        "\"; restore that one first, in the same stream"));
  }
  auto volume = make_(header);
  if (!volume.ok()) return volume.status();
  volume_ = *std::move(volume);
  origin_ = *header.origin;
  return absl::OkStatus();
}

absl::Status VolumeSink::Follow(const qcow2::Header& header) {
  on_top_ = true;
  if (header.origin->parent == 0 || header.origin->parent != origin_.id) {
    return WrongOrder(
        absl::StrCat("the image has the changes since snapshot ",
                     Id(header.origin->parent), ", and the one below it is of ",
                     Id(origin_.id), "; name the file that it was saved on"));
  }
  origin_ = *header.origin;
  engine::VolumeUpdate update;
  update.size_bytes = header.exact_size_bytes();
  return volume_->Update(update);
}

absl::Status VolumeSink::OnCluster(uint64_t cluster, qcow2::ClusterKind kind,
                                   absl::Span<char> bytes) {
  // A new volume is a hole.
  if (kind == qcow2::ClusterKind::kZeroes && !on_top_) return absl::OkStatus();
  engine::EncodedChunk& chunk = batch_.emplace_back();
  chunk.chunk = cluster;
  // Only merging makes frames of whole chunks.
  chunk.settled = own() && !tries_raw_;
  chunk.keeps_same = on_top_;
  if (!ReadCluster(kind, bytes, own(), &chunk)) {
    return qcow2::Damaged(absl::StrCat("the cluster at offset ",
                                       cluster * kChunkBytes,
                                       " of its disk does not decompress"));
  }
  return batch_.size() < kBatchChunks ? absl::OkStatus() : WriteBatch();
}

absl::Status VolumeSink::WriteBatch() {
  absl::Status status = volume_->WriteEncoded(absl::MakeSpan(batch_));
  batch_.clear();
  return status;
}

absl::Status VolumeSink::OnTrailer(const qcow2::Trailer& trailer) {
  if (own() && !trailer.has_digest) {
    return qcow2::Damaged("its checksum is missing");
  }
  return WriteBatch();
}

}  // namespace ramvol::archive
