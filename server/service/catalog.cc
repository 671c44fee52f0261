#include "server/service/catalog.h"

#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/event_log.h"
#include "base/reason.h"
#include "base/size.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/message_differencer.h"
#include "proto/status.h"
#include "ramvol/state/v1/state.pb.h"
#include "server/engine/types/options.h"
#include "server/service/etag.h"
#include "server/service/lease.h"
#include "server/service/snapshot_fields.h"
#include "server/service/uid.h"
#include "server/service/volume_fields.h"

namespace ramvol::service {
namespace {

// Why a volume was deleted, in the log.
constexpr std::string_view kTtlExpired = "TTL_EXPIRED";

uint64_t UidOf(const v1::Volume& volume) {
  return ParseUid(volume.uid()).value_or(0);
}

absl::Status CannotChange(const std::string& name) {
  return WithMetadata(
      WithReason(absl::FailedPreconditionError(absl::StrCat(
                     "\"", name,
                     "\" is a snapshot, which cannot change; clone it, or "
                     "delete it by DeleteSnapshot")),
                 reason::kReadOnlySnapshot),
      "volume", name);
}

absl::Status Exists(const std::string& name, const std::string& message) {
  return WithMetadata(
      WithReason(absl::AlreadyExistsError(message), reason::kVolumeExists),
      "volume", name);
}

// Whether two requests with the same request_id are repetitions.
bool SameRequest(const google::protobuf::Message& a,
                 const google::protobuf::Message& b) {
  return google::protobuf::util::MessageDifferencer::Equals(a, b);
}

void Stamp(absl::Time now, state::v1::KeptVolume* kept) {
  v1::Volume& settings = *kept->mutable_settings();
  *settings.mutable_update_time() = ToProto(now);
  kept->set_generation(kept->generation() + 1);
  settings.set_etag(absl::StrCat(settings.uid(), "-", kept->generation()));
}

void SetTtl(absl::Duration ttl, v1::Volume* settings) {
  settings->clear_ttl();
  if (ttl > absl::ZeroDuration()) *settings->mutable_ttl() = ToProto(ttl);
}

// What a volume begins with that `request` creates.
state::v1::KeptVolume MakeKept(const engine::Volume& volume,
                               const engine::Volume* source,
                               const v1::CreateVolumeRequest& request,
                               absl::Time now) {
  state::v1::KeptVolume kept;
  v1::Volume& settings = *kept.mutable_settings();
  FillVolume(volume, &settings);
  *settings.mutable_labels() = request.labels();
  if (request.has_limits()) *settings.mutable_limits() = request.limits();
  const absl::Duration ttl = FromProto(request.ttl());
  SetTtl(ttl, &settings);
  if (source != nullptr) {
    settings.set_source(request.source());
    settings.set_source_uid(FormatUid(source->uid()));
  }
  *settings.mutable_create_time() = ToProto(now);
  Stamp(now, &kept);
  // Without an id, the request cannot be repeated.
  if (request.request_id().empty()) return kept;
  *kept.mutable_create_request() = request;
  v1::Volume& answer = *kept.mutable_create_answer();
  answer = settings;
  if (answer.has_ttl()) *answer.mutable_expire_time() = ToProto(now + ttl);
  return kept;
}

// What the volume of an earlier server has with it. Defaults when that is not
// there or cannot be read.
state::v1::KeptVolume ReadKept(const engine::Volume& volume, absl::Time now) {
  state::v1::KeptVolume kept;
  const std::string uid = FormatUid(volume.uid());
  const bool ours =
      kept.ParseFromString(volume.attributes()) && kept.settings().uid() == uid;
  if (!ours) kept.Clear();
  const int64_t size_bytes = kept.settings().size_bytes();
  FillVolume(volume, kept.mutable_settings());
  if (ours) {
    // The engine has lost it with the content.
    if (volume.damaged()) kept.mutable_settings()->set_size_bytes(size_bytes);
    return kept;
  }
  *kept.mutable_settings()->mutable_create_time() = ToProto(now);
  Stamp(now, &kept);
  return kept;
}

}  // namespace

// One volume's part of the catalog. Thread-safe.
class Catalog::Entry {
 public:
  // The time to live, if there is one, begins.
  Entry(std::shared_ptr<engine::Volume> volume, state::v1::KeptVolume kept,
        int64_t now_ns)
      : volume_(std::move(volume)) {
    MutexLock lock(&mu_);
    kept_ = std::move(kept);
    StartLeaseLocked(now_ns);
  }

