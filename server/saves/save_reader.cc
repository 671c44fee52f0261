#include "server/saves/save_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "qcow2/format.h"
#include "server/saves/manifest.h"

namespace ramvol::saves {
namespace {

constexpr size_t kChunksAtOnce = 1024;

bool IsSnapshot(const state::v1::SavedRoot& root) {
  return root.settings().name().substr(0, 1) == "@";
}

// Whether its memory is reserved.
bool IsReserved(const state::v1::SavedRoot& root) {
  return OptionsOf(root.settings()).allocator == engine::Allocator::kMalloc &&
         !IsSnapshot(root);
}

absl::Status ClearChunk(engine::Volume& volume, uint64_t chunk) {
  const uint64_t offset = chunk * qcow2::kClusterBytes;
  const uint64_t size = volume.size_bytes();
  if (offset >= size) return absl::OkStatus();
  return volume.Trim(offset, std::min(qcow2::kClusterBytes, size - offset));
}

// Of the image, rather than of the engine.
bool IsDamage(const absl::Status& status) {
  return absl::IsUnknown(status) ||  // FileError.
         HasReason(status, reason::kDamagedImage) ||
         HasReason(status, reason::kForeignImage) ||
         HasReason(status, reason::kTooLargeImage) ||
         HasReason(status, reason::kWrongBacking);
}

}  // namespace

SaveReader::~SaveReader() {
  if (published_) return;
  for (const auto& volume : made_) {
    if (volume != nullptr) (void)engine_.DeleteVolume(volume, /*force=*/true);
  }
  engine_.EndOutside(/*forget=*/true);
}

absl::Status SaveReader::OpenImages() {
  images_.resize(made_.size());
  absl::Status result;
  for (int i = 0; result.ok() && i < manifest_.roots_size(); ++i) {
    const state::v1::SavedRoot& root = manifest_.roots(i);
    if (root.backing() > 0 && lost_[static_cast<size_t>(root.backing() - 1)]) {
      result = Lose(i, absl::StrCat("lies on ",
                                    manifest_.roots(root.backing() - 1).file(),
                                    ", which is not back"));
      continue;
    }
    std::shared_ptr<engine::Volume>& made = made_[static_cast<size_t>(i)];
    absl::Status status = OpenRoot(i, &made);
    if (status.ok()) status = Complete(root, &made);
    if (status.ok()) {
      ++(IsSnapshot(root) ? snapshots_ : volumes_);
      continue;
    }
    if (made != nullptr) (void)engine_.DeleteVolume(made, /*force=*/true);
    made = nullptr;
    result = IsDamage(status)
                 ? Lose(i, absl::StrCat("cannot be read: ", status.message()))
                 : Annotate(status, absl::StrCat("volume \"",
                                                 root.settings().name(), "\""));
  }
  return result;
}

absl::Status SaveReader::Lose(int place, std::string why) {
  const state::v1::SavedRoot& root = manifest_.roots(place);
  damaged_.push_back(
      {root.settings().name(),
       absl::StrCat("its image, ", dir_.path(), "/", root.file(), ", ", why)});
  auto damaged = engine_.CreateDamaged(OptionsOf(root.settings()), root.uid());
  if (!damaged.ok()) return damaged.status();
  (*damaged)->set_completeness(engine::Completeness::kIncomplete);
  made_[static_cast<size_t>(place)] = *std::move(damaged);
  lost_[static_cast<size_t>(place)] = true;
  return absl::OkStatus();
}

absl::Status SaveReader::OpenRoot(int place,
                                  std::shared_ptr<engine::Volume>* made) {
  const state::v1::SavedRoot& root = manifest_.roots(place);
  SavedImage& image = images_[static_cast<size_t>(place)];
  auto opened = SavedImage::Open(dir_, root);
  if (!opened.ok()) return opened.status();
  image = *std::move(opened);
  auto hidden = MakeHidden(root);
  if (!hidden.ok()) return hidden.status();
  *made = *std::move(hidden);
  if (root.backing() > 0) {
    engine::VolumeUpdate update;
    update.size_bytes = static_cast<uint64_t>(root.settings().size_bytes());
    absl::Status status = (*made)->Update(update);
    if (!status.ok()) return status;
  }
  std::vector<engine::OutsideChunk> chunks;
  const auto number = static_cast<uint32_t>(place);
  absl::Status status = image.ForEachCluster(
      dir_, [&](uint64_t cluster, qcow2::ClusterKind kind, uint64_t bytes) {
        if (kind == qcow2::ClusterKind::kZeroes) {
          return root.backing() > 0 ? ClearChunk(**made, cluster)
                                    : absl::OkStatus();
        }
        const uint64_t room = IsReserved(root) ? 0 : bytes;
        content_bytes_ += room;
        chunks.push_back({cluster, static_cast<uint32_t>(room)});
        if (chunks.size() < kChunksAtOnce) return absl::OkStatus();
        absl::Status added = (*made)->AddOutside(number, chunks);
        chunks.clear();
        return added.ok() ? Report() : added;
      });
  if (status.ok()) status = (*made)->AddOutside(number, chunks);
  bytes_ += static_cast<uint64_t>(root.file_bytes());
  return status.ok() ? Report() : status;
}

absl::StatusOr<std::shared_ptr<engine::Volume>> SaveReader::MakeHidden(
    const state::v1::SavedRoot& root) {
  engine::VolumeOptions options = OptionsOf(root.settings());
  if (IsSnapshot(root)) options.name.erase(0, 1);
  options.read_only = false;
  // It counts what it is filled with; an earlier server may have counted less.
  options.memory_limit_bytes = 0;
  const uint64_t uid = IsSnapshot(root) ? 0 : root.uid();
  std::shared_ptr<engine::Volume> below;
  if (root.backing() > 0) {
    below = BelowOf(root);
    // The image sets the size that it has.
    options.size_bytes = std::max(options.size_bytes, below->size_bytes());
  }
  return engine_.CreateHidden(options, below, uid);
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

absl::StatusOr<std::shared_ptr<ReadBack>> SaveReader::BeginReadBack(
    uint64_t save_id) {
  ReadBack::Volumes volumes = made_;
  for (size_t i = 0; i < volumes.size(); ++i) {
    if (lost_[i]) volumes[i] = nullptr;
  }
  const auto reading = std::make_shared<ReadBack>(
      std::move(dir_), manifest_, std::move(images_), std::move(volumes),
      /*whole=*/damaged_.empty());
  absl::Status status =
      ReadBack::Begin(reading, &engine_, content_bytes_, save_id);
  if (!status.ok()) return status;
  return reading;
}

std::shared_ptr<ReadBack> SaveReader::ResumeReadBack() {
  published_ = true;
  images_.resize(made_.size());
  ReadBack::Volumes volumes(made_.size());
  for (int i = 0; i < manifest_.roots_size(); ++i) {
    const state::v1::SavedRoot& root = manifest_.roots(i);
    auto image = SavedImage::Open(dir_, root);
    if (!image.ok()) {
      damaged_.push_back(
          {root.settings().name(),
           absl::StrCat("its image, ", dir_.path(), "/", root.file(),
                        ", cannot be read: ", image.status().message())});
      continue;
    }
    images_[static_cast<size_t>(i)] = *std::move(image);
    // By its uid: it may have another name by now, or be gone.
    auto volume = engine_.FindUid(root.uid());
    if (volume != nullptr && !volume->damaged()) {
      ++(IsSnapshot(root) ? snapshots_ : volumes_);
      volumes[static_cast<size_t>(i)] = std::move(volume);
    }
  }
  const auto reading = std::make_shared<ReadBack>(
      std::move(dir_), manifest_, std::move(images_), std::move(volumes),
      /*whole=*/damaged_.empty());
  ReadBack::Resume(reading, &engine_);
  bytes_ = reading->bytes();
  return reading;
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
