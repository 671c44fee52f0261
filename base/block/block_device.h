// The interface that sessions of NBD and others serve: one open volume.
#ifndef RAMVOL_BASE_BLOCK_BLOCK_DEVICE_H_
#define RAMVOL_BASE_BLOCK_BLOCK_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"

namespace ramvol::block {

// A run of bytes in one state.
struct Extent {
  uint64_t offset = 0;
  uint64_t length = 0;
  bool hole = false;     // Of GetExtents: stores nothing; reads as zero.
  bool changed = false;  // Of GetChanges: may differ.
};

// Is told when a call of a BlockDevice has ended.
class Completion {
 public:
  virtual ~Completion() = default;
  // Called exactly once for each call, from any thread, perhaps before the call
  // returns. Must not block for long.
  virtual void Done(absl::Status status) = 0;
};

// A byte array of size_bytes() bytes. Offsets and lengths count bytes and need
// no alignment. The session has checked that they are in range. Buffers must
// live until `done` is told.
//
// Thread-safe. Calls run concurrently. A call sees the effects of all calls
// that ended before it began, on any connection.
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

  // May change when the volume is resized; some devices keep what it was when
  // they were opened.
  virtual uint64_t size_bytes() const = 0;
  // Constant while the device is open.
  virtual bool read_only() const = 0;

  // True when calls do their work before they return, so that only several
  // threads can run several at once. Else calls return soon.
  virtual bool synchronous() const = 0;

  // Whether reads, writes and writes of zeroes may have to wait for their turn,
  // because their clients may do only so many a second. May change at any time.
  virtual bool limited() const { return false; }
  // Says that the caller can bear that they return before they are done, though
  // the device is synchronous, and are told to be done by another thread. Else
  // the calling thread waits. Call it before all others.
  virtual void MayAnswerLater() {}
  // The client is gone: those that wait end with CANCELLED, before this returns
  // if they may be answered later.
  // The caller holds no lock that Completion::Done takes.
  virtual void Abandon() {}

  // Only within Completion::Done, and only for devices that are not
  // synchronous: whether this thread is about to call Done again for the same
  // session.
  virtual bool MoreToCome() const { return false; }

  // Runs `start`. The device may hold back the calls that `start` makes and
  // begin them together when it returns.
  virtual void Together(absl::FunctionRef<void()> start) { start(); }

  virtual void Read(uint64_t offset, absl::Span<char> out,
                    Completion* done) = 0;
  virtual void Write(uint64_t offset, absl::Span<const char> data,
                     Completion* done) = 0;
  virtual void Trim(uint64_t offset, uint64_t length, Completion* done) = 0;
  // With `no_hole` the range stays allocated.
  virtual void WriteZeroes(uint64_t offset, uint64_t length, bool no_hole,
                           Completion* done) = 0;
  virtual void Flush(Completion* done) = 0;
  // Sets *extents to 1 to `max_extents` contiguous extents. The first begins at
  // `offset` and the last ends within the range. Neighbours differ in state.
  virtual void GetExtents(uint64_t offset, uint64_t length, size_t max_extents,
                          std::vector<Extent>* extents, Completion* done) = 0;
  // The same of what has changed since the snapshot with this ExportInfo::uid.
  // INVALID_ARGUMENT when it is gone, whatever has its name now.
  virtual void GetChanges(const std::string& /*snapshot_uid*/,
                          uint64_t /*offset*/, uint64_t /*length*/,
                          size_t /*max_extents*/,
                          std::vector<Extent>* /*extents*/, Completion* done) {
    done->Done(absl::UnimplementedError("this device knows no snapshots"));
  }
};

}  // namespace ramvol::block

#endif  // RAMVOL_BASE_BLOCK_BLOCK_DEVICE_H_
