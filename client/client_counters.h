// What the volumes of one client count together.
#ifndef RAMVOL_CLIENT_CLIENT_COUNTERS_H_
#define RAMVOL_CLIENT_CLIENT_COUNTERS_H_

#include <atomic>
#include <cstdint>

namespace ramvol {

// Thread-safe.
struct ClientCounters {
  // Streams that were opened in the place of lost ones.
  std::atomic<uint64_t> reconnects{0};
  // Streams that were lost and are not open again, of volumes still in use.
  std::atomic<uint64_t> lost_streams{0};
};

}  // namespace ramvol

#endif  // RAMVOL_CLIENT_CLIENT_COUNTERS_H_
