// Reads a save into an engine.
#ifndef RAMVOL_SERVER_SAVES_SAVE_READER_H_
#define RAMVOL_SERVER_SAVES_SAVE_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ramvol/state/v1/state.pb.h"
#include "server/engine/engine.h"
#include "server/saves/directory.h"
#include "server/saves/read_back.h"
#include "server/saves/save_writer.h"
#include "server/saves/saved_image.h"

namespace ramvol::saves {

// One save. What it made goes with it unless it was published. Not thread-safe;
// borrows the engine and `progress`.
class SaveReader {
 public:
  SaveReader(Directory dir, state::v1::SaveManifest manifest,
             engine::Engine* engine, const Progress* progress)
      : dir_(std::move(dir)),
        manifest_(std::move(manifest)),
        engine_(*engine),
        progress_(*progress),
        made_(static_cast<size_t>(manifest_.roots_size())),
        lost_(made_.size()) {}
  ~SaveReader();

  SaveReader(const SaveReader&) = delete;
  SaveReader& operator=(const SaveReader&) = delete;

  // Makes hidden volumes and snapshots of the images, of which it reads the
  // beginnings, ends and tables: what is in them is outside. Those of images
  // that are damaged, and that lie on such, are damaged volumes. The errors of
  // the engine, such as RESOURCE_EXHAUSTED, and of `progress`.
  absl::Status OpenImages();
  // Lets everybody see them, in one step.
  absl::Status Publish();
  // After OpenImages: has all that is outside read in, on demand from now on,
  // the rest by ReadBack::Run. RESOURCE_EXHAUSTED when that does not fit. Call
  // it before Publish, and nothing but that afterwards. `save_id`: SaveIdOf.
  absl::StatusOr<std::shared_ptr<ReadBack>> BeginReadBack(uint64_t save_id);
  // The same, instead of all others, for an engine whose state_dir has the
  // volumes, and what is outside of them. Images that are damaged are in
  // damaged(); what is outside in these cannot be read.
  std::shared_ptr<ReadBack> ResumeReadBack();

  uint64_t bytes() const { return bytes_; }
  size_t volumes() const { return volumes_; }
  size_t snapshots() const { return snapshots_; }
  const std::vector<LeftOut>& damaged() const { return damaged_; }

 private:
  // OK when the root is lost, and there is a damaged volume for it.
  absl::Status Lose(int place, std::string why);
  absl::Status OpenRoot(int place, std::shared_ptr<engine::Volume>* made);
  // Makes it without content, or with that of what it lies on.
  absl::StatusOr<std::shared_ptr<engine::Volume>> MakeHidden(
      const state::v1::SavedRoot& root);
  const std::shared_ptr<engine::Volume>& BelowOf(
      const state::v1::SavedRoot& root) const {
    return made_[static_cast<size_t>(root.backing() - 1)];
  }
  absl::Status Report() const {
    return progress_ == nullptr ? absl::OkStatus() : progress_(bytes_);
  }
  // Gives it what it could not have while it was filled.
  absl::Status Complete(const state::v1::SavedRoot& root,
                        std::shared_ptr<engine::Volume>* made);

  Directory dir_;
  const state::v1::SaveManifest manifest_;
  engine::Engine& engine_;
  const Progress& progress_;
  // By their places in the manifest. Of those that are lost, damaged ones.
  std::vector<std::shared_ptr<engine::Volume>> made_;
  std::vector<bool> lost_;
  bool published_ = false;
  uint64_t bytes_ = 0;
  size_t volumes_ = 0;
  size_t snapshots_ = 0;
  std::vector<LeftOut> damaged_;
  std::vector<SavedImage> images_;
  uint64_t content_bytes_ = 0;
};

}  // namespace ramvol::saves

#endif  // RAMVOL_SERVER_SAVES_SAVE_READER_H_
