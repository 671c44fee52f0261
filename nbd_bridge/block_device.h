// What the NBD session serves: one open volume.
#ifndef RAMVOL_NBD_BRIDGE_BLOCK_DEVICE_H_
#define RAMVOL_NBD_BRIDGE_BLOCK_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"

namespace ramvol::nbd {

// A run of bytes in one state.
struct Extent {
  uint64_t offset = 0;
  uint64_t length = 0;
  bool hole = false;  // Holds nothing; reads as zero.
};

// Who is told that a call of a BlockDevice has ended.
class Completion {
 public:
  virtual ~Completion() = default;
  // Called exactly once for each call, from any thread, perhaps before the call
  // returns. Must not block for long.
  virtual void Done(absl::Status status) = 0;
};

// A byte array of size_bytes() bytes. Offsets and lengths are bytes, any of
// them, in range: the session has checked them. Buffers must stay until `done`
// was told.
//
// Thread-safe. Calls run concurrently; what has ended is seen by all that start
// later, through any connection.
//
// Errors, which ToNbdError translates: RESOURCE_EXHAUSTED at a memory limit,
// FAILED_PRECONDITION when the volume became read-only, OUT_OF_RANGE when it
// became smaller, DATA_LOSS, UNAVAILABLE, and NOT_FOUND once the volume is
// deleted, after which the session ends.
class BlockDevice {
 public:
  // Most bytes that one call of Read or Write moves.
  static constexpr size_t kMaxTransferBytes = size_t{32} << 20;

  virtual ~BlockDevice() = default;

  // Constant while it is open.
  virtual uint64_t size_bytes() const = 0;
  virtual bool read_only() const = 0;

  // Whether calls do their work before they return, and so need threads to run
  // at once. Else they return soon.
  virtual bool synchronous() const = 0;

  // In Completion::Done, of devices that are not synchronous: this thread will
  // call Done again for the same session as soon as it returns.
  virtual bool MoreToCome() const { return false; }

  // Runs `start`. The calls that it makes may begin only when it has returned,
  // all at once.
  virtual void Together(absl::FunctionRef<void()> start) { start(); }

  virtual void Read(uint64_t offset, absl::Span<char> out,
                    Completion* done) = 0;
  virtual void Write(uint64_t offset, absl::Span<const char> data,
                     Completion* done) = 0;
  virtual void Trim(uint64_t offset, uint64_t length, Completion* done) = 0;
  // With `no_hole` the range is left allocated.
  virtual void WriteZeroes(uint64_t offset, uint64_t length, bool no_hole,
                           Completion* done) = 0;
  virtual void Flush(Completion* done) = 0;
  // Sets *extents to at least one and at most `max_extents` extents, which
  // begin at `offset`, follow each other, neighbours differing in state, and
  // end within the range.
  virtual void GetExtents(uint64_t offset, uint64_t length, size_t max_extents,
                          std::vector<Extent>* extents, Completion* done) = 0;
};

}  // namespace ramvol::nbd

#endif  // RAMVOL_NBD_BRIDGE_BLOCK_DEVICE_H_
