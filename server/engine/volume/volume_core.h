// A volume, composed of its parts. Private to the engine; users see volume.h.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_VOLUME_CORE_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_VOLUME_CORE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "server/engine/background/engine_parts.h"
#include "server/engine/background/leaf_work.h"
#include "server/engine/background/reclaimer.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/content.h"
#include "server/engine/content/layer.h"
#include "server/engine/content/packing_policy.h"
#include "server/engine/content/record_list.h"
#include "server/engine/content/recovery.h"
#include "server/engine/content/refusal.h"
#include "server/engine/counters/volume_counters.h"
#include "server/engine/types/encoded_chunk.h"
#include "server/engine/types/options.h"
#include "server/engine/types/outside_source.h"
#include "server/engine/types/stats.h"
#include "server/engine/types/volume_types.h"
#include "server/engine/volume/chunk_loader.h"
#include "server/engine/volume/encoded_reader.h"
#include "server/engine/volume/encoded_writer.h"
#include "server/engine/volume/holders.h"
#include "server/engine/volume/piece_writer.h"
#include "server/engine/volume/reader.h"
#include "server/engine/volume/refusal_text.h"
#include "server/engine/volume/trimmer.h"
#include "server/engine/volume/volume_name.h"
#include "server/engine/volume/writer.h"

namespace ramvol::engine {

// volume.h documents the calls. A data call is checked here, carried out by one
// of the parts, counted, and turned into a status. Apart from its parts, a
// volume has a name, options and attached clients. A snapshot is the same, and
// never changes; its name begins with "@".
//
// Thread-safe. Borrows what `engine` refers to, which must outlive this.
class VolumeCore final : public ChunkOwner {
 public:
  // About the memory that a volume takes outside of the arena; also counted.
  static constexpr uint64_t kFixedBytes = 8192;

  // `options` must validate. Call Reserve next; Recover or Seal for a record
  // that was found, which has the size that counts.
  VolumeCore(const EngineParts& engine, const VolumeOptions& options,
             uint64_t uid, std::unique_ptr<HeldRecord> record);
  // Frees the content, unless its record is in a list.
  ~VolumeCore() override;

  // Reserves kFixedBytes and what a kMalloc volume promises. RESOURCE_EXHAUSTED
  // when that does not fit; destroy the volume then.
  absl::Status Reserve();
  // Takes over the content of the record, of which `recovery` has claimed all.
  void Recover(Recovery& recovery);
  // Cuts off what a shrink left whose process did not live to do it. Changes
  // what is shared, so all volumes have to be recovered before.
  void EndShrink();
  // For a damaged record: all requests are refused. It can be deleted, which
  // frees what can be followed: `tree`.
  void Seal(Recovery& recovery, const Tree& tree);
  // For one that is lost and has no content, before others see it. Likewise,
  // but it is in no record list.
  void Condemn();
  bool damaged() const { return damaged_; }
  Completeness completeness() const {
    const auto value = completeness_.load(std::memory_order_relaxed);
    const bool over = value == Completeness::kRestoring && !loader_.active();
    return over ? Completeness::kComplete : value;
  }
  void set_completeness(Completeness value) {
    completeness_.store(value, std::memory_order_relaxed);
  }

  // Writes its description, with `attributes`, into its record, which is not in
  // the list yet. RESOURCE_EXHAUSTED at the memory limit.
  absl::Status Describe(std::string attributes);
  // The same for one that is in the list. Never fails.
  void SetAttributes(std::string attributes);
  // Engine::RenameVolume, which holds the registry.
  void Rename(std::string name, std::optional<std::string> attributes);
  HeldRecord& record() { return *record_; }
  std::string attributes() const { return attributes_.Get(); }
  void set_attributes(std::string attributes) {
    attributes_.Set(std::move(attributes));
  }

  absl::Status Read(uint64_t offset, absl::Span<char> out, BufferOf whose);
  absl::Status Write(uint64_t offset, absl::Span<const char> data,
                     BufferOf whose);
  absl::Status Trim(uint64_t offset, uint64_t length);
  absl::Status WriteZeroes(uint64_t offset, uint64_t length, bool no_hole);
  absl::Status Flush();
  absl::StatusOr<Extents> GetExtents(uint64_t offset, uint64_t length,
                                     size_t max_extents);
  absl::Status ReadEncoded(uint64_t chunk, EncodedForm form, EncodedChunk* out);
  absl::Status WriteEncoded(absl::Span<EncodedChunk> chunks);
  std::optional<uint64_t> ListStored(uint64_t first, uint64_t last, size_t most,
                                     std::vector<StoredChunk>* found) const {
    return encoded_reader_.List(first, last, most, found);
  }
  absl::Status Update(const VolumeUpdate& update);

  absl::Status AddOutside(uint32_t image,
                          absl::Span<const OutsideChunk> chunks);
  ChunkLoader& loader() { return loader_; }

  // Snapshots, at one instant, of all of `sources`: the content of each becomes
  // that of the snapshot at the same place, which has none yet. All or nothing.
  // Without `is_use`, Use() does not count it.
  static absl::Status Snapshot(
      const std::vector<std::shared_ptr<VolumeCore>>& sources,
      const std::vector<std::shared_ptr<VolumeCore>>& snapshots,
      bool is_use = true);
  // Makes the content that of `source`, which may be a snapshot, as one
  // instant. The size stays if it is larger.
  absl::Status CopyFrom(VolumeCore& source);
  // The same, and the size becomes the snapshot's, the attributes those given.
  // `force` as in Delete.
  absl::Status Revert(VolumeCore& snapshot, bool force,
                      std::optional<std::string> attributes);
  absl::StatusOr<Changes> GetChanges(const VolumeCore& since, uint64_t offset,
                                     uint64_t length, size_t max_ranges);

