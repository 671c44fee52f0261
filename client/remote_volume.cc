#include "client/remote_volume.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/reason.h"
#include "client/extent.h"
#include "client/volume_connection.h"
#include "client/waiter.h"

namespace ramvol {
namespace {

// A longer read is checked against the volume's end before its buffer is
// allocated.
constexpr int64_t kMaxUncheckedBytes = int64_t{16} << 20;

}  // namespace

RemoteVolume::RemoteVolume(std::shared_ptr<VolumeConnection> connection)
    : connection_(std::move(connection)) {}

absl::Status RemoteVolume::Read(int64_t offset, absl::Span<char> out) const {
  return WaitFor<absl::Status>(
      [&](Done done) { ReadAsync(offset, out, std::move(done)); });
}

absl::StatusOr<std::string> RemoteVolume::Read(int64_t offset,
                                               int64_t length) const {
  if (length < 0) {
    return InvalidField("length", absl::StrCat("length is ", length,
                                               "; it must not be negative"));
  }
  if (length > kMaxUncheckedBytes) {
    // If the last byte can be read, the range lies inside the volume.
    char last;
    if (offset > INT64_MAX - length) {
      return WithReason(absl::OutOfRangeError(absl::StrCat(
                            "read of ", length, " bytes at offset ", offset,
                            " ends past the largest volume; shorten the read")),
                        reason::kPastEnd);
    }
    absl::Status inside = Read(offset + length - 1, absl::MakeSpan(&last, 1));
    if (!inside.ok()) return inside;
  }
  std::string data(length, '\0');
  absl::Status read = Read(offset, absl::MakeSpan(data));
  if (!read.ok()) return read;
  return data;
}

absl::Status RemoteVolume::Write(int64_t offset, std::string_view data) const {
  return WaitFor<absl::Status>(
      [&](Done done) { WriteAsync(offset, data, std::move(done)); });
}

absl::Status RemoteVolume::Trim(int64_t offset, int64_t length) const {
  return WaitFor<absl::Status>(
      [&](Done done) { TrimAsync(offset, length, std::move(done)); });
}

absl::Status RemoteVolume::WriteZeroes(int64_t offset, int64_t length,
                                       bool no_hole) const {
  return WaitFor<absl::Status>([&](Done done) {
    WriteZeroesAsync(offset, length, no_hole, std::move(done));
  });
}

absl::Status RemoteVolume::Flush() const {
  return WaitFor<absl::Status>([&](Done done) { FlushAsync(std::move(done)); });
}

absl::StatusOr<std::vector<Extent>> RemoteVolume::Extents(
    int64_t offset, int64_t length) const {
  return WaitFor<absl::StatusOr<std::vector<Extent>>>(
      [&](ExtentsDone done) { ExtentsAsync(offset, length, std::move(done)); });
}

absl::StatusOr<std::vector<ChangedExtent>> RemoteVolume::Changes(
    const std::string& since, int64_t offset, int64_t length) const {
  return WaitFor<absl::StatusOr<std::vector<ChangedExtent>>>(
      [&](ChangesDone done) {
        ChangesAsync(since, offset, length, /*max_extents=*/0, std::move(done));
      });
}

void RemoteVolume::ReadAsync(int64_t offset, absl::Span<char> out,
                             Done done) const {
  connection_->ReadAsync(offset, out, std::move(done));
}

void RemoteVolume::WriteAsync(int64_t offset, std::string_view data,
                              Done done) const {
  connection_->WriteAsync(offset, data, std::move(done));
}

void RemoteVolume::TrimAsync(int64_t offset, int64_t length, Done done) const {
  connection_->TrimAsync(offset, length, std::move(done));
}

void RemoteVolume::WriteZeroesAsync(int64_t offset, int64_t length,
                                    bool no_hole, Done done) const {
  connection_->WriteZeroesAsync(offset, length, no_hole, std::move(done));
}

void RemoteVolume::FlushAsync(Done done) const {
  connection_->FlushAsync(std::move(done));
}

void RemoteVolume::ExtentsAsync(int64_t offset, int64_t length,
                                ExtentsDone done) const {
  connection_->ExtentsAsync(offset, length, /*max_extents=*/0, std::move(done));
}

void RemoteVolume::FirstExtentsAsync(int64_t offset, int64_t length,
                                     int32_t max_extents,
                                     ExtentsDone done) const {
  connection_->ExtentsAsync(offset, length, std::max(1, max_extents),
                            std::move(done));
}

void RemoteVolume::ChangesAsync(const std::string& since, int64_t offset,
                                int64_t length, int32_t max_extents,
                                ChangesDone done) const {
  connection_->ChangesAsync(since, offset, length, max_extents,
                            std::move(done));
}

void RemoteVolume::Together(absl::FunctionRef<void()> start) const {
  connection_->Together(start);
}

int64_t RemoteVolume::size_bytes() const { return connection_->size_bytes(); }

bool RemoteVolume::read_only() const { return connection_->read_only(); }

}  // namespace ramvol
