#include "server/service/block_operations.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/reason.h"
#include "proto/status.h"
#include "server/engine/changed_extents.h"
#include "server/service/limits.h"
#include "server/service/snapshot_fields.h"
#include "server/service/uid.h"

namespace ramvol::service {

absl::Status NoSnapshotWithUid(const std::string& uid) {
  return WithMetadata(WithReason(absl::NotFoundError(absl::StrCat(
                                     "there is no snapshot with uid ", uid,
                                     "; it was deleted")),
                                 reason::kSnapshotNotFound),
                      "snapshot", uid);
}

namespace {

absl::Status CheckNotNegative(const char* field, int64_t value) {
  if (value >= 0) return absl::OkStatus();
  return InvalidField(
      field, absl::StrCat(field, " is ", value, "; it must not be negative"));
}

absl::Status CheckRange(int64_t offset, int64_t length) {
  absl::Status status = CheckNotNegative("offset", offset);
  if (status.ok()) status = CheckNotNegative("length", length);
  return status;
}

absl::Status CheckData(const char* field, int64_t bytes) {
  if (bytes <= kMaxDataBytes) return absl::OkStatus();
  return InvalidField(
      field,
      absl::StrCat(field, " asks for ", bytes,
                   " bytes of data; the limit for one operation is ",
                   kMaxDataBytes, " bytes (16 MiB), so split it"),
      reason::kTooMuchData);
}

size_t MostExtents(int32_t wanted) {
  if (wanted == 0) return static_cast<size_t>(kDefaultExtents);
  return static_cast<size_t>(std::clamp(wanted, 0, kMaxExtents));
}

// A range of a volume whose extents are asked for.
struct Range {
  uint64_t offset = 0;
  uint64_t length = 0;
};

absl::StatusOr<Range> ExtentsRange(const engine::Volume& volume, int64_t offset,
                                   int64_t length, int32_t max_extents) {
  absl::Status status = CheckRange(offset, length);
  if (status.ok()) status = CheckNotNegative("max_extents", max_extents);
  if (!status.ok()) return status;
  Range range{static_cast<uint64_t>(offset), static_cast<uint64_t>(length)};
  const uint64_t size = volume.size_bytes();
  // The engine refuses an offset past the end.
  if (length == 0 && range.offset < size) range.length = size - range.offset;
  return range;
}

absl::StatusOr<std::shared_ptr<engine::Volume>> FindSince(
    const engine::Engine& engine, const std::string& since) {
  if (NamesSnapshot(since)) {
    auto snapshot = engine.Find(since);
    if (snapshot.ok()) return snapshot;
    return WithMetadata(snapshot.status(), "snapshot", since);
  }
  const std::optional<uint64_t> uid = ParseUid(since);
  if (!uid.has_value()) {
    return InvalidField(
        "since",
        absl::StrCat("since is \"", since,
                     "\"; name a snapshot, such as \"@monday\", or give its "
                     "uid"));
  }
  auto snapshot = engine.FindUid(*uid);
  if (snapshot != nullptr && snapshot->is_snapshot()) return snapshot;
  return NoSnapshotWithUid(since);
}

absl::Status RunKind(engine::Volume& volume, const engine::Engine& engine,
                     const v1::IoOperation& operation, v1::IoResult* result) {
  switch (operation.kind_case()) {
    case v1::IoOperation::kRead:
      return ReadBlocks(volume, operation.read().offset(),
                        operation.read().length(), result->mutable_data());
    case v1::IoOperation::kWrite:
      return WriteBlocks(volume, operation.write().offset(),
                         operation.write().data());
    case v1::IoOperation::kTrim:
      return TrimBlocks(volume, operation.trim().offset(),
                        operation.trim().length());
    case v1::IoOperation::kWriteZeroes:
      return ZeroBlocks(volume, operation.write_zeroes().offset(),
                        operation.write_zeroes().length(),
                        operation.write_zeroes().no_hole());
    case v1::IoOperation::kFlush:
      return volume.Flush();
    case v1::IoOperation::kGetExtents: {
      int64_t next_offset = 0;
      absl::Status status =
          ListExtents(volume, operation.get_extents().offset(),
                      operation.get_extents().length(),
                      operation.get_extents().max_extents(),
                      result->mutable_extents(), &next_offset);
      result->set_next_offset(next_offset);
      return status;
    }
    case v1::IoOperation::kGetChangedExtents: {
      const v1::IoGetChangedExtents& get = operation.get_changed_extents();
      int64_t next_offset = 0;
      absl::Status status = ListChangedExtents(
          volume, engine, get.since(), get.offset(), get.length(),
          get.max_extents(), result->mutable_changed_extents(), &next_offset);
      result->set_next_offset(next_offset);
      return status;
    }
    case v1::IoOperation::KIND_NOT_SET:
      break;
  }
  return absl::InternalError("an operation without kind was let in");
}

}  // namespace

absl::Status ReadBlocks(engine::Volume& volume, int64_t offset, int64_t length,
                        std::string* data) {
  absl::Status status = CheckRange(offset, length);
  if (status.ok()) status = CheckData("length", length);
  if (!status.ok()) return status;
  data->resize(static_cast<size_t>(length));
  status = volume.Read(static_cast<uint64_t>(offset),
                       absl::MakeSpan(data->data(), data->size()));
  if (!status.ok()) std::string().swap(*data);
  return status;
}

absl::Status WriteBlocks(engine::Volume& volume, int64_t offset,
                         const std::string& data) {
  absl::Status status = CheckNotNegative("offset", offset);
  if (status.ok())
    status = CheckData("data", static_cast<int64_t>(data.size()));
  if (!status.ok()) return status;
  return volume.Write(static_cast<uint64_t>(offset),
                      absl::MakeConstSpan(data.data(), data.size()));
}

absl::Status TrimBlocks(engine::Volume& volume, int64_t offset,
                        int64_t length) {
  absl::Status status = CheckRange(offset, length);
  if (!status.ok()) return status;
  return volume.Trim(static_cast<uint64_t>(offset),
                     static_cast<uint64_t>(length));
}

absl::Status ZeroBlocks(engine::Volume& volume, int64_t offset, int64_t length,
                        bool no_hole) {
  absl::Status status = CheckRange(offset, length);
  if (!status.ok()) return status;
  return volume.WriteZeroes(static_cast<uint64_t>(offset),
                            static_cast<uint64_t>(length), no_hole);
}

absl::Status ListExtents(
    engine::Volume& volume, int64_t offset, int64_t length, int32_t max_extents,
    google::protobuf::RepeatedPtrField<v1::Extent>* extents,
    int64_t* next_offset) {
  const auto range = ExtentsRange(volume, offset, length, max_extents);
  if (!range.ok()) return range.status();
  auto found =
      volume.GetExtents(range->offset, range->length, MostExtents(max_extents));
  if (!found.ok()) return found.status();
  extents->Reserve(static_cast<int>(found->extents.size()));
  for (const engine::Extent& extent : found->extents) {
    v1::Extent* out = extents->Add();
    out->set_offset(static_cast<int64_t>(extent.offset_bytes));
    out->set_length(static_cast<int64_t>(extent.length_bytes));
    out->set_hole(extent.hole);
  }
  *next_offset = static_cast<int64_t>(found->next_offset_bytes);
  return absl::OkStatus();
}

absl::Status ListChangedExtents(
    engine::Volume& volume, const engine::Engine& engine,
    const std::string& since, int64_t offset, int64_t length,
    int32_t max_extents,
    google::protobuf::RepeatedPtrField<v1::ChangedExtent>* extents,
    int64_t* next_offset) {
  const auto range = ExtentsRange(volume, offset, length, max_extents);
  if (!range.ok()) return range.status();
  const auto snapshot = FindSince(engine, since);
  if (!snapshot.ok()) return snapshot.status();
  const auto found =
      engine::ListChanges(volume, **snapshot, range->offset, range->length,
                          MostExtents(max_extents));
  if (!found.ok()) return found.status();
  extents->Reserve(static_cast<int>(found->extents.size()));
  for (const engine::ChangedExtent& extent : found->extents) {
    v1::ChangedExtent* out = extents->Add();
    out->set_offset(static_cast<int64_t>(extent.offset_bytes));
    out->set_length(static_cast<int64_t>(extent.length_bytes));
    out->set_changed(extent.changed);
  }
  *next_offset = static_cast<int64_t>(found->next_offset_bytes);
  return absl::OkStatus();
}

std::unique_ptr<v1::IoResult> RunOperation(engine::Volume& volume,
                                           const engine::Engine& engine,
                                           const v1::IoOperation& operation) {
  auto result = std::make_unique<v1::IoResult>();
  result->set_id(operation.id());
  const absl::Status status = RunKind(volume, engine, operation, result.get());
  if (!status.ok()) {
    *result->mutable_error() =
        ToRpcStatus(WithMetadata(status, "volume", volume.name()));
  }
  return result;
}

Lane LaneOf(const v1::IoOperation& operation) {
  switch (operation.kind_case()) {
    case v1::IoOperation::kWrite:
      return Lane::kMayWait;
    case v1::IoOperation::kWriteZeroes:
      return Lane::kMayWait;
    default:
      return Lane::kPrompt;
  }
}

bool IsSmall(const v1::IoOperation& operation) {
  switch (operation.kind_case()) {
    case v1::IoOperation::kRead:
    case v1::IoOperation::kWrite:
      return DataBytes(operation) <= kMaxInlineBytes;
    case v1::IoOperation::kFlush:
      return true;
    default:
      return false;
  }
}

bool IsLimited(const v1::IoOperation& operation) {
  return operation.has_read() || operation.has_write() ||
         operation.has_write_zeroes();
}

int64_t DataBytes(const v1::IoOperation& operation) {
  switch (operation.kind_case()) {
    case v1::IoOperation::kRead:
      // A longer read is refused, so it takes no memory.
      return std::clamp(operation.read().length(), int64_t{0}, kMaxDataBytes);
    case v1::IoOperation::kWrite:
      return static_cast<int64_t>(operation.write().data().size());
    default:
      return 0;
  }
}

size_t ResultBytes(const v1::IoOperation& operation) {
  switch (operation.kind_case()) {
    case v1::IoOperation::kRead:
      return static_cast<size_t>(DataBytes(operation));
    case v1::IoOperation::kGetExtents:
      return ExtentsBytes(operation.get_extents().max_extents());
    case v1::IoOperation::kGetChangedExtents:
      return ExtentsBytes(operation.get_changed_extents().max_extents());
    default:
      return 0;
  }
}

size_t ExtentsBytes(int32_t max_extents) {
  return MostExtents(max_extents) * kExtentBytes;
}

}  // namespace ramvol::service
