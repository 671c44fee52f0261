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

// The machinery behind a RemoteVolume; an interface so that a user's own tests
// can give a RemoteVolume a mock (client/mocks/mock_volume_connection.h).
class VolumeConnection;

// An open volume. Thread-safe; copies are cheap and share the connection, which
// closes with the last of them. Operations are pipelined over several streams;
// those of different threads, and asynchronous ones, run at once and complete
// in any order. One that has completed is seen by all that start later.
//
// When the server is lost, unanswered operations wait up to reconnect_timeout
// and are sent again: each of them may be applied twice, which for every
// operation here has the effect of once, provided that the caller does not
// write one range twice at a time. A change is sent again only once the server
// has confirmed that it runs nothing of the lost connection any more, so that
// its first sending cannot land after what the caller writes later. When the
// server that comes back has another volume of this name (it was restarted, and
// volumes live in memory), nothing is sent again: every operation fails with
// ABORTED, reason VOLUME_REPLACED, and the caller opens the volume anew.
//
// Offsets and lengths are bytes, any of them. Reads and writes of any length
// are cut into operations that the server accepts; a failed one reports the
// first error, and other parts of it may have been applied.
//
// When the last copy goes, operations under way still finish, and call `done`.
// If there is none, the destructor waits up to a second for the server to let
// go of the volume, so that DeleteVolume may follow.
//
// A change that failed with UNAVAILABLE or DEADLINE_EXCEEDED may have happened,
// and may happen yet.
//
// Errors: the server's (OUT_OF_RANGE, RESOURCE_EXHAUSTED, FAILED_PRECONDITION,
// DATA_LOSS, NOT_FOUND), UNAVAILABLE, DEADLINE_EXCEEDED.
class RemoteVolume {
 public:
  using Done = std::function<void(absl::Status)>;
  using ExtentsDone = std::function<void(absl::StatusOr<std::vector<Extent>>)>;

  explicit RemoteVolume(std::shared_ptr<VolumeConnection> connection);

  // Synchronous: they wait. FAILED_PRECONDITION in a callback of the SDK, which
  // would wait for itself.
  absl::Status Read(int64_t offset, absl::Span<char> out) const;
  absl::StatusOr<std::string> Read(int64_t offset, int64_t length) const;
  absl::Status Write(int64_t offset, std::string_view data) const;
  absl::Status Trim(int64_t offset, int64_t length) const;
  absl::Status WriteZeroes(int64_t offset, int64_t length,
                           bool no_hole = false) const;
  absl::Status Flush() const;
  // All extents of the range, neighbours of one state joined. A length of 0
  // reaches up to the volume's end.
  absl::StatusOr<std::vector<Extent>> Extents(int64_t offset,
                                              int64_t length) const;

  // As above, but return at once (or when max_inflight_bytes allows) and call
  // `done` exactly once, from a thread of the SDK that must not be blocked for
  // long; it may start further operations, which then never wait here. Buffers
  // must stay until then.
  void ReadAsync(int64_t offset, absl::Span<char> out, Done done) const;
  void WriteAsync(int64_t offset, std::string_view data, Done done) const;
  void TrimAsync(int64_t offset, int64_t length, Done done) const;
  void WriteZeroesAsync(int64_t offset, int64_t length, bool no_hole,
                        Done done) const;
  void FlushAsync(Done done) const;
  void ExtentsAsync(int64_t offset, int64_t length, ExtentsDone done) const;
  // The first extents of the range, in one round trip: at least one, unless the
  // range is empty, and at most `max_extents` (1 to 10000).
  void FirstExtentsAsync(int64_t offset, int64_t length, int32_t max_extents,
                         ExtentsDone done) const;

  // Runs `start` here and now. The asynchronous operations on this volume that
  // it starts reach the server in as few messages as they fit in, which costs
  // much less when they are small. In it, as in a callback, they never wait and
  // the synchronous ones fail.
  void Together(absl::FunctionRef<void()> start) const;

  // As of when the volume was opened, or of the last reconnection.
  int64_t size_bytes() const;
  bool read_only() const;

 private:
  std::shared_ptr<VolumeConnection> connection_;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_REMOTE_VOLUME_H_
