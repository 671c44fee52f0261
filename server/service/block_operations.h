// The operations of BlockService, for unary calls and for Io: each checks the
// numbers that came over the wire, then calls the engine.
#ifndef RAMVOL_SERVER_SERVICE_BLOCK_OPERATIONS_H_
#define RAMVOL_SERVER_SERVICE_BLOCK_OPERATIONS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "ramvol/v1/block_service.pb.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "server/service/executor.h"

namespace ramvol::service {

// All return the errors of engine::Volume, and INVALID_ARGUMENT, which names
// the field, for a negative number or too much data.

// Sets `data` to the `length` bytes at `offset`, or to "" on failure.
absl::Status ReadBlocks(engine::Volume& volume, int64_t offset, int64_t length,
                        std::string* data);
absl::Status WriteBlocks(engine::Volume& volume, int64_t offset,
                         const std::string& data);
absl::Status TrimBlocks(engine::Volume& volume, int64_t offset, int64_t length);
absl::Status ZeroBlocks(engine::Volume& volume, int64_t offset, int64_t length,
                        bool no_hole);
// `length` 0: to the end of the volume. `max_extents` 0: kDefaultExtents.
absl::Status ListExtents(
    engine::Volume& volume, int64_t offset, int64_t length, int32_t max_extents,
    google::protobuf::RepeatedPtrField<v1::Extent>* extents,
    int64_t* next_offset);

// As ListExtents. `since` is "@NAME" or the uid of a snapshot of `engine`.
absl::Status ListChangedExtents(
    engine::Volume& volume, const engine::Engine& engine,
    const std::string& since, int64_t offset, int64_t length,
    int32_t max_extents,
    google::protobuf::RepeatedPtrField<v1::ChangedExtent>* extents,
    int64_t* next_offset);

// NOT_FOUND, for a `since` that is a uid.
absl::Status NoSnapshotWithUid(const std::string& uid);

// Runs `operation`, whose kind must be set, on a volume of `engine`. The result
// holds its failure.
std::unique_ptr<v1::IoResult> RunOperation(engine::Volume& volume,
                                           const engine::Engine& engine,
                                           const v1::IoOperation& operation);

// The lane that `operation` must run in.
Lane LaneOf(const v1::IoOperation& operation);
// Whether it is a small read or write, or a flush: only these take about the
// same time each time.
bool IsSmall(const v1::IoOperation& operation);
// Whether limits of operations and bytes may hold it up (UsageCost).
bool IsLimited(const v1::IoOperation& operation);
// Bytes of data that it carries or asks for, as the window counts them.
int64_t DataBytes(const v1::IoOperation& operation);
// An upper bound of its result's memory, give or take some hundred bytes.
size_t ResultBytes(const v1::IoOperation& operation);
// The same for GetExtents and GetChangedExtents.
size_t ExtentsBytes(int32_t max_extents);

}  // namespace ramvol::service

#endif  // RAMVOL_SERVER_SERVICE_BLOCK_OPERATIONS_H_
