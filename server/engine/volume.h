// One volume: a sparse, compressed byte array in memory.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/counters.h"
#include "base/usage_limiter.h"
#include "server/engine/types/encoded_chunk.h"
#include "server/engine/types/options.h"
#include "server/engine/types/outside_source.h"
#include "server/engine/types/stats.h"
#include "server/engine/types/volume_types.h"
#include "server/engine/volume/holders.h"

namespace ramvol::engine {

class VolumeCore;

// A Volume is a byte array of size_bytes() bytes, divided into chunks of 64 KiB
// and blocks of 4 KiB. Blocks that were never written are holes. Engine creates
// volumes.
//
// Thread-safe. Ranges may begin and end at any byte. Each call is atomic within
// a chunk, but not across chunks. No lock is held while bytes are copied,
// compressed or decompressed.
//
// Every data call can return NOT_FOUND (reason VOLUME_DELETED) once the volume
// is deleted, and OUT_OF_RANGE when the range ends past the volume.
class Volume {
 public:
  explicit Volume(std::shared_ptr<VolumeCore> core);
  ~Volume();

  Volume(const Volume&) = delete;
  Volume& operator=(const Volume&) = delete;

  // Fills all of `out` with the bytes from `offset` on. DATA_LOSS when a frame
  // fails its check; INVALID_ARGUMENT for more than kMaxTransferBytes. After an
  // error, `out` is unspecified.
  absl::Status Read(uint64_t offset, absl::Span<char> out,
                    BufferOf whose = BufferOf::kCaller);

  // Stores `data` at `offset`. Blocks that become all zeroes become holes.
  // RESOURCE_EXHAUSTED at a memory limit, without any change;
  // FAILED_PRECONDITION when read-only; DATA_LOSS when an unaligned end needs a
  // frame that fails its check; INVALID_ARGUMENT for more than
  // kMaxTransferBytes.
  absl::Status Write(uint64_t offset, absl::Span<const char> data,
                     BufferOf whose = BufferOf::kCaller);

  // Makes the range read as zero, and frees the memory of its whole blocks.
  // Never fails for lack of memory. FAILED_PRECONDITION when read-only.
  absl::Status Trim(uint64_t offset, uint64_t length);

  // Without `no_hole`, the same as Trim. With it, the range stays allocated, as
  // same-filled blocks of zeroes. Then RESOURCE_EXHAUSTED is possible, and a
  // part of the range may already be zero.
  absl::Status WriteZeroes(uint64_t offset, uint64_t length, bool no_hole);

  // Only checks that the volume still exists: data is in memory as soon as a
  // call returns.
  absl::Status Flush();

  // The first `max_extents` (at least 1) extents of [offset, offset + length).
  // Neighbours differ in state.
  absl::StatusOr<Extents> GetExtents(uint64_t offset, uint64_t length,
                                     size_t max_extents);

  // Up to `max_ranges` (at least 1) ranges of [offset, offset + length) in
  // which this may differ from the snapshot or volume `since`. It names all
  // blocks that differ, and of a chunk with such a block perhaps others. Past
  // the end of `since`, what is a hole here has not changed. Costs what
  // differs.
  absl::StatusOr<Changes> GetChanges(const Volume& since, uint64_t offset,
                                     uint64_t length, size_t max_ranges);

  // Adds the chunks from `first` to `last` that are not holes to `*found`, in
  // order, until there are about `most` of them. Returns the chunk to go on
  // with, or nullopt at the end. Compresses what is dirty of them.
  std::optional<uint64_t> ListStored(uint64_t first, uint64_t last, size_t most,
                                     std::vector<StoredChunk>* found) const;
  // Takes out the chunk, into `out->buffer`. Checks no frame that it does not
  // have to decompress: whoever does later has the checksums. DATA_LOSS when
  // such a frame fails its check.
  absl::Status ReadEncoded(uint64_t chunk, EncodedForm form, EncodedChunk* out);
  // Puts in chunks, all different. The bytes come from anywhere:
  // INVALID_ARGUMENT, reason DAMAGED_IMAGE, when runs are not in order or a
  // frame that is not as stored is not exactly its blocks. What lies past the
  // volume's end is left out. A failure can leave some of the chunks written.
  // Else as Write.
  absl::Status WriteEncoded(absl::Span<EncodedChunk> chunks);

  // Makes the content of `chunks` what the image of that number has of them,
  // which is to be read in later: see Engine::BeginOutside. As Write for the
  // rest.
  absl::Status AddOutside(uint32_t image,
                          absl::Span<const OutsideChunk> chunks);
  // Reads in those of `chunks` that are outside in `image`, with their content.
  // Others stay as they are.
  void PutOutside(uint32_t image, absl::Span<EncodedChunk> chunks);
  // Whether any chunk is still outside. Costs a walk over the index.
  bool AnyOutside() const;