  std::string name() const {
    MutexLock lock(&mu_);
    return kept_.settings().name();
  }
  const std::shared_ptr<engine::Volume>& volume() const { return volume_; }
  // The request that created the volume, empty if it had no id, and its answer.
  v1::CreateVolumeRequest request() const {
    MutexLock lock(&mu_);
    return kept_.create_request();
  }
  v1::Volume first_answer() const {
    MutexLock lock(&mu_);
    return kept_.create_answer();
  }

  // With all that is shown.
  v1::Volume Describe(absl::Time now, int64_t now_ns) const {
    MutexLock lock(&mu_);
    return DescribeLocked(now, now_ns);
  }

  absl::StatusOr<v1::Volume> Update(const std::string& wanted_etag,
                                    const VolumeChange& change,
                                    const Catalog& catalog) {
    MutexLock change_lock(&change_mu_);
    absl::Status status = CheckEtag("volume", name(), wanted_etag, etag());
    if (!status.ok()) return status;
    state::v1::KeptVolume next = kept();
    v1::Volume& settings = *next.mutable_settings();
    if (change.set_labels) *settings.mutable_labels() = change.labels;
    if (change.ttl.has_value()) SetTtl(*change.ttl, &settings);
    if (!change.limit_fields.empty()) {
      status = ApplyLimits(change, settings.mutable_limits());
      if (!status.ok()) return status;
    }
    Stamp(catalog.clock_(), &next);
    engine::VolumeUpdate update = change.engine;
    if (update.size_bytes.has_value()) {
      settings.set_size_bytes(static_cast<int64_t>(*update.size_bytes));
    }
    update.attributes = next.SerializeAsString();
    status = volume_->Update(update);
    if (!status.ok()) return status;
    FillVolume(*volume_, &settings);
    catalog.Limit(*volume_, settings.limits());
    const int64_t now_ns = catalog.steady_();
    MutexLock lock(&mu_);
    kept_ = std::move(next);
    if (change.ttl.has_value()) StartLeaseLocked(now_ns);
    return DescribeLocked(catalog.clock_(), now_ns);
  }

  // Also moves this within `catalog`.
  absl::StatusOr<v1::Volume> Rename(const v1::RenameVolumeRequest& request,
                                    Catalog& catalog) {
    MutexLock change_lock(&change_mu_);
    // This may have waited for the first of two equal requests, or for another.
    if (auto repeated = AnswerIfRepeated(request)) return *repeated;
    if (name() != request.name()) return Catalog::NotFound(request.name());
    absl::Status status =
        CheckEtag("volume", request.name(), request.etag(), etag());
    if (!status.ok()) return status;
    MutexLock create_lock(&catalog.create_mu_);
    state::v1::KeptVolume next = Renamed(request, catalog);
    status = catalog.engine_->RenameVolume(volume_, request.new_name(),
                                           next.SerializeAsString());
    if (!status.ok()) return status;
    WriterMutexLock map_lock(&catalog.map_mu_);
    auto node = catalog.entries_.extract(request.name());
    node.key() = request.new_name();
    catalog.by_rename_id_.erase(rename_id());
    if (!request.request_id().empty()) {
      catalog.by_rename_id_.emplace(request.request_id(), node.mapped());
    }
    catalog.entries_.insert(std::move(node));
    MutexLock lock(&mu_);
    kept_ = std::move(next);
    return DescribeLocked(catalog.clock_(), catalog.steady_());
  }

