// Writes the images of a save and its manifest.
#ifndef RAMVOL_SERVER_SAVES_SAVE_WRITER_H_
#define RAMVOL_SERVER_SAVES_SAVE_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "ramvol/state/v1/state.pb.h"
#include "server/saves/directory.h"
#include "server/saves/save_plan.h"

namespace ramvol::saves {

// Called every few MiB with what is done; an error ends the work with it.
using Progress = std::function<absl::Status(uint64_t done_bytes)>;

// One that is not in a save, or did not come back of it.
struct LeftOut {
  std::string name;
  std::string why;
};

// One save, into an empty directory. Not thread-safe; borrows all but the
// roots.
class SaveWriter {
 public:
  // `roots` as Plan left them.
  SaveWriter(const Directory* dir, std::vector<Root> roots,
             const Progress* progress)
      : dir_(*dir),
        roots_(std::move(roots)),
        progress_(*progress),
        places_(roots_.size(), 0) {}

  // Writes the images. Fails when a file cannot be written, and with the errors
  // of `progress`; what cannot be saved of the volumes is left out instead.
  absl::Status WriteImages();
  // Writes the manifest; then all is on the disk.
  absl::Status Finish(absl::Time time, uint64_t memory_bytes);

  uint64_t bytes() const { return bytes_; }
  size_t volumes() const { return volumes_; }
  size_t snapshots() const { return snapshots_; }
  const std::vector<LeftOut>& left_out() const { return left_out_; }

 private:
  absl::Status WriteRoot(size_t root);
  // An image on that of `backing`, or on none if that is -1. `*of_volume`: the
  // error is of the volume, not of the disk.
  absl::Status WriteImage(const Root& root, int backing,
                          state::v1::SavedRoot* saved, bool* of_volume);
  // The nearest root below `root` that has an image; -1: none.
  int BackingOf(int root) const;

  const Directory& dir_;
  const std::vector<Root> roots_;
  const Progress& progress_;
  // Of roots: their places in the manifest, from 1 on; 0: none.
  std::vector<int> places_;
  state::v1::SaveManifest manifest_;
  uint64_t bytes_ = 0;
  size_t volumes_ = 0;
  size_t snapshots_ = 0;
  std::vector<LeftOut> left_out_;
};

}  // namespace ramvol::saves

#endif  // RAMVOL_SERVER_SAVES_SAVE_WRITER_H_
