#include "server/engine/content/codec.h"

#include <zstd.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace ramvol::engine::codec {
namespace {

constexpr size_t kBlock = 4096;
constexpr size_t kMaxFrame = 65536;

using Bytes = std::vector<char>;

Bytes RandomBytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(size);
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// Words of a small vocabulary, as text is.
Bytes TextBytes(size_t size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string text;
  while (text.size() < size) {
    text += "word" + std::to_string(random() % 500) + ' ';
  }
  return Bytes(text.begin(), text.begin() + size);
}

// An exact-sized copy, so that AddressSanitizer sees one byte too far.
Bytes CompressAll(const Bytes& src, int level) {
  Bytes dst(src.size() + 1024);
  dst.resize(Compress(src, level, absl::MakeSpan(dst)));
  dst.shrink_to_fit();
  return dst;
}

void ExpectRoundTrip(const Bytes& src, int level) {
  const Bytes frame = CompressAll(src, level);
  ASSERT_FALSE(frame.empty()) << src.size() << " bytes at level " << level;
  Bytes out(src.size());
  ASSERT_TRUE(Decompress(frame, absl::MakeSpan(out)));
  ASSERT_EQ(out, src) << src.size() << " bytes at level " << level;
}

// ---- Compress and Decompress ---------------------------------------------

TEST(CodecTest, RoundTripsAtEveryLevel) {
  for (int level = -50; level <= 19; ++level) {
    if (level == 0) continue;
    ExpectRoundTrip(TextBytes(kBlock, 1), level);
    ExpectRoundTrip(TextBytes(4 * kBlock, 2), level);
  }
}

TEST(CodecTest, RoundTripsAllSizes) {
  std::vector<size_t> sizes = {kBlock - 1,    kBlock,     kBlock + 1,
                               3 * kBlock,    2 * kBlock, 4 * kBlock,
                               kMaxFrame - 1, kMaxFrame};
  for (size_t size = 1; size < 1200; ++size) sizes.push_back(size);
  for (const size_t size : sizes) {
    ExpectRoundTrip(TextBytes(size, size), 1);
    ExpectRoundTrip(RandomBytes(size, size), 1);
    ExpectRoundTrip(Bytes(size, 'x'), 3);
  }
}

TEST(CodecTest, RoundTripsWhileLevelsAndSizesAlternate) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 500; ++i) {
    const size_t size = kBlock << random() % 5;
    ExpectRoundTrip(TextBytes(size, i), 1 + static_cast<int>(random() % 6));
  }
}