  // Makes all later data calls fail with NOT_FOUND and frees the content.
  // `force` as in Engine::DeleteVolume.
  absl::Status Delete(bool force);
  absl::StatusOr<Holders::Id> Attach(Holder holder, bool if_unattached);
  void Detach(Holders::Id id);
  const Holders& holders() const { return holders_; }
  absl::Status CheckUnattached() const;
  // NOT_FOUND, reason VOLUME_DELETED.
  absl::Status Deleted() const { return Explain({Cause::kDeleted}, {}); }

  std::string name() const { return name_.Get(); }
  uint64_t uid() const { return uid_; }
  uint64_t size_bytes() const { return content_.size_bytes(); }
  bool read_only() const { return read_only_.load(std::memory_order_acquire); }
  bool is_snapshot() const { return is_snapshot_; }
  VolumeOptions options() const;
  VolumeStats Stats() const;
  uint64_t OwnBytes() const;
  VolumeUse Use() const;

  std::optional<uint64_t> MergeLeaf(uint64_t chunk, bool all_cold,
                                    uint32_t walk) override {
    return leaf_work_.MergeLeaf(chunk, all_cold, walk);
  }
  std::optional<TenantPart> FindPart(uint64_t chunk) override {
    return leaf_work_.FindPart(chunk);
  }
  void MovePart(uint64_t first_chunk) override {
    leaf_work_.MovePart(first_chunk);
  }
  uint64_t activity() const override { return counters_->data_operations(); }
  bool CorruptForTest(uint64_t offset);

 private:
  // Check whether a request may begin.
  Refusal CheckRange(const Request& request) const;
  Refusal CheckChange(const Request& request) const;
  // Counts a request that ends, with `counted_bytes` if it succeeded, and
  // returns its status.
  absl::Status End(Operation operation, const Request& request, int64_t took_ns,
                   uint64_t counted_bytes, const Refusal& refusal);
  // With the content's lock held, only for causes that are no limit.
  absl::Status Explain(const Refusal& refusal, const Request& request) const;
  // Likewise, and logs limits that were reached and lost data.
  absl::Status Refuse(const Refusal& refusal, const Request& request) const;
  absl::StatusOr<Holders::Id> Enter(Holder holder, bool if_unattached);

  // The options after `update`; INVALID_ARGUMENT when they do not validate.
  absl::StatusOr<VolumeOptions> Updated(const VolumeUpdate& update) const;
  // Reserves what a kMalloc volume that grows takes.
  absl::Status ReserveGrowth(uint64_t from_bytes, uint64_t to_bytes);
  // Carries `update` out, by one store. What lies past a smaller end stays.
  // Fails only, and then changes nothing, when clients are attached and must
  // not be.
  absl::Status Change(const VolumeOptions& wanted, const VolumeUpdate& update);
  uint64_t ReservationFor(uint64_t size_bytes) const;
  std::shared_ptr<Layer> NewLayer() const;
  // What it takes beside its content.
  uint64_t FixedBytes() const;
  // A layer for what is written after a snapshot, with a reservation if there
  // has to be one.
  absl::StatusOr<std::shared_ptr<Layer>> NextLayer();
  // Gives the reservation of `layer` back, which has ended.
  static void EndLayer(Layer& layer);
  std::string DescriptionText() const;
  void DescribeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(describe_mu_);

  const EngineParts engine_;
  VolumeName name_;
  VolumeName attributes_{""};
  const bool is_snapshot_;
  const uint64_t uid_;
  // As created, but for the name. The current values of what can change are in
  // the members below.
  const VolumeOptions options_;
  std::atomic<bool> read_only_;
  std::atomic<uint64_t> copies_{0};  // See VolumeUse.

  // Clients are added under the content's lock, so that none is added after
  // closing.
  Holders holders_;

  std::atomic<uint64_t> memory_limit_bytes_;
  // Layers keep these two alive.
  const std::shared_ptr<PackingPolicy> packing_;
  const std::shared_ptr<VolumeCounters> counters_;
  // Refers to nothing of a damaged record.
  bool damaged_ = false;
  std::atomic<Completeness> completeness_{Completeness::kComplete};
  const std::unique_ptr<HeldRecord> record_;
  Content content_;
  // Refers to the members above; the members below copy it.
  const VolumeParts parts_;
  LeafWork leaf_work_;
  Reclaimer reclaimer_;
  Reader reader_;
  PieceWriter piece_writer_;
  Writer writer_;
  Trimmer trimmer_;
  EncodedReader encoded_reader_;
  EncodedWriter encoded_writer_;
  ChunkLoader loader_;

  // Serialises Update, Delete and all that shares content. Held while a resize
  // frees what it cuts off, which may take long. Requests do not take it.
  Mutex update_mu_;
  // Held while the description in the record, and what it is made of, change.
  // It comes after update_mu_ and the content's whole_operations().
  Mutex describe_mu_;
  // kFixedBytes while they are reserved, else 0. Set by Reserve, before others
  // see the volume, and by Delete.
  uint64_t fixed_bytes_ = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_VOLUME_CORE_H_
