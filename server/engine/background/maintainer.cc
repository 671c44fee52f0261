#include "server/engine/background/maintainer.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>
#include <utility>

#include "absl/time/clock.h"

namespace ramvol::engine {
namespace {

// A thread without work looks again after this; so long may a block stay dirty
// when nothing else pushes it out.
constexpr absl::Duration kIdle = absl::Milliseconds(200);
// Writers that dirtied no more blocks than this meanwhile are quiet.
constexpr uint64_t kQuietBlocks = 256;
// Milliseconds that FlushAll waits for other threads, and vain attempts.
constexpr int kMaxWaits = 1000;
// Background work yields to requests.
constexpr int kNice = 5;

void LowerPriority() {
  // Only a wish: a failure changes nothing that matters.
  (void)setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)),
                    kNice);
}

}  // namespace

Maintainer::Maintainer(const EngineParts& parts, OwnerList list_owners,
                       int threads, absl::Duration merge_interval)
    : parts_(parts),
      list_owners_(std::move(list_owners)),
      merge_interval_(merge_interval) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { Run(/*merges=*/false); });
  }
  threads_.emplace_back([this] { Run(/*merges=*/true); });
}

Maintainer::~Maintainer() {
  parts_.work.Stop();
  for (std::thread& thread : threads_) thread.join();
}

bool Maintainer::Step(bool idle) {
  if (parts_.work.Help()) return true;
  // Without room even in the reserve, flushing would fail again and again.
  if ((idle || parts_.hot.OverDirtyLow()) &&
      parts_.arena.HasRoom(kChunkBytes, Priority::kReclaim)) {
    const HotChunk dirty = parts_.hot.PickDirty();
    if (dirty.owner != nullptr) {
      dirty.owner->FlushChunk(dirty.chunk);
      return true;
    }
  }
  return parts_.work.RunOne();
}

void Maintainer::Run(bool merges) {
  LowerPriority();
  absl::Time next_pass = absl::Now() + merge_interval_;
  // When, and how many blocks had been dirtied, when writers were last looked
  // at.
  absl::Time looked = absl::Now();
  uint64_t dirtied_before = parts_.hot.dirtied_blocks();
  while (!parts_.work.stopped()) {
    if (merges && absl::Now() >= next_pass) {
      MergePass(/*all_cold=*/false);
      next_pass = absl::Now() + merge_interval_;
    }
    if (Step(/*idle=*/false)) {
      sched_yield();  // A time slice is long for a request that waits.
      continue;
    }
    parts_.work.Sleep(kIdle);
    if (absl::Now() - looked < kIdle) continue;  // Woken up early.
    const uint64_t dirtied = parts_.hot.dirtied_blocks();
    if (dirtied - dirtied_before <= kQuietBlocks) FlushWhileQuiet(dirtied);
    looked = absl::Now();
    dirtied_before = parts_.hot.dirtied_blocks();
  }
}

void Maintainer::FlushWhileQuiet(uint64_t dirtied_before) {
  while (!parts_.work.stopped() &&
         parts_.hot.dirtied_blocks() - dirtied_before <= kQuietBlocks &&
         Step(/*idle=*/true)) {
  }
}

void Maintainer::FlushAll() {
  // What is dirty and in no queue is in the hands of another thread.
  for (int waits = 0; waits < kMaxWaits;) {
    const HotChunk dirty = parts_.hot.PickDirty();
    if (dirty.owner != nullptr) {
      const int64_t before = parts_.hot.dirty_blocks();
      dirty.owner->FlushChunk(dirty.chunk);
      // Memory may be lacking.
      if (parts_.hot.dirty_blocks() >= before) ++waits;
      continue;
    }
    if (parts_.hot.dirty_blocks() == 0) return;
    ++waits;
    absl::SleepFor(absl::Milliseconds(1));
  }
}

void Maintainer::MergePass(bool all_cold) {
  for (const std::weak_ptr<ChunkOwner>& listed : list_owners_()) {
    std::optional<uint64_t> chunk = 0;
    while (chunk.has_value() && !parts_.work.stopped()) {
      const std::shared_ptr<ChunkOwner> owner = listed.lock();
      if (owner == nullptr) break;
      const uint64_t activity = owner->activity();
      const absl::Time start = absl::Now();
      chunk = owner->MergeLeaf(*chunk, all_cold);
      if (!all_cold) Pace(*owner, activity, absl::Now() - start);
    }
  }
  parts_.evacuator.KeepUp(0);
  // Merging leaves free pages behind; at rest nobody is going to reuse them.
  parts_.arena.ReleaseFreeMemory();
}

void Maintainer::Pace(const ChunkOwner& owner, uint64_t activity,
                      absl::Duration work) const {
  if (work < absl::Milliseconds(1)) return;
  if (owner.activity() == activity) return;
  parts_.work.Pause(3 * work);
}

}  // namespace ramvol::engine
