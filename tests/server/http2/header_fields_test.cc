#include "server/http2/header_fields.h"

#include <cstddef>
#include <optional>
#include <random>
#include <string>

#include "gtest/gtest.h"

namespace ramvol::http2 {
namespace {

// Of a whole block; nothing when it is none.
std::optional<size_t> Count(const std::string& block, size_t piece = 1000) {
  HeaderFields fields;
  for (size_t at = 0; at < block.size(); at += piece) {
    if (!fields.Take(block.substr(at, piece))) return std::nullopt;
  }
  if (!fields.complete()) return std::nullopt;
  return fields.count();
}

// RFC 7541, section 5.1.
std::string Number(uint8_t first, uint8_t mask, uint64_t value) {
  if (value < mask) return {static_cast<char>(first | value)};
  std::string out = {static_cast<char>(first | mask)};
  for (value -= mask; value >= 0x80; value /= 0x80) {
    out += static_cast<char>(value % 0x80 | 0x80);
  }
  return out + static_cast<char>(value);
}

std::string String(size_t length, bool huffman = false) {
  return Number(huffman ? 0x80 : 0, 0x7f, length) + std::string(length, '\xbe');
}

TEST(HeaderFieldsTest, CountsTheExamplesOfTheRfc) {
  EXPECT_EQ(Count("\x40\x0a"
                  "custom-key"
                  "\x0d"
                  "custom-header"),
            1);
  EXPECT_EQ(Count("\x04\x0c/sample/path"), 1);
  EXPECT_EQ(Count("\x10\x08password\x06secret"), 1);
  EXPECT_EQ(Count("\x82"), 1);
  EXPECT_EQ(Count("\x82\x86\x84\x41\x0fwww.example.com"), 4);
  EXPECT_EQ(Count("\x82\x86\x84\xbe\x58\x08no-cache"), 5);
  EXPECT_EQ(Count("\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90"
                  "\xf4\xff"),
            4);
  EXPECT_EQ(Count(""), 0);
}

TEST(HeaderFieldsTest, CountsChangesOfTheTable) {
  EXPECT_EQ(Count("\x20\x3f\xe1\x1f\x82"), 3);
}

TEST(HeaderFieldsTest, CountsTheSameHoweverBytesAreCut) {
  std::mt19937 random(7);
  const size_t lengths[] = {0, 1, 5, 126, 127, 128, 254, 255, 300, 20000};
  for (int round = 0; round < 50; ++round) {
    std::string block;
    size_t count = 0;
    const auto length = [&] { return lengths[random() % 10]; };
    for (; count < 20; ++count) {
      const uint8_t kind = 1 << (4 + random() % 4);
      const uint8_t mask = kind - 1;
      const uint64_t index = 1 + random() % 400;
      const bool named = random() % 2 == 0;
      if (kind == 0x80 || kind == 0x20) {
        block += Number(kind, mask, index);
      } else if (named) {
        block += Number(kind, mask, 0) + String(length()) + String(length());
      } else {
        block += Number(kind, mask, index) + String(length(), true);
      }
    }
    for (const size_t piece : {1, 2, 3, 7, 100, 1'000'000}) {
      ASSERT_EQ(Count(block, piece), count) << "round " << round;
    }
  }
}

TEST(HeaderFieldsTest, ABlockEndsWithAField) {
  const std::string block =
      "\x40\x0a"
      "custom-key"
      "\x0d"
      "custom-header";
  for (size_t length = 1; length < block.size(); ++length) {
    EXPECT_EQ(Count(block.substr(0, length)), std::nullopt) << length;
  }
  EXPECT_EQ(Count("\xff"), std::nullopt);
}

TEST(HeaderFieldsTest, RefusesNumbersWithoutAnEnd) {
  for (const std::string& first :
       {std::string("\xff"), std::string("\x7f"), std::string("\x3f"),
        std::string("\x0f"), std::string("\x01\x7f")}) {
    HeaderFields whole;
    EXPECT_TRUE(whole.Take(first + std::string(4, '\x80') + '\0'));
    HeaderFields fields;
    EXPECT_FALSE(fields.Take(first + std::string(5, '\x80')));
  }
}

TEST(HeaderFieldsTest, AStringMayBeLongerThanABlock) {
  HeaderFields fields;
  EXPECT_TRUE(fields.Take("\x01" + Number(0, 0x7f, 0xffffffff)));
  EXPECT_TRUE(fields.Take(std::string(100'000, '\x82')));
  EXPECT_EQ(fields.count(), 1);
  EXPECT_FALSE(fields.complete());
}

}  // namespace
}  // namespace ramvol::http2
