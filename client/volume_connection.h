// What a RemoteVolume talks through.
#ifndef RAMVOL_CLIENT_VOLUME_CONNECTION_H_
#define RAMVOL_CLIENT_VOLUME_CONNECTION_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/extent.h"

namespace ramvol {

// The asynchronous operations of a RemoteVolume; its header describes them. The
// synchronous operations wait for these. An implementation is thread-safe and
// calls every `done` exactly once. Users' tests implement this interface with
// client/mocks/mock_volume_connection.h.
//
// The destructor does not wait for operations under way. They finish later.
class VolumeConnection {
 public:
  using Done = std::function<void(absl::Status)>;
  using ExtentsDone = std::function<void(absl::StatusOr<std::vector<Extent>>)>;
  using ChangesDone =
      std::function<void(absl::StatusOr<std::vector<ChangedExtent>>)>;

  virtual ~VolumeConnection() = default;

  virtual void ReadAsync(int64_t offset, absl::Span<char> out, Done done) = 0;
  virtual void WriteAsync(int64_t offset, std::string_view data, Done done) = 0;
  virtual void TrimAsync(int64_t offset, int64_t length, Done done) = 0;
  virtual void WriteZeroesAsync(int64_t offset, int64_t length, bool no_hole,
                                Done done) = 0;
  virtual void FlushAsync(Done done) = 0;
  // All extents when `max_extents` is 0.
  virtual void ExtentsAsync(int64_t offset, int64_t length, int32_t max_extents,
                            ExtentsDone done) = 0;

  // The same for changes since the snapshot `since`. Not pure, for mocks that
  // were made before it was there.
  virtual void ChangesAsync(const std::string& /*since*/, int64_t /*offset*/,
                            int64_t /*length*/, int32_t /*max_extents*/,
                            ChangesDone done) {
    const ChangesDone tell = std::move(done);
    tell(absl::UnimplementedError("this connection lists no changes"));
  }

  // See RemoteVolume::Together.
  virtual void Together(absl::FunctionRef<void()> start) { start(); }

  virtual int64_t size_bytes() const = 0;
  virtual bool read_only() const = 0;
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_VOLUME_CONNECTION_H_