  // The id of the request that renamed the volume last, or "".
  std::string rename_id() const {
    MutexLock lock(&mu_);
    return kept_.rename_request().request_id();
  }
  std::optional<v1::Volume> AnswerIfRepeated(
      const v1::RenameVolumeRequest& request) const {
    MutexLock lock(&mu_);
    const bool repeated = !request.request_id().empty() &&
                          SameRequest(request, kept_.rename_request());
    return repeated ? std::optional<v1::Volume>(kept_.rename_answer())
                    : std::nullopt;
  }

  absl::StatusOr<v1::Volume> Revert(
      const std::shared_ptr<engine::Volume>& snapshot,
      const v1::RevertVolumeRequest& request, const Catalog& catalog) {
    MutexLock change_lock(&change_mu_);
    absl::Status status = CheckEtag("volume", name(), request.etag(), etag());
    if (!status.ok()) return status;
    state::v1::KeptVolume next = kept();
    next.mutable_settings()->set_size_bytes(
        static_cast<int64_t>(snapshot->size_bytes()));
    Stamp(catalog.clock_(), &next);
    status = catalog.engine_->RevertVolume(volume_, snapshot, request.force(),
                                           next.SerializeAsString());
    if (!status.ok()) return status;
    MutexLock lock(&mu_);
    kept_ = std::move(next);
    return DescribeLocked(catalog.clock_(), catalog.steady_());
  }

  absl::Status Delete(engine::Engine& engine,
                      const v1::DeleteVolumeRequest& request) {
    MutexLock change_lock(&change_mu_);
    absl::Status status = CheckEtag("volume", name(), request.etag(), etag());
    if (status.ok()) status = engine.DeleteVolume(volume_, request.force());
    MutexLock lock(&mu_);
    if (status.ok()) lease_.End();
    return status;
  }

  // When to look at it again; nullopt without a time to live.
  std::optional<int64_t> NextLookNs(int64_t now_ns) const {
    MutexLock lock(&mu_);
    if (!lease_.granted()) return std::nullopt;
    return lease_.NextLookNs(now_ns);
  }

  // Deletes the volume, if its time to live is over.
  bool Expire(engine::Engine& engine, int64_t now_ns) {
    if (!IsOver(now_ns)) return false;
    MutexLock change_lock(&change_mu_);
    if (!IsOver(now_ns)) return false;  // It was extended.
    if (!engine.DeleteUnused(volume_, seen())) return false;
    MutexLock lock(&mu_);
    lease_.End();
    return true;
  }

 private:
  std::string etag() const {
    MutexLock lock(&mu_);
    return kept_.settings().etag();
  }
  state::v1::KeptVolume kept() const {
    MutexLock lock(&mu_);
    return kept_;
  }

  // What is kept after `request` to rename.
  state::v1::KeptVolume Renamed(const v1::RenameVolumeRequest& request,
                                const Catalog& catalog) const {
    MutexLock lock(&mu_);
    state::v1::KeptVolume next = kept_;
    const absl::Time now = catalog.clock_();
    next.mutable_settings()->set_name(request.new_name());
    Stamp(now, &next);
    next.clear_rename_request();
    next.clear_rename_answer();
    if (request.request_id().empty()) return next;
    *next.mutable_rename_request() = request;
    *next.mutable_rename_answer() =
        ShowLocked(next.settings(), now, catalog.steady_());
    return next;
  }

  bool IsOver(int64_t now_ns) {
    MutexLock lock(&mu_);
    lease_.Look(volume_->Use(), now_ns);
    return lease_.IsOver(now_ns);
  }
  engine::VolumeUse seen() const {
    MutexLock lock(&mu_);
    return lease_.seen();
  }

  // From now on, the time to live that the settings grant.
  void StartLeaseLocked(int64_t now_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    lease_.Start(FromProto(kept_.settings().ttl()), volume_->Use(), now_ns);
  }

