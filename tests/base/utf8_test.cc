#include "base/utf8.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "gtest/gtest.h"

namespace ramvol {
namespace {

struct Character {
  std::string_view text;
  size_t bytes;
  uint32_t code;
};

TEST(Utf8Test, DecodesTheFirstAndTheLastOfEachLength) {
  for (const Character& c : {
           Character{{"\0", 1}, 1, 0},
           Character{"\x7F", 1, 0x7F},
           Character{"\xC2\x80", 2, 0x80},
           Character{"\xDF\xBF", 2, 0x7FF},
           Character{"\xE0\xA0\x80", 3, 0x800},
           Character{"\xED\x9F\xBF", 3, 0xD7FF},
           Character{"\xEE\x80\x80", 3, 0xE000},
           Character{"\xEF\xBF\xBF", 3, 0xFFFF},
           Character{"\xF0\x90\x80\x80", 4, 0x10000},
           Character{"\xF4\x8F\xBF\xBF", 4, 0x10FFFF},
       }) {
    uint32_t code = 1;
    EXPECT_EQ(TakeUtf8(c.text, &code), c.bytes) << std::hex << c.code;
    EXPECT_EQ(code, c.code);
  }
}

TEST(Utf8Test, TakesOneCharacterOnly) {
  uint32_t code = 0;
  EXPECT_EQ(TakeUtf8("\xC3\xA4x", &code), 2u);
  EXPECT_EQ(code, 0xE4u);
}

TEST(Utf8Test, RefusesWhatIsNone) {
  for (const std::string_view text : {
           "\x80",              // Begins with a later byte.
           "\xC0\x80",          // Two bytes for what fits into one.
           "\xC1\xBF",          //
           "\xE0\x9F\xBF",      // Three for what fits into two.
           "\xF0\x8F\xBF\xBF",  // Four for what fits into three.
           "\xED\xA0\x80",      // The first surrogate.
           "\xED\xBF\xBF",      // The last one.
           "\xF4\x90\x80\x80",  // Past the last character.
           "\xF5\x80\x80\x80",  //
           "\xFF",              //
           "\xC3",              // Ends too soon.
           "\xE2\x82",          //
           "\xF0\x9F\x92",      //
           "\xC3(",             // Goes on with another character.
           "\xE2\x82(",         //
       }) {
    uint32_t code = 0;
    EXPECT_EQ(TakeUtf8(text, &code), 0u)
        << "begins with " << std::hex << static_cast<int>(text[0] & 0xFF);
  }
}

}  // namespace
}  // namespace ramvol
