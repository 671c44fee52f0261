// What an engine has outside: content that is still to be read from images.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_OUTSIDE_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_OUTSIDE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "base/mutex.h"
#include "server/engine/content/frame.h"
#include "server/engine/memory/arena.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/types/outside_source.h"

namespace ramvol::engine {

class ChunkLoader;

// Frames that are outside (Frame::outside) belong to it. It knows the images,
// sees to it that none of their chunks is read twice at once, and keeps memory
// free for what is still to come. Thread-safe; its lock is held alone.
class Outside {
 public:
  // The loader of the volume on whose image each image lies, to share what is
  // the same; expired when there is none.
  using Below = std::vector<std::weak_ptr<ChunkLoader>>;

  explicit Outside(Arena& arena) : arena_(arena) {}
  ~Outside() { End(); }
  Outside(const Outside&) = delete;
  Outside& operator=(const Outside&) = delete;

  // Keeps `room_bytes` of the memory limit. False, and nothing happens, when
  // there are fewer; never with kGuaranteed.
  [[nodiscard]] bool Begin(std::shared_ptr<OutsideSource> source, Below below,
                           uint64_t room_bytes, Priority priority);
  // What is outside now stays so: its reads fail.
  void End();

  // Whether anything may be outside that can be had.
  bool active() const { return active_.load(std::memory_order_relaxed); }

  // nullptr after End.
  std::shared_ptr<OutsideSource> source() const;
  std::shared_ptr<ChunkLoader> BelowOf(uint32_t image) const;

  // True for the one who shall read in `frame`, of which the caller has a
  // reference: call Leave then. False when somebody else has just done it, or
  // tried to; waits for that.
  [[nodiscard]] bool Enter(const Frame* frame);
  void Leave(const Frame* frame);

  // `bytes` of what was kept are about to be allocated.
  void UseRoom(uint64_t bytes);

 private:
  Arena& arena_;
  std::atomic<bool> active_{false};
  mutable Mutex mu_;
  CondVar left_;
  std::shared_ptr<OutsideSource> source_ ABSL_GUARDED_BY(mu_);
  Below below_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<const Frame*> entered_ ABSL_GUARDED_BY(mu_);
  std::atomic<uint64_t> room_bytes_{0};
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_OUTSIDE_H_
