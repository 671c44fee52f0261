// What is counted where connections come in.
#ifndef RAMVOL_BASE_DOOR_STATS_H_
#define RAMVOL_BASE_DOOR_STATS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ramvol {

// Why a connection was not let in, or sent away. The names are label values.
enum class TurnedAway {
  kFull,       // All connections were taken when it had said what it wants.
  kPeerShare,  // Its peer has its share of the connections.
  kFiles,      // Few file descriptors are left.
  kSlowStart,  // It did not say in time what it wants, or others were quicker.
  kBadStart,   // What it said first is another protocol.
  kResets,     // It flooded the server; see http2::FrameGate.
  kStreams,
  kHeaders,
  kControl,
  kSlowClient,  // It took too little while others waited for memory.
  kCount,
};
inline constexpr std::array<const char*, 10> kTurnedAwayNames = {
    "full",   "peer_share", "files",   "slow_start", "bad_start",
    "resets", "streams",    "headers", "control",    "slow_client"};

// Of one protocol. Thread-safe.
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
