#include "server/engine/content/codec.h"

// For ZSTD_c_format and ZSTD_d_format: frames without the magic number. These
// are experimental, so their values may change between releases: build with the
// headers of the linked library. Frames never leave the process, so no other
// release reads them.
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "server/engine/types/blocks.h"
#ifdef __x86_64__
#include "server/engine/content/checksum_avx2.h"
#endif

namespace ramvol::engine::codec {
namespace {

// The first byte of every frame: no content size, checksum or dictionary. The
// index knows these already (docs/decisions/0006).
constexpr char kFrameHeaderDescriptor = 0;
// The window descriptor follows, then blocks, each with a header of three bytes
// (RFC 8878, 3.1.1).
constexpr size_t kFrameHeaderBytes = 2;
constexpr size_t kBlockHeaderBytes = 3;
constexpr uint32_t kRepeatedByteBlock = 1;

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

bool Set(ZSTD_CCtx* context, ZSTD_cParameter parameter, int value) {
  return !ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value));
}

// zstd's level 1 has other parameters for more than 16 KiB, which find fewer
// matches in frames of 32 and 64 KiB and are no faster: here they are those of
// up to 16 KiB, for all lengths (docs/decisions/0051).
constexpr int kFastestLevel = 1;
constexpr int kFastestMinMatch = 5;
constexpr int kFastestHashLog = 15;

bool SetLevel(ZSTD_CCtx* context, int level) {
  const bool fastest = level == kFastestLevel;
  // 0 stands for what the level has by itself.
  return Set(context, ZSTD_c_compressionLevel, level) &&
         Set(context, ZSTD_c_minMatch, fastest ? kFastestMinMatch : 0) &&
         Set(context, ZSTD_c_hashLog, fastest ? kFastestHashLog : 0);
}

// One thread's compressor. Keeps its parameters, because setting them costs
// time.
class Compressor {
 public:
  // The context at `level`, or nullptr when out of memory.
  ZSTD_CCtx* Get(int level) {
    if (context_ == nullptr && !Make()) return nullptr;
    if (level != level_) {
      if (!SetLevel(context_.get(), level)) return nullptr;
      level_ = level;
    }
    return context_.get();
  }

 private:
  bool Make() {
    std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
    if (context == nullptr ||
        !Set(context.get(), ZSTD_c_format, ZSTD_f_zstd1_magicless) ||
        !Set(context.get(), ZSTD_c_contentSizeFlag, 0) ||
        !Set(context.get(), ZSTD_c_checksumFlag, 0)) {
      return false;
    }
    context_ = std::move(context);
    return true;
  }

  std::unique_ptr<ZSTD_CCtx, FreeContext> context_;
  int level_ = 0;  // zstd's default level, which no volume may choose.
};

// One thread's decompressor.
class Decompressor {
 public:
  ZSTD_DCtx* Get() {
    if (context_ == nullptr) Make();
    return context_.get();
  }

 private:
  void Make() {
    std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
    if (context == nullptr ||
        ZSTD_isError(ZSTD_DCtx_setParameter(context.get(), ZSTD_d_format,
                                            ZSTD_f_zstd1_magicless))) {
      return;
    }
    context_ = std::move(context);
  }

  std::unique_ptr<ZSTD_DCtx, FreeContext> context_;
};

thread_local Compressor compressor;
thread_local Decompressor decompressor;

// Compressions that still succeed, for tests; negative: all do.
std::atomic<int64_t> compressions_left{-1};

bool ShouldFail() {
  int64_t left = compressions_left.load(std::memory_order_relaxed);
  while (left > 0) {
    if (compressions_left.compare_exchange_weak(left, left - 1,
                                                std::memory_order_relaxed)) {
      return false;
    }
  }
  return left == 0;
}

// Whether `src` is exactly one frame. zstd would decode what follows a frame as
// another one, and 1.5.4 then reads up to three bytes past the end of `src`.
bool IsOneFrame(absl::Span<const char> src) {
  // Without this check, zstd 1.5.4 decodes a damaged frame that happens to
  // begin with the magic number of a legacy format as that format.
  if (src.empty() || src[0] != kFrameHeaderDescriptor) return false;
  size_t at = kFrameHeaderBytes;
  for (bool last = false; !last;) {
    if (at > src.size() || src.size() - at < kBlockHeaderBytes) return false;
    uint32_t header = 0;
    std::memcpy(&header, src.data() + at, kBlockHeaderBytes);
    last = (header & 1) != 0;
    const bool repeated = (header >> 1 & 3) == kRepeatedByteBlock;
    at += kBlockHeaderBytes + (repeated ? 1 : header >> 3);
  }
  return at == src.size();
}

uint64_t LoadWord(const char* from) {
  uint64_t word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

}  // namespace

size_t Compress(absl::Span<const char> src, int level, absl::Span<char> dst) {
  if (ShouldFail()) return 0;
  ZSTD_CCtx* const context = compressor.Get(level);
  if (context == nullptr) return 0;
  const size_t size =
      ZSTD_compress2(context, dst.data(), dst.size(), src.data(), src.size());
  return ZSTD_isError(size) ? 0 : size;
}

bool Decompress(absl::Span<const char> src, absl::Span<char> dst) {
  if (!IsOneFrame(src)) return false;
  ZSTD_DCtx* const context = decompressor.Get();
  if (context == nullptr) return false;
  const size_t size = ZSTD_decompressDCtx(context, dst.data(), dst.size(),
                                          src.data(), src.size());
  return !ZSTD_isError(size) && size == dst.size();
}

uint32_t Checksum(absl::Span<const char> data) {
#ifdef __x86_64__
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  if (has_avx2) {
    return static_cast<uint32_t>(Xxh3WithAvx2(data.data(), data.size()));
  }
#endif
  return static_cast<uint32_t>(XXH3_64bits(data.data(), data.size()));
}

std::optional<uint64_t> SameFilledPattern(const char* block) {
  const uint64_t pattern = LoadWord(block);
  // Many blocks begin with zeroes but hold data later. Probing three places
  // first avoids long comparisons.
  for (const size_t offset :
       {kBlockBytes - sizeof(pattern), kBlockBytes / 2, kBlockBytes / 4}) {
    if (LoadWord(block + offset) != pattern) return std::nullopt;
  }
  // The block repeats its first 8 bytes if it equals itself shifted by 8 bytes.
  if (std::memcmp(block, block + sizeof(pattern),
                  kBlockBytes - sizeof(pattern)) != 0) {
    return std::nullopt;
  }
  return pattern;
}

void FillPattern(uint64_t pattern, char* block) {
  for (size_t offset = 0; offset < kBlockBytes; offset += sizeof(pattern)) {
    std::memcpy(block + offset, &pattern, sizeof(pattern));
  }
}

void FailCompressionsAfterForTest(int64_t n) {
  compressions_left.store(n, std::memory_order_relaxed);
}

}  // namespace ramvol::engine::codec
