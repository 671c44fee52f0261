// Parameters of imports and exports.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_TRANSFER_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_TRANSFER_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace ramvol::cli {

// The size of one operation and of one buffer. If the data allows, operations
// begin and end at multiples of this, and so at a chunk's boundaries.
inline constexpr int64_t kOperationBytes = 1 << 20;
// Buffers of an export, and so its memory: 32 MiB. An import has as much: see
// Invocation::DataClient.
inline constexpr int kMaxBuffers = 32;

// Watches and stops a transfer.
struct TransferControl {
  // Set by a signal. Then no operation starts any more. When those under way
  // have ended, the transfer fails with InterruptedError.
  const std::atomic<bool>& interrupted;
  // Grows by the bytes that were transferred, without holes.
  std::atomic<int64_t>& done_bytes;
  // If not null, becomes true once the volume may have changed.
  std::atomic<bool>* changed = nullptr;
};

// Bytes from `offset` to the next multiple of kOperationBytes, at most `left`.
inline int64_t PieceBytes(int64_t offset, int64_t left) {
  return std::min(left, kOperationBytes - offset % kOperationBytes);
}

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_TRANSFER_H_
