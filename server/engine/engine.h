// The engine: the volumes of one server and what they share.
#ifndef RAMVOL_SERVER_ENGINE_ENGINE_H_
#define RAMVOL_SERVER_ENGINE_ENGINE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/types/options.h"
#include "server/engine/types/outside_source.h"
#include "server/engine/types/stats.h"
#include "server/engine/volume.h"

namespace ramvol::engine {

// Makes what the engine's caller keeps with a new volume: bytes that outlive
// the process where the volume does. The engine does not look at them.
using AttributesOf = std::function<std::string(const Volume& volume)>;

// A volume, and the name that it had when it was listed.
struct NamedVolume {
  std::string name;
  std::shared_ptr<Volume> volume;
};

// Owns the memory, the hot cache, the background threads and the registry of
// volumes by name.
//
// Thread-safe. Must outlive every Volume that it returned.
class Engine {
 public:
  // INVALID_ARGUMENT when the options do not validate; RESOURCE_EXHAUSTED when
  // there is not enough address space for the limit. With a state_dir, the
  // volumes are there that the last engine left in it, however its process
  // ended. FAILED_PRECONDITION when the folder is in use, no place for a memory
  // file, or holds what this engine cannot go on with; it stays as it is.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(
      const EngineOptions& options);
  // Joins the background threads, and deletes all volumes, unless there is a
  // state_dir.
  ~Engine();

  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // INVALID_ARGUMENT, ALREADY_EXISTS, or RESOURCE_EXHAUSTED (too many volumes,
  // or a kMalloc volume does not fit). A failure leaves nothing behind.
  absl::StatusOr<std::shared_ptr<Volume>> CreateVolume(
      const VolumeOptions& options, const AttributesOf& attributes = nullptr);

  // The same, and its content is that of `source`, a volume or snapshot, at one
  // instant. It shares the memory, and costs as much whatever the source holds.
  // A size of 0 means the source's; INVALID_ARGUMENT for a smaller one.
  absl::StatusOr<std::shared_ptr<Volume>> CloneVolume(
      VolumeOptions options, const std::shared_ptr<Volume>& source,
      const AttributesOf& attributes = nullptr);

  // Creates a volume that nobody finds before Publish: what it is made of comes
  // in first. It counts as a volume. DeleteVolume throws it away. With `source`
  // it is a clone, as CloneVolume has it. A `uid` is that of a volume of an
  // earlier engine, which it is to be; 0: a new one. Errors as CreateVolume.
  absl::StatusOr<std::shared_ptr<Volume>> CreateHidden(
      const VolumeOptions& options,
      const std::shared_ptr<Volume>& source = nullptr, uint64_t uid = 0);
  // A hidden volume, or snapshot if its name begins with "@", of which nothing
  // is left: see Volume::damaged. It outlives no engine. RESOURCE_EXHAUSTED at
  // the memory limit.
  absl::StatusOr<std::shared_ptr<Volume>> CreateDamaged(VolumeOptions options,
                                                        uint64_t uid);
  // Gives it its name. ALREADY_EXISTS when that is taken: it stays hidden then.
  absl::Status Publish(const std::shared_ptr<Volume>& volume,
                       const AttributesOf& attributes = nullptr);
  // A snapshot that nobody finds, of a volume that is none, with its name.
  // DeleteVolume ends it. `uid` as for CreateHidden. NOT_FOUND when the volume
  // was deleted; RESOURCE_EXHAUSTED as CreateSnapshots.
  absl::StatusOr<std::shared_ptr<Volume>> SnapshotHidden(
      const std::shared_ptr<Volume>& volume, uint64_t uid = 0);
  // The same of several volumes at the same instant, all or none. It is no use
  // of them, so that those which nobody uses expire.
  absl::StatusOr<std::vector<std::shared_ptr<Volume>>> SnapshotAllHidden(
      const std::vector<std::shared_ptr<Volume>>& volumes);

  // A hidden volume or snapshot, and what is kept with it.
  struct Hidden {
    std::shared_ptr<Volume> volume;
    std::string attributes;
  };
  // Gives all of them their names, in one step, also for a state_dir.
  // ALREADY_EXISTS when a name or uid is taken: all stay hidden then.
  absl::Status PublishAll(const std::vector<Hidden>& all);

  // From now on, what AddOutside named is read in from `source` when somebody
  // asks for it. `below` has, by the numbers of images, what each lies on, one
  // of a lower number, or nullptr: blocks that are the same are shared. Keeps
  // `room_bytes` of the memory limit for all that; RESOURCE_EXHAUSTED when
  // there are fewer. `id`, not 0, says to a later engine of the state_dir what
  // the source was: call this before the volumes are published.
  absl::Status BeginOutside(std::shared_ptr<OutsideSource> source,
                            const std::vector<std::shared_ptr<Volume>>& below,
                            uint64_t room_bytes, uint64_t id);
  // Goes on with what an earlier engine began: `source` has the images of
  // recovered().outside. What was kept for them then is kept again, beyond the
  // memory limit if it must be.
  void ResumeOutside(std::shared_ptr<OutsideSource> source,
                     const std::vector<std::shared_ptr<Volume>>& below);
  // Reads in all that is outside, also of volumes that are being made
  // meanwhile, until go_on() is false. Returns how many chunks could not be
  // had.
  uint64_t LoadOutside(absl::FunctionRef<bool()> go_on);
  // Reads of what is still outside fail from now on. With `forget`, no later
  // engine has to know the source, unless something is outside.
  void EndOutside(bool forget);

