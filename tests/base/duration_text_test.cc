#include "base/duration_text.h"

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

TEST(DurationTextTest, IsCutOffToWhatPeopleRead) {
  EXPECT_EQ(DurationText(absl::Nanoseconds(10'000'116'393)), "10s");
  EXPECT_EQ(DurationText(absl::Milliseconds(59'999)), "59.9s");
  EXPECT_EQ(DurationText(absl::Milliseconds(9'999)), "9.99s");
  EXPECT_EQ(DurationText(absl::Milliseconds(1'500)), "1.5s");
  EXPECT_EQ(DurationText(absl::Seconds(90.5)), "1m30s");
  EXPECT_EQ(DurationText(absl::Seconds(2)), "2s");
  EXPECT_EQ(DurationText(absl::Microseconds(350'999)), "350ms");
  EXPECT_EQ(DurationText(absl::Milliseconds(1)), "1ms");
  EXPECT_EQ(DurationText(absl::Microseconds(999)), "<1ms");
  EXPECT_EQ(DurationText(absl::Seconds(3725.9)), "1h2m5s");
  EXPECT_EQ(DurationText(absl::Hours(24) - absl::Seconds(1)), "23h59m59s");
  EXPECT_EQ(DurationText(absl::Hours(76) + absl::Minutes(59)), "3d4h");
  EXPECT_EQ(DurationText(absl::Hours(48)), "2d");
}

TEST(DurationTextTest, NoTimeIsZeroSeconds) {
  EXPECT_EQ(DurationText(absl::ZeroDuration()), "0s");
  EXPECT_EQ(DurationText(-absl::Hours(1)), "0s") << "a clock that was set back";
}

}  // namespace
}  // namespace ramvol
