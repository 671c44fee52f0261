// The data path of the C++ SDK: one open volume.
#ifndef RAMVOL_CLIENT_REMOTE_VOLUME_H_
#define RAMVOL_CLIENT_REMOTE_VOLUME_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/extent.h"

namespace ramvol {

// The connection behind a RemoteVolume. It is an interface, so that users'
// tests can give a RemoteVolume a mock (client/mocks/mock_volume_connection.h).
class VolumeConnection;

// An open volume or snapshot. Thread-safe. Copies are cheap and share the
// connection, which closes with the last copy.
//
// Operations of different threads, and asynchronous ones, run at the same time
// over several streams, and complete in any order. An operation that starts
// after another one has completed sees the other's effect.
//
// When the server is lost, unanswered operations wait up to reconnect_timeout
// and are sent again. So an operation may be applied twice. For all operations
// here this has the same effect as once, unless the caller has two writes to
// one range under way at a time. A change is sent again only when the server
// runs nothing of the lost connection any more: its first sending cannot land
// after a later write of the caller.
//
// If another volume has the name when the server is back (without a --state_dir
// it has lost its volumes), nothing is sent again. All operations fail with
// ABORTED, reason VOLUME_REPLACED, and the caller must open the volume again.
//
// Offsets and lengths count bytes and need no alignment. Reads and writes of
// any length are cut into operations that the server accepts. If one of these
// fails, the whole operation fails with the first error. Others may have been
// applied.
//
// When the last copy is destroyed, operations under way still finish and call
// `done`. If there is none, the destructor waits up to a second until the
// server has closed the volume, so that DeleteVolume may follow.
//
// A change that failed with UNAVAILABLE or DEADLINE_EXCEEDED may have happened,
// or may still happen.
//
// Errors: the server's (OUT_OF_RANGE, RESOURCE_EXHAUSTED, FAILED_PRECONDITION,
// DATA_LOSS, NOT_FOUND), UNAVAILABLE, DEADLINE_EXCEEDED.
class RemoteVolume {
 public:
  using Done = std::function<void(absl::Status)>;
  using ExtentsDone = std::function<void(absl::StatusOr<std::vector<Extent>>)>;
  using ChangesDone =
      std::function<void(absl::StatusOr<std::vector<ChangedExtent>>)>;

  explicit RemoteVolume(std::shared_ptr<VolumeConnection> connection);

  // Synchronous operations. They fail with FAILED_PRECONDITION in a callback of
  // the SDK, because the callback would wait for its own thread.
  absl::Status Read(int64_t offset, absl::Span<char> out) const;
  absl::StatusOr<std::string> Read(int64_t offset, int64_t length) const;
  absl::Status Write(int64_t offset, std::string_view data) const;
  absl::Status Trim(int64_t offset, int64_t length) const;
  absl::Status WriteZeroes(int64_t offset, int64_t length,
                           bool no_hole = false) const;
  absl::Status Flush() const;
  // All extents of the range. Neighbours differ in state. A length of 0 reaches
  // to the volume's end.
  absl::StatusOr<std::vector<Extent>> Extents(int64_t offset,
                                              int64_t length) const;
  // The same of what may differ from the snapshot `since`: "@NAME", or its
  // v1::Snapshot.uid, which never is that of a later one with this name.
  absl::StatusOr<std::vector<ChangedExtent>> Changes(const std::string& since,
                                                     int64_t offset,
                                                     int64_t length) const;

  // Asynchronous operations. They return at once, or when max_inflight_bytes
  // allows. Each calls `done` exactly once, on a thread of the SDK. `done` must
  // not block for long. It may start further operations, which then never wait
  // for max_inflight_bytes. Buffers must live until `done` is called.
  void ReadAsync(int64_t offset, absl::Span<char> out, Done done) const;
  void WriteAsync(int64_t offset, std::string_view data, Done done) const;
  void TrimAsync(int64_t offset, int64_t length, Done done) const;
  void WriteZeroesAsync(int64_t offset, int64_t length, bool no_hole,
                        Done done) const;
  void FlushAsync(Done done) const;
  void ExtentsAsync(int64_t offset, int64_t length, ExtentsDone done) const;
  // The first extents of the range, in one round trip: at most `max_extents` (1
  // to 10000), and at least one unless the range is empty.
  void FirstExtentsAsync(int64_t offset, int64_t length, int32_t max_extents,
                         ExtentsDone done) const;
  // The same of what may differ from `since`; `max_extents` 0 means all.
  void ChangesAsync(const std::string& since, int64_t offset, int64_t length,
                    int32_t max_extents, ChangesDone done) const;

  // Runs `start` on this thread. The asynchronous operations on this volume
  // that `start` begins share messages, which costs much less when they are
  // small. As in a callback, they never wait, and synchronous operations fail.
  void Together(absl::FunctionRef<void()> start) const;

  // The values at the time of opening, or of the last reconnection.
  int64_t size_bytes() const;
  bool read_only() const;

 private:
  std::shared_ptr<VolumeConnection> connection_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_REMOTE_VOLUME_H_
