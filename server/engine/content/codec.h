// zstd, checksums, and the search for same-filled blocks. Each thread has its
// own zstd contexts, so calls never wait for each other.
#ifndef RAMVOL_SERVER_ENGINE_CONTENT_CODEC_H_
#define RAMVOL_SERVER_ENGINE_CONTENT_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/types/span.h"

namespace ramvol::engine::codec {

// Compresses `src` (at most 64 KiB) into `dst`. Returns the compressed size, or
// 0 when that does not fit in `dst` or zstd fails; store `src` raw then. A
// small `dst` makes zstd give up early on incompressible data.
size_t Compress(absl::Span<const char> src, int level, absl::Span<char> dst);

// Fills all of `dst` from the frame `src`. False when `src` is damaged or has
// another content size. Never accesses memory out of bounds, whatever `src`
// holds.
bool Decompress(absl::Span<const char> src, absl::Span<char> dst);

// The low 32 bits of XXH3-64 (xxHash specification 0.2.0).
uint32_t Checksum(absl::Span<const char> data);

// The 8 bytes, in memory order, that fill the 4096 bytes at `block`, or
// nullopt. 0 means a block of zeroes. Reads only a few bytes of most other
// blocks.
std::optional<uint64_t> SameFilledPattern(const char* block);

// Fills 4096 bytes at `block` with the pattern.
void FillPattern(uint64_t pattern, char* block);

// All calls of Compress fail from the n-th on (0: the next one). Negative: none
// do.
void FailCompressionsAfterForTest(int64_t n);

}  // namespace ramvol::engine::codec

#endif  // RAMVOL_SERVER_ENGINE_CONTENT_CODEC_H_
