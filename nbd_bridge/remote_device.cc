#include "nbd_bridge/remote_device.h"

#include <algorithm>
#include <string>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "client/extent.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::nbd {
namespace {

int64_t Signed(uint64_t value) { return static_cast<int64_t>(value); }
uint64_t Unsigned(int64_t value) { return static_cast<uint64_t>(value); }

// BlockDevice gives each code one meaning. The server and the SDK use the same
// codes for more, and only the reason tells which is meant.
absl::Status ForDevice(absl::Status status) {
  const std::string why = GetReason(status);
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      if (why == reason::kVolumeDeleted) return status;
      if (why == reason::kSnapshotNotFound) {
        return absl::InvalidArgumentError(status.message());
      }
      return absl::AbortedError(
          absl::StrCat("the volume is gone from the server that is back: ",
                       status.message()));
    case absl::StatusCode::kResourceExhausted:
      if (why == reason::kServerMemoryLimit ||
          why == reason::kVolumeMemoryLimit) {
        return status;
      }
      return absl::UnavailableError(status.message());
    case absl::StatusCode::kFailedPrecondition:
      if (why == reason::kVolumeReadOnly || why == reason::kReadOnlySnapshot) {
        return status;
      }
      return absl::InternalError(status.message());
    default:
      return status;
  }
}

block::Extent ToDevice(const ramvol::Extent& extent) {
  return {.offset = Unsigned(extent.offset),
          .length = Unsigned(extent.length),
          .hole = extent.hole};
}
block::Extent ToDevice(const ramvol::ChangedExtent& extent) {
  return {.offset = Unsigned(extent.offset),
          .length = Unsigned(extent.length),
          .changed = extent.changed};
}

template <typename T>
absl::Status TakeExtents(const std::vector<T>& found,
                         std::vector<block::Extent>* extents) {
  if (found.empty()) {
    return absl::InternalError("the server listed no extent of a range");
  }
  extents->clear();
  extents->reserve(found.size());
  for (const T& extent : found) extents->push_back(ToDevice(extent));
  return absl::OkStatus();
}

block::ExportInfo InfoOf(const v1::Volume& volume) {
  return {.name = volume.name(),
          .size_bytes = Unsigned(volume.size_bytes()),
          .read_only = volume.read_only(),
          .uid = volume.uid()};
}

// Longer than any volume's name.
constexpr size_t kMaxNameBytes = 255;

// NBD clients can ask for any bytes, up to 4096. Names that no volume can have
// are refused here, because protobuf strings must be UTF-8.
bool MayBeAName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         absl::c_all_of(name, [](char c) { return c > ' ' && c < '\x7f'; });
}

absl::Status NoSuchVolume() {
  return absl::NotFoundError("no volume can have such a name");
}

}  // namespace

RemoteDevice::RemoteDevice(std::string name, RemoteVolume volume,
                           LogFunction log, std::string client)
    : name_(std::move(name)),
      client_(std::move(client)),
      log_(std::move(log)),
      volume_(std::move(volume)),
      size_bytes_(Unsigned(volume_.size_bytes())),
      read_only_(volume_.read_only()) {}

RemoteDevice::~RemoteDevice() {
  if (client_.empty()) return;
  log_(Event::kDetached, {.volume = name_, .client = client_, .over = "nbd"});
}

absl::Status RemoteDevice::Judge(absl::Status status) {
  const std::string reason = status.ok() ? "" : GetReason(status);
  if (!status.ok()) status = ForDevice(std::move(status));
  // Load first: while requests succeed, no thread writes the shared cache line.
  if (last_code_.load(std::memory_order_relaxed) == status.code() ||
      last_code_.exchange(status.code(), std::memory_order_relaxed) ==
          status.code()) {
    return status;
  }
  log_(status.ok() ? Event::kRequestsSucceed : Event::kRequestsFail,
       {.volume = name_,
        .client = client_,
        .reason = reason,
        .message = std::string(status.message())});
  return status;
}

RemoteVolume::Done RemoteDevice::Tell(block::Completion* done) {
  return [this, done](absl::Status status) {
    done->Done(Judge(std::move(status)));
  };
}

void RemoteDevice::Read(uint64_t offset, absl::Span<char> out,
                        block::Completion* done) {
  volume_.ReadAsync(Signed(offset), out, Tell(done));
}

void RemoteDevice::Write(uint64_t offset, absl::Span<const char> data,
                         block::Completion* done) {
  volume_.WriteAsync(Signed(offset), {data.data(), data.size()}, Tell(done));
}

void RemoteDevice::Trim(uint64_t offset, uint64_t length,
                        block::Completion* done) {
  volume_.TrimAsync(Signed(offset), Signed(length), Tell(done));
}

void RemoteDevice::WriteZeroes(uint64_t offset, uint64_t length, bool no_hole,
                               block::Completion* done) {
  volume_.WriteZeroesAsync(Signed(offset), Signed(length), no_hole, Tell(done));
}

void RemoteDevice::Flush(block::Completion* done) {
  volume_.FlushAsync(Tell(done));
}

