// libFuzzer over the decoding of frames: damaged ones are refused, and nothing
// is read or written out of bounds.
//
//   bazel build --config=fuzz //tests/fuzz:frame_fuzzer
//   bazel-bin/tests/fuzz/frame_fuzzer tests/fuzz/corpus/frame
//
// The first byte of an input chooses between two kinds: compressed bytes as
// they are, and damage done to a good frame.
#include <sys/mman.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "absl/types/span.h"
#include "base/check.h"
#include "server/engine/content/codec.h"
#include "server/engine/content/frame.h"
#include "server/engine/memory/account.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/options.h"
#include "tests/fuzz/input.h"

namespace ramvol::testing {
namespace {

using engine::Account;
using engine::Arena;
using engine::BlockMask;
using engine::Frame;
using engine::kBlockBytes;
using engine::kBlocksPerChunk;
using engine::kChunkBytes;
using engine::kPageBytes;
namespace codec = engine::codec;

Arena& SharedArena() {
  static Arena* const arena =
      Arena::Create(engine::kMinMemoryLimitBytes)->release();
  return *arena;
}

// Room for 64 KiB just before and just after pages that must not be touched:
// AddressSanitizer does not see what zstd, a system library, does.
class FencedBuffer {
 public:
  FencedBuffer() {
    void* const mapped =
        mmap(nullptr, kChunkBytes + 2 * kPageBytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    RAMVOL_CHECK(mapped != MAP_FAILED);
    begin_ = static_cast<char*>(mapped) + kPageBytes;
    RAMVOL_CHECK(mprotect(mapped, kPageBytes, PROT_NONE) == 0);
    RAMVOL_CHECK(mprotect(begin_ + kChunkBytes, kPageBytes, PROT_NONE) == 0);
  }

  // The last `bytes` bytes of the room.
  absl::Span<char> End(size_t bytes) {
    return {begin_ + kChunkBytes - bytes, bytes};
  }
  // The first `bytes` bytes of the room.
  absl::Span<char> Begin(size_t bytes) { return {begin_, bytes}; }

 private:
  char* begin_;
};

FencedBuffer& SourceBuffer() {
  static FencedBuffer* const buffer = new FencedBuffer;
  return *buffer;
}
FencedBuffer& TargetBuffer() {
  static FencedBuffer* const buffer = new FencedBuffer;
  return *buffer;
}

// Owns a frame of `compressed` in the shared arena.
class TestFrame {
 public:
  TestFrame(BlockMask blocks, uint32_t checksum,
            absl::Span<const char> compressed)
      : frame_(engine::NewFrame(account_, engine::Priority::kNormal, blocks,
                                checksum, compressed)) {
    RAMVOL_CHECK(frame_ != nullptr);
  }
  ~TestFrame() {
    engine::ReleaseFrame(account_, frame_);
    RAMVOL_CHECK(account_.used_bytes() == 0);
  }

  // Reads it to a fenced buffer; false when it is refused.
  bool Read(absl::Span<char>* out) {
    *out = TargetBuffer().End(frame_->content_bytes());
    return engine::ReadFrame(SharedArena(), *frame_, *out);
  }
  // The compressed byte at `offset`.
  char& Byte(size_t offset) {
    const size_t page = offset / kPageBytes;
    if (page < frame_->page_count()) {
      return SharedArena().PageData(frame_->pages()[page])[offset % kPageBytes];
    }
    return const_cast<char*>(frame_->tail())[offset % kPageBytes];
  }

 private:
  Account account_{SharedArena(), /*limit_bytes=*/0};
  Frame* const frame_;
};

void DecodeAnything(Input& input) {
  const int count = 1 + input.Choice(kBlocksPerChunk);
  const BlockMask blocks = engine::RunMask(0, count);
  const std::string_view given = input.Bytes(kChunkBytes - 1);
  if (given.empty()) return;
  const absl::Span<char> compressed = SourceBuffer().End(given.size());
  std::memcpy(compressed.data(), given.data(), given.size());

  absl::Span<char> content = TargetBuffer().Begin(count * kBlockBytes);
  const bool decoded = codec::Decompress(compressed, content);
  const std::string expected(content.data(), content.size());
  const uint32_t checksum = codec::Checksum(expected);
  RAMVOL_CHECK(TestFrame(blocks, checksum, compressed).Read(&content) ==
               decoded);
  if (decoded) {
    RAMVOL_CHECK(
        std::memcmp(content.data(), expected.data(), expected.size()) == 0);
  }
  RAMVOL_CHECK(
      !TestFrame(blocks, checksum ^ 0x00010000, compressed).Read(&content));
  // A frame that holds one block more or less is refused, too.
  if (count > 1) {
    content = TargetBuffer().End((count - 1) * kBlockBytes);
    RAMVOL_CHECK(!(codec::Decompress(compressed, content) && decoded));
  }
}

// `bytes` bytes that repeat `seed`, a little different in each block.
std::string MakeContent(std::string_view seed, size_t bytes) {
  std::string content(bytes, '\0');
  if (seed.empty()) return content;
  for (size_t i = 0; i < bytes; ++i) {
    content[i] = seed[(i + i / kBlockBytes) % seed.size()];
    if (i % 61 == 0) content[i] += static_cast<char>(i / 61);
  }
  return content;
}

void DecodeDamaged(Input& input) {
  struct Damage {
    size_t offset;
    char flip;
  };
  const BlockMask given = static_cast<BlockMask>(input.Number(2));
  const BlockMask blocks = given == 0 ? 1 : given;
  const int level = static_cast<int>(input.Choice(12)) - 3;
  Damage damages[4];
  const int damage_count = input.Choice(5);
  for (int i = 0; i < damage_count; ++i) {
    damages[i].offset = input.Number(2);
    damages[i].flip = static_cast<char>(input.Number(1));
  }
  const int count = std::popcount(blocks);
  const std::string content = MakeContent(input.Rest(), count * kBlockBytes);
  std::string compressed(engine::MaxStoredBytes(count), '\0');
  const size_t stored = codec::Compress(content, level == 0 ? 1 : level,
                                        absl::MakeSpan(compressed));
  if (stored == 0) return;

  TestFrame frame(blocks, codec::Checksum(content),
                  absl::MakeConstSpan(compressed).first(stored));
  absl::Span<char> out;
  RAMVOL_CHECK(frame.Read(&out));
  RAMVOL_CHECK(std::string_view(out.data(), out.size()) == content);
  for (int i = 0; i < damage_count; ++i) {
    frame.Byte(damages[i].offset % stored) ^= damages[i].flip;
  }
  if (frame.Read(&out)) {
    RAMVOL_CHECK(std::string_view(out.data(), out.size()) == content);
  }
  for (int i = 0; i < damage_count; ++i) {
    frame.Byte(damages[i].offset % stored) ^= damages[i].flip;
  }
  RAMVOL_CHECK(frame.Read(&out));
}

}  // namespace
}  // namespace ramvol::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ramvol::testing::Input input(data, size);
  if (input.Choice(2) == 0) {
    ramvol::testing::DecodeAnything(input);
  } else {
    ramvol::testing::DecodeDamaged(input);
  }
  return 0;
}
