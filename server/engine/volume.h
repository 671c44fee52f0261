// One volume: a sparse, compressed byte array in memory.
#ifndef RAMVOL_SERVER_ENGINE_VOLUME_H_
#define RAMVOL_SERVER_ENGINE_VOLUME_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/engine/types/options.h"
#include "server/engine/types/stats.h"
#include "server/engine/types/volume_types.h"
#include "server/engine/volume/holders.h"

namespace ramvol::engine {

class VolumeCore;

// A Volume is a byte array of size_bytes() bytes, cut into chunks of 64 KiB and
// blocks of 4 KiB; blocks never written are holes. Engine makes it and, with
// the last reference, frees it.
//
// Thread-safe. Ranges may begin and end at any byte. The part of a call within
// one chunk is atomic against other calls; a longer call is so chunk by chunk.
// No lock is held while bytes are copied, compressed or decompressed.
//
// Errors of every data call: NOT_FOUND (reason VOLUME_DELETED) once the volume
// is deleted, OUT_OF_RANGE when a byte of the range lies past the end.
class Volume {
 public:
  explicit Volume(std::shared_ptr<VolumeCore> core);
  ~Volume();

  Volume(const Volume&) = delete;
  Volume& operator=(const Volume&) = delete;

  // Fills all of `out` with the bytes from `offset` on. DATA_LOSS when a frame
  // fails its check, and then `out` is unspecified; INVALID_ARGUMENT for more
  // than kMaxTransferBytes.
  absl::Status Read(uint64_t offset, absl::Span<char> out);

  // Stores `data` at `offset`; blocks that become all zeroes become holes.
  // RESOURCE_EXHAUSTED at a memory limit, and nothing has changed then;
  // FAILED_PRECONDITION when read-only; DATA_LOSS when a frame that has to be
  // read for an unaligned end fails its check; INVALID_ARGUMENT for more than
  // kMaxTransferBytes.
  absl::Status Write(uint64_t offset, absl::Span<const char> data);

  // Makes the range read as zero and gives its whole blocks' memory back. Never
  // fails for lack of memory. FAILED_PRECONDITION when read-only.
  absl::Status Trim(uint64_t offset, uint64_t length);

  // As Trim when `no_hole` is false. Else the range is left allocated, as
  // same-filled blocks of zeroes, and RESOURCE_EXHAUSTED is possible (parts of
  // the range may then be zero already).
  absl::Status WriteZeroes(uint64_t offset, uint64_t length, bool no_hole);

  // All that returned before is in memory already: checks only that the volume
  // still exists.
  absl::Status Flush();

  // The extents of [offset, offset + length), at most `max_extents` of them
  // (at least 1), neighbours of one state joined.
  absl::StatusOr<Extents> GetExtents(uint64_t offset, uint64_t length,
                                     size_t max_extents);

  // Changes what `update` names, all or nothing. INVALID_ARGUMENT as
  // VolumeOptions::Validate says; RESOURCE_EXHAUSTED when a kMalloc volume
  // cannot grow; FAILED_PRECONDITION as CheckUnattached, if that was asked for:
  // who attaches later finds the new size. After a shrink, what was cut off is
  // gone.
  absl::Status Update(const VolumeUpdate& update);

  const std::string& name() const;
  // Random; differs between all volumes ever created, also of one name.
  uint64_t uid() const;
  uint64_t size_bytes() const;
  bool read_only() const;
  // As of now.
  VolumeOptions options() const;
  VolumeStats Stats() const;

  // Enters a client that holds the volume open; Detach, with the id that this
  // returns, takes it out. NOT_FOUND once the volume is deleted; with
  // `if_unattached` as CheckUnattached, and no other gets in between the check
  // and the entry. Prefer Attachment.
  absl::StatusOr<Holders::Id> Attach(Holder holder, bool if_unattached);
  void Detach(Holders::Id id);
  // FAILED_PRECONDITION, reason VOLUME_ATTACHED, when clients hold the volume
  // open; says who.
  absl::Status CheckUnattached() const;

  // Flips a bit of the frame that holds the byte at `offset`; false when that
  // is not in a frame.
  bool CorruptForTest(uint64_t offset);

 private:
  friend class Engine;
  const std::shared_ptr<VolumeCore> core_;
};

// Keeps a volume attached for its own lifetime. Movable.
class Attachment {
 public:
  // As Volume::Attach.
  static absl::StatusOr<Attachment> Make(std::shared_ptr<Volume> volume,
                                         Holder holder,
                                         bool if_unattached = false) {
    auto id = volume->Attach(std::move(holder), if_unattached);
    if (!id.ok()) return id.status();
    return Attachment(std::move(volume), *id);
  }
  Attachment(Attachment&&) = default;
  Attachment& operator=(Attachment&& other) noexcept {
    std::swap(volume_, other.volume_);
    std::swap(id_, other.id_);
    return *this;
  }
  ~Attachment() {
    if (volume_ != nullptr) volume_->Detach(id_);
  }

  Volume& volume() const { return *volume_; }

 private:
  Attachment(std::shared_ptr<Volume> volume, Holders::Id id)
      : volume_(std::move(volume)), id_(id) {}
  std::shared_ptr<Volume> volume_;
  Holders::Id id_;
};

}  // namespace ramvol::engine

#endif  // RAMVOL_SERVER_ENGINE_VOLUME_H_
