// Counts of connections that were turned away.
#ifndef RAMVOL_BASE_DOOR_STATS_H_
#define RAMVOL_BASE_DOOR_STATS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ramvol {

// Why a connection was refused or ended by the server. The names are label
// values.
enum class TurnedAway {
  kFull,       // All places were taken when its opening was complete.
  kPeerShare,  // Its peer holds its share of the places.
  kFiles,      // Few file descriptors are left.
  kSlowStart,  // Its opening did not arrive in time, or others needed the room.
  kBadStart,   // Its opening belongs to another protocol.
  kResets,     // It flooded the server; see http2::FrameGate.
  kStreams,
  kHeaders,
  kControl,
  kSlowClient,  // It moved too few bytes while others waited for memory.
  kTls,         // Its handshake of TLS failed.
  kCount,
};
inline constexpr std::array<const char*, 11> kTurnedAwayNames = {
    "full",    "peer_share", "files",   "slow_start",  "bad_start", "resets",
    "streams", "headers",    "control", "slow_client", "tls"};

// Counts for one protocol. Thread-safe.
class DoorStats {
 public:
  void Count(TurnedAway why) {
    counts_[static_cast<size_t>(why)].fetch_add(1, std::memory_order_relaxed);
  }
  uint64_t Get(TurnedAway why) const {
    return counts_[static_cast<size_t>(why)].load(std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<uint64_t>, kTurnedAwayNames.size()> counts_ = {};
};

}  // namespace ramvol

#endif  // RAMVOL_BASE_DOOR_STATS_H_
