// The engine: all volumes of one server, and what they share.
#ifndef RAMVOL_SERVER_ENGINE_ENGINE_H_
#define RAMVOL_SERVER_ENGINE_ENGINE_H_

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/types/options.h"
#include "server/engine/types/stats.h"
#include "server/engine/volume.h"

namespace ramvol::engine {

// Owns the memory, the hot cache, the background threads and the registry of
// volumes by name.
//
// Thread-safe. Must outlive every Volume that it handed out.
class Engine {
 public:
  // INVALID_ARGUMENT when the options do not validate; RESOURCE_EXHAUSTED when
  // the address space for the limit cannot be had.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(
      const EngineOptions& options);
  // Deletes all volumes and joins the background threads.
  ~Engine();

  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // INVALID_ARGUMENT, ALREADY_EXISTS, or RESOURCE_EXHAUSTED (a kMalloc volume
  // that does not fit; too many volumes). Nothing is left behind on failure.
  absl::StatusOr<std::shared_ptr<Volume>> CreateVolume(
      const VolumeOptions& options);

  // NOT_FOUND when there is none of this name.
  absl::StatusOr<std::shared_ptr<Volume>> Find(std::string_view name) const;

  // Takes `volume` out of the registry and frees its content before returning;
  // whoever still holds it gets NOT_FOUND, reason VOLUME_DELETED, from then on.
  //
  // NOT_FOUND when it was deleted before; FAILED_PRECONDITION when clients are
  // attached and not `force`.
  absl::Status DeleteVolume(const std::shared_ptr<Volume>& volume, bool force);

  // Up to `max` volumes with names greater than `after`, in order of names.
  std::vector<std::shared_ptr<Volume>> List(std::string_view after,
                                            size_t max) const;

  EngineStats Stats() const;
  // Whether a write of 1 MiB that compresses not at all would be refused for
  // lack of memory, even if everything left the hot cache.
  bool MemoryExhausted() const;
  const EngineOptions& options() const;

  // Returns once everything dirty when it was called is compressed and, if
  // `merge`, every chunk has been merged as if it were cold. For tests and
  // benchmarks.
  void QuiesceForTest(bool merge);
  // From the n-th allocation on (0: the next one), those that a memory limit
  // could refuse fail; negative: none do.
  void FailAllocationsAfterForTest(int64_t n);

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_ENGINE_H_
