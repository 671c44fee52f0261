// A volume, put together from its parts. The engine's own; users see volume.h.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_VOLUME_CORE_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_VOLUME_CORE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "server/engine/background/compactor.h"
#include "server/engine/background/engine_parts.h"
#include "server/engine/background/reclaimer.h"
#include "server/engine/content/chunk_owner.h"
#include "server/engine/content/content.h"
#include "server/engine/content/packing_policy.h"
#include "server/engine/content/refusal.h"
#include "server/engine/counters/volume_counters.h"
#include "server/engine/memory/account.h"
#include "server/engine/types/options.h"
#include "server/engine/types/stats.h"
#include "server/engine/types/volume_types.h"
#include "server/engine/volume/holders.h"
#include "server/engine/volume/piece_writer.h"
#include "server/engine/volume/reader.h"
#include "server/engine/volume/refusal_text.h"
#include "server/engine/volume/trimmer.h"
#include "server/engine/volume/writer.h"

namespace ramvol::engine {

// See volume.h for what the calls promise. A data call is checked, done by one
// of the parts, counted, and worded when it was refused; what is left here is
// what a volume is besides its content: a name, a size, options, clients.
//
// Thread-safe. Borrows what `engine` refers to, which must outlive it.
class VolumeCore final : public ChunkOwner {
 public:
  // Memory outside of the arena that a volume takes, about; counted.
  static constexpr uint64_t kFixedBytes = 8192;

  // `options` validate. Call Reserve next.
  VolumeCore(const EngineParts& engine, const VolumeOptions& options,
             uint64_t uid);
  ~VolumeCore() override;

  // Takes kFixedBytes and what a kMalloc volume promises out of the limit;
  // RESOURCE_EXHAUSTED when there is not enough, and then the volume must go.
  absl::Status Reserve();

  absl::Status Read(uint64_t offset, absl::Span<char> out);
  absl::Status Write(uint64_t offset, absl::Span<const char> data);
  absl::Status Trim(uint64_t offset, uint64_t length);
  absl::Status WriteZeroes(uint64_t offset, uint64_t length, bool no_hole);
  absl::Status Flush();
  absl::StatusOr<Extents> GetExtents(uint64_t offset, uint64_t length,
                                     size_t max_extents);
  absl::Status Update(const VolumeUpdate& update);

  // Ends all data calls with NOT_FOUND and frees the content. `force` as
  // Engine::DeleteVolume says.
  absl::Status Delete(bool force);
  absl::StatusOr<Holders::Id> Attach(Holder holder, bool if_unattached);
  void Detach(Holders::Id id) { holders_.Remove(id); }
  absl::Status CheckUnattached() const;

  const std::string& name() const { return name_; }
  uint64_t uid() const { return uid_; }
  uint64_t size_bytes() const { return content_.size_bytes(); }
  bool read_only() const { return read_only_.load(std::memory_order_acquire); }
  VolumeOptions options() const;
  VolumeStats Stats() const;

  void FlushChunk(uint64_t chunk) override { compactor_.FlushChunk(chunk); }
  void DropClean(uint64_t chunk) override { compactor_.DropClean(chunk); }
  void RewriteChunk(uint64_t chunk, RewriteReason reason) override {
    compactor_.RewriteChunk(chunk, reason);
  }
  std::optional<uint64_t> MergeLeaf(uint64_t chunk, bool all_cold) override {
    return compactor_.MergeLeaf(chunk, all_cold);
  }
  std::optional<TenantPart> FindPart(uint64_t chunk) override {
    return compactor_.FindPart(chunk);
  }
  void MovePart(uint64_t first_chunk) override {
    compactor_.MovePart(first_chunk);
  }
  uint64_t activity() const override { return counters_.data_operations(); }
  bool CorruptForTest(uint64_t offset);

 private:
  // Whether a request may begin.
  Refusal CheckRange(const Request& request) const;
  Refusal CheckChange(const Request& request) const;
  // Counts a request that ends, and makes a status of it. `counted_bytes` are
  // added to its bytes.
  absl::Status End(Operation operation, const Request& request, int64_t took_ns,
                   uint64_t counted_bytes, const Refusal& refusal);
  absl::Status Explain(const Refusal& refusal, const Request& request) const {
    return engine::Explain(refusal, request, name_, size_bytes(), account_);
  }
  absl::Status Deleted() const { return Explain({Cause::kDeleted}, {}); }

  // The volume's options with what `update` changes; INVALID_ARGUMENT.
  absl::StatusOr<VolumeOptions> Updated(const VolumeUpdate& update) const;
  absl::Status Resize(uint64_t size_bytes, bool if_unattached)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(update_mu_);
  // Sets the size, unless the volume is attached and must not be.
  absl::Status SetSize(uint64_t size_bytes, bool if_unattached);
  uint64_t ReservationFor(uint64_t size_bytes) const;

  Arena& arena_;
  const std::string name_;
  const uint64_t uid_;
  // As created; what can change is in the parts below.
  const VolumeOptions options_;
  std::atomic<bool> read_only_;

  // A client is entered under the content's lock.
  Holders holders_;

  PackingPolicy packing_;
  VolumeCounters counters_;
  Account account_;
  Content content_;
  // Names all of these; copied by what follows.
  const VolumeParts parts_;
  Compactor compactor_;
  Reclaimer reclaimer_;
  Reader reader_;
  PieceWriter piece_writer_;
  Writer writer_;
  Trimmer trimmer_;

  // One Update or Delete at a time. Held while a resize frees what it cuts off,
  // which may take long; no request takes it.
  Mutex update_mu_;
  // Of kFixedBytes, what is taken out of the limit. Set by Reserve, before
  // others see the volume, and by Delete.
  uint64_t fixed_bytes_ = 0;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_VOLUME_CORE_H_
