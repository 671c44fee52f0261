#include "server/saves/save_writer.h"

#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "base/version.h"
#include "qcow2/format.h"
#include "qcow2/stream_writer.h"
#include "qcow2/trailer.h"
#include "server/archive/volume_source.h"
#include "server/saves/manifest.h"

namespace ramvol::saves {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;
// How often background work may get in the way of an image.
constexpr int kMaxTries = 3;

// Nothing may lie on the image of a volume by its uid: later its content is
// another.
uint64_t ImageId(const Root& root) {
  if (root.name[0] == '@') return root.uid;
  std::random_device device;
  uint64_t id = 0;
  while (id == 0) id = static_cast<uint64_t>(device()) << 32 | device();
  return id;
}

bool IsGone(const engine::Volume& volume) {
  return absl::IsNotFound(const_cast<engine::Volume&>(volume).Flush());
}

// What "ramvol restore" makes a volume of it with.
std::string ImageSettings(const Root& root) {
  v1::CreateVolumeRequest settings = SettingsOf(root.options);
  settings.clear_name();
  settings.clear_size_bytes();
  settings.clear_memory_limit_bytes();
  settings.clear_read_only();
  *settings.mutable_labels() = root.labels;
  return settings.SerializeAsString();
}

}  // namespace

int SaveWriter::BackingOf(int root) const {
  do {
    root = roots_[static_cast<size_t>(root)].backing;
  } while (root >= 0 && (places_[static_cast<size_t>(root)] == 0 ||
                         IsGone(*roots_[static_cast<size_t>(root)].content)));
  return root;
}

absl::Status SaveWriter::WriteImages() {
  for (size_t i = 0; i < roots_.size(); ++i) {
    absl::Status status = WriteRoot(i);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status SaveWriter::WriteRoot(size_t root) {
  const Root& from = roots_[root];
  state::v1::SavedRoot saved;
  absl::Status status;
  bool of_volume = false;
  for (int tries = 0; tries < kMaxTries; ++tries) {
    const int backing = BackingOf(static_cast<int>(root));
    status = WriteImage(from, backing, &saved, &of_volume);
    if (status.ok()) break;
    if (!of_volume) return status;
    // What was deleted meanwhile is not there any more.
    if (IsGone(*from.content)) break;
    const bool again =
        absl::IsAborted(status) ||
        (backing >= 0 && IsGone(*roots_[static_cast<size_t>(backing)].content));
    if (!again) break;
  }
  if (status.ok()) {
    *manifest_.add_roots() = std::move(saved);
    places_[root] = manifest_.roots_size();
    ++(from.name[0] == '@' ? snapshots_ : volumes_);
    return status;
  }
  if (!IsGone(*from.content)) {
    left_out_.push_back({from.name, std::string(status.message())});
  }
  return dir_.Remove(saved.file());
}

absl::Status SaveWriter::WriteImage(const Root& root, int backing,
                                    state::v1::SavedRoot* saved,
                                    bool* of_volume) {
  *of_volume = false;
  saved->Clear();
  *saved->mutable_settings() = SettingsOf(root.options);
  saved->mutable_settings()->set_size_bytes(
      static_cast<int64_t>(root.content->size_bytes()));
  saved->set_uid(root.uid);
  saved->set_attributes(root.attributes);
  saved->set_file(absl::StrCat(root.name, ".qcow2"));
  saved->set_image_id(ImageId(root));
  auto file = dir_.Create(saved->file());
  if (!file.ok()) return file.status();

  std::shared_ptr<engine::Volume> since;
  qcow2::Header header;
  header.origin.emplace();
  header.origin->size_bytes = root.content->size_bytes();
  header.origin->id = saved->image_id();
  header.origin->settings = ImageSettings(root);
  if (backing >= 0) {
    since = roots_[static_cast<size_t>(backing)].content;
    saved->set_backing(places_[static_cast<size_t>(backing)]);
    const auto& below = manifest_.roots(saved->backing() - 1);
    header.backing_file = below.file();
    header.backing_format = "qcow2";
    header.origin->parent = below.image_id();
  }
  *of_volume = true;
  archive::VolumeSource source(root.content, since);
  auto writer =
      qcow2::StreamWriter::Make(&source, std::move(header), /*digest=*/true);
  if (!writer.ok()) return writer.status();
  std::string piece;
  std::string end;
  while (!(*writer)->done()) {
    piece.clear();
    absl::Status status = (*writer)->Append(kPieceBytes, &piece);
    if (!status.ok()) return status;
    *of_volume = false;
    status = file->Write(piece);
    if (status.ok() && progress_ != nullptr) {
      status = progress_(bytes_ + file->size_bytes());
    }
    if (!status.ok()) return status;
    *of_volume = true;
    end = piece.substr(piece.size() -
                       std::min(piece.size(), qcow2::kTrailerBytes));
  }
  *of_volume = false;
  absl::Status finished = file->Finish();
  if (!finished.ok()) return finished;
  saved->set_digest(qcow2::ParseTrailer(end).value_or(qcow2::Trailer()).digest);
  saved->set_file_bytes(static_cast<int64_t>(file->size_bytes()));
  bytes_ += file->size_bytes();
  return absl::OkStatus();
}

absl::Status SaveWriter::Finish(absl::Time time, uint64_t memory_bytes) {
  manifest_.mutable_time()->set_seconds(absl::ToUnixSeconds(time));
  manifest_.set_version(std::string(kVersion));
  manifest_.set_memory_bytes(static_cast<int64_t>(memory_bytes));
  auto file = dir_.Create(kManifestFile);
  if (!file.ok()) return file.status();
  absl::Status status = file->Write(EncodeManifest(manifest_));
  if (status.ok()) status = file->Finish();
  bytes_ += file->size_bytes();
  return status.ok() ? dir_.Sync() : status;
}

}  // namespace ramvol::saves
