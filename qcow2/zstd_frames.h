// The zstd frames (RFC 8878) that a compressed cluster consists of.
#ifndef RAMVOL_QCOW2_ZSTD_FRAMES_H_
#define RAMVOL_QCOW2_ZSTD_FRAMES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/types/span.h"

namespace ramvol::qcow2 {

// What a frame takes in a cluster beyond `body`, its window descriptor and
// blocks: the magic number, a descriptor, and the content's size.
inline constexpr size_t kFrameExtraBytes = 4 + 1 + 2;
// A frame of bytes as they are, beyond these, and one of equal bytes.
inline constexpr size_t kRawFrameExtraBytes = kFrameExtraBytes + 1 + 3;
inline constexpr size_t kFillFrameBytes = kFrameExtraBytes + 1 + 3 + 1;
// A skippable frame before another one, with the checksum of what that holds as
// the server has it. Decoders pass it over.
inline constexpr size_t kChecksumFrameBytes = 4 + 4 + 4;
// Contents from 256 bytes to this have sizes of two bytes.
inline constexpr size_t kMaxFrameContent = 65536 + 255;

// Write a frame to `to` and return its end. `content_bytes` is 256 to
// kMaxFrameContent.
char* WriteFrame(std::string_view body, size_t content_bytes, char* to);
char* WriteRawFrame(std::string_view content, char* to);
char* WriteFillFrame(char byte, size_t content_bytes, char* to);
char* WriteChecksumFrame(uint32_t checksum, char* to);

// A frame that was found.
struct Frame {
  size_t bytes = 0;  // All of it.
  bool skippable = false;
  std::optional<uint32_t> checksum;  // It is a checksum frame with this.
  // What it holds; nullopt when it does not say.
  std::optional<uint64_t> content_bytes;
  // The blocks, before which are at least two bytes of the frame's header.
  absl::Span<char> blocks;
  // The window descriptor that it has or, where its only segment is its window,
  // one for 64 KiB.
  char window = 0;
  // It is of one block of bytes as they are, which these are, or of equal
  // bytes.
  std::string_view raw;
  std::optional<char> fill;
};
// The frame that `bytes` begins with. nullopt when it is none, has a dictionary
// or no end, or needs a window of more than 64 KiB without saying so.
std::optional<Frame> TakeFrame(absl::Span<char> bytes);

// Fills `out` with the frames at the beginning of `bytes`; false when they do
// not hold exactly as much.
bool Decompress(std::string_view bytes, absl::Span<char> out);

}  // namespace ramvol::qcow2

#endif  // RAMVOL_QCOW2_ZSTD_FRAMES_H_
