// Reads a save into an engine.
#ifndef RAMVOL_SERVER_SAVES_SAVE_READER_H_
#define RAMVOL_SERVER_SAVES_SAVE_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ramvol/state/v1/state.pb.h"
#include "server/engine/engine.h"
#include "server/saves/directory.h"
#include "server/saves/save_writer.h"

namespace ramvol::saves {

// One save. What it made goes with it unless it was published. Not thread-safe;
// borrows all but the manifest.
class SaveReader {
 public:
  SaveReader(const Directory* dir, state::v1::SaveManifest manifest,
             engine::Engine* engine, const Progress* progress)
      : dir_(*dir),
        manifest_(std::move(manifest)),
        engine_(*engine),
        progress_(*progress),
        made_(static_cast<size_t>(manifest_.roots_size())) {}
  ~SaveReader();

  SaveReader(const SaveReader&) = delete;
  SaveReader& operator=(const SaveReader&) = delete;

  // Makes hidden volumes and snapshots of the images. Those that are damaged,
  // and those that lie on them, are left out. The errors of the engine, such as
  // RESOURCE_EXHAUSTED, and of `progress`.
  absl::Status ReadImages();
  // Lets everybody see them, in one step.
  absl::Status Publish();

  uint64_t bytes() const { return bytes_; }
  size_t volumes() const { return volumes_; }
  size_t snapshots() const { return snapshots_; }
  const std::vector<LeftOut>& damaged() const { return damaged_; }

 private:
  absl::Status ReadRoot(const state::v1::SavedRoot& root,
                        std::shared_ptr<engine::Volume>* made);
  absl::Status Feed(const state::v1::SavedRoot& root, OldFile& file,
                    std::shared_ptr<engine::Volume>* made);
  // Gives it what it could not have while it was filled.
  absl::Status Complete(const state::v1::SavedRoot& root,
                        std::shared_ptr<engine::Volume>* made);

  const Directory& dir_;
  const state::v1::SaveManifest manifest_;
  engine::Engine& engine_;
  const Progress& progress_;
  // By their places in the manifest; nullptr: damaged.
  std::vector<std::shared_ptr<engine::Volume>> made_;
  bool published_ = false;
  uint64_t bytes_ = 0;
  size_t volumes_ = 0;
  size_t snapshots_ = 0;
  std::vector<LeftOut> damaged_;
};

}  // namespace ramvol::saves

#endif  // RAMVOL_SERVER_SAVES_SAVE_READER_H_
