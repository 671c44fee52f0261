#include "base/printable.h"

#include <string>

#include "gtest/gtest.h"

namespace ramvol {
namespace {

TEST(PrintableTest, LeavesWhatHasAShape) {
  for (const char* text : {"", "plain text, \\ and \"", "Grüße, 世界 🙂"}) {
    EXPECT_EQ(Printable(text), text);
  }
}

TEST(PrintableTest, EscapesWhatWouldChangeTheTerminal) {
  EXPECT_EQ(Printable("a\nb\r\tc"), "a\\nb\\r\\tc");
  EXPECT_EQ(Printable("\x1b[31mred\x7f"), "\\x1b[31mred\\x7f");
  EXPECT_EQ(Printable(std::string("\0", 1)), "\\x00");
  EXPECT_EQ(Printable("\u009b2J"), "\\u009b2J");
}

TEST(PrintableTest, EscapesWhatHidesOrTurns) {
  EXPECT_EQ(Printable("a\u202eb"), "a\\u202eb");
  EXPECT_EQ(Printable("\u200b\ufeff\u2066\U000e0041"),
            "\\u200b\\ufeff\\u2066\\ue0041");
}

TEST(PrintableTest, EscapesWhatIsNoUtf8) {
  EXPECT_EQ(Printable("\xff\xc3"), "\\xff\\xc3");
  EXPECT_EQ(Printable("\xc0\xaf"), "\\xc0\\xaf");           // Too long.
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // A surrogate.
  EXPECT_EQ(Printable("\xe2\x82z"), "\\xe2\\x82z");
}

TEST(PrintableTest, QuotesWhatCouldBeTakenForMore) {
  EXPECT_EQ(Quoted("v1.2-x"), "v1.2-x");
  EXPECT_EQ(Quoted(""), "");
  EXPECT_EQ(Quoted("a,b=c"), "\"a,b=c\"");
  EXPECT_EQ(Quoted("say \"\\n\"\n"), "\"say \\\"\\\\n\\\"\\n\"");
}

}  // namespace
}  // namespace ramvol