void RemoteDevice::GetExtents(uint64_t offset, uint64_t length,
                              size_t max_extents,
                              std::vector<block::Extent>* extents,
                              block::Completion* done) {
  const auto most =
      static_cast<int32_t>(std::min<size_t>(max_extents, INT32_MAX));
  volume_.FirstExtentsAsync(
      Signed(offset), Signed(length), most,
      [this, extents,
       done](const absl::StatusOr<std::vector<ramvol::Extent>>& found) {
        done->Done(
            Judge(found.ok() ? TakeExtents(*found, extents) : found.status()));
      });
}

void RemoteDevice::GetChanges(const std::string& snapshot_uid, uint64_t offset,
                              uint64_t length, size_t max_extents,
                              std::vector<block::Extent>* extents,
                              block::Completion* done) {
  const auto most =
      static_cast<int32_t>(std::min<size_t>(max_extents, INT32_MAX));
  volume_.ChangesAsync(
      snapshot_uid, Signed(offset), Signed(length), most,
      [this, extents,
       done](const absl::StatusOr<std::vector<ramvol::ChangedExtent>>& found) {
        done->Done(
            Judge(found.ok() ? TakeExtents(*found, extents) : found.status()));
      });
}

absl::Status RemoteExports::Judge(std::string_view what,
                                  absl::Status status) const {
  if (absl::IsNotFound(status)) return status;
  // The server refuses names that no volume can have as INVALID_ARGUMENT.
  if (absl::IsInvalidArgument(status)) return NoSuchVolume();
  log_(Event::kRequestsFail,
       {.reason = GetReason(status),
        .message =
            absl::StrCat("cannot ", absl::string_view(what.data(), what.size()),
                         ": ", status.message())});
  return status;
}

absl::StatusOr<block::ExportPage> RemoteExports::List(const std::string& from) {
  // A page's token has no "@".
  if (absl::StartsWith(from, "@")) return ListKept(from.substr(1));
  const auto listed = client_.ListVolumesFrom(from);
  if (!listed.ok()) return Judge("list volumes", listed.status());
  block::ExportPage page;
  for (const v1::Volume& volume : listed->volumes()) {
    page.exports.push_back(InfoOf(volume));
  }
  page.next = listed->next_page_token();
  if (!page.next.empty()) return page;
  // The server's pages are small enough for two.
  auto kept = ListKept("");
  if (!kept.ok()) return kept.status();
  for (block::ExportInfo& info : kept->exports) {
    page.exports.push_back(std::move(info));
  }
  page.next = std::move(kept->next);
  return page;
}

absl::StatusOr<block::ExportPage> RemoteExports::ListKept(
    const std::string& token) {
  const auto listed = client_.ListSnapshotsFrom("", token);
  if (absl::IsUnimplemented(listed.status())) return block::ExportPage();
  if (!listed.ok()) return Judge("list snapshots", listed.status());
  block::ExportPage page;
  for (const v1::Snapshot& snapshot : listed->snapshots()) {
    page.exports.push_back({.name = absl::StrCat("@", snapshot.name()),
                            .size_bytes = Unsigned(snapshot.size_bytes()),
                            .read_only = true,
                            .uid = snapshot.uid()});
  }
  if (!listed->next_page_token().empty()) {
    page.next = absl::StrCat("@", listed->next_page_token());
  }
  return page;
}

absl::StatusOr<std::vector<std::string>> RemoteExports::ListSnapshots(
    std::string_view name, size_t max) {
  if (!MayBeAName(name)) return NoSuchVolume();
  const auto volume = client_.GetVolume(name);
  if (!volume.ok()) return Judge("find a volume", volume.status());
  const std::string uid = name[0] == '@' ? volume->source_uid() : volume->uid();
  std::vector<std::string> names;
  std::string token;
  do {
    const auto page = client_.ListSnapshotsFrom("", token);
    if (absl::IsUnimplemented(page.status())) break;
    if (!page.ok()) return Judge("list snapshots", page.status());
    for (const v1::Snapshot& one : page->snapshots()) {
      if (one.source_uid() == uid && one.uid() != volume->uid()) {
        names.push_back(one.name());
      }
    }
    token = page->next_page_token();
  } while (!token.empty() && names.size() < max);
  if (names.size() > max) names.resize(max);
  return names;
}

absl::StatusOr<block::ExportInfo> RemoteExports::Find(std::string_view name) {
  if (!MayBeAName(name)) return NoSuchVolume();
  const auto volume = client_.GetVolume(name);
  if (!volume.ok()) return Judge("find a volume", volume.status());
  return InfoOf(*volume);
}

absl::StatusOr<std::unique_ptr<block::BlockDevice>> RemoteExports::Open(
    std::string_view name, std::string_view client) {
  if (!MayBeAName(name)) return NoSuchVolume();
  auto volume = client_.Open(name);
  if (!volume.ok()) return Judge("open a volume", volume.status());
  log_(Event::kAttached, {.volume = name, .client = client, .over = "nbd"});
  return std::make_unique<RemoteDevice>(std::string(name), *std::move(volume),
                                        log_, std::string(client));
}

}  // namespace ramvol::nbd
