#include "server/engine/engine.h"

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "server/engine/background/engine_parts.h"
#include "server/engine/background/maintainer.h"
#include "server/engine/background/work_queue.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/hot_cache.h"
#include "server/engine/counters/totals.h"
#include "server/engine/memory/arena.h"
#include "server/engine/memory/slab_evacuator.h"
#include "server/engine/memory/slab_tenant.h"
#include "server/engine/volume/volume_core.h"

namespace ramvol::engine {
namespace {

constexpr uint64_t kMaxDefaultHotCacheBytes = uint64_t{1} << 30;
// Memory counts as exhausted when less than this can be had.
constexpr uint64_t kSpareBytes = 1 << 20;

EngineOptions WithDefaults(EngineOptions options) {
  if (options.hot_cache_bytes == 0) {
    options.hot_cache_bytes =
        std::min(options.memory_limit_bytes / 8, kMaxDefaultHotCacheBytes);
  }
  if (options.background_threads == 0) {
    const int cores = static_cast<int>(std::thread::hardware_concurrency());
    options.background_threads = std::clamp(cores, 1, 64);
  }
  return options;
}

uint64_t RandomUid() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

}  // namespace

struct Engine::Impl {
  Impl(const EngineOptions& wanted, std::unique_ptr<Arena> memory)
      : options(wanted),
        arena(std::move(memory)),
        hot(options.hot_cache_bytes),
        evacuator(*arena, [this] { return Tenants(); }),
        parts{*arena, hot, work, totals, evacuator},
        maintainer(
            parts, [this] { return Owners(); }, options.background_threads,
            absl::Milliseconds(options.merge_interval_ms)) {}

  absl::Status CheckNameFree(const std::string& name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    if (!volumes.contains(name)) return absl::OkStatus();
    return WithReason(
        absl::AlreadyExistsError(absl::StrCat(
            "volume \"", name,
            "\" exists already; choose another name, or delete it first")),
        reason::kVolumeExists);
  }

  // Checks that there may be one more volume, called `name`.
  absl::Status CheckFree(const std::string& name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    absl::Status free = CheckNameFree(name);
    if (!free.ok()) return free;
    if (volumes.size() < static_cast<size_t>(options.max_volumes)) {
      return absl::OkStatus();
    }
    return WithReason(
        absl::ResourceExhaustedError(
            absl::StrCat("the server has ", volumes.size(),
                         " volumes, its greatest number; delete some, or raise "
                         "--max_volumes")),
        reason::kTooManyVolumes);
  }

  bool Exhausted() {
    const uint64_t hot_bytes = hot.hot_blocks() * kBlockBytes;
    if (hot_bytes >= kSpareBytes) return false;
    const uint64_t spare_bytes = kSpareBytes - hot_bytes;
    if (arena->HasRoom(spare_bytes)) return false;
    // Evacuation would free memory for a writer.
    if (evacuator.HasWork(Evacuation::kTight)) return false;
    // Reserve, unlike HasRoom, also releases pages that are kept for reuse.
    if (!arena->Reserve(spare_bytes, Priority::kNormal)) return true;
    arena->Unreserve(spare_bytes);
    return false;
  }

  std::vector<std::weak_ptr<ChunkOwner>> Owners() {
    MutexLock lock(&mu);
    std::vector<std::weak_ptr<ChunkOwner>> owners;
    for (const auto& [name, volume] : volumes) owners.push_back(volume->core_);
    return owners;
  }

  std::vector<std::weak_ptr<SlabTenant>> Tenants() {
    const std::vector<std::weak_ptr<ChunkOwner>> owners = Owners();
    return {owners.begin(), owners.end()};
  }

