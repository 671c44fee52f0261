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
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "server/engine/background/compactor.h"
#include "server/engine/background/engine_parts.h"
#include "server/engine/background/maintainer.h"
#include "server/engine/background/work_queue.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/hot_cache.h"
#include "server/engine/content/publish.h"
#include "server/engine/content/record_list.h"
#include "server/engine/content/recovery.h"
#include "server/engine/content/state_root.h"
#include "server/engine/counters/add_totals.h"
#include "server/engine/counters/totals.h"
#include "server/engine/memory/arena.h"
#include "server/engine/memory/kill_point.h"
#include "server/engine/memory/slab_evacuator.h"
#include "server/engine/memory/slab_tenant.h"
#include "server/engine/memory/state_file.h"
#include "server/engine/volume/chunk_loader.h"
#include "server/engine/volume/description.h"
#include "server/engine/volume/load_outside.h"
#include "server/engine/volume/outside.h"
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

// The format of what content/ and volume/ keep in the arena. Change it with any
// of these structures.
constexpr uint32_t kStateFormat = 3;

absl::StatusOr<std::unique_ptr<Arena>> MakeArena(const EngineOptions& options,
                                                 std::string* warning) {
  if (options.state_dir.empty()) {
    return Arena::Create(options.memory_limit_bytes);
  }
  auto file = StateFile::Open(options.state_dir, options.memory_limit_bytes,
                              kStateFormat);
  if (!file.ok()) return file.status();
  *warning = (*file)->warning();
  return Arena::Create(*std::move(file));
}

uint64_t RandomUid() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

}  // namespace

struct Engine::Impl {
  using Registry = std::map<std::string, std::shared_ptr<Volume>, std::less<>>;

  Impl(const EngineOptions& wanted, std::unique_ptr<Arena> memory,
       std::string warning)
      : options(wanted),
        arena(std::move(memory)),
        records(options.state_dir.empty()
                    ? nullptr
                    : std::make_unique<RecordList>(*arena, &root().records)),
        hot(options.hot_cache_bytes),
        evacuator(*arena, [this] { return Tenants(); }),
        compactor(*arena, hot, work, totals),
        outside(*arena),
        parts{*arena, hot, work, totals, evacuator, compactor, &outside},
        recovered(Recover(std::move(warning))),
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
    const size_t all = volumes.size() + snapshots.size() + hidden.size();
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

  // And snapshots, and hidden ones.
  std::vector<std::shared_ptr<Volume>> AllVolumes() {
    MutexLock lock(&mu);
    std::vector<std::shared_ptr<Volume>> all(hidden.begin(), hidden.end());
    for (const Registry* registry : {&volumes, &snapshots}) {
      for (const auto& [name, volume] : *registry) {
        if (volume != nullptr) all.push_back(volume);
      }
    }
    return all;
  }

  std::vector<std::weak_ptr<ChunkOwner>> Owners() {
    MutexLock lock(&mu);
    std::vector<std::weak_ptr<ChunkOwner>> owners;
    for (const Registry* registry : {&volumes, &snapshots}) {
      for (const auto& [name, volume] : *registry) {
        if (volume != nullptr) owners.push_back(volume->core_);
      }
    }
    for (const auto& volume : hidden) owners.push_back(volume->core_);
    return owners;
  }

  static Outside::Below LoadersOf(
      const std::vector<std::shared_ptr<Volume>>& volumes);

  std::shared_ptr<VolumeCore> NewCore(const VolumeOptions& wanted,
                                      uint64_t uid = 0) {
    return std::make_shared<VolumeCore>(
        parts, wanted, uid == 0 ? RandomUid() : uid,
        std::make_unique<HeldRecord>(records.get(), wanted.size_bytes));
  }

  absl::StatusOr<std::shared_ptr<Volume>> Create(const VolumeOptions& wanted,
                                                 VolumeCore* source,
                                                 const AttributesOf& attributes,
                                                 bool hide = false,
                                                 uint64_t uid = 0) {
    absl::Status valid = wanted.Validate();
    if (!valid.ok()) return valid;
    {
      // Check first: reserving may empty the caches of other volumes.
      MutexLock lock(&mu);
      absl::Status free = CheckFree(wanted.name);
      if (!free.ok()) return free;
    }
    auto core = NewCore(wanted, uid);
    absl::Status made = core->Reserve();
    if (made.ok() && source != nullptr) {
      cloned.store(true, std::memory_order_relaxed);
      core->set_completeness(source->completeness());
      made = core->CopyFrom(*source);
    }
    if (!made.ok()) return made;
    auto volume = std::make_shared<Volume>(core);
    if (attributes != nullptr) made = core->Describe(attributes(*volume));
    if (attributes == nullptr) made = core->Describe("");
    if (!made.ok()) return made;
    MutexLock lock(&mu);
    absl::Status free = CheckFree(wanted.name);
    if (!free.ok()) return free;
    if (hide) {
      hidden.insert(volume);
    } else {
      EnterVolume(volume);
    }
    return volume;
  }

