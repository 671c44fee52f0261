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

// A thread without work looks again after this time. It is also how long a
// dirty block waits to be compressed when writers are quiet.
constexpr absl::Duration kIdle = absl::Milliseconds(200);
// Writers are quiet if they dirtied at most this many blocks in that time.
constexpr uint64_t kQuietBlocks = 256;
// Bound FlushAll: waits of 1 ms for other threads, and attempts that fail.
constexpr int kMaxWaits = 60000;
constexpr int kMaxFailures = 1000;
// Background work yields to requests.
constexpr int kNice = 5;

void LowerPriority() {
  // Best effort: without it, background work is merely less polite.
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
  // Without room even in the reserve, flushing would fail in a busy loop.
  if ((idle || parts_.hot.OverDirtyLow()) &&
      parts_.arena.HasRoom(kChunkBytes, Priority::kReclaim)) {
    if (const Home dirty = parts_.hot.PickDirty()) {
      parts_.chunks.Flush(dirty);
      return true;
    }
  }
  return parts_.RunOneRequest();
}

void Maintainer::Run(bool merges) {
  LowerPriority();
  absl::Time next_pass = absl::Now() + merge_interval_;
  // The time of the last look at writers, and the count of dirtied blocks then.
  absl::Time looked = absl::Now();
  uint64_t dirtied_before = parts_.hot.dirtied_blocks();
  while (!parts_.work.stopped()) {
    if (merges && absl::Now() >= next_pass) {
      MergePass(/*all_cold=*/false);
      next_pass = absl::Now() + merge_interval_;
    }
    if (Step(/*idle=*/false)) {
      // A request that waits for this core should not wait for a time slice.
      sched_yield();
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
  // A dirty chunk that is in no queue is being flushed by another thread.
  int failures = 0;
  for (int waits = 0; waits < kMaxWaits && failures < kMaxFailures;) {
    if (const Home dirty = parts_.hot.PickDirty()) {
      const int64_t before = parts_.hot.dirty_blocks();
      parts_.chunks.Flush(dirty);
      // Flushing gained nothing: memory may be short.
      if (parts_.hot.dirty_blocks() >= before) ++failures;
      continue;
    }
    if (parts_.hot.dirty_blocks() == 0) return;
    ++waits;
    absl::SleepFor(absl::Milliseconds(1));
  }
}

uint64_t Maintainer::Activity(
    const std::vector<std::weak_ptr<ChunkOwner>>& owners) {
  uint64_t sum = 0;
  for (const std::weak_ptr<ChunkOwner>& listed : owners) {
    const std::shared_ptr<ChunkOwner> owner = listed.lock();
    if (owner != nullptr) sum += owner->activity();
  }
  return sum;
}

void Maintainer::MergePass(bool all_cold) {
  const std::vector<std::weak_ptr<ChunkOwner>> owners = list_owners_();
  const uint64_t activity_before = Activity(owners);
  // Numbers of the evacuator's walks are odd. 0 is none.
  const uint32_t walk =
      2 * (passes_.fetch_add(1, std::memory_order_relaxed) + 1);
  for (const std::weak_ptr<ChunkOwner>& listed : owners) {
    std::optional<uint64_t> chunk = 0;
    while (chunk.has_value() && !parts_.work.stopped()) {
      const std::shared_ptr<ChunkOwner> owner = listed.lock();
      if (owner == nullptr) break;
      const uint64_t activity = owner->activity();
      const absl::Time start = absl::Now();
      chunk = owner->MergeLeaf(*chunk, all_cold, walk);
      if (!all_cold) Pace(*owner, activity, absl::Now() - start);
    }
  }
  parts_.evacuator.KeepUp(0);
  if (Activity(owners) == activity_before) parts_.evacuator.Tighten();
  // Merging leaves free pages behind, which an idle server would never reuse.
  parts_.arena.ReleaseFreeMemory();
}

void Maintainer::Pace(const ChunkOwner& owner, uint64_t activity,
                      absl::Duration work) const {
  if (work < absl::Milliseconds(1)) return;
  if (owner.activity() == activity) return;
  parts_.work.Pause(3 * work);
}

}  // namespace ramvol::engine