TEST(CodecTest, ThreadsDoNotShareContexts) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 100; ++i) {
        ExpectRoundTrip(TextBytes(kBlock, 1000 * t + i), 1 + t);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(CodecTest, GivesUpOnWhatDoesNotFit) {
  const Bytes noise = RandomBytes(kBlock, 3);
  Bytes dst(kBlock - kBlock / 8);
  EXPECT_EQ(Compress(noise, 1, absl::MakeSpan(dst)), 0);
  EXPECT_EQ(Compress(noise, 1, absl::Span<char>()), 0);

  const Bytes text = TextBytes(kBlock, 3);
  const size_t size = CompressAll(text, 1).size();
  for (size_t room = 1; room < size; ++room) {
    Bytes small(room);
    ASSERT_EQ(Compress(text, 1, absl::MakeSpan(small)), 0) << room;
  }
  // The context is as good as new.
  ExpectRoundTrip(text, 1);
}

// Short words at short distances, as binaries have them.
TEST(CodecTest, LongFramesAtLevel1FindShortMatches) {
  std::mt19937_64 random(7);
  for (const size_t size : {size_t{32768}, kMaxFrame}) {
    std::vector<Bytes> words;
    for (uint64_t i = 0; i < 4096; ++i) words.push_back(RandomBytes(5, i));
    Bytes src;
    while (src.size() < size) {
      const Bytes& word = words[random() % words.size()];
      src.insert(src.end(), word.begin(), word.end());
    }
    src.resize(size);
    Bytes plain(ZSTD_compressBound(size));
    const size_t plain_bytes =
        ZSTD_compress(plain.data(), plain.size(), src.data(), src.size(), 1);
    EXPECT_LT(CompressAll(src, 1).size(), plain_bytes * 9 / 10) << size;
    ExpectRoundTrip(src, 1);
  }
}

// Parameters of level 1 do not stay for the others.
TEST(CodecTest, OtherLevelsAreThoseOfZstd) {
  const Bytes src = TextBytes(kMaxFrame, 8);
  CompressAll(src, 1);
  Bytes plain(ZSTD_compressBound(src.size()));
  for (const int level : {-5, 2, 3, 8, 19}) {
    const size_t plain_bytes = ZSTD_compress(plain.data(), plain.size(),
                                             src.data(), src.size(), level);
    // Magic number and content size are left out, and may be up to 8 bytes.
    EXPECT_NEAR(CompressAll(src, level).size(), plain_bytes, 16) << level;
    CompressAll(src, 1);
  }
}

TEST(CodecTest, FramesCarryNothingThatTheIndexKnows) {
  // Frame header 2 bytes, block header 3, and the byte that repeats.
  EXPECT_LE(CompressAll(Bytes(kBlock, 'x'), 1).size(), 20);
  const Bytes frame = CompressAll(RandomBytes(kBlock, 4), 1);
  EXPECT_LE(frame.size(), kBlock + 5);
}

TEST(CodecTest, RefusesAnotherNumberOfBytes) {
  const Bytes frame = CompressAll(TextBytes(kBlock, 5), 1);
  for (const size_t size :
       {size_t{0}, size_t{1}, kBlock - 1, kBlock + 1, 2 * kBlock}) {
    Bytes out(size);
    EXPECT_FALSE(Decompress(frame, absl::MakeSpan(out))) << size;
  }
}

TEST(CodecTest, RefusesWhatFollowsAFrame) {
  const Bytes frame = CompressAll(TextBytes(kBlock, 5), 1);
  Bytes out(2 * kBlock);
  Bytes longer = frame;
  for (int i = 0; i < 5; ++i) {
    longer.push_back('x');
    EXPECT_FALSE(Decompress(longer, absl::MakeSpan(out).first(kBlock))) << i;
  }
  Bytes twice = frame;
  twice.insert(twice.end(), frame.begin(), frame.end());
  EXPECT_FALSE(Decompress(twice, absl::MakeSpan(out)));
}

TEST(CodecTest, RefusesWhatIsNoFrame) {
  Bytes out(kBlock);
  EXPECT_FALSE(Decompress({}, absl::MakeSpan(out)));
  // The magic numbers of zstd 0.1 to 1.0, of which 0 is none.
  for (const char first : {0x1e, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28}) {
    Bytes old = {first, '\xb5', '\x2f', '\xfd'};
    old.resize(200);
    EXPECT_FALSE(Decompress(old, absl::MakeSpan(out)));
  }
}

// Damage may go unnoticed here, checksums find it later. It must not reach
// past either end, which the sanitizers watch, nor hang, nor spoil what comes
// next.
TEST(CodecTest, DamagedFramesStayInBounds) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  const Bytes text = TextBytes(2 * kBlock, 6);
  const Bytes frame = CompressAll(text, 1);
  for (int i = 0; i < 20000; ++i) {
    Bytes damaged = frame;
    for (int flips = 1 + random() % 4; flips > 0; --flips) {
      damaged[random() % damaged.size()] ^= 1 << (random() % 8);
    }
    if (random() % 2 == 0) damaged.resize(random() % damaged.size());
    damaged.shrink_to_fit();
    Bytes out(text.size());
    Decompress(damaged, absl::MakeSpan(out));
  }
  ExpectRoundTrip(text, 1);
}

