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
      {"10Gi", uint64_t{10} << 30},
      {"10gi", uint64_t{10} << 30},
      {"1.1T", 1209462790553},
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

TEST(ParseSizeTest, RefusesFractionsOfBytes) {
  for (const char* text : {"1.5", "1.0", "1.5B", "0.5 b"}) {
    EXPECT_THAT(ParseSize(text), StatusIs(absl::StatusCode::kInvalidArgument,
                                          HasSubstr("whole number of bytes")))
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

TEST(FormatSizeTest, WritesExactSizesShort) {
  const char* const kSizes[] = {"0 B",     "1023 B",    "1 KiB",     "1.5 MiB",
                                "10 GiB",  "1.1 TiB",   "999.9 TiB", "7.9 EiB",
                                "7.1 EiB", "1023.9 KiB"};
  for (const char* text : kSizes) EXPECT_EQ(FormatSize(*ParseSize(text)), text);
}

TEST(FormatSizeTest, RoundsNoSizeIntoAnExactOne) {
  EXPECT_EQ(FormatSize((uint64_t{10} << 30) - 4096), "10.00 GiB");
  EXPECT_EQ(FormatSize((uint64_t{10} << 30) + 1), "10.00 GiB");
  EXPECT_EQ(FormatSize((uint64_t{3} << 29) + 4096), "1.50 GiB");
  EXPECT_EQ(FormatSize(1300), "1.27 KiB");
  EXPECT_EQ(FormatSize((1 << 20) - 1), "1.00 MiB");
  EXPECT_EQ(FormatSize(uint64_t{5} << 28), "1.25 GiB");
  EXPECT_EQ(FormatSize(std::numeric_limits<int64_t>::max()), "8.00 EiB");
  EXPECT_EQ(FormatSize(std::numeric_limits<uint64_t>::max()), "16.00 EiB");
}

TEST(FormatRoundedSizeTest, HasFewDigits) {
  EXPECT_EQ(FormatRoundedSize(0), "0 B");
  EXPECT_EQ(FormatRoundedSize(1024), "1 KiB");
  EXPECT_EQ(FormatRoundedSize(1300), "1.3 KiB");
  EXPECT_EQ(FormatRoundedSize(101 * 1024 + 700), "102 KiB");
  EXPECT_EQ(FormatRoundedSize(10 * 1024 + 52), "10.1 KiB");
  EXPECT_EQ(FormatRoundedSize((1 << 20) - 1), "1 MiB");
  EXPECT_EQ(FormatRoundedSize(std::numeric_limits<uint64_t>::max()),
            "16.0 EiB");
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
