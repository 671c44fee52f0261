#include "qcow2/zstd_frames.h"

#include <zstd.h>

#include <array>
#include <bit>
#include <cstring>
#include <memory>

namespace ramvol::qcow2 {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr uint32_t kFrameMagic = 0xfd2fb528;
constexpr uint32_t kSkippableMagic = 0x184d2a50;  // The last 4 bits vary.
constexpr uint32_t kChecksumMagic = kSkippableMagic | 0xc;
constexpr uint8_t kTwoByteSize = 0x40;
constexpr size_t kTwoByteSizeBase = 256;
constexpr uint8_t kSingleSegment = 0x20;
constexpr uint8_t kReserved = 0x08;
constexpr uint8_t kHasChecksum = 0x04;
// A window of 64 KiB: (16 - 10) << 3.
constexpr char kWindow = 0x30;
enum BlockType : uint32_t { kRaw = 0, kRepeated = 1, kReserved3 = 3 };

template <typename Number>
Number Load(const char* from) {
  Number number = 0;
  std::memcpy(&number, from, sizeof(number));
  return number;
}

char* WriteHead(char* to) {
  const uint32_t magic = kFrameMagic;
  std::memcpy(to, &magic, sizeof(magic));
  to[4] = kTwoByteSize;
  return to + 5;
}

char* WriteSize(size_t content_bytes, char* to) {
  const auto size = static_cast<uint16_t>(content_bytes - kTwoByteSizeBase);
  std::memcpy(to, &size, sizeof(size));
  return to + sizeof(size);
}

char* WriteBlockHead(BlockType type, size_t bytes, char* to) {
  const uint32_t head = static_cast<uint32_t>(bytes) << 3 | type << 1 | 1;
  std::memcpy(to, &head, 3);
  return to + 3;
}

uint64_t LoadSize(const char* from, size_t bytes) {
  switch (bytes) {
    case 1:
      return static_cast<uint8_t>(*from);
    case 2:
      return Load<uint16_t>(from) + kTwoByteSizeBase;
    case 4:
      return Load<uint32_t>(from);
    default:
      return Load<uint64_t>(from);
  }
}

// The end of the blocks that begin at `at`; nullopt without one. Notes a single
// block.
std::optional<size_t> EndOfBlocks(absl::Span<const char> bytes, size_t at,
                                  Frame* frame) {
  const size_t begin = at;
  for (;;) {
    if (bytes.size() - at < 3) return std::nullopt;
    uint32_t head = 0;
    std::memcpy(&head, bytes.data() + at, 3);
    const uint32_t type = head >> 1 & 3;
    const size_t content = head >> 3;
    const size_t size = type == kRepeated ? 1 : content;
    if (type == kReserved3 || size > bytes.size() - at - 3) return std::nullopt;
    const bool only = at == begin && (head & 1) != 0;
    if (only && type == kRaw) {
      frame->raw = std::string_view(bytes.data() + at + 3, content);
    } else if (only && type == kRepeated) {
      frame->fill = bytes[at + 3];
      frame->content_bytes = content;
    }
    at += 3 + size;
    if ((head & 1) != 0) return at;
  }
}

std::optional<Frame> TakeSkippable(absl::Span<char> bytes) {
  const uint64_t size = uint64_t{Load<uint32_t>(bytes.data() + 4)} + 8;
  if (size > bytes.size()) return std::nullopt;
  Frame frame;
  frame.bytes = size;
  frame.skippable = true;
  if (size == kChecksumFrameBytes &&
      Load<uint32_t>(bytes.data()) == kChecksumMagic) {
    frame.checksum = Load<uint32_t>(bytes.data() + 8);
  }
  frame.content_bytes = 0;
  return frame;
}

}  // namespace

char* WriteFrame(std::string_view body, size_t content_bytes, char* to) {
  to = WriteHead(to);
  // The window descriptor comes before the size, the blocks after it.
  *to++ = body[0];
  to = WriteSize(content_bytes, to);
  std::memcpy(to, body.data() + 1, body.size() - 1);
  return to + body.size() - 1;
}

char* WriteRawFrame(std::string_view content, char* to) {
  to = WriteHead(to);
  *to++ = kWindow;
  to = WriteSize(content.size(), to);
  to = WriteBlockHead(kRaw, content.size(), to);
  std::memcpy(to, content.data(), content.size());
  return to + content.size();
}

char* WriteFillFrame(char byte, size_t content_bytes, char* to) {
  to = WriteHead(to);
  *to++ = kWindow;
  to = WriteSize(content_bytes, to);
  to = WriteBlockHead(kRepeated, content_bytes, to);
  *to++ = byte;
  return to;
}

char* WriteChecksumFrame(uint32_t checksum, char* to) {
  const std::array<uint32_t, 3> words = {kChecksumMagic, 4, checksum};
  std::memcpy(to, words.data(), sizeof(words));
  return to + sizeof(words);
}

std::optional<Frame> TakeFrame(absl::Span<char> bytes) {
  if (bytes.size() < 8) return std::nullopt;
  const auto magic = Load<uint32_t>(bytes.data());
  if ((magic & 0xfffffff0) == kSkippableMagic) return TakeSkippable(bytes);
  if (magic != kFrameMagic) return std::nullopt;
  const auto descriptor = static_cast<uint8_t>(bytes[4]);
  // Dictionaries and what is reserved.
  if ((descriptor & 3) != 0 || (descriptor & kReserved) != 0) {
    return std::nullopt;
  }
  const bool single = (descriptor & kSingleSegment) != 0;
  const int size_flag = descriptor >> 6;
  const size_t size_bytes =
      size_flag == 0 ? (single ? 1 : 0) : size_t{1} << size_flag;
  size_t at = 5;
  Frame frame;
  frame.window = single ? kWindow : bytes[at++];
  if (size_bytes > bytes.size() - at) return std::nullopt;
  if (size_bytes > 0) {
    frame.content_bytes = LoadSize(bytes.data() + at, size_bytes);
  }
  at += size_bytes;
  const auto end = EndOfBlocks(bytes, at, &frame);
  if (!end.has_value()) return std::nullopt;
  frame.bytes = *end + ((descriptor & kHasChecksum) != 0 ? 4 : 0);
  if (frame.bytes > bytes.size()) return std::nullopt;
  // A window that is as large as the content must hold 64 KiB at most.
  if (single && frame.content_bytes > 65536) return std::nullopt;
  frame.blocks = bytes.subspan(at, *end - at);
  return frame;
}

bool Decompress(std::string_view bytes, absl::Span<char> out) {
  struct Free {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };
  thread_local const std::unique_ptr<ZSTD_DCtx, Free> context(
      ZSTD_createDCtx());
  if (context == nullptr) return false;
  (void)ZSTD_DCtx_reset(context.get(), ZSTD_reset_session_only);
  ZSTD_inBuffer in = {bytes.data(), bytes.size(), 0};
  ZSTD_outBuffer to = {out.data(), out.size(), 0};
  size_t left = 0;
  while (to.pos < to.size) {
    const size_t progress = in.pos + to.pos;
    left = ZSTD_decompressStream(context.get(), &to, &in);
    if (ZSTD_isError(left) || in.pos + to.pos == progress) return false;
  }
  return left == 0;
}

}  // namespace ramvol::qcow2
