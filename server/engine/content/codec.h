// zstd, checksums and the search for same-filled blocks. Contexts are kept for
// each thread, so no call waits for another.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_CODEC_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/types/span.h"

namespace ramvol::engine::codec {

// Compresses `src` (at most 64 KiB) into `dst`. Returns the compressed size, or
// 0 when it does not fit in `dst` or zstd fails: store it raw then. Give a
// small `dst` to make zstd give up early on what does not compress.
size_t Compress(absl::Span<const char> src, int level, absl::Span<char> dst);

// Fills all of `dst` from the frame `src`; false when `src` is damaged or holds
// another number of bytes. Never reads or writes out of bounds, whatever `src`
// holds.
bool Decompress(absl::Span<const char> src, absl::Span<char> dst);

// The low 32 bits of XXH3-64 (xxHash specification 0.2.0) of uncompressed
// bytes.
uint32_t Checksum(absl::Span<const char> data);

// The 8 bytes, in memory order, that the 4096 bytes at `block` repeat, or
// nullopt. 0 is a block of zeroes. Looks at few bytes of most other blocks.
std::optional<uint64_t> SameFilledPattern(const char* block);

// Fills 4096 bytes at `block` with the pattern.
void FillPattern(uint64_t pattern, char* block);

// From the n-th call of Compress on (0: the next one) all fail; negative: none
// do.
void FailCompressionsAfterForTest(int64_t n);

}  // namespace ramvol::engine::codec

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_CODEC_H_