  const EngineOptions options;
  const std::unique_ptr<Arena> arena;
  HotCache hot;
  WorkQueue work;
  Totals totals;
  SlabEvacuator evacuator;
  const EngineParts parts;
  // Held also while a name changes, so a volume's name is its key.
  Mutex mu;
  std::map<std::string, std::shared_ptr<Volume>, std::less<>> volumes
      ABSL_GUARDED_BY(mu);
  absl::flat_hash_map<uint64_t, Volume*> by_uid ABSL_GUARDED_BY(mu);
  // Last, so that its threads end before what they use.
  Maintainer maintainer;
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(
    const EngineOptions& options) {
  absl::Status valid = options.Validate();
  if (!valid.ok()) return valid;
  absl::StatusOr<std::unique_ptr<Arena>> arena =
      Arena::Create(options.memory_limit_bytes);
  if (!arena.ok()) return arena.status();
  return std::unique_ptr<Engine>(new Engine(
      std::make_unique<Impl>(WithDefaults(options), *std::move(arena))));
}

absl::StatusOr<std::shared_ptr<Volume>> Engine::CreateVolume(
    const VolumeOptions& options) {
  absl::Status valid = options.Validate();
  if (!valid.ok()) return valid;
  {
    // Check first: reserving may empty the caches of other volumes.
    MutexLock lock(&impl_->mu);
    absl::Status free = impl_->CheckFree(options.name);
    if (!free.ok()) return free;
  }
  auto core = std::make_shared<VolumeCore>(impl_->parts, options, RandomUid());
  absl::Status reserved = core->Reserve();
  if (!reserved.ok()) return reserved;
  auto volume = std::make_shared<Volume>(std::move(core));
  MutexLock lock(&impl_->mu);
  absl::Status free = impl_->CheckFree(options.name);
  if (!free.ok()) return free;
  impl_->volumes.emplace(options.name, volume);
  impl_->by_uid.emplace(volume->uid(), volume.get());
  return volume;
}

absl::StatusOr<std::shared_ptr<Volume>> Engine::Find(
    std::string_view name) const {
  MutexLock lock(&impl_->mu);
  const auto found = impl_->volumes.find(name);
  if (found != impl_->volumes.end()) return found->second;
  return WithReason(
      absl::NotFoundError(absl::StrCat(
          "there is no volume \"", absl::string_view(name.data(), name.size()),
          "\"; create it, or list the volumes there are")),
      reason::kVolumeNotFound);
}

absl::Status Engine::DeleteVolume(const std::shared_ptr<Volume>& volume,
                                  bool force) {
  // Freeing the content may take long, so it is done without the registry's
  // lock. The name stays taken until then.
  absl::Status deleted = volume->core_->Delete(force);
  if (!deleted.ok()) return deleted;
  MutexLock lock(&impl_->mu);
  const auto found = impl_->volumes.find(volume->name());
  if (found != impl_->volumes.end() && found->second == volume) {
    impl_->by_uid.erase(volume->uid());
    impl_->volumes.erase(found);
  }
  return absl::OkStatus();
}

std::shared_ptr<Volume> Engine::FindUid(uint64_t uid) const {
  MutexLock lock(&impl_->mu);
  const auto found = impl_->by_uid.find(uid);
  if (found == impl_->by_uid.end()) return nullptr;
  return impl_->volumes.find(found->second->name())->second;
}

absl::Status Engine::RenameVolume(const std::shared_ptr<Volume>& volume,
                                  const std::string& name) {
  absl::Status valid = ValidateName(name);
  if (!valid.ok()) return valid;
  MutexLock lock(&impl_->mu);
  const auto found = impl_->volumes.find(volume->name());
  if (found == impl_->volumes.end() || found->second != volume) {
    return volume->core_->Deleted();
  }
  absl::Status free = impl_->CheckNameFree(name);
  if (!free.ok()) return free;
  auto node = impl_->volumes.extract(found);
  node.key() = name;
  volume->core_->set_name(name);
  impl_->volumes.insert(std::move(node));
  return absl::OkStatus();
}

bool Engine::DeleteUnused(const std::shared_ptr<Volume>& volume,
                          const VolumeUse& seen) {
  // The registry's, and the caller's.
  constexpr long kReferences = 2;
  {
    MutexLock lock(&impl_->mu);
    const auto found = impl_->volumes.find(volume->name());
    if (found == impl_->volumes.end() || found->second != volume) return false;
    // Only Find makes more of them, and waits for the lock.
    if (volume.use_count() > kReferences) return false;
    // To drop a reference is to see what others did before they dropped theirs.
    std::shared_ptr<Volume>(volume).reset();
    if (seen.attached || volume->Use() != seen) return false;
    impl_->by_uid.erase(volume->uid());
    impl_->volumes.erase(found);
  }
  return volume->core_->Delete(/*force=*/false).ok();
}

std::vector<NamedVolume> Engine::List(std::string_view after,
                                      size_t max) const {
  MutexLock lock(&impl_->mu);
  std::vector<NamedVolume> listed;
  for (auto next = impl_->volumes.upper_bound(after);
       next != impl_->volumes.end() && listed.size() < max; ++next) {
    listed.push_back({next->first, next->second});
  }
  return listed;
}

EngineStats Engine::Stats() const {
  EngineStats stats;
  stats.memory_limit_bytes = impl_->arena->limit_bytes();
  stats.memory_used_bytes = impl_->arena->used_bytes();
  stats.memory_allocated_bytes = impl_->arena->allocated_bytes();
  stats.hot_cache_limit_bytes = impl_->hot.capacity_bytes();
  stats.hot_cache_bytes = impl_->hot.hot_blocks() * kBlockBytes;
  stats.hot_cache_dirty_bytes = impl_->hot.dirty_blocks() * kBlockBytes;
  const Totals& totals = impl_->totals;
  const auto sum = [&](Total total) { return totals.counts.Sum(total); };
  stats.hot_cache_hits = sum(Total::kHits);
  stats.hot_cache_misses = sum(Total::kMisses);
  stats.hot_cache_evictions = impl_->hot.evictions();
  stats.throttled_writes = sum(Total::kThrottledWrites);
  stats.merged_frames = sum(Total::kMergedFrames);
  stats.split_frames = sum(Total::kSplitFrames);
  stats.rewritten_frames = sum(Total::kRewrittenFrames);
  stats.corrupt_frames = sum(Total::kCorruptFrames);
  stats.read_bytes = sum(Total::kReadBytes);
  stats.written_bytes = sum(Total::kWrittenBytes);
  for (size_t i = 0; i < kErrorReasons.size(); ++i) {
    stats.errors[i] = totals.errors[i].load(std::memory_order_relaxed);
  }
  for (size_t i = 0; i < kOperations; ++i) {
    stats.operations[i] = totals.operations[i].Get();
  }
  stats.compressions = totals.compressions.Get();
  stats.decompressions = totals.decompressions.Get();
  MutexLock lock(&impl_->mu);
  stats.volumes = impl_->volumes.size();
  return stats;
}

bool Engine::MemoryExhausted() const { return impl_->Exhausted(); }

const EngineOptions& Engine::options() const { return impl_->options; }

void Engine::FailAllocationsAfterForTest(int64_t n) {
  impl_->arena->FailAllocationsAfterForTest(n);
}

void Engine::QuiesceForTest(bool merge) {
  impl_->maintainer.FlushAll();
  if (!merge) return;
  impl_->maintainer.MergePass(/*all_cold=*/true);
  impl_->maintainer.MergePass(/*all_cold=*/true);
}

}  // namespace ramvol::engine
