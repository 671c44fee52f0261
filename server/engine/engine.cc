#include "server/engine/engine.h"

#include <algorithm>
#include <atomic>
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
#include "server/engine/background/compactor.h"
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
  using Registry = std::map<std::string, std::shared_ptr<Volume>, std::less<>>;

  Impl(const EngineOptions& wanted, std::unique_ptr<Arena> memory)
      : options(wanted),
        arena(std::move(memory)),
        hot(options.hot_cache_bytes),
        evacuator(*arena, [this] { return Tenants(); }),
        compactor(*arena, hot, work, totals),
        parts{*arena, hot, work, totals, evacuator, compactor},
        maintainer(
            parts, [this] { return Owners(); }, options.background_threads,
            absl::Milliseconds(options.merge_interval_ms)) {}

  Registry& RegistryOf(std::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    return name.substr(0, 1) == "@" ? snapshots : volumes;
  }

  absl::Status CheckNameFree(const std::string& name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    if (!RegistryOf(name).contains(name)) return absl::OkStatus();
    const bool snapshot = name[0] == '@';
    return WithReason(
        absl::AlreadyExistsError(absl::StrCat(
            snapshot ? "snapshot \"" : "volume \"", name,
            "\" exists already; choose another name, or delete it first")),
        snapshot ? reason::kSnapshotExists : reason::kVolumeExists);
  }

  // Checks that there may be one more volume or snapshot, called `name`.
  absl::Status CheckFree(const std::string& name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    absl::Status free = CheckNameFree(name);
    if (!free.ok()) return free;
    const size_t all = volumes.size() + snapshots.size();
    if (all < static_cast<size_t>(options.max_volumes)) {
      return absl::OkStatus();
    }
    return WithReason(
        absl::ResourceExhaustedError(absl::StrCat(
            "the server has ", volumes.size(), " volumes and ",
            snapshots.size(),
            " snapshots, together its greatest number; delete some, or raise "
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
    for (const Registry* registry : {&volumes, &snapshots}) {
      for (const auto& [name, volume] : *registry) {
        if (volume != nullptr) owners.push_back(volume->core_);
      }
    }
    return owners;
  }

  absl::StatusOr<std::shared_ptr<Volume>> Create(const VolumeOptions& wanted,
                                                 VolumeCore* source) {
    absl::Status valid = wanted.Validate();
    if (!valid.ok()) return valid;
    {
      // Check first: reserving may empty the caches of other volumes.
      MutexLock lock(&mu);
      absl::Status free = CheckFree(wanted.name);
      if (!free.ok()) return free;
    }
    auto core = std::make_shared<VolumeCore>(parts, wanted, RandomUid());
    absl::Status made = core->Reserve();
    if (made.ok() && source != nullptr) {
      cloned.store(true, std::memory_order_relaxed);
      made = core->CopyFrom(*source);
    }
    if (!made.ok()) return made;
    auto volume = std::make_shared<Volume>(std::move(core));
    MutexLock lock(&mu);
    absl::Status free = CheckFree(wanted.name);
    if (!free.ok()) return free;
    volumes.emplace(wanted.name, volume);
    by_uid.emplace(volume->uid(), volume.get());
    return volume;
  }

  // Enters the names of snapshots that are about to be made, all or none.
  absl::Status EnterSnapshots(const std::vector<SnapshotRequest>& requests) {
    for (const SnapshotRequest& request : requests) {
      absl::Status valid = ValidateName(request.name);
      if (!valid.ok()) return valid;
      if (!request.volume->is_snapshot()) continue;
      return WithReason(absl::FailedPreconditionError(
                            absl::StrCat("\"", request.volume->name(),
                                         "\" is a snapshot already; clone it")),
                        reason::kReadOnlySnapshot);
    }
    MutexLock lock(&mu);
    absl::Status status;
    size_t entered = 0;
    for (; status.ok() && entered < requests.size(); ++entered) {
      const std::string name = "@" + requests[entered].name;
      status = CheckFree(name);
      if (status.ok()) snapshots.emplace(name, nullptr);
    }
    if (status.ok()) return status;
    for (size_t i = 0; i + 1 < entered; ++i) {
      snapshots.erase("@" + requests[i].name);
    }
    return status;
  }

  // What no single volume or snapshot would give back.
  uint64_t SharedBytes() {
    uint64_t own_bytes = 0;
    for (const std::weak_ptr<ChunkOwner>& owner : Owners()) {
      const auto core = std::static_pointer_cast<VolumeCore>(owner.lock());
      if (core != nullptr) own_bytes += core->Stats().own_bytes;
    }
    const uint64_t all_bytes = arena->allocated_bytes();
    return all_bytes - std::min(all_bytes, own_bytes);
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
  Compactor compactor;
  const EngineParts parts;
  // Held also while a name changes, so a volume's name is its key.
  Mutex mu;
  std::atomic<bool> cloned{false};
  Registry volumes ABSL_GUARDED_BY(mu);
  // By their names with "@". One that is being made is nullptr.
  Registry snapshots ABSL_GUARDED_BY(mu);
  // Snapshots, too.
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
  return impl_->Create(options, nullptr);
}

absl::StatusOr<std::shared_ptr<Volume>> Engine::CloneVolume(
    VolumeOptions options, const std::shared_ptr<Volume>& source) {
  if (options.size_bytes == 0) options.size_bytes = source->size_bytes();
  return impl_->Create(options, source->core_.get());
}

absl::StatusOr<std::vector<std::shared_ptr<Volume>>> Engine::CreateSnapshots(
    const std::vector<SnapshotRequest>& requests) {
  absl::Status status = impl_->EnterSnapshots(requests);
  if (!status.ok()) return status;
  std::vector<std::shared_ptr<VolumeCore>> sources;
  std::vector<std::shared_ptr<VolumeCore>> cores;
  for (const SnapshotRequest& request : requests) {
    VolumeOptions options = request.volume->options();
    options.name = "@" + request.name;
    options.read_only = true;
    // It writes nothing, so it needs neither.
    if (options.allocator == Allocator::kMalloc) {
      options.allocator = Allocator::kSparse;
    }
    options.memory_limit_bytes = 0;
    sources.push_back(request.volume->core_);
    cores.push_back(
        std::make_shared<VolumeCore>(impl_->parts, options, RandomUid()));
    if (status.ok()) status = cores.back()->Reserve();
  }
  if (status.ok()) status = VolumeCore::Snapshot(sources, cores);
  std::vector<std::shared_ptr<Volume>> made;
  MutexLock lock(&impl_->mu);
  for (const auto& core : cores) {
    if (!status.ok()) {
      impl_->snapshots.erase(core->name());
      continue;
    }
    made.push_back(std::make_shared<Volume>(core));
    impl_->snapshots[core->name()] = made.back();
    impl_->by_uid.emplace(core->uid(), made.back().get());
  }
  if (!status.ok()) return status;
  return made;
}

absl::Status Engine::RevertVolume(const std::shared_ptr<Volume>& volume,
                                  const std::shared_ptr<Volume>& snapshot,
                                  bool force) {
  return volume->core_->Revert(*snapshot->core_, force);
}

absl::StatusOr<std::shared_ptr<Volume>> Engine::Find(
    std::string_view name) const {
  const bool snapshot = name.substr(0, 1) == "@";
  MutexLock lock(&impl_->mu);
  const Impl::Registry& registry = impl_->RegistryOf(name);
  const auto found = registry.find(name);
  if (found != registry.end() && found->second != nullptr) {
    return found->second;
  }
  return WithReason(
      absl::NotFoundError(absl::StrCat(
          snapshot ? "there is no snapshot \"" : "there is no volume \"",
          absl::string_view(name.data(), name.size()),
          snapshot ? "\"; create it, or list the snapshots there are"
                   : "\"; create it, or list the volumes there are")),
      snapshot ? reason::kSnapshotNotFound : reason::kVolumeNotFound);
}

absl::Status Engine::DeleteVolume(const std::shared_ptr<Volume>& volume,
                                  bool force) {
  // Freeing the content may take long, so it is done without the registry's
  // lock. The name stays taken until then.
  absl::Status deleted = volume->core_->Delete(force);
  if (!deleted.ok()) return deleted;
  MutexLock lock(&impl_->mu);
  Impl::Registry& registry = impl_->RegistryOf(volume->name());
  const auto found = registry.find(volume->name());
  if (found != registry.end() && found->second == volume) {
    impl_->by_uid.erase(volume->uid());
    registry.erase(found);
  }
  return absl::OkStatus();
}

std::shared_ptr<Volume> Engine::FindUid(uint64_t uid) const {
  MutexLock lock(&impl_->mu);
  const auto found = impl_->by_uid.find(uid);
  if (found == impl_->by_uid.end()) return nullptr;
  const std::string name = found->second->name();
  return impl_->RegistryOf(name).find(name)->second;
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
  const Impl::Registry& registry = impl_->RegistryOf(after);
  for (auto next = registry.upper_bound(after);
       next != registry.end() && listed.size() < max; ++next) {
    if (next->second != nullptr) listed.push_back({next->first, next->second});
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
  {
    MutexLock lock(&impl_->mu);
    stats.volumes = impl_->volumes.size();
    stats.snapshots = impl_->snapshots.size();
  }
  if (stats.snapshots > 0 || impl_->cloned.load(std::memory_order_relaxed)) {
    stats.shared_bytes = impl_->SharedBytes();
  }
  return stats;
}

bool Engine::MemoryExhausted() const { return impl_->Exhausted(); }

const EngineOptions& Engine::options() const { return impl_->options; }

void Engine::FailAllocationsAfterForTest(int64_t n) {
  impl_->arena->FailAllocationsAfterForTest(n);
}

void Engine::QuiesceForTest(bool merge) {
  impl_->maintainer.FlushAll();
  while (impl_->parts.RunOneRequest()) {
  }
  if (!merge) return;
  impl_->maintainer.MergePass(/*all_cold=*/true);
  impl_->maintainer.MergePass(/*all_cold=*/true);
}

}  // namespace ramvol::engine
