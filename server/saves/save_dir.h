// Saves of all volumes and snapshots on a disk, for after the next boot.
#ifndef RAMVOL_SERVER_SAVES_SAVE_DIR_H_
#define RAMVOL_SERVER_SAVES_SAVE_DIR_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "ramvol/state/v1/state.pb.h"
#include "server/engine/engine.h"
#include "server/saves/directory.h"
#include "server/saves/read_back.h"
#include "server/saves/save_plan.h"
#include "server/saves/save_writer.h"

namespace ramvol::saves {

// What is in a --save_dir:
//   save-N       the last good save: a manifest, and an image for each root,
//                qcow2, of which some lie on others
//   writing      a save that is under way, or was interrupted
//   kept-N       a save that could not be read back in full, or that may have
//                what later ones lack; only people remove these
//
// A save gets its name when all of it is on the disk; only then the one before
// it goes. All is logged. Thread-safe.
class SaveDir {
 public:
  struct Saved {
    std::string path;
    size_t volumes = 0;
    size_t snapshots = 0;
    uint64_t bytes = 0;  // Of all files.
    absl::Duration took;
    std::vector<LeftOut> left_out;
  };
  // `bytes` and `took` are of all that was read.
  struct Restored {
    std::string path;  // "": there was no save.
    size_t volumes = 0;
    size_t snapshots = 0;
    uint64_t bytes = 0;
    absl::Duration took;
    std::vector<LeftOut> damaged;
  };
  // For metrics.
  struct Stats {
    uint64_t saves = 0;   // That succeeded, of this process.
    uint64_t failed = 0;  // And that failed or left something out.
    bool last_failed = false;
    // Of the last good one:
    absl::Time last_time = absl::UnixEpoch();  // When that began.
    absl::Duration last_took;
    uint64_t last_bytes = 0;
    // Of the one that was read, and what of its files is still to be read.
    uint64_t restored_bytes = 0;
    uint64_t restoring_bytes = 0;
    uint64_t damaged_images = 0;
  };

  // Makes `path` if the directory above is there, and locks it.
  // FAILED_PRECONDITION when another process has it; errors of files.
  static absl::StatusOr<std::unique_ptr<SaveDir>> Open(const std::string& path,
                                                       DiskHook hook = nullptr);
  // Stops reading.
  ~SaveDir();
  SaveDir(const SaveDir&) = delete;
  SaveDir& operator=(const SaveDir&) = delete;

  // Makes of the last save the volumes of `engine`, which has none. Their
  // content is read afterwards, by a thread of this, and before that when
  // somebody asks for it. FAILED_PRECONDITION says what to do when there is a
  // save that cannot be read, as a whole, or does not fit into the memory; then
  // nothing was made. A damaged image, and those that lie on it, are left out,
  // and the save is kept. A volume of which some turns out to be damaged
  // answers DATA_LOSS for that. Also the errors of `progress`. `took` is what
  // it took until all could be served. The engine must outlive this.
  absl::StatusOr<Restored> Begin(engine::Engine* engine,
                                 const Progress& progress);
  // The same for an engine that found in its state_dir volumes of which a part
  // is still to be read (Engine::Recovered::outside): of the save that it was
  // begun with, whatever that is called now. NOT_FOUND when that is not here:
  // reads of what is missing are DATA_LOSS then, until a server finds it.
  absl::StatusOr<Restored> Resume(engine::Engine* engine);
  // Before Begin or Resume: only what somebody asks for is read.
  void ReadNothingAheadForTest() { reads_ahead_ = false; }
  // Returns when all of it is read. The errors of `progress`.
  absl::Status AwaitRestored(const Progress& progress)
      ABSL_LOCKS_EXCLUDED(reading_mu_);
  // How much is still to be read of the images of a volume or snapshot.
  uint64_t RestoringBytes(uint64_t uid) const ABSL_LOCKS_EXCLUDED(reading_mu_);

  // Saves all that `engine` has, once AwaitRestored. With `quiet` nobody
  // changes anything meanwhile; else it is as of one instant, while all is in
  // use. What is deleted meanwhile may be missing. Waits for another save if
  // `quiet`, else FAILED_PRECONDITION, reason SAVE_UNDER_WAY.
  // FAILED_PRECONDITION, reason SAVE_FAILED, when the disk or a volume fails;
  // the errors of `progress`. The last good save is still there then.
  absl::StatusOr<Saved> Save(engine::Engine* engine, bool quiet,
                             const Progress& progress);

  Stats stats() const ABSL_LOCKS_EXCLUDED(stats_mu_, reading_mu_);
  const std::string& path() const { return dir_.path(); }

 private:
  explicit SaveDir(Directory dir) : dir_(std::move(dir)) {}

  // Makes the volumes of the last save, without its content.
  absl::StatusOr<Restored> OpenLast(engine::Engine* engine,
                                    const Progress& progress)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // A save that is here, and its manifest.
  struct Found {
    std::string name;
    Directory dir;
    state::v1::SaveManifest manifest;
  };
  absl::StatusOr<Found> FindSave(uint64_t id) const;
  void StartThread(engine::Engine* engine, const Restored& begun);
  // What the thread does.
  void ReadRest(engine::Engine* engine, Restored restored)
      ABSL_LOCKS_EXCLUDED(mu_, reading_mu_, stats_mu_);
  absl::StatusOr<Saved> Write(engine::Engine* engine, bool quiet,
                              const Progress& progress)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Writes them to kWriting, and names that.
  absl::StatusOr<Saved> WriteRoots(std::vector<Root> roots, absl::Time now,
                                   uint64_t memory_bytes,
                                   const Progress& progress)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The one before `last_` goes, or is kept.
  absl::Status RemoveOld(bool keep) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Explain(const absl::Status& status) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string PathOf(uint64_t number) const;

  const Directory dir_;
  Mutex mu_;                                // Held during a save or a restore.
  uint64_t last_ ABSL_GUARDED_BY(mu_) = 0;  // Of save-N; 0: none.
  // It has something that the next one may lack.
  bool keep_last_ ABSL_GUARDED_BY(mu_) = false;
  mutable Mutex stats_mu_;
  Stats stats_ ABSL_GUARDED_BY(stats_mu_);

  mutable Mutex reading_mu_;
  CondVar read_;
  // nullptr when all is read.
  std::shared_ptr<ReadBack> reading_ ABSL_GUARDED_BY(reading_mu_);
  bool reads_ahead_ = true;
  std::atomic<bool> stops_{false};
  std::thread thread_;
};

}  // namespace ramvol::saves

#endif  // RAMVOL_SERVER_SAVES_SAVE_DIR_H_
