// What users set on their snapshots beyond what the engine needs: labels,
// sources, times, request ids.
#ifndef RAMVOL_SERVER_SERVICE_SNAPSHOT_CATALOG_H_
#define RAMVOL_SERVER_SERVICE_SNAPSHOT_CATALOG_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "ramvol/state/v1/state.pb.h"
#include "ramvol/v1/volume_service.pb.h"
#include "server/engine/engine.h"

namespace ramvol::service {

// Creates and deletes snapshots in the engine. All such calls go through one
// SnapshotCatalog. Names that it takes may begin with "@". The engine keeps it
// all, as attributes of its snapshots, for the next server.
//
// Thread-safe. Errors are as volume_service.proto documents.
class SnapshotCatalog {
 public:
  using Clock = std::function<absl::Time()>;

  // Borrows `engine`, which must outlive the catalog, and takes over the
  // snapshots that are in it.
  SnapshotCatalog(engine::Engine* engine, Clock clock);
  ~SnapshotCatalog();

  SnapshotCatalog(const SnapshotCatalog&) = delete;
  SnapshotCatalog& operator=(const SnapshotCatalog&) = delete;

  // Answers with one snapshot for each that was asked for, in order. The log
  // names `client`, the address of whoever asks.
  absl::StatusOr<std::vector<v1::Snapshot>> Create(
      const v1::CreateSnapshotsRequest& request, std::string_view client);
  absl::StatusOr<v1::Snapshot> Get(const std::string& name) const;
  // The error of Get. "@" may come first.
  static absl::Status NotFound(std::string_view name);
  // In the form of a read-only volume, for those who read either.
  absl::StatusOr<v1::Volume> GetAsVolume(const std::string& name) const;
  absl::Status Delete(const v1::DeleteSnapshotRequest& request,
                      std::string_view client);
  // Up to `max` snapshots with names greater than `after`, and whether more
  // follow; without stats. Only those of volumes called `source`, unless it is
  // empty.
  std::pair<std::vector<v1::Snapshot>, bool> List(const std::string& source,
                                                  std::string_view after,
                                                  size_t max) const;
  // The names of up to `max` snapshots of the volume with this uid, in order
  // and without `but`.
  std::vector<std::string> NamesOf(const std::string& source_uid, size_t max,
                                   std::string_view but) const;
  // The engine's part.
  absl::StatusOr<std::shared_ptr<engine::Volume>> Find(
      const std::string& name) const;

 private:
  struct Entry;
  // A request with an id that created snapshots, and its answer.
  struct Remembered;
  using Answer = absl::StatusOr<std::vector<v1::Snapshot>>;

  absl::StatusOr<std::shared_ptr<const Entry>> FindEntry(
      const std::string& name) const;
  // The answer to a repeated request. nullptr for any other.
  std::unique_ptr<Answer> AnswerOld(
      const v1::CreateSnapshotsRequest& request) const;
  absl::StatusOr<std::vector<engine::Engine::SnapshotRequest>> Prepare(
      const v1::CreateSnapshotsRequest& request, absl::Time now) const;
  bool Taken(const std::string& name) const;
  static std::shared_ptr<Entry> MakeEntry(
      std::shared_ptr<engine::Volume> volume, v1::Snapshot snapshot);
  static std::shared_ptr<const Remembered> Remember(
      const std::string& id, std::vector<const state::v1::KeptSnapshot*> parts);
  // Enters what one request created, or several without an id.
  void Enter(std::vector<std::shared_ptr<Entry>> entries,
             const std::shared_ptr<const Remembered>& remembered);
  void Erase(const std::shared_ptr<const Entry>& entry);

  engine::Engine* const engine_;
  const Clock clock_;

  // Held during a creation: a repeated request waits for the first one's
  // outcome.
  Mutex create_mu_ ABSL_ACQUIRED_BEFORE(map_mu_);
  // Held for lookups and insertions only.
  mutable SharedMutex map_mu_;
  std::map<std::string, std::shared_ptr<const Entry>, std::less<>> entries_
      ABSL_GUARDED_BY(map_mu_);
  absl::flat_hash_map<std::string, std::weak_ptr<const Remembered>>
      by_request_id_ ABSL_GUARDED_BY(map_mu_);
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_SNAPSHOT_CATALOG_H_
