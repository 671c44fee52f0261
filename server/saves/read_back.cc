#include "server/saves/read_back.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "qcow2/cluster_sums.h"
#include "qcow2/format.h"
#include "qcow2/stream_reader.h"
#include "qcow2/trailer.h"
#include "server/archive/cluster_codec.h"

namespace ramvol::saves {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

// Puts what comes of an image into its volume, but for what is not as it was
// saved, which makes the digest wrong, too.
class PutSink final : public qcow2::StreamSink {
 public:
  PutSink(const state::v1::SavedRoot& root, const Directory& dir,
          const SavedImage& saved, uint32_t image, engine::Volume* volume)
      : root_(root),
        dir_(dir),
        saved_(saved),
        image_(image),
        volume_(*volume) {}

  absl::Status OnHeader(const qcow2::Header& header) override {
    return CheckHeader(root_, header);
  }
  absl::Status OnCluster(uint64_t cluster, qcow2::ClusterKind kind,
                         absl::Span<char> bytes) override {
    if (kind == qcow2::ClusterKind::kZeroes || !IsAsSaved(cluster, bytes)) {
      return absl::OkStatus();
    }
    engine::EncodedChunk& chunk = batch_.emplace_back();
    chunk.chunk = cluster;
    chunk.settled = true;
    if (!archive::ReadCluster(kind, bytes, /*own=*/true, &chunk)) {
      batch_.pop_back();
    }
    if (batch_.size() == kBatchChunks) Put();
    return absl::OkStatus();
  }
  absl::Status OnTrailer(const qcow2::Trailer& trailer) override {
    return CheckTrailer(root_, trailer);
  }
  void Put() {
    volume_.PutOutside(image_, absl::MakeSpan(batch_));
    batch_.clear();
  }

 private:
  // Chunks that are put in together, on several threads.
  static constexpr size_t kBatchChunks = 64;

  bool IsAsSaved(uint64_t cluster, absl::Span<char> bytes) {
    const uint64_t group = cluster / qcow2::kTableEntries;
    if (group_ != group) {
      group_ = group;
      sums_ = saved_.ReadSums(dir_, group);
    }
    if (!sums_.ok()) return false;
    return sums_->empty() ||
           qcow2::IsClusterSum((*sums_)[cluster % qcow2::kTableEntries],
                               {bytes.data(), bytes.size()});
  }

  const state::v1::SavedRoot& root_;
  const Directory& dir_;
  const SavedImage& saved_;
  const uint32_t image_;
  engine::Volume& volume_;
  std::vector<engine::EncodedChunk> batch_;
  // Of the group that comes.
  std::optional<uint64_t> group_;
  absl::StatusOr<std::vector<uint64_t>> sums_ = std::vector<uint64_t>();
};

}  // namespace

ReadBack::ReadBack(Directory dir, state::v1::SaveManifest manifest,
                   std::vector<SavedImage> images, Volumes volumes, bool whole)
    : dir_(std::move(dir)),
      manifest_(std::move(manifest)),
      images_(std::move(images)),
      volumes_(std::move(volumes)),
      whole_(whole),
      wanted_(volumes_.size()),
      left_(std::make_unique<std::atomic<uint64_t>[]>(volumes_.size())) {}

ReadBack::Volumes ReadBack::Below() const {
  Volumes below(volumes_.size());
  for (size_t i = 0; i < below.size(); ++i) {
    const auto backing =
        static_cast<size_t>(manifest_.roots(static_cast<int>(i)).backing());
    if (backing > 0) below[i] = volumes_[backing - 1];
  }
  return below;
}

void ReadBack::Want(size_t image) {
  const auto bytes = static_cast<uint64_t>(
      manifest_.roots(static_cast<int>(image)).file_bytes());
  wanted_[image] = true;
  left_[image] = bytes;
  bytes_ += bytes;
  left_bytes_ += bytes;
}

absl::Status ReadBack::Begin(const std::shared_ptr<ReadBack>& reading,
                             engine::Engine* engine, uint64_t content_bytes,
                             uint64_t save_id) {
  for (size_t i = 0; i < reading->volumes_.size(); ++i) {
    if (reading->volumes_[i] == nullptr) continue;
    reading->Want(i);
    reading->volumes_[i]->set_completeness(engine::Completeness::kRestoring);
  }
  return engine->BeginOutside(reading, reading->Below(), content_bytes,
                              save_id);
}