  v1::Volume DescribeLocked(absl::Time now, int64_t now_ns) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return ShowLocked(kept_.settings(), now, now_ns);
  }
  // `settings` with the state, and the time that is left.
  v1::Volume ShowLocked(const v1::Volume& settings, absl::Time now,
                        int64_t now_ns) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    v1::Volume volume = settings;
    volume.set_state(StateOf(*volume_));
    if (!lease_.granted()) return volume;
    lease_.Look(volume_->Use(), now_ns);
    if (!lease_.seen().attached) {
      *volume.mutable_expire_time() = ToProto(now + lease_.Left(now_ns));
    }
    return volume;
  }

  const std::shared_ptr<engine::Volume> volume_;

  // Held during a whole change, including the engine's part, so that no other
  // change comes between the check of the etag and this one.
  Mutex change_mu_ ABSL_ACQUIRED_BEFORE(mu_);
  mutable Mutex mu_;
  // As the engine has it as attributes of the volume.
  state::v1::KeptVolume kept_ ABSL_GUARDED_BY(mu_);
  mutable Lease lease_ ABSL_GUARDED_BY(mu_);
};

Catalog::Catalog(engine::Engine* engine, Clock clock, ClockNs steady)
    : engine_(engine),
      clock_(std::move(clock)),
      steady_(std::move(steady)),
      snapshots_(engine, clock_) {
  constexpr size_t kAll = std::numeric_limits<size_t>::max();
  for (auto& [name, volume] : engine->List("", kAll)) {
    state::v1::KeptVolume kept = ReadKept(*volume, clock_());
    Enter(
        std::make_shared<Entry>(std::move(volume), std::move(kept), steady_()));
  }
}

Catalog::~Catalog() = default;

absl::Status Catalog::NotFound(const std::string& name) {
  const std::string shown = engine::ShownName(name);
  return WithMetadata(
      WithReason(absl::NotFoundError(absl::StrCat(
                     "there is no volume \"", shown,
                     "\"; ListVolumes shows those that there are")),
                 reason::kVolumeNotFound),
      "volume", shown);
}

absl::StatusOr<std::shared_ptr<Catalog::Entry>> Catalog::Find(
    const std::string& name) const {
  if (name.empty()) {
    return InvalidField("name", "name is empty; name a volume",
                        reason::kInvalidName);
  }
  if (NamesSnapshot(name)) {
    auto snapshot = snapshots_.Find(name);
    return snapshot.ok() ? CannotChange(name) : snapshot.status();
  }
  ReaderMutexLock lock(&map_mu_);
  const auto it = entries_.find(name);
  if (it == entries_.end()) return NotFound(name);
  return it->second;
}

std::unique_ptr<absl::StatusOr<v1::Volume>> Catalog::AnswerOld(
    const v1::CreateVolumeRequest& request) const {
  using Answer = absl::StatusOr<v1::Volume>;
  ReaderMutexLock lock(&map_mu_);
  const auto repeated = by_request_id_.find(request.request_id());
  if (repeated != by_request_id_.end()) {
    const Entry& entry = *repeated->second;
    v1::CreateVolumeRequest comparable = request;
    // A dry run of a repeated request gets the same answer.
    comparable.set_validate_only(false);
    if (SameRequest(comparable, entry.request())) {
      return std::make_unique<Answer>(entry.first_answer());
    }
    return std::make_unique<Answer>(
        Exists(entry.name(),
               absl::StrCat("request_id \"", request.request_id(),
                            "\" created volume \"", entry.name(),
                            "\" with other fields; give each request an id of "
                            "its own")));
  }
  if (entries_.find(request.name()) == entries_.end()) return nullptr;
  return std::make_unique<Answer>(
      Exists(request.name(),
             absl::StrCat("there is a volume \"", request.name(),
                          "\" already; take another name or delete it first")));
}

std::unique_ptr<absl::StatusOr<v1::Volume>> Catalog::AnswerOld(
    const v1::RenameVolumeRequest& request) const {
  using Answer = absl::StatusOr<v1::Volume>;
  ReaderMutexLock lock(&map_mu_);
  const auto repeated = by_rename_id_.find(request.request_id());
  if (repeated == by_rename_id_.end()) return nullptr;
  const Entry& entry = *repeated->second;
  if (auto answer = entry.AnswerIfRepeated(request)) {
    return std::make_unique<Answer>(*std::move(answer));
  }
  const std::string name = entry.name();
  return std::make_unique<Answer>(Exists(
      name, absl::StrCat("request_id \"", request.request_id(),
                         "\" gave volume \"", name,
                         "\" its name, with other fields; give each request an "
                         "id of its own")));
}

