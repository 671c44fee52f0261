// Finding the parts of a buffer that hold something.
#ifndef RAMVOL_CLIENT_CLI_TRANSFER_ZEROES_H_
#define RAMVOL_CLIENT_CLI_TRANSFER_ZEROES_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ramvol::cli {

// What the server stores: an all-zero block is a hole.
inline constexpr int64_t kBlockBytes = 4096;

bool IsAllZero(std::string_view data);

// A run of bytes at the head of a buffer: all zero, or not.
struct HeadRun {
  size_t length = 0;
  bool zero = false;
};

// The longest run at the head of `data`, which lies at `offset` of a volume,
// whose blocks are all of one kind. Blocks lie at multiples of kBlockBytes of
// the volume; those at the ends of `data` may be parts.
HeadRun FindHeadRun(int64_t offset, std::string_view data);

}  // namespace ramvol::cli

#endif  // RAMVOL_CLIENT_CLI_TRANSFER_ZEROES_H_
