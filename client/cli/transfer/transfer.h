// What imports and exports have in common.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_TRANSFER_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_TRANSFER_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace ramvol::cli {

// Bytes of one operation, and of one buffer. Operations begin and end at its
// multiples, and so at those of a chunk, wherever the data allows.
inline constexpr int64_t kOperationBytes = 1 << 20;
// Buffers of an export, and so its memory: 32 MiB. An import has as much: see
// Invocation::DataClient.
inline constexpr int kMaxBuffers = 32;

// How a transfer is watched and stopped.
struct TransferControl {
  // Set by a signal: nothing new is started, the transfer fails with
  // InterruptedError once what was started has ended.
  const std::atomic<bool>& interrupted;
  // Grows by the bytes that went through, holes left out.
  std::atomic<int64_t>& done_bytes;
  // When given: becomes true once the volume may have changed.
  std::atomic<bool>* changed = nullptr;
};

// Bytes from `offset` to the next multiple of kOperationBytes, at most `left`.
inline int64_t PieceBytes(int64_t offset, int64_t left) {
  return std::min(left, kOperationBytes - offset % kOperationBytes);
}

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_TRANSFER_H_