TEST(CodecTest, TruncatedFramesAreRefused) {
  const Bytes text = TextBytes(kBlock, 8);
  const Bytes frame = CompressAll(text, 1);
  for (size_t size = 0; size < frame.size(); ++size) {
    const Bytes cut(frame.begin(), frame.begin() + size);
    Bytes out(text.size());
    ASSERT_FALSE(Decompress(cut, absl::MakeSpan(out))) << size;
  }
}

TEST(CodecTest, NoiseStaysInBounds) {
  for (uint64_t seed = 0; seed < 20000; ++seed) {
    Bytes noise = RandomBytes(1 + seed % 300, seed);
    noise[0] = 0;
    Bytes out(kBlock);
    Decompress(noise, absl::MakeSpan(out));
  }
}

TEST(CodecTest, InjectedFaultsFailCompressions) {
  const Bytes text = TextBytes(kBlock, 9);
  FailCompressionsAfterForTest(2);
  EXPECT_FALSE(CompressAll(text, 1).empty());
  EXPECT_FALSE(CompressAll(text, 1).empty());
  EXPECT_TRUE(CompressAll(text, 1).empty());
  EXPECT_TRUE(CompressAll(text, 1).empty());
  FailCompressionsAfterForTest(-1);
  EXPECT_FALSE(CompressAll(text, 1).empty());
}

// ---- Checksum -----------------------------------------------------------

TEST(CodecTest, ChecksumIsXxh3) {
  // XXH3-64 of nothing is 2d06800538d394c2.
  EXPECT_EQ(Checksum({}), 0x38d394c2);
  const Bytes text = TextBytes(kBlock, 10);
  for (size_t i = 0; i < text.size(); i += 97) {
    Bytes changed = text;
    changed[i] ^= 1;
    ASSERT_NE(Checksum(changed), Checksum(text));
  }
}

// Whatever instructions this machine's are computed with.
TEST(CodecTest, ChecksumIsThatOfTheReferenceCode) {
  for (size_t blocks = 1; blocks <= 16; ++blocks) {
    const Bytes text = TextBytes(blocks * kBlock, 11);
    EXPECT_EQ(Checksum(text),
              static_cast<uint32_t>(XXH3_64bits(text.data(), text.size())));
  }
}

// ---- Same-filled blocks -------------------------------------------------

TEST(CodecTest, FindsTheWordThatABlockRepeats) {
  Bytes block(kBlock, 0);
  EXPECT_EQ(SameFilledPattern(block.data()), 0);
  for (const uint64_t pattern :
       {uint64_t{0}, uint64_t{1}, uint64_t{0x0123456789abcdef}, ~uint64_t{0}}) {
    // Exact size: a byte too far would be seen.
    FillPattern(pattern, block.data());
    EXPECT_EQ(SameFilledPattern(block.data()), pattern);
    EXPECT_EQ(std::memcmp(block.data() + kBlock - 8, &pattern, 8), 0);
  }
}

TEST(CodecTest, OneOtherByteAnywhereIsSeen) {
  for (const uint64_t pattern : {uint64_t{0}, uint64_t{0x0123456789abcdef}}) {
    Bytes block(kBlock);
    FillPattern(pattern, block.data());
    for (size_t i = 0; i < kBlock; ++i) {
      block[i] ^= 0x10;
      ASSERT_EQ(SameFilledPattern(block.data()), std::nullopt) << i;
      block[i] ^= 0x10;
    }
  }
}

TEST(CodecTest, PatternsOfOtherPeriodsAreNotSameFilled) {
  for (const size_t period : {3, 7, 16, 24, 512, 1024, 2048}) {
    Bytes block(kBlock);
    for (size_t i = 0; i < kBlock; ++i) block[i] = i % period == 0 ? 'a' : 'b';
    EXPECT_EQ(SameFilledPattern(block.data()), std::nullopt) << period;
  }
}

}  // namespace
}  // namespace ramvol::engine::codec
