#include "server/service/snapshot_catalog.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/event_log.h"
#include "base/reason.h"
#include "google/protobuf/util/message_differencer.h"
#include "proto/status.h"
#include "server/service/etag.h"
#include "server/service/snapshot_fields.h"
#include "server/service/uid.h"
#include "server/service/volume_fields.h"

namespace ramvol::service {
namespace {

absl::Status NotFound(const std::string& name) {
  return WithMetadata(
      WithReason(absl::NotFoundError(absl::StrCat(
                     "there is no snapshot \"", name,
                     "\"; ListSnapshots shows those that there are")),
                 reason::kSnapshotNotFound),
      "snapshot", name);
}

void FillStats(const engine::Volume& snapshot, v1::Snapshot* message) {
  const engine::VolumeStats stats = snapshot.Stats();
  v1::SnapshotStats& out = *message->mutable_stats();
  out.set_logical_bytes(static_cast<int64_t>(stats.logical_bytes));
  out.set_memory_bytes(static_cast<int64_t>(stats.memory_bytes));
  out.set_own_bytes(static_cast<int64_t>(stats.own_bytes));
  out.set_shared_bytes(static_cast<int64_t>(stats.shared_bytes));
}

v1::Snapshot Describe(const engine::Volume& snapshot,
                      const engine::Volume& source,
                      const v1::CreateSnapshotRequest& request,
                      absl::Time now) {
  v1::Snapshot message;
  message.set_name(std::string(BareName(snapshot.name())));
  message.set_uid(FormatUid(snapshot.uid()));
  *message.mutable_labels() = request.labels();
  message.set_source(source.name());
  message.set_source_uid(FormatUid(source.uid()));
  *message.mutable_create_time() = ToProto(now);
  message.set_size_bytes(static_cast<int64_t>(snapshot.size_bytes()));
  // It never changes.
  message.set_etag(absl::StrCat(message.uid(), "-1"));
  return message;
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

SnapshotCatalog::SnapshotCatalog(engine::Engine* engine, Clock clock)
    : engine_(engine), clock_(std::move(clock)) {}

SnapshotCatalog::~SnapshotCatalog() = default;

absl::StatusOr<std::shared_ptr<const SnapshotCatalog::Entry>>
SnapshotCatalog::FindEntry(const std::string& name) const {
  const std::string_view bare = BareName(name);
  if (bare.empty()) {
    return InvalidField("name", "name is empty; name a snapshot",
                        reason::kInvalidName);
  }
  ReaderMutexLock lock(&map_mu_);
  const auto it = entries_.find(bare);
  if (it == entries_.end()) return NotFound(std::string(bare));
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
  const auto wanted = Prepare(request, now);
  if (!wanted.ok()) return wanted.status();
  const auto made = engine_->CreateSnapshots(*wanted);
  if (!made.ok()) return made.status();
  std::vector<std::shared_ptr<Entry>> entries;
  std::vector<v1::Snapshot> answer;
  for (size_t i = 0; i < made->size(); ++i) {
    const std::shared_ptr<engine::Volume>& snapshot = (*made)[i];
    auto entry = std::make_shared<Entry>();
    entry->volume = snapshot;
    entry->snapshot = Describe(*snapshot, *(*wanted)[i].volume,
                               request.snapshots(static_cast<int>(i)), now);
    answer.push_back(entry->snapshot);
    FillStats(*snapshot, &answer.back());
    LogEvent(Event::kSnapshotCreated,
             {.volume = snapshot->name(),
              .client = client,
              .message = absl::StrCat("of \"", entry->snapshot.source(), "\""),
              .uid = snapshot->uid()});
    entries.push_back(std::move(entry));
  }
  Enter(request, std::move(entries), answer);
  return answer;
}

void SnapshotCatalog::Enter(const v1::CreateSnapshotsRequest& request,
                            std::vector<std::shared_ptr<Entry>> entries,
                            const std::vector<v1::Snapshot>& answer) {
  std::shared_ptr<const Remembered> remembered;
  if (!request.request_id().empty()) {
    remembered = std::make_shared<Remembered>(Remembered{request, answer});
  }
  WriterMutexLock lock(&map_mu_);
  if (remembered != nullptr) by_request_id_[request.request_id()] = remembered;
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
  FillStats(*(*entry)->volume, &snapshot);
  return snapshot;
}

absl::StatusOr<v1::Volume> SnapshotCatalog::GetAsVolume(
    const std::string& name) const {
  const auto entry = FindEntry(name);
  if (!entry.ok()) return entry.status();
  const v1::Snapshot& snapshot = (*entry)->snapshot;
  v1::Volume volume;
  FillVolume((*entry)->volume->options(), &volume);
  *volume.mutable_labels() = snapshot.labels();
  volume.set_etag(snapshot.etag());
  *volume.mutable_create_time() = snapshot.create_time();
  *volume.mutable_update_time() = snapshot.create_time();
  volume.set_uid(snapshot.uid());
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
  const engine::VolumeStats stats = (*entry)->volume->Stats();
  status = engine_->DeleteVolume((*entry)->volume, request.force());
  if (!status.ok()) {
    return WithMetadata(std::move(status), "snapshot", snapshot.name());
  }
  Erase(*entry);
  LogEvent(Event::kSnapshotDeleted,
           {.volume = (*entry)->volume->name(),
            .client = client,
            .message = absl::StrCat("it alone held ", stats.own_bytes,
                                    " bytes of memory"),
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