void ReadBack::Resume(const std::shared_ptr<ReadBack>& reading,
                      engine::Engine* engine) {
  for (size_t i = 0; i < reading->volumes_.size(); ++i) {
    const bool needed =
        engine->recovered().outside_images.contains(static_cast<uint32_t>(i));
    if (needed && reading->volumes_[i] != nullptr) reading->Want(i);
  }
  engine->ResumeOutside(reading, reading->Below());
}

absl::Status ReadBack::Read(uint32_t image, uint64_t chunk,
                            engine::EncodedChunk* out) {
  if (image >= images_.size()) return qcow2::Damaged("there is no such image");
  return images_[image].ReadChunk(dir_, chunk, out);
}

uint64_t ReadBack::LeftOf(uint64_t uid) const {
  if (left_bytes() == 0) return 0;
  const auto found = std::find_if(
      manifest_.roots().begin(), manifest_.roots().end(),
      [uid](const state::v1::SavedRoot& root) { return root.uid() == uid; });
  uint64_t bytes = 0;
  auto place = found == manifest_.roots().end()
                   ? 0
                   : found - manifest_.roots().begin() + 1;
  while (place > 0) {
    bytes +=
        left_[static_cast<size_t>(place - 1)].load(std::memory_order_relaxed);
    place = manifest_.roots(static_cast<int>(place - 1)).backing();
  }
  return bytes;
}

absl::Status ReadBack::Sweep(uint32_t image,
                             const std::function<bool()>& go_on) {
  const state::v1::SavedRoot& root = manifest_.roots(static_cast<int>(image));
  auto file = dir_.OpenFile(root.file());
  if (!file.ok()) return file.status();
  PutSink sink(root, dir_, images_[image], image, volumes_[image].get());
  qcow2::StreamReader reader(&sink);
  std::string piece(kPieceBytes, '\0');
  for (;;) {
    if (!go_on()) return absl::CancelledError();
    auto got = file->Read(absl::MakeSpan(piece));
    if (!got.ok()) return got.status();
    absl::Status status =
        *got == 0 ? reader.Finish()
                  : reader.Feed(std::string_view(piece).substr(0, *got));
    if (*got == 0 || !status.ok()) sink.Put();
    if (*got == 0 || !status.ok()) return status;
    const uint64_t bytes = std::min<uint64_t>(*got, left_[image]);
    left_[image] -= bytes;
    left_bytes_ -= bytes;
  }
}

std::vector<LeftOut> ReadBack::Run(engine::Engine* engine,
                                   const std::function<bool()>& go_on) {
  std::vector<LeftOut> damaged;
  std::vector<bool> bad(volumes_.size());
  for (size_t i = 0; i < volumes_.size() && go_on(); ++i) {
    if (!wanted_[i]) continue;
    const state::v1::SavedRoot& root = manifest_.roots(static_cast<int>(i));
    const absl::Status status = Sweep(static_cast<uint32_t>(i), go_on);
    if (absl::IsCancelled(status)) break;
    bad[i] = !status.ok() || (root.backing() > 0 &&
                              bad[static_cast<size_t>(root.backing() - 1)]);
    if (!status.ok()) {
      damaged.push_back(
          {root.settings().name(),
           absl::StrCat("its image, ", dir_.path(), "/", root.file(),
                        ", is damaged: ", status.message())});
    }
    left_bytes_ -= left_[i].exchange(0);
    if (bad[i]) {
      volumes_[i]->set_completeness(engine::Completeness::kIncomplete);
    } else if (!volumes_[i]->AnyOutside()) {
      volumes_[i]->set_completeness(engine::Completeness::kComplete);
    }
    // Who deletes it shall get its memory.
    volumes_[i] = nullptr;
  }
  const uint64_t lost = engine->LoadOutside(go_on);
  if (!go_on()) return {};
  if (lost > 0 && damaged.empty()) {
    damaged.push_back({"", absl::StrCat(lost, " chunks of ", dir_.path(),
                                        " could not be read")});
  }
  engine->EndOutside(/*forget=*/whole_ && damaged.empty());
  return damaged;
}

}  // namespace ramvol::saves