absl::StatusOr<v1::Volume> Catalog::Create(
    const v1::CreateVolumeRequest& request, std::string_view client) {
  auto options = ParseCreate(request);
  if (!options.ok()) return options.status();
  MutexLock lock(&create_mu_);
  const auto old = AnswerOld(request);
  if (old != nullptr) return *old;
  auto source = FindSource(request, &*options);
  if (!source.ok()) return source.status();
  if (request.validate_only()) {
    v1::Volume volume;
    FillVolume(*options, &volume);
    *volume.mutable_labels() = request.labels();
    if (request.has_ttl()) *volume.mutable_ttl() = request.ttl();
    if (request.has_limits()) *volume.mutable_limits() = request.limits();
    volume.set_source(request.source());
    return volume;
  }
  state::v1::KeptVolume kept;
  const auto attributes = [&](const engine::Volume& made) {
    kept = MakeKept(made, source->get(), request, clock_());
    return kept.SerializeAsString();
  };
  auto volume = *source == nullptr
                    ? engine_->CreateVolume(*options, attributes)
                    : engine_->CloneVolume(*options, *source, attributes);
  if (!volume.ok()) {
    return WithMetadata(volume.status(), "volume", request.name());
  }
  v1::Volume created = Enter(
      std::make_shared<Entry>(*std::move(volume), std::move(kept), steady_()));
  LogEvent(
      Event::kVolumeCreated,
      {.volume = created.name(),
       .client = client,
       .message = absl::StrCat(
           FormatExactSize(options->size_bytes), ", ",
           absl::StripPrefix(v1::Allocator_Name(created.allocator()),
                             "ALLOCATOR_"),
           request.source().empty() ? "" : ", a clone of ", request.source()),
       .uid = UidOf(created)});
  return created;
}

absl::StatusOr<std::shared_ptr<engine::Volume>> Catalog::CreateHidden(
    const v1::CreateVolumeRequest& request) {
  auto options = ParseCreate(request);
  if (!options.ok()) return options.status();
  if (const auto old = AnswerOld(request)) return old->status();
  options->read_only = false;
  auto volume = engine_->CreateHidden(*options);
  if (volume.ok()) return volume;
  return WithMetadata(volume.status(), "volume", request.name());
}

absl::StatusOr<v1::Volume> Catalog::Publish(
    const std::shared_ptr<engine::Volume>& volume,
    const v1::CreateVolumeRequest& request, std::string_view client) {
  engine::VolumeUpdate update;
  update.read_only = request.read_only();
  absl::Status status = volume->Update(update);
  MutexLock lock(&create_mu_);
  state::v1::KeptVolume kept;
  const auto attributes = [&](const engine::Volume& made) {
    kept = MakeKept(made, nullptr, request, clock_());
    return kept.SerializeAsString();
  };
  if (status.ok()) status = engine_->Publish(volume, attributes);
  if (!status.ok()) return WithMetadata(status, "volume", request.name());
  v1::Volume created =
      Enter(std::make_shared<Entry>(volume, std::move(kept), steady_()));
  LogEvent(Event::kVolumeCreated,
           {.volume = created.name(),
            .client = client,
            .message = absl::StrCat(FormatExactSize(volume->size_bytes()),
                                    ", restored from an image"),
            .uid = UidOf(created)});
  return created;
}

absl::StatusOr<std::shared_ptr<engine::Volume>> Catalog::FindSource(
    const v1::CreateVolumeRequest& request,
    engine::VolumeOptions* options) const {
  if (request.source().empty()) return nullptr;
  auto source = engine_->Find(request.source());
  absl::Status status = source.status();
  if (status.ok()) {
    status = InheritMissing(request, (*source)->options(), options);
  }
  if (!status.ok()) {
    return WithMetadata(std::move(status), "source", request.source());
  }
  return source;
}

