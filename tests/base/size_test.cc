#include "base/size.h"

#include <cstdint>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol {
namespace {

using ::ramvol::testing::StatusIs;
using ::testing::HasSubstr;

TEST(ParseSizeTest, ReadsNumbersUnitsAndFractions) {
  const struct {
    const char* text;
    uint64_t bytes;
  } cases[] = {
      {"0", 0},
      {"4096", 4096},
      {"17B", 17},
      {"1k", 1024},
      {"512M", uint64_t{512} << 20},
      {"10G", uint64_t{10} << 30},
      {"10 GiB", uint64_t{10} << 30},
      {"10gb", uint64_t{10} << 30},
      {"2T", uint64_t{2} << 40},
      {"3P", uint64_t{3} << 50},
      {"7E", uint64_t{7} << 60},
      {"1.5G", uint64_t{3} << 29},
      {"0.5K", 512},
      {"1.9", 1},
      {"7.999999999999999999E", (uint64_t{8} << 60) - 2},
      {"0.00000000000000000000000000001E", 0},
      {"9223372036854775807", std::numeric_limits<int64_t>::max()},
  };
  for (const auto& c : cases) {
    auto size = ParseSize(c.text);
    ASSERT_TRUE(size.ok()) << c.text << ": " << size.status();
    EXPECT_EQ(*size, c.bytes) << c.text;
  }
}

TEST(ParseSizeTest, RefusesWhatIsNoSize) {
  for (const char* text :
       {"", " ", "G", "-1", "+1", "1X", "1KK", "1KiX", "1.", ".5G", "1.5.5",
        "1e9", "0x10", "10  G", "10G ", "ten", "1\xC3\xA9"}) {
    EXPECT_THAT(ParseSize(text), StatusIs(absl::StatusCode::kInvalidArgument,
                                          HasSubstr("is not a size")))
        << text;
  }
}

TEST(ParseSizeTest, RefusesWhatDoesNotFit) {
  for (const char* text :
       {"8E", "9223372036854775808", "18446744073709551616", "8388608T",
        "99999999999999999999999999999999999999999999E"}) {
    EXPECT_THAT(ParseSize(text), StatusIs(absl::StatusCode::kInvalidArgument,
                                          HasSubstr("largest size")))
        << text;
  }
}

TEST(FormatSizeTest, RoundsDownToOneDigit) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(1024), "1 KiB");
  EXPECT_EQ(FormatSize((1 << 20) - 1), "1023.9 KiB");
  EXPECT_EQ(FormatSize(3 << 19), "1.5 MiB");
  EXPECT_EQ(FormatSize(uint64_t{10} << 30), "10 GiB");
  EXPECT_EQ(FormatSize(std::numeric_limits<int64_t>::max()), "7.9 EiB");
  EXPECT_EQ(FormatSize(std::numeric_limits<uint64_t>::max()), "15.9 EiB");
}

TEST(FormatExactSizeTest, ParsesBack) {
  EXPECT_EQ(FormatExactSize(0), "0");
  EXPECT_EQ(FormatExactSize(4097), "4097");
  EXPECT_EQ(FormatExactSize(uint64_t{10} << 30), "10G");
  EXPECT_EQ(FormatExactSize(uint64_t{3} << 29), "1536M");
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{1} << 62,
                               uint64_t{1} << 10, (uint64_t{1} << 40) + 1024}) {
    EXPECT_EQ(ParseSize(FormatExactSize(bytes)).value(), bytes);
  }
}

}  // namespace
}  // namespace ramvol
