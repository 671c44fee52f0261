// Finds the parts of a buffer that are not zero.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_ZEROES_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_ZEROES_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ramvol::cli {

// The server's block. It stores nothing for a block of zeroes.
inline constexpr int64_t kBlockBytes = 4096;

bool IsAllZero(std::string_view data);

// A run of bytes at the head of a buffer: all zero, or not.
struct HeadRun {
  size_t length = 0;
  bool zero = false;
};

// The longest run at the head of `data` whose blocks are all zero, or all not
// zero. `data` lies at `offset` of a volume. Blocks begin at multiples of
// kBlockBytes of the volume, so the first and the last may be only in part in
// `data`.
HeadRun FindHeadRun(int64_t offset, std::string_view data);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_ZEROES_H_
