#include "client/cli/output/words.h"

#include "gtest/gtest.h"

namespace ramvol::cli {
namespace {

TEST(WordsTest, CountsAgreeWithTheirNouns) {
  EXPECT_EQ(CountOf(0, "client"), "0 clients");
  EXPECT_EQ(CountOf(1, "client"), "1 client");
  EXPECT_EQ(CountOf(2, "miss", "misses"), "2 misses");
}

TEST(WordsTest, TimesHaveFewDigits) {
  EXPECT_EQ(LatencyText(0), "-");
  EXPECT_EQ(LatencyText(0.42), "0.4 us");
  EXPECT_EQ(LatencyText(99.96), "100 us");
  EXPECT_EQ(LatencyText(13620.233), "13.6 ms");
  EXPECT_EQ(LatencyText(999.6), "1.0 ms");
  EXPECT_EQ(LatencyText(2.5e6), "2.5 s");
}

}  // namespace
}  // namespace ramvol::cli
