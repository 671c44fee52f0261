// Counters that the open volumes of one client share.
#ifndef RAMVOL_CLIENT_CLIENT_COUNTERS_H_
#define RAMVOL_CLIENT_CLIENT_COUNTERS_H_

#include <atomic>
#include <cstdint>

namespace ramvol {

// Thread-safe.
struct ClientCounters {
  // Streams that were opened in place of lost ones.
  std::atomic<uint64_t> reconnects{0};
  // Lost streams, of volumes still in use, that are not open again yet.
  std::atomic<uint64_t> lost_streams{0};
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CLIENT_COUNTERS_H_
