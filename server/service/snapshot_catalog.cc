#include "server/service/snapshot_catalog.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/event_log.h"
#include "base/reason.h"
#include "google/protobuf/util/message_differencer.h"
#include "proto/status.h"
#include "server/engine/types/options.h"
#include "server/service/etag.h"
#include "server/service/snapshot_fields.h"
#include "server/service/uid.h"
#include "server/service/volume_fields.h"

namespace ramvol::service {
namespace {

void FillStats(const engine::Volume& snapshot, v1::Snapshot* message) {
  const engine::VolumeStats stats = snapshot.Stats();
  v1::SnapshotStats& out = *message->mutable_stats();
  out.set_logical_bytes(static_cast<int64_t>(stats.logical_bytes));
  out.set_memory_bytes(static_cast<int64_t>(stats.memory_bytes));
  out.set_own_bytes(static_cast<int64_t>(stats.own_bytes));
  out.set_shared_bytes(static_cast<int64_t>(stats.shared_bytes));
}

// What the engine knows.
v1::Snapshot MakeSnapshot(const engine::Volume& snapshot, absl::Time now) {
  v1::Snapshot message;
  message.set_name(std::string(BareName(snapshot.name())));
  message.set_uid(FormatUid(snapshot.uid()));
  *message.mutable_create_time() = ToProto(now);
  message.set_size_bytes(static_cast<int64_t>(snapshot.size_bytes()));
  message.set_state(StateOf(snapshot));
  // It never changes.
  message.set_etag(absl::StrCat(message.uid(), "-1"));
  return message;
}

// What is kept with a snapshot that a part of `request` creates.
state::v1::KeptSnapshot MakeKept(const engine::Volume& snapshot,
                                 const engine::Volume& source,
                                 const v1::CreateSnapshotsRequest& request,
                                 int part, absl::Time now) {
  state::v1::KeptSnapshot kept;
  v1::Snapshot& message = *kept.mutable_snapshot();
  message = MakeSnapshot(snapshot, now);
  *message.mutable_labels() = request.snapshots(part).labels();
  message.set_source(source.name());
  message.set_source_uid(FormatUid(source.uid()));
  FillStats(snapshot, &message);
  if (request.request_id().empty()) return kept;
  kept.set_request_id(request.request_id());
  *kept.mutable_request() = request.snapshots(part);
  kept.set_part(part);
  kept.set_parts(request.snapshots_size());
  return kept;
}

// What the snapshot of an earlier server has with it. Defaults when that is not
// there or cannot be read.
state::v1::KeptSnapshot ReadKept(const engine::Volume& snapshot,
                                 absl::Time now) {
  state::v1::KeptSnapshot kept;
  const std::string name(BareName(snapshot.name()));
  if (!kept.ParseFromString(snapshot.attributes()) ||
      kept.snapshot().uid() != FormatUid(snapshot.uid()) ||
      kept.snapshot().name() != name) {
    kept.Clear();
    *kept.mutable_snapshot() = MakeSnapshot(snapshot, now);
  }
  return kept;
}

}  // namespace

// One snapshot's part of the catalog. Constant.
struct SnapshotCatalog::Entry {
  std::shared_ptr<engine::Volume> volume;
  v1::Snapshot snapshot;  // Without stats.
  // Shared by the snapshots of one request; nullptr if it had no id.
  std::shared_ptr<const Remembered> remembered;
};

struct SnapshotCatalog::Remembered {
  v1::CreateSnapshotsRequest request;
  std::vector<v1::Snapshot> answer;
};

// The request with this id and its answer, if all of its parts are there.
std::shared_ptr<const SnapshotCatalog::Remembered> SnapshotCatalog::Remember(
    const std::string& id, std::vector<const state::v1::KeptSnapshot*> parts) {
  if (id.empty()) return nullptr;
  std::sort(parts.begin(), parts.end(),
            [](auto* a, auto* b) { return a->part() < b->part(); });
  auto remembered = std::make_shared<Remembered>();
  remembered->request.set_request_id(id);
  for (const state::v1::KeptSnapshot* one : parts) {
    if (one->part() != remembered->request.snapshots_size()) return nullptr;
    *remembered->request.add_snapshots() = one->request();
    remembered->answer.push_back(one->snapshot());
  }
  if (remembered->request.snapshots_size() != parts.back()->parts()) {
    return nullptr;
  }
  return remembered;
}

SnapshotCatalog::SnapshotCatalog(engine::Engine* engine, Clock clock)
    : engine_(engine), clock_(std::move(clock)) {
  constexpr size_t kAll = std::numeric_limits<size_t>::max();
  std::vector<std::shared_ptr<engine::Volume>> found;
  std::vector<state::v1::KeptSnapshot> kept;
  // By ids of requests, what they created.
  absl::flat_hash_map<std::string, std::vector<size_t>> by_request;
  for (auto& [name, volume] : engine->List("@", kAll)) {
    kept.push_back(ReadKept(*volume, clock_()));
    by_request[kept.back().request_id()].push_back(found.size());
    found.push_back(std::move(volume));
  }
  for (const auto& [id, created] : by_request) {
    std::vector<std::shared_ptr<Entry>> entries;
    std::vector<const state::v1::KeptSnapshot*> parts;
    for (const size_t i : created) {
      entries.push_back(MakeEntry(found[i], kept[i].snapshot()));
      parts.push_back(&kept[i]);
    }
    Enter(std::move(entries), Remember(id, std::move(parts)));
  }
}

SnapshotCatalog::~SnapshotCatalog() = default;

absl::Status SnapshotCatalog::NotFound(std::string_view name) {
  const std::string bare = engine::ShownName(BareName(name));
  return WithMetadata(
      WithReason(absl::NotFoundError(absl::StrCat(
                     "there is no snapshot \"", bare,
                     "\"; ListSnapshots shows those that there are")),
                 reason::kSnapshotNotFound),
      "snapshot", bare);
}

absl::StatusOr<std::shared_ptr<const SnapshotCatalog::Entry>>
SnapshotCatalog::FindEntry(const std::string& name) const {
  const std::string_view bare = BareName(name);
  if (bare.empty()) {
    return InvalidField("name", "name is empty; name a snapshot",
                        reason::kInvalidName);
  }
  ReaderMutexLock lock(&map_mu_);
  const auto it = entries_.find(bare);
  if (it == entries_.end()) return NotFound(bare);
  return it->second;
}

std::unique_ptr<SnapshotCatalog::Answer> SnapshotCatalog::AnswerOld(
    const v1::CreateSnapshotsRequest& request) const {
  ReaderMutexLock lock(&map_mu_);
  const auto found = by_request_id_.find(request.request_id());
  if (found == by_request_id_.end()) return nullptr;
  const auto old = found->second.lock();
  if (old == nullptr) return nullptr;
  if (google::protobuf::util::MessageDifferencer::Equals(request,
                                                         old->request)) {
    return std::make_unique<Answer>(old->answer);
  }
  const std::string& name = old->answer[0].name();
  return std::make_unique<Answer>(WithMetadata(
      WithReason(
          absl::AlreadyExistsError(absl::StrCat(
              "request_id \"", request.request_id(), "\" created snapshot \"",
              name,
              "\" with other fields; give each request an id of its own")),
          reason::kSnapshotExists),
      "snapshot", name));
}

bool SnapshotCatalog::Taken(const std::string& name) const {
  ReaderMutexLock lock(&map_mu_);
  return entries_.contains(name);
}

// Finds the volumes, and chooses names where none is given.
absl::StatusOr<std::vector<engine::Engine::SnapshotRequest>>
SnapshotCatalog::Prepare(const v1::CreateSnapshotsRequest& request,
                         absl::Time now) const {
  std::vector<engine::Engine::SnapshotRequest> wanted;
  for (const v1::CreateSnapshotRequest& one : request.snapshots()) {
    auto volume = engine_->Find(one.volume());
    if (!volume.ok()) {
      return WithMetadata(volume.status(), "volume", one.volume());
    }
    std::string name(BareName(one.name()));
    for (int count = 1; name.empty(); ++count) {
      const std::string candidate = ChooseName(one.volume(), now, count);
      if (!Taken(candidate)) name = candidate;
    }
    wanted.push_back({*std::move(volume), std::move(name)});
  }
  return wanted;
}

absl::StatusOr<std::vector<v1::Snapshot>> SnapshotCatalog::Create(
    const v1::CreateSnapshotsRequest& request, std::string_view client) {
  absl::Status valid = CheckCreateSnapshots(request);
  if (!valid.ok()) return valid;
  MutexLock lock(&create_mu_);
  if (const auto old = AnswerOld(request)) return *old;
  const absl::Time now = clock_();
  auto wanted = Prepare(request, now);
  if (!wanted.ok()) return wanted.status();
  std::vector<state::v1::KeptSnapshot> kept;
  for (size_t i = 0; i < wanted->size(); ++i) {
    engine::Engine::SnapshotRequest& one = (*wanted)[i];
    one.attributes = [&, i](const engine::Volume& snapshot) {
      kept.push_back(
          MakeKept(snapshot, *one.volume, request, static_cast<int>(i), now));
      return kept.back().SerializeAsString();
    };
  }
  const auto made = engine_->CreateSnapshots(*wanted);
  if (!made.ok()) return made.status();
  std::vector<std::shared_ptr<Entry>> entries;
  std::vector<v1::Snapshot> answer;
  for (size_t i = 0; i < made->size(); ++i) {
    const std::shared_ptr<engine::Volume>& snapshot = (*made)[i];
    answer.push_back(kept[i].snapshot());
    entries.push_back(MakeEntry(snapshot, answer.back()));
    LogEvent(Event::kSnapshotCreated,
             {.volume = snapshot->name(),
              .client = client,
              .message = absl::StrCat("of \"", answer.back().source(), "\""),
              .uid = snapshot->uid()});
  }
  std::shared_ptr<const Remembered> remembered;
  if (!request.request_id().empty()) {
    remembered = std::make_shared<Remembered>(Remembered{request, answer});
  }
  Enter(std::move(entries), remembered);
  return answer;
}

std::shared_ptr<SnapshotCatalog::Entry> SnapshotCatalog::MakeEntry(
    std::shared_ptr<engine::Volume> volume, v1::Snapshot snapshot) {
  snapshot.clear_stats();
  snapshot.set_state(StateOf(*volume));
  auto entry = std::make_shared<Entry>();
  entry->volume = std::move(volume);
  entry->snapshot = std::move(snapshot);
  return entry;
}

void SnapshotCatalog::Enter(
    std::vector<std::shared_ptr<Entry>> entries,
    const std::shared_ptr<const Remembered>& remembered) {
  WriterMutexLock lock(&map_mu_);
  if (remembered != nullptr) {
    by_request_id_[remembered->request.request_id()] = remembered;
  }
  for (std::shared_ptr<Entry>& entry : entries) {
    entry->remembered = remembered;
    std::string name = entry->snapshot.name();
    entries_[std::move(name)] = std::move(entry);
  }
}

absl::StatusOr<v1::Snapshot> SnapshotCatalog::Get(
    const std::string& name) const {
  const auto entry = FindEntry(name);
  if (!entry.ok()) return entry.status();
  v1::Snapshot snapshot = (*entry)->snapshot;
  snapshot.set_state(StateOf(*(*entry)->volume));
  FillStats(*(*entry)->volume, &snapshot);
  return snapshot;
}

absl::StatusOr<v1::Volume> SnapshotCatalog::GetAsVolume(
    const std::string& name) const {
  const auto entry = FindEntry(name);
  if (!entry.ok()) return entry.status();
  const v1::Snapshot& snapshot = (*entry)->snapshot;
  v1::Volume volume;
  FillVolume(*(*entry)->volume, &volume);
  volume.set_size_bytes(snapshot.size_bytes());
  *volume.mutable_labels() = snapshot.labels();
  volume.set_etag(snapshot.etag());
  *volume.mutable_create_time() = snapshot.create_time();
  *volume.mutable_update_time() = snapshot.create_time();
  volume.set_source(snapshot.source());
  volume.set_source_uid(snapshot.source_uid());
  return volume;
}

absl::Status SnapshotCatalog::Delete(const v1::DeleteSnapshotRequest& request,
                                     std::string_view client) {
  const auto entry = FindEntry(request.name());
  if (!entry.ok()) return entry.status();
  const v1::Snapshot& snapshot = (*entry)->snapshot;
  absl::Status status =
      CheckEtag("snapshot", snapshot.name(), request.etag(), snapshot.etag());
  if (!status.ok()) return status;
  const uint64_t own_bytes = (*entry)->volume->OwnBytes();
  status = engine_->DeleteVolume((*entry)->volume, request.force());
  if (!status.ok()) {
    return WithMetadata(std::move(status), "snapshot", snapshot.name());
  }
  Erase(*entry);
  LogEvent(
      Event::kSnapshotDeleted,
      {.volume = (*entry)->volume->name(),
       .client = client,
       .message = absl::StrCat("it alone held ", own_bytes, " bytes of memory"),
       .uid = (*entry)->volume->uid()});
  return status;
}

void SnapshotCatalog::Erase(const std::shared_ptr<const Entry>& entry) {
  WriterMutexLock lock(&map_mu_);
  const auto it = entries_.find(entry->snapshot.name());
  // Another one may have taken the name meanwhile.
  if (it != entries_.end() && it->second == entry) entries_.erase(it);
  if (entry->remembered == nullptr) return;
  const Remembered& remembered = *entry->remembered;
  const bool needed = std::any_of(
      remembered.answer.begin(), remembered.answer.end(),
      [&](const v1::Snapshot& snapshot) ABSL_NO_THREAD_SAFETY_ANALYSIS {
        const auto other = entries_.find(snapshot.name());
        return other != entries_.end() &&
               other->second->remembered == entry->remembered;
      });
  if (!needed) by_request_id_.erase(remembered.request.request_id());
}

std::pair<std::vector<v1::Snapshot>, bool> SnapshotCatalog::List(
    const std::string& source, std::string_view after, size_t max) const {
  std::vector<v1::Snapshot> found;
  ReaderMutexLock lock(&map_mu_);
  for (auto it = entries_.upper_bound(after); it != entries_.end(); ++it) {
    const v1::Snapshot& snapshot = it->second->snapshot;
    if (!source.empty() && snapshot.source() != source) continue;
    if (found.size() == max) return {std::move(found), true};
    found.push_back(snapshot);
    found.back().set_state(StateOf(*it->second->volume));
  }
  return {std::move(found), false};
}

std::vector<std::string> SnapshotCatalog::NamesOf(const std::string& source_uid,
                                                  size_t max,
                                                  std::string_view but) const {
  std::vector<std::string> names;
  ReaderMutexLock lock(&map_mu_);
  for (const auto& [name, entry] : entries_) {
    if (names.size() == max) break;
    if (name != but && entry->snapshot.source_uid() == source_uid) {
      names.push_back(name);
    }
  }
  return names;
}

absl::StatusOr<std::shared_ptr<engine::Volume>> SnapshotCatalog::Find(
    const std::string& name) const {
  const auto entry = FindEntry(name);
  if (!entry.ok()) return entry.status();
  return (*entry)->volume;
}

}  // namespace ramvol::service