v1::Volume Catalog::Enter(std::shared_ptr<Entry> entry) {
  v1::Volume created = entry->Describe(clock_(), steady_());
  Limit(*entry->volume(), created.limits());
  ScheduleLook(entry);
  WriterMutexLock lock(&map_mu_);
  const std::string id = entry->request().request_id();
  if (!id.empty()) by_request_id_.emplace(id, entry);
  const std::string rename_id = entry->rename_id();
  if (!rename_id.empty()) by_rename_id_.emplace(rename_id, entry);
  entries_.emplace(created.name(), std::move(entry));
  return created;
}

absl::StatusOr<v1::Volume> Catalog::Get(const std::string& name) const {
  if (NamesSnapshot(name)) return snapshots_.GetAsVolume(name);
  auto entry = Find(name);
  if (!entry.ok()) return entry.status();
  return (*entry)->Describe(clock_(), steady_());
}

absl::StatusOr<v1::Volume> Catalog::Update(
    const v1::UpdateVolumeRequest& request, std::string_view client) {
  auto change = ParseUpdate(request);
  if (!change.ok()) return change.status();
  auto entry = Find(request.name());
  if (!entry.ok()) return entry.status();
  auto changed = (*entry)->Update(request.etag(), *change, *this);
  if (!changed.ok()) {
    return WithMetadata(changed.status(), "volume", request.name());
  }
  if (change->ttl.has_value()) ScheduleLook(*entry);
  LogEvent(Event::kVolumeChanged,
           {.volume = request.name(),
            .client = client,
            .message = absl::StrJoin(request.update_mask().paths(), ", "),
            .uid = UidOf(*changed)});
  return changed;
}

absl::StatusOr<v1::Volume> Catalog::Rename(
    const v1::RenameVolumeRequest& request, std::string_view client) {
  absl::Status valid = CheckRename(request);
  if (!valid.ok()) return valid;
  const auto old = AnswerOld(request);
  if (old != nullptr) return *old;
  auto entry = Find(request.name());
  if (!entry.ok()) return entry.status();
  auto renamed = (*entry)->Rename(request, *this);
  if (!renamed.ok()) {
    const bool taken = absl::IsAlreadyExists(renamed.status());
    return WithMetadata(renamed.status(), "volume",
                        taken ? request.new_name() : request.name());
  }
  LogEvent(Event::kVolumeRenamed, {.volume = renamed->name(),
                                   .old_volume = request.name(),
                                   .client = client,
                                   .uid = UidOf(*renamed)});
  return renamed;
}

absl::StatusOr<v1::Volume> Catalog::Revert(
    const v1::RevertVolumeRequest& request, std::string_view client) {
  auto entry = Find(request.name());
  if (!entry.ok()) return entry.status();
  auto snapshot = snapshots_.Find(request.snapshot());
  if (!snapshot.ok()) return snapshot.status();
  auto reverted = (*entry)->Revert(*snapshot, request, *this);
  if (!reverted.ok()) {
    return WithMetadata(reverted.status(), "volume", request.name());
  }
  LogEvent(Event::kVolumeReverted,
           {.volume = request.name(),
            .client = client,
            .message = absl::StrCat("to ", (*snapshot)->name()),
            .uid = UidOf(*reverted)});
  return reverted;
}

absl::Status Catalog::Delete(const v1::DeleteVolumeRequest& request,
                             std::string_view client) {
  auto entry = Find(request.name());
  if (!entry.ok()) return entry.status();
  const engine::VolumeStats stats = (*entry)->volume()->Stats();
  absl::Status status = (*entry)->Delete(*engine_, request);
  if (!status.ok()) {
    return WithMetadata(std::move(status), "volume", request.name());
  }
  Erase(*entry);
  LogEvent(Event::kVolumeDeleted,
           {.volume = request.name(),
            .client = client,
            .message = absl::StrCat(
                "it held ", stats.logical_bytes,
                " bytes of data; attached clients: ", stats.attached_clients),
            .uid = (*entry)->volume()->uid()});
  return status;
}