  struct SnapshotRequest {
    std::shared_ptr<Volume> volume;
    std::string name;  // Without "@".
    AttributesOf attributes = nullptr;
  };
  // Snapshots of several volumes at the same instant, all or none. Each has the
  // content that acknowledged changes left, no change in part, and the volume's
  // size. It outlives the volume. Writers wait for a moment that depends
  // neither on what the volume holds nor on its caches.
  //
  // INVALID_ARGUMENT, ALREADY_EXISTS, NOT_FOUND when a volume was deleted,
  // FAILED_PRECONDITION for a snapshot of a snapshot, or RESOURCE_EXHAUSTED
  // (too many snapshots, or the reservation of a kMalloc volume does not fit
  // again).
  absl::StatusOr<std::vector<std::shared_ptr<Volume>>> CreateSnapshots(
      const std::vector<SnapshotRequest>& requests);

  // Makes the content and the size of `volume` those of `snapshot`, as one
  // instant, for attached clients, too, and replaces the attributes if there
  // are some. FAILED_PRECONDITION when it is read-only or, unless `force`, when
  // clients are attached.
  absl::Status RevertVolume(
      const std::shared_ptr<Volume>& volume,
      const std::shared_ptr<Volume>& snapshot, bool force,
      std::optional<std::string> attributes = std::nullopt);

  // NOT_FOUND when there is no volume of this name, or no snapshot when it is
  // "@" and a snapshot's.
  absl::StatusOr<std::shared_ptr<Volume>> Find(std::string_view name) const;
  // The error of Find.
  static absl::Status NotFound(std::string_view name);
  // Returns the volume or snapshot with this Volume::uid, or null.
  std::shared_ptr<Volume> FindUid(uint64_t uid) const;

  // Gives `volume` another name. Whoever holds the volume keeps it.
  //
  // INVALID_ARGUMENT when `name` is not a name, ALREADY_EXISTS when it is
  // taken, also by this volume, NOT_FOUND when the volume was deleted,
  // DATA_LOSS when it is damaged.
  absl::Status RenameVolume(
      const std::shared_ptr<Volume>& volume, const std::string& name,
      std::optional<std::string> attributes = std::nullopt);

  // Frees what only `volume`, which may be a snapshot, holds, and removes it
  // from the registry. From then on, calls of the Volume return NOT_FOUND,
  // reason VOLUME_DELETED.
  //
  // NOT_FOUND when it was already deleted; FAILED_PRECONDITION when clients are
  // attached, unless `force`.
  absl::Status DeleteVolume(const std::shared_ptr<Volume>& volume, bool force);

  // Deletes `volume` unless it was used since Volume::Use returned `seen`, is
  // attached, or someone beside the engine and the caller has a reference, as
  // calls under way have. The caller may have one. Returns whether it did. So a
  // call of the volume either comes before, and keeps it, or does not find it.
  bool DeleteUnused(const std::shared_ptr<Volume>& volume,
                    const VolumeUse& seen);

  // Up to `max` volumes with names greater than `after`, sorted by name; or
  // snapshots, when `after` begins with "@". Go on after the last name listed:
  // by then the volume may have another.
  std::vector<NamedVolume> List(std::string_view after, size_t max) const;

  // Whether this engine found volumes in the state_dir, and what it had to say
  // about it, for the log.
  struct Recovered {
    size_t volumes = 0;  // And snapshots.
    std::vector<std::string> damaged;
    // The list of volumes was damaged: some may be missing.
    bool lost = false;
    // What is outside: the id of BeginOutside, 0 for nothing, and which of its
    // images are still needed. Volumes that reach such are kIncomplete until
    // ResumeOutside; reads of that fail until then.
    uint64_t outside = 0;
    absl::flat_hash_set<uint32_t> outside_images;
    uint64_t outside_bytes = 0;  // That were kept for it.
    absl::Duration took;
    std::string warning;
  };
  const Recovered& recovered() const;

  EngineStats Stats() const;
  // Whether memory is too short for an incompressible write of 1 MiB, even with
  // the hot cache empty.
  bool MemoryExhausted() const;
  const EngineOptions& options() const;

  // Returns when all blocks that were dirty are compressed, frames that are
  // mostly dead were made anew and, with `merge`, every chunk is merged as if
  // it were cold. For tests and benchmarks.
  void QuiesceForTest(bool merge);
  // All allocations that a memory limit could refuse fail from the n-th on (0:
  // the next one). Negative: none do.
  void FailAllocationsAfterForTest(int64_t n);

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_ENGINE_H_