  void EnterVolume(const std::shared_ptr<Volume>& volume)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    HeldRecord::Enlist({&volume->core_->record()});
    volumes.emplace(volume->name(), volume);
    by_uid.emplace(volume->uid(), volume.get());
  }

  // One that has no content yet.
  std::shared_ptr<VolumeCore> NewSnapshot(const Volume& source,
                                          const std::string& name,
                                          uint64_t uid = 0) {
    VolumeOptions snapshot = source.options();
    snapshot.name = name;
    snapshot.read_only = true;
    // It writes nothing, so it needs neither.
    if (snapshot.allocator == Allocator::kMalloc) {
      snapshot.allocator = Allocator::kSparse;
    }
    snapshot.memory_limit_bytes = 0;
    return NewCore(snapshot, uid);
  }

  absl::StatusOr<std::vector<std::shared_ptr<Volume>>> SnapshotHidden(
      const std::vector<std::shared_ptr<Volume>>& volumes, uint64_t uid,
      bool is_use) {
    std::vector<std::shared_ptr<VolumeCore>> sources;
    std::vector<std::shared_ptr<VolumeCore>> cores;
    absl::Status status;
    for (const std::shared_ptr<Volume>& volume : volumes) {
      sources.push_back(volume->core_);
      cores.push_back(NewSnapshot(*volume, "@" + volume->name(), uid));
      if (status.ok()) status = cores.back()->Reserve();
    }
    if (status.ok()) status = VolumeCore::Snapshot(sources, cores, is_use);
    if (!status.ok()) return status;
    std::vector<std::shared_ptr<Volume>> made;
    MutexLock lock(&mu);
    for (const std::shared_ptr<VolumeCore>& core : cores) {
      made.push_back(std::make_shared<Volume>(core));
      hidden.insert(made.back());
    }
    return made;
  }

  // Whether these hidden ones can get their names, all together.
  absl::Status CheckPublication(const std::vector<Hidden>& all)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    absl::flat_hash_set<std::string> names;
    absl::flat_hash_set<uint64_t> uids;
    for (const auto& [volume, attributes] : all) {
      if (!hidden.contains(volume)) return volume->core_->Deleted();
      absl::Status free = CheckNameFree(volume->name());
      if (!free.ok()) return free;
      if (names.insert(volume->name()).second &&
          uids.insert(volume->uid()).second &&
          !by_uid.contains(volume->uid())) {
        continue;
      }
      return absl::AlreadyExistsError(absl::StrCat(
          "\"", volume->name(),
          "\", or its uid, is there twice; leave one of them out"));
    }
    return absl::OkStatus();
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

  // Only with a state_dir.
  StateRoot& root() const {
    return *reinterpret_cast<StateRoot*>(arena->root_area());
  }

  // Makes volumes of what the last engine left, before anyone else can see
  // this one.
  Recovered Recover(std::string warning) {
    Recovered result;
    result.warning = std::move(warning);
    if (records == nullptr) return result;
    const int64_t began_ns = SteadyNowNs();
    result.outside = root().outside.load(std::memory_order_relaxed);
    Recovery recovery(*arena, hot, /*may_be_outside=*/result.outside != 0);
    const auto found = recovery.ClaimAll(&root().records, &result.lost);
    result.outside_images = recovery.outside().images;
    result.outside_bytes = recovery.outside().room_bytes;
    arena->FinishRecovery();
    std::vector<std::shared_ptr<VolumeCore>> whole;
    for (const Recovery::Found& one : found) {
      Restore(one, recovery, &whole, &result);
      KillPoint();
    }
    // Only now: who has something alone and who shares it must not change while
    // volumes are adopted.
    for (const auto& core : whole) core->EndShrink();
    result.took = absl::Nanoseconds(SteadyNowNs() - began_ns);
    return result;
  }

  // Adds what is not damaged to `*whole`.
  void Restore(const Recovery::Found& found, Recovery& recovery,
               std::vector<std::shared_ptr<VolumeCore>>* whole,
               Recovered* result) {
    MutexLock lock(&mu);
    std::optional<Description> description;
    if (found.described) {
      description = ParseDescription(RecordList::DescriptionOf(*found.record));
    }
    const bool described =
        description.has_value() && IsValid(*description, *found.record);
    const bool damaged = found.damaged || !described;
    if (!described) description = DescribeDamaged();
    auto core = std::make_shared<VolumeCore>(
        parts, description->options, description->uid,
        std::make_unique<HeldRecord>(records.get(), found.record, damaged,
                                     found.described));
    core->set_attributes(description->attributes);
    const std::string name = core->name();
    if (damaged) {
      core->Seal(recovery, found.tree);
      result->damaged.push_back(name);
    } else {
      core->Recover(recovery);
      whole->push_back(core);
      if (!result->outside_images.empty() && core->loader().AnyOutside()) {
        core->set_completeness(Completeness::kIncomplete);
      }
    }
    ++result->volumes;
    auto volume = std::make_shared<Volume>(std::move(core));
    by_uid.emplace(volume->uid(), volume.get());
    RegistryOf(name).emplace(name, std::move(volume));
  }

  bool IsValid(const Description& description, Record& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    VolumeOptions options = description.options;
    const bool snapshot = options.name.substr(0, 1) == "@";
    if (RegistryOf(options.name).contains(options.name) ||
        by_uid.contains(description.uid)) {
      return false;
    }
    if (snapshot) options.name.erase(0, 1);
    options.size_bytes =
        record.current.load(std::memory_order_relaxed) > 1
            ? 0
            : record.top().size_bytes.load(std::memory_order_relaxed);
    return options.Validate().ok();
  }

  // For a volume of which not even the description can be believed.
  Description DescribeDamaged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    Description description;
    description.uid = RandomUid();
    VolumeOptions& options = description.options;
    for (int i = 1; options.name.empty(); ++i) {
      std::string name = absl::StrCat("damaged-", i);
      if (!volumes.contains(name)) options.name = std::move(name);
    }
    options.size_bytes = 1;
    options.read_only = true;
    return description;
  }

  // What no single volume or snapshot would give back.
  uint64_t SharedBytes() {
    uint64_t own_bytes = 0;
    for (const std::weak_ptr<ChunkOwner>& owner : Owners()) {
      const auto core = std::static_pointer_cast<VolumeCore>(owner.lock());
      if (core != nullptr) own_bytes += core->OwnBytes();
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
  const std::unique_ptr<RecordList> records;  // nullptr without a state_dir.
  HotCache hot;
  WorkQueue work;
  Totals totals;
  SlabEvacuator evacuator;
  Compactor compactor;
  Outside outside;
  const EngineParts parts;
  // Held also while a name changes, so a volume's name is its key.
  Mutex mu;
  std::atomic<bool> cloned{false};
  Registry volumes ABSL_GUARDED_BY(mu);
  // By their names with "@". One that is being made is nullptr.
  Registry snapshots ABSL_GUARDED_BY(mu);
  // Volumes and snapshots without a name in the registries, and without a
  // record in the list.
  absl::flat_hash_set<std::shared_ptr<Volume>> hidden ABSL_GUARDED_BY(mu);
  // Snapshots, too.
  absl::flat_hash_map<uint64_t, Volume*> by_uid ABSL_GUARDED_BY(mu);
  const Recovered recovered;
  // Last, so that its threads end before what they use.
  Maintainer maintainer;
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(
    const EngineOptions& options) {
  absl::Status valid = options.Validate();
  if (!valid.ok()) return valid;
  std::string warning;
  absl::StatusOr<std::unique_ptr<Arena>> arena = MakeArena(options, &warning);
  if (!arena.ok()) return arena.status();
  return std::unique_ptr<Engine>(new Engine(std::make_unique<Impl>(
      WithDefaults(options), *std::move(arena), std::move(warning))));
}

absl::StatusOr<std::shared_ptr<Volume>> Engine::CreateVolume(
    const VolumeOptions& options, const AttributesOf& attributes) {
  return impl_->Create(options, nullptr, attributes);
}

absl::StatusOr<std::shared_ptr<Volume>> Engine::CloneVolume(
    VolumeOptions options, const std::shared_ptr<Volume>& source,
    const AttributesOf& attributes) {
  if (options.size_bytes == 0) options.size_bytes = source->size_bytes();
  return impl_->Create(options, source->core_.get(), attributes);
}

absl::StatusOr<std::shared_ptr<Volume>> Engine::CreateHidden(
    const VolumeOptions& options, const std::shared_ptr<Volume>& source,
    uint64_t uid) {
  return impl_->Create(options,
                       source == nullptr ? nullptr : source->core_.get(),
                       nullptr, /*hide=*/true, uid);
}

absl::StatusOr<std::shared_ptr<Volume>> Engine::CreateDamaged(
    VolumeOptions options, uint64_t uid) {
  // It needs no reservation.
  if (options.allocator == Allocator::kMalloc) {
    options.allocator = Allocator::kSparse;
  }
  auto core = impl_->NewCore(options, uid);
  absl::Status made = core->Reserve();
  if (!made.ok()) return made;
  core->Condemn();
  auto volume = std::make_shared<Volume>(std::move(core));
  MutexLock lock(&impl_->mu);
  impl_->hidden.insert(volume);
  return volume;
}

absl::Status Engine::Publish(const std::shared_ptr<Volume>& volume,
                             const AttributesOf& attributes) {
  MutexLock lock(&impl_->mu);
  if (!impl_->hidden.contains(volume)) return volume->core_->Deleted();
  absl::Status free = impl_->CheckNameFree(volume->name());
  if (!free.ok()) return free;
  impl_->hidden.erase(volume);
  if (attributes != nullptr) volume->SetAttributes(attributes(*volume));
  impl_->EnterVolume(volume);
  return absl::OkStatus();
}

absl::Status Engine::PublishAll(const std::vector<Hidden>& all) {
  MutexLock lock(&impl_->mu);
  absl::Status status = impl_->CheckPublication(all);
  if (!status.ok()) return status;
  std::vector<HeldRecord*> records;
  for (const auto& [volume, attributes] : all) {
    volume->SetAttributes(attributes);
    if (!volume->damaged()) records.push_back(&volume->core_->record());
  }
  HeldRecord::Enlist(records);
  for (const auto& [volume, attributes] : all) {
    impl_->hidden.erase(volume);
    impl_->by_uid.emplace(volume->uid(), volume.get());
    impl_->RegistryOf(volume->name()).emplace(volume->name(), volume);
  }
  return status;
}

absl::StatusOr<std::shared_ptr<Volume>> Engine::SnapshotHidden(
    const std::shared_ptr<Volume>& volume, uint64_t uid) {
  auto made = impl_->SnapshotHidden({volume}, uid, /*is_use=*/true);
  if (!made.ok()) return made.status();
  return std::move(made->front());
}

absl::StatusOr<std::vector<std::shared_ptr<Volume>>> Engine::SnapshotAllHidden(
    const std::vector<std::shared_ptr<Volume>>& volumes) {
  return impl_->SnapshotHidden(volumes, /*uid=*/0, /*is_use=*/false);
}

Outside::Below Engine::Impl::LoadersOf(
    const std::vector<std::shared_ptr<Volume>>& volumes) {
  Outside::Below loaders;
  for (const std::shared_ptr<Volume>& volume : volumes) {
    auto& loader = loaders.emplace_back();
    if (volume == nullptr) continue;
    loader =
        std::shared_ptr<ChunkLoader>(volume->core_, &volume->core_->loader());
  }
  return loaders;
}

absl::Status Engine::BeginOutside(
    std::shared_ptr<OutsideSource> source,
    const std::vector<std::shared_ptr<Volume>>& below, uint64_t room_bytes,
    uint64_t id) {
  if (impl_->outside.Begin(std::move(source), impl_->LoadersOf(below),
                           room_bytes, Priority::kNormal)) {
    if (impl_->records != nullptr) {
      engine::Publish(impl_->root().outside, id);
    }
    return absl::OkStatus();
  }
  return WithReason(
      absl::ResourceExhaustedError(absl::StrCat(
          "what is to be read takes ", room_bytes, " bytes, but ",
          impl_->arena->used_bytes(), " bytes of the server's limit of ",
          impl_->arena->limit_bytes(), " are in use")),
      reason::kServerMemoryLimit);
}

uint64_t Engine::LoadOutside(absl::FunctionRef<bool()> go_on) {
  return engine::LoadOutside(
      *impl_->arena, [this] { return impl_->Owners(); }, go_on);
}

void Engine::ResumeOutside(std::shared_ptr<OutsideSource> source,
                           const std::vector<std::shared_ptr<Volume>>& below) {
  (void)impl_->outside.Begin(std::move(source), impl_->LoadersOf(below),
                             impl_->recovered.outside_bytes,
                             Priority::kGuaranteed);
  for (const auto& volume : impl_->AllVolumes()) {
    if (volume->completeness() == Completeness::kIncomplete) {
      volume->set_completeness(Completeness::kRestoring);
    }
  }
}

void Engine::EndOutside(bool forget) {
  if (!impl_->outside.active()) return;
  forget = forget && impl_->arena->outside_objects() == 0;
  for (const auto& volume : impl_->AllVolumes()) {
    if (volume->completeness() != Completeness::kRestoring) continue;
    volume->set_completeness(!forget && volume->AnyOutside()
                                 ? Completeness::kIncomplete
                                 : Completeness::kComplete);
  }
  if (forget && impl_->records != nullptr) {
    engine::Publish<uint64_t>(impl_->root().outside, 0);
  }
  impl_->outside.End();
}

absl::StatusOr<std::vector<std::shared_ptr<Volume>>> Engine::CreateSnapshots(
    const std::vector<SnapshotRequest>& requests) {
  absl::Status status = impl_->EnterSnapshots(requests);
  if (!status.ok()) return status;
  std::vector<std::shared_ptr<VolumeCore>> sources;
  std::vector<std::shared_ptr<VolumeCore>> cores;
  for (const SnapshotRequest& request : requests) {
    sources.push_back(request.volume->core_);
    cores.push_back(impl_->NewSnapshot(*request.volume, "@" + request.name));
    if (status.ok()) status = cores.back()->Reserve();
  }
  for (size_t i = 0; i < cores.size(); ++i) {
    cores[i]->set_completeness(sources[i]->completeness());
  }
  if (status.ok()) status = VolumeCore::Snapshot(sources, cores);
  std::vector<std::shared_ptr<Volume>> made;
  std::vector<HeldRecord*> records;
  for (size_t i = 0; status.ok() && i < cores.size(); ++i) {
    made.push_back(std::make_shared<Volume>(cores[i]));
    records.push_back(&cores[i]->record());
    const AttributesOf& attributes = requests[i].attributes;
    status = cores[i]->Describe(
        attributes == nullptr ? "" : attributes(*made.back()));
  }
  MutexLock lock(&impl_->mu);
  if (status.ok()) HeldRecord::Enlist(records);
  for (size_t i = 0; i < cores.size(); ++i) {
    if (status.ok()) {
      impl_->snapshots[cores[i]->name()] = made[i];
      impl_->by_uid.emplace(cores[i]->uid(), made[i].get());
    } else {
      impl_->snapshots.erase(cores[i]->name());
    }
  }
  if (!status.ok()) return status;
  return made;
}

absl::Status Engine::RevertVolume(const std::shared_ptr<Volume>& volume,
                                  const std::shared_ptr<Volume>& snapshot,
                                  bool force,
                                  std::optional<std::string> attributes) {
  return volume->core_->Revert(*snapshot->core_, force, std::move(attributes));
}

absl::StatusOr<std::shared_ptr<Volume>> Engine::Find(
    std::string_view name) const {
  MutexLock lock(&impl_->mu);
  const Impl::Registry& registry = impl_->RegistryOf(name);
  const auto found = registry.find(name);
  if (found != registry.end() && found->second != nullptr) {
    return found->second;
  }
  return NotFound(name);
}

absl::Status Engine::NotFound(std::string_view name) {
  const bool snapshot = name.substr(0, 1) == "@";
  return WithReason(
      absl::NotFoundError(absl::StrCat(
          snapshot ? "there is no snapshot \"" : "there is no volume \"",
          ShownName(name),
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
  if (impl_->hidden.erase(volume) > 0) return absl::OkStatus();
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
                                  const std::string& name,
                                  std::optional<std::string> attributes) {
  absl::Status valid = ValidateName(name);
  if (!valid.ok()) return valid;
  MutexLock lock(&impl_->mu);
  const auto found = impl_->volumes.find(volume->name());
  if (found == impl_->volumes.end() || found->second != volume) {
    return volume->core_->Deleted();
  }
  if (volume->core_->damaged()) return volume->core_->Deleted();
  absl::Status free = impl_->CheckNameFree(name);
  if (!free.ok()) return free;
  auto node = impl_->volumes.extract(found);
  node.key() = name;
  volume->core_->Rename(name, std::move(attributes));
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
  stats.hot_cache_evictions = impl_->hot.evictions();
  AddTotals(impl_->totals, &stats);
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

const Engine::Recovered& Engine::recovered() const { return impl_->recovered; }

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
