// One request of virtio-blk.
#ifndef RAMVOL_VHOST_USER_BLOCK_REQUEST_H_
#define RAMVOL_VHOST_USER_BLOCK_REQUEST_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "base/block/block_device.h"
#include "vhost_user/stats.h"
#include "vhost_user/virtqueue.h"

namespace ramvol::vhost {

// Bounds of a request that the device tells the driver.
inline constexpr uint32_t kSectorBytes = 512;
inline constexpr uint32_t kMaxSegmentBytes = 4 << 20;
// With the header and the status, a chain fits a queue of 128.
inline constexpr uint32_t kMaxSegments = 126;
// Of discard and write zeroes: of one range, and of ranges.
inline constexpr uint32_t kMaxZeroSectors = 1 << 22;
inline constexpr uint32_t kMaxZeroRanges = 64;

// What requests are for.
struct RequestTarget {
  block::BlockDevice& device;  // A synchronous one.
  uint64_t capacity_sectors = 0;
  bool read_only = false;
  const std::string& id;  // For GET_ID.
};

struct RequestResult {
  RequestKind kind = RequestKind::kUnknown;
  ResultKind result = ResultKind::kOk;
  // Bytes of the chain's writable buffers that may have changed, from the first
  // on, but for the status: that is their last one.
  uint32_t written = 0;
  // Why it failed, for the log.
  absl::Status why = absl::OkStatus();
};

// Carries out the request in `chain`, and writes its status. The guest's memory
// is read once: what is checked is what is used. INVALID_ARGUMENT, without an
// answer, when the chain has no room for a header or a status.
absl::StatusOr<RequestResult> Execute(const RequestTarget& target,
                                      const Chain& chain);

}  // namespace ramvol::vhost

#endif  // RAMVOL_VHOST_USER_BLOCK_REQUEST_H_
