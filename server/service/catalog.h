// What users set on their volumes beyond what the engine needs: labels, etags,
// times, request ids.
#ifndef RAMVOL_SERVER_SERVICE_CATALOG_H_
#define RAMVOL_SERVER_SERVICE_CATALOG_H_

#include <atomic>
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
#include "base/clock.h"
#include "base/mutex.h"
#include "base/usage_limits.h"
#include "base/usage_timer.h"
#include "ramvol/v1/volume_service.pb.h"
#include "server/engine/engine.h"
#include "server/service/schedule.h"
#include "server/service/snapshot_catalog.h"

namespace ramvol::service {

// Creates, changes and deletes volumes in the engine, and keeps these settings.
// All such calls go through one Catalog. The data path uses the engine
// directly, and so calls must not keep volumes that they find here: one that is
// referred to does not expire. The engine keeps the settings, as attributes of
// its volumes, for the next server. Where a call reads, "@" and a snapshot's
// name will do, too.
//
// Thread-safe. Errors are as volume_service.proto documents.
class Catalog {
 public:
  using Clock = std::function<absl::Time()>;
  using ClockNs = std::function<int64_t()>;

  // Borrows `engine`, which must outlive the catalog, and takes over what is in
  // it. Times to live are measured by `steady`; they begin anew.
  explicit Catalog(engine::Engine* engine, Clock clock = absl::Now,
                   ClockNs steady = &SteadyNowNs);
  ~Catalog();

  Catalog(const Catalog&) = delete;
  Catalog& operator=(const Catalog&) = delete;

  // Holds all volumes to their limits, with `defaults` where they have none.
  // Borrows `timer`, which must outlive the volumes' clients. Call it before
  // there are any; without it nothing is limited.
  void SetUsage(const UsageLimits& defaults, UsageTimer* timer);

  // The log names `client`, the address of whoever asks for a change; "" means
  // the server itself.
  absl::StatusOr<v1::Volume> Create(const v1::CreateVolumeRequest& request,
                                    std::string_view client = "");
  // A volume that nobody finds before Publish, and that can be written to. The
  // request has no source. The caller deletes it in the engine if it is not
  // published.
  absl::StatusOr<std::shared_ptr<engine::Volume>> CreateHidden(
      const v1::CreateVolumeRequest& request);
  // Enters it, with all that the same request says, but for the size, which may
  // have changed. ALREADY_EXISTS when the name was taken meanwhile.
  absl::StatusOr<v1::Volume> Publish(
      const std::shared_ptr<engine::Volume>& volume,
      const v1::CreateVolumeRequest& request, std::string_view client);
  absl::StatusOr<v1::Volume> Get(const std::string& name) const;
  absl::StatusOr<v1::Volume> Update(const v1::UpdateVolumeRequest& request,
                                    std::string_view client = "");
  absl::StatusOr<v1::Volume> Rename(const v1::RenameVolumeRequest& request,
                                    std::string_view client = "");
  absl::StatusOr<v1::Volume> Revert(const v1::RevertVolumeRequest& request,
                                    std::string_view client = "");
  absl::Status Delete(const v1::DeleteVolumeRequest& request,
                      std::string_view client = "");
  // Up to `max` volumes with names greater than `after`, and whether more
  // follow.
  std::pair<std::vector<v1::Volume>, bool> List(std::string_view after,
                                                size_t max) const;
  // Up to `max` snapshots of the volume of this name; of "@" and a snapshot's,
  // the other ones of its source. In order, without "@".
  absl::StatusOr<std::vector<std::string>> ListRelated(const std::string& name,
                                                       size_t max) const;
  SnapshotCatalog& snapshots() { return snapshots_; }
  // The engine's volume of this name.
  absl::StatusOr<std::shared_ptr<engine::Volume>> FindVolume(
      const std::string& name) const;
  absl::StatusOr<engine::VolumeStats> Stat(const std::string& name) const;
  // The error of those above.
  static absl::Status NotFound(const std::string& name);

  // Deletes the volumes whose time to live is over. Call it every second. The
  // cost follows the number of volumes that have one, and how short it is.
  void ExpireDue();
  // How many volumes have a time to live, and how many it ended.
  size_t with_ttl() const;
  uint64_t expired() const { return expired_.load(std::memory_order_relaxed); }

 private:
  class Entry;

  absl::StatusOr<std::shared_ptr<Entry>> Find(const std::string& name) const;
  // The answer to a request that creates nothing: a repeated one, or one that
  // cannot succeed. nullptr for any other.
  std::unique_ptr<absl::StatusOr<v1::Volume>> AnswerOld(
      const v1::CreateVolumeRequest& request) const;
  // The same for a repeated request to rename.
  std::unique_ptr<absl::StatusOr<v1::Volume>> AnswerOld(
      const v1::RenameVolumeRequest& request) const;
  // The source of a clone, from which it completes `options`; nullptr when the
  // request has none.
  absl::StatusOr<std::shared_ptr<engine::Volume>> FindSource(
      const v1::CreateVolumeRequest& request,
      engine::VolumeOptions* options) const;
  v1::Volume Enter(std::shared_ptr<Entry> entry);
  // Removes the entry, if it is still there.
  void Erase(const std::shared_ptr<Entry>& entry);
  // Holds it to `limits`.
  void Limit(engine::Volume& volume, const v1::UsageLimits& limits) const;
  // Plans the next look at whether it was used.
  void ScheduleLook(const std::shared_ptr<Entry>& entry);
  // Deletes it, if its time to live is over.
  void Look(const std::shared_ptr<Entry>& entry);

  engine::Engine* const engine_;
  const Clock clock_;
  const ClockNs steady_;
  std::atomic<uint64_t> expired_{0};
  UsageLimits default_limits_;
  UsageTimer* usage_timer_ = nullptr;
  SnapshotCatalog snapshots_;

  // Held during a creation or a renaming: a repeated request waits for the
  // first one's outcome, and the engine and `entries_` take names in one order.
  Mutex create_mu_ ABSL_ACQUIRED_BEFORE(map_mu_);
  // Held for lookups and insertions only.
  mutable SharedMutex map_mu_;
  std::map<std::string, std::shared_ptr<Entry>, std::less<>> entries_
      ABSL_GUARDED_BY(map_mu_);
  absl::flat_hash_map<std::string, std::shared_ptr<Entry>> by_request_id_
      ABSL_GUARDED_BY(map_mu_);
  // By the id of the request that renamed the volume last.
  absl::flat_hash_map<std::string, std::shared_ptr<Entry>> by_rename_id_
      ABSL_GUARDED_BY(map_mu_);

  mutable Mutex looks_mu_ ABSL_ACQUIRED_AFTER(map_mu_);
  // When to look at volumes with a time to live.
  Schedule<Entry> looks_ ABSL_GUARDED_BY(looks_mu_);
};

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_CATALOG_H_