void Catalog::Limit(engine::Volume& volume,
                    const v1::UsageLimits& limits) const {
  if (usage_timer_ == nullptr) return;
  volume.limiter()->SetLimits(ResolveLimits(limits, default_limits_),
                              usage_timer_);
}

void Catalog::SetUsage(const UsageLimits& defaults, UsageTimer* timer) {
  default_limits_ = defaults;
  usage_timer_ = timer;
  ReaderMutexLock lock(&map_mu_);
  for (const auto& [name, entry] : entries_) {
    Limit(*entry->volume(), entry->Describe(clock_(), steady_()).limits());
  }
}

void Catalog::Erase(const std::shared_ptr<Entry>& entry) {
  ScheduleLook(entry);  // None any more.
  // What waits for the volume learns that it is gone.
  if (usage_timer_ != nullptr) {
    entry->volume()->limiter()->SetLimits({}, usage_timer_);
  }
  WriterMutexLock lock(&map_mu_);
  const auto it = entries_.find(entry->name());
  if (it != entries_.end() && it->second == entry) entries_.erase(it);
  by_request_id_.erase(entry->request().request_id());
  by_rename_id_.erase(entry->rename_id());
}

void Catalog::ScheduleLook(const std::shared_ptr<Entry>& entry) {
  // Under the lock, so that the last one here goes by what holds now.
  MutexLock lock(&looks_mu_);
  if (const auto next = entry->NextLookNs(steady_())) {
    looks_.Set(entry, *next);
  } else {
    looks_.Remove(entry.get());
  }
}

void Catalog::ExpireDue() {
  for (;;) {
    std::shared_ptr<Entry> due;
    {
      MutexLock lock(&looks_mu_);
      due = looks_.PopDue(steady_());
    }
    if (due == nullptr) return;
    Look(due);
  }
}

void Catalog::Look(const std::shared_ptr<Entry>& entry) {
  if (!entry->Expire(*engine_, steady_())) return ScheduleLook(entry);
  const v1::Volume volume = entry->Describe(clock_(), steady_());
  Erase(entry);
  expired_.fetch_add(1, std::memory_order_relaxed);
  LogEvent(
      Event::kVolumeDeleted,
      {.volume = volume.name(),
       .reason = kTtlExpired,
       .message = absl::StrCat("it was not used for ",
                               absl::FormatDuration(FromProto(volume.ttl()))),
       .uid = UidOf(volume)});
}

size_t Catalog::with_ttl() const {
  MutexLock lock(&looks_mu_);
  return looks_.size();
}

std::pair<std::vector<v1::Volume>, bool> Catalog::List(std::string_view after,
                                                       size_t max) const {
  std::vector<v1::Volume> volumes;
  const absl::Time now = clock_();
  const int64_t now_ns = steady_();
  // While it is held no name changes, so a page ends with the name in the map.
  ReaderMutexLock lock(&map_mu_);
  auto it = entries_.upper_bound(after);
  for (; it != entries_.end() && volumes.size() < max; ++it) {
    volumes.push_back(it->second->Describe(now, now_ns));
  }
  return {std::move(volumes), it != entries_.end()};
}

absl::StatusOr<std::shared_ptr<engine::Volume>> Catalog::FindVolume(
    const std::string& name) const {
  if (NamesSnapshot(name)) return snapshots_.Find(name);
  auto entry = Find(name);
  if (!entry.ok()) return entry.status();
  return (*entry)->volume();
}

absl::StatusOr<std::vector<std::string>> Catalog::ListRelated(
    const std::string& name, size_t max) const {
  const auto settings = Get(name);
  if (!settings.ok()) return settings.status();
  const bool snapshot = NamesSnapshot(name);
  return snapshots_.NamesOf(snapshot ? settings->source_uid() : settings->uid(),
                            max, snapshot ? BareName(name) : "");
}

absl::StatusOr<engine::VolumeStats> Catalog::Stat(
    const std::string& name) const {
  auto volume = FindVolume(name);
  if (!volume.ok()) return volume.status();
  return (*volume)->Stats();
}

}  // namespace ramvol::service
