// The stable reason of an error and the request field at fault, carried as
// payloads of an absl::Status so that the engine can name them without seeing
// gRPC. //proto:status turns them into google.rpc.ErrorInfo and BadRequest.
#ifndef RAMVOL_BASE_REASON_H_
#define RAMVOL_BASE_REASON_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace ramvol {

// Reasons are part of the interface: scripts match them. Never rename one.
namespace reason {
inline constexpr std::string_view kInvalidName = "INVALID_NAME";
inline constexpr std::string_view kInvalidField = "INVALID_FIELD";
inline constexpr std::string_view kMalformedRequest = "MALFORMED_REQUEST";
inline constexpr std::string_view kTooMuchData = "TOO_MUCH_DATA";
inline constexpr std::string_view kVolumeNotFound = "VOLUME_NOT_FOUND";
inline constexpr std::string_view kVolumeDeleted = "VOLUME_DELETED";
inline constexpr std::string_view kVolumeExists = "VOLUME_EXISTS";
inline constexpr std::string_view kVolumeReadOnly = "VOLUME_READ_ONLY";
inline constexpr std::string_view kReadOnlySnapshot = "READ_ONLY_SNAPSHOT";
inline constexpr std::string_view kSnapshotExists = "SNAPSHOT_EXISTS";
inline constexpr std::string_view kSnapshotNotFound = "SNAPSHOT_NOT_FOUND";
inline constexpr std::string_view kVolumeAttached = "VOLUME_ATTACHED";
inline constexpr std::string_view kVolumeReplaced = "VOLUME_REPLACED";
inline constexpr std::string_view kEtagMismatch = "ETAG_MISMATCH";
inline constexpr std::string_view kPastEnd = "PAST_END";
inline constexpr std::string_view kServerMemoryLimit = "SERVER_MEMORY_LIMIT";
inline constexpr std::string_view kVolumeMemoryLimit = "VOLUME_MEMORY_LIMIT";
inline constexpr std::string_view kTooManyVolumes = "TOO_MANY_VOLUMES";
inline constexpr std::string_view kTooManyStreams = "TOO_MANY_STREAMS";
inline constexpr std::string_view kClientTooSlow = "CLIENT_TOO_SLOW";
inline constexpr std::string_view kCorruptFrame = "CORRUPT_FRAME";
inline constexpr std::string_view kVolumeDamaged = "VOLUME_DAMAGED";
inline constexpr std::string_view kDamagedImage = "DAMAGED_IMAGE";
inline constexpr std::string_view kForeignImage = "FOREIGN_IMAGE";
inline constexpr std::string_view kTooLargeImage = "TOO_LARGE_IMAGE";
inline constexpr std::string_view kWrongBacking = "WRONG_BACKING";
inline constexpr std::string_view kNoSaveDir = "NO_SAVE_DIR";
inline constexpr std::string_view kSaveUnderWay = "SAVE_UNDER_WAY";
inline constexpr std::string_view kSaveFailed = "SAVE_FAILED";
inline constexpr std::string_view kWindowExceeded = "WINDOW_EXCEEDED";
inline constexpr std::string_view kEventsLost = "EVENTS_LOST";
inline constexpr std::string_view kPermissionDenied = "PERMISSION_DENIED";
inline constexpr std::string_view kUnauthenticated = "UNAUTHENTICATED";
inline constexpr std::string_view kShuttingDown = "SHUTTING_DOWN";
}  // namespace reason

// Returns `status` with its reason set; OK stays OK.
absl::Status WithReason(absl::Status status, std::string_view reason);

// Returns an INVALID_ARGUMENT about request field `field`, reason
// INVALID_FIELD unless another is given.
absl::Status InvalidField(std::string_view field, std::string_view message,
                          std::string_view reason = reason::kInvalidField);

// Whether WithReason set `reason`. Takes no memory.
bool HasReason(const absl::Status& status, std::string_view reason);

// The reason that WithReason set, or "" when there is none.
std::string GetReason(const absl::Status& status);

// The field that InvalidField named, or "".
std::string GetField(const absl::Status& status);

// Puts `context` and ": " before the message; code and payloads stay.
absl::Status Annotate(const absl::Status& status, std::string_view context);

}  // namespace ramvol

#endif  // RAMVOL_BASE_REASON_H_
