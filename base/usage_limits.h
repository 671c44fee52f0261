// What one volume, or one identity, may use.
#ifndef RAMVOL_BASE_USAGE_LIMITS_H_
#define RAMVOL_BASE_USAGE_LIMITS_H_

#include <cstdint>

namespace ramvol {

// 0 means no limit. The names of rates are QEMU's.
struct UsageLimits {
  // Reads, writes and writes of zeroes a second, and bytes that they move.
  uint64_t iops_total = 0;
  uint64_t bps_total = 0;
  // Most that may come at once after a pause; 0: what comes in a tenth of a
  // second. Not less than the rate.
  uint64_t iops_total_max = 0;
  uint64_t bps_total_max = 0;
  // Most at a time.
  uint64_t io_streams = 0;
  uint64_t nbd_connections = 0;

  bool has_rate() const { return iops_total != 0 || bps_total != 0; }

  friend bool operator==(const UsageLimits&, const UsageLimits&) = default;
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_USAGE_LIMITS_H_
