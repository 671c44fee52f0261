#include "server/saves/save_reader.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/reason.h"
#include "qcow2/format.h"
#include "qcow2/stream_reader.h"
#include "qcow2/trailer.h"
#include "server/archive/volume_sink.h"
#include "server/saves/manifest.h"

namespace ramvol::saves {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

bool IsSnapshot(const state::v1::SavedRoot& root) {
  return root.settings().name().substr(0, 1) == "@";
}

// Of the image, rather than of the engine.
bool IsDamage(const absl::Status& status) {
  return absl::IsUnknown(status) ||  // FileError.
         HasReason(status, reason::kDamagedImage) ||
         HasReason(status, reason::kForeignImage) ||
         HasReason(status, reason::kTooLargeImage) ||
         HasReason(status, reason::kWrongBacking);
}

// Makes sure that it is the image that the manifest means.
class ImageCheck final : public qcow2::StreamSink {
 public:
  ImageCheck(const state::v1::SavedRoot& root, qcow2::StreamSink* sink)
      : root_(root), sink_(*sink) {}

  absl::Status OnHeader(const qcow2::Header& header) override {
    const bool right =
        header.origin->id == root_.image_id() &&
        header.exact_size_bytes() ==
            static_cast<uint64_t>(root_.settings().size_bytes()) &&
        header.backing_file.empty() == (root_.backing() == 0);
    if (!right) return qcow2::Damaged("it is another image than was saved");
    return sink_.OnHeader(header);
  }
  absl::Status OnCluster(uint64_t cluster, qcow2::ClusterKind kind,
                         absl::Span<char> bytes) override {
    return sink_.OnCluster(cluster, kind, bytes);
  }
  absl::Status OnTrailer(const qcow2::Trailer& trailer) override {
    if (!trailer.has_digest || trailer.digest != root_.digest()) {
      return qcow2::Damaged("its end is not what was saved");
    }
    return sink_.OnTrailer(trailer);
  }

 private:
  const state::v1::SavedRoot& root_;
  qcow2::StreamSink& sink_;
};

}  // namespace

SaveReader::~SaveReader() {
  if (published_) return;
  for (const auto& volume : made_) {
    if (volume != nullptr) (void)engine_.DeleteVolume(volume, /*force=*/true);
  }
}

absl::Status SaveReader::ReadImages() {
  for (int i = 0; i < manifest_.roots_size(); ++i) {
    const state::v1::SavedRoot& root = manifest_.roots(i);
    const std::string& name = root.settings().name();
    if (root.backing() > 0 &&
        made_[static_cast<size_t>(root.backing() - 1)] == nullptr) {
      damaged_.push_back(
          {name, absl::StrCat("its image, ", dir_.path(), "/", root.file(),
                              ", lies on ",
                              manifest_.roots(root.backing() - 1).file(),
                              ", which is not back")});
      continue;
    }
    std::shared_ptr<engine::Volume>& made = made_[static_cast<size_t>(i)];
    absl::Status status = ReadRoot(root, &made);
    if (status.ok()) {
      ++(IsSnapshot(root) ? snapshots_ : volumes_);
      continue;
    }
    if (made != nullptr) (void)engine_.DeleteVolume(made, /*force=*/true);
    made = nullptr;
    if (!IsDamage(status)) {
      return Annotate(status, absl::StrCat("volume \"", name, "\""));
    }
    damaged_.push_back(
        {name, absl::StrCat("its image, ", dir_.path(), "/", root.file(),
                            ", cannot be read: ", status.message())});
  }
  return absl::OkStatus();
}

absl::Status SaveReader::ReadRoot(const state::v1::SavedRoot& root,
                                  std::shared_ptr<engine::Volume>* made) {
  auto file = dir_.OpenFile(root.file());
  if (!file.ok()) return file.status();
  absl::Status status = Feed(root, *file, made);
  return status.ok() ? Complete(root, made) : status;
}

absl::Status SaveReader::Feed(const state::v1::SavedRoot& root, OldFile& file,
                              std::shared_ptr<engine::Volume>* made) {
  engine::VolumeOptions options = OptionsOf(root.settings());
  if (IsSnapshot(root)) options.name.erase(0, 1);
  options.read_only = false;
  // It counts what it is filled with; an earlier server may have counted less.
  options.memory_limit_bytes = 0;
  const uint64_t uid = IsSnapshot(root) ? 0 : root.uid();
  uint64_t below_id = 0;
  std::shared_ptr<engine::Volume> below;
  if (root.backing() > 0) {
    below = made_[static_cast<size_t>(root.backing() - 1)];
    below_id = manifest_.roots(root.backing() - 1).image_id();
    // The image sets the size that it has.
    options.size_bytes = std::max(options.size_bytes, below->size_bytes());
  }
  auto hidden = engine_.CreateHidden(options, below, uid);
  if (!hidden.ok()) return hidden.status();
  *made = *std::move(hidden);

  const auto make = [made](const qcow2::Header&) {
    return absl::StatusOr<std::shared_ptr<engine::Volume>>(*made);
  };
  std::optional<archive::VolumeSink> sink;
  if (below == nullptr) {
    sink.emplace(make);
  } else {
    sink.emplace(*made, below_id);
  }
  ImageCheck check(root, &*sink);
  qcow2::StreamReader reader(&check);
  std::string piece(kPieceBytes, '\0');
  for (;;) {
    auto got = file.Read(absl::MakeSpan(piece));
    if (!got.ok()) return got.status();
    if (*got == 0) return reader.Finish();
    absl::Status status = reader.Feed(std::string_view(piece).substr(0, *got));
    bytes_ += *got;
    if (status.ok() && progress_ != nullptr) status = progress_(bytes_);
    if (!status.ok()) return status;
  }
}

absl::Status SaveReader::Complete(const state::v1::SavedRoot& root,
                                  std::shared_ptr<engine::Volume>* made) {
  if (!IsSnapshot(root)) {
    engine::VolumeUpdate update;
    update.read_only = root.settings().read_only();
    update.memory_limit_bytes =
        static_cast<uint64_t>(root.settings().memory_limit_bytes());
    return (*made)->Update(update);
  }
  auto snapshot = engine_.SnapshotHidden(*made, root.uid());
  if (!snapshot.ok()) return snapshot.status();
  const std::shared_ptr<engine::Volume> filled =
      std::exchange(*made, *std::move(snapshot));
  return engine_.DeleteVolume(filled, /*force=*/true);
}

absl::Status SaveReader::Publish() {
  std::vector<engine::Engine::Hidden> all;
  for (size_t i = 0; i < made_.size(); ++i) {
    if (made_[i] == nullptr) continue;
    all.push_back(
        {made_[i], manifest_.roots(static_cast<int>(i)).attributes()});
  }
  absl::Status status = engine_.PublishAll(all);
  published_ = status.ok();
  return status;
}

}  // namespace ramvol::saves