  // Changes what `update` names, all or nothing. INVALID_ARGUMENT as
  // VolumeOptions::Validate; RESOURCE_EXHAUSTED when a kMalloc volume cannot
  // grow; with `if_unattached`, FAILED_PRECONDITION as CheckUnattached, and no
  // client attaches between the check and the change. Shrinking frees what it
  // cuts off.
  absl::Status Update(const VolumeUpdate& update);

  // Engine::RenameVolume changes it.
  std::string name() const;
  // Random, so that it differs even from earlier volumes of the same name.
  uint64_t uid() const;
  uint64_t size_bytes() const;
  bool read_only() const;
  // Whether it is a snapshot: it never changes, and its name begins with "@".
  // Calls that would change it return FAILED_PRECONDITION, reason
  // READ_ONLY_SNAPSHOT.
  bool is_snapshot() const;
  // The current options.
  VolumeOptions options() const;
  // Costs a walk over all that it refers to.
  VolumeStats Stats() const;
  // The same as Stats().own_bytes. Costs a walk over what is its own.
  uint64_t OwnBytes() const;
  // Cheaper than Stats.
  VolumeUse Use() const;

  // Registers a client that holds the volume open; Detach with the returned id
  // ends that. NOT_FOUND once the volume is deleted. With `if_unattached`, also
  // fails as CheckUnattached, and no client gets in between. Prefer Attachment.
  absl::StatusOr<Holders::Id> Attach(Holder holder, bool if_unattached);
  void Detach(Holders::Id id);
  // The clients that hold the volume open.
  const Holders& holders() const;
  // FAILED_PRECONDITION, reason VOLUME_ATTACHED, names the clients that hold
  // the volume open.
  absl::Status CheckUnattached() const;

  // Whom those who call for clients ask before they read or write; the calls
  // above do not. Never null.
  const std::shared_ptr<UsageLimiter>& limiter() const { return limiter_; }

  // What the caller keeps with it, see Engine::CreateVolume; Update,
  // RenameVolume and RevertVolume replace it.
  std::string attributes() const;
  // Replaces it alone.
  void SetAttributes(std::string attributes);
  // Whether it was found damaged in the state_dir, or is of
  // Engine::CreateDamaged. Then all data calls return DATA_LOSS, reason
  // VOLUME_DAMAGED. It can only be deleted.
  bool damaged() const;
  // What whoever reads in what is outside says of it, for people. Clones and
  // snapshots begin with that of their source. Once EndOutside, nothing is
  // kRestoring.
  Completeness completeness() const;
  void set_completeness(Completeness value);

  // Flips a bit of the frame with the byte at `offset`. False when there is no
  // frame.
  bool CorruptForTest(uint64_t offset);

 private:
  friend class Engine;
  const std::shared_ptr<VolumeCore> core_;
  const std::shared_ptr<UsageLimiter> limiter_ =
      std::make_shared<UsageLimiter>();
};

// Keeps a volume attached for its own lifetime. Movable. Counting is
// thread-safe.
class Attachment {
 public:
  // See Volume::Attach.
  static absl::StatusOr<Attachment> Make(std::shared_ptr<Volume> volume,
                                         Holder holder,
                                         bool if_unattached = false) {
    auto traffic = holder.traffic;
    auto id = volume->Attach(std::move(holder), if_unattached);
    if (!id.ok()) return id.status();
    return Attachment(std::move(volume), *id, std::move(traffic));
  }
  Attachment(Attachment&&) = default;
  Attachment& operator=(Attachment&& other) noexcept {
    std::swap(volume_, other.volume_);
    std::swap(id_, other.id_);
    std::swap(traffic_, other.traffic_);
    return *this;
  }
  ~Attachment() {
    if (volume_ != nullptr) volume_->Detach(id_);
  }

  Volume& volume() const { return *volume_; }

  // For Holder::traffic, once the client has read or written so many bytes.
  void CountRead(uint64_t bytes) const {
    traffic_->Add(Traffic::kReads, 1);
    traffic_->Add(Traffic::kReadBytes, static_cast<int64_t>(bytes));
  }
  void CountWrite(uint64_t bytes) const {
    traffic_->Add(Traffic::kWrites, 1);
    traffic_->Add(Traffic::kWrittenBytes, static_cast<int64_t>(bytes));
  }

 private:
  Attachment(std::shared_ptr<Volume> volume, Holders::Id id,
             std::shared_ptr<Counters<Traffic>> traffic)
      : volume_(std::move(volume)), id_(id), traffic_(std::move(traffic)) {}
  std::shared_ptr<Volume> volume_;
  Holders::Id id_;
  std::shared_ptr<Counters<Traffic>> traffic_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_H_
