#include "client/cli/output/progress.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cli/cli_context.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/cli_harness.h"

namespace ramvol::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kMiB = 1 << 20;

ProgressView Half() {
  return {.label = "import scratch",
          .done_bytes = 512 * kMiB,
          .total_bytes = 1024 * kMiB,
          .bytes_per_second = 128.0 * kMiB,
          .ratio = 2.954,
          .elapsed = absl::Seconds(4)};
}

TEST(ProgressTest, ShowsEverythingOnAWideTerminal) {
  EXPECT_EQ(RenderProgress(Half(), 120),
            "import scratch   50% [====================>                   ]  "
            "512 MiB / 1 GiB  128 MiB/s  ETA 0:04  ratio 2.95");
}

TEST(ProgressTest, HasABarAt80Columns) {
  EXPECT_EQ(RenderProgress(Half(), 80),
            "import scratch   50% [=========>        ]  512 MiB / 1 GiB  "
            "128 MiB/s  ETA 0:04");
}

TEST(ProgressTest, CutsALongLabel) {
  ProgressView view = Half();
  view.label = "import " + std::string(63, 'v');
  EXPECT_EQ(
      RenderProgress(view, 80),
      "import vvvvvvvvvvvvvvvvvv~   50% [========>       ]  512 MiB / 1 GiB  "
      "128 MiB/s");
}

TEST(ProgressTest, SaysThatTheServerIsAway) {
  ProgressView view = Half();
  view.server_away = true;
  EXPECT_EQ(RenderProgress(view, 80),
            "import scratch   50%  the server does not answer, waiting for it");
}

TEST(ProgressTest, DropsDetailsThenTheBarOnANarrowTerminal) {
  EXPECT_EQ(RenderProgress(Half(), 52),
            "import scratch   50% [=====>     ]  512 MiB / 1 GiB");
  EXPECT_EQ(RenderProgress(Half(), 42),
            "import scratch   50%  512 MiB / 1 GiB");
  for (int columns = 0; columns < 130; ++columns) {
    EXPECT_LE(RenderProgress(Half(), columns).size(),
              static_cast<size_t>(std::max(columns - 1, 0)));
  }
}

TEST(ProgressTest, WithoutTotalShowsTheTimeInsteadOfWhatIsLeft) {
  ProgressView view = Half();
  view.total_bytes = 0;
  view.ratio = 0;
  EXPECT_EQ(RenderProgress(view, 120),
            "import scratch  512 MiB  128 MiB/s  0:04");
}

TEST(ProgressTest, MoreThanTheTotalStaysAtHundredPercent) {
  ProgressView view = Half();
  view.done_bytes = 2048 * kMiB;
  EXPECT_THAT(RenderProgress(view, 120), HasSubstr("100% [====="));
  EXPECT_THAT(RenderProgress(view, 120), HasSubstr("ETA 0:00"));
}

TEST(ProgressTest, Clock) {
  EXPECT_EQ(FormatClock(absl::Seconds(4)), "0:04");
  EXPECT_EQ(FormatClock(absl::Seconds(750)), "12:30");
  EXPECT_EQ(FormatClock(absl::Hours(3) + absl::Seconds(120)), "3:02:00");
  EXPECT_EQ(FormatClock(absl::InfiniteDuration()), "--:--");
}

TEST(ProgressTest, DrawsOnlyOnATerminal) {
  MemoryFile err;
  CliContext context;
  context.err_fd = err.fd();
  {
    ProgressBar bar(context, "import a", 100, [] { return 1.0; });
  }
  EXPECT_EQ(err.Content(), "");
}

TEST(ProgressTest, TellsAtOnceWhenTheServerIsAway) {
  MemoryFile err;
  CliContext context;
  context.err_fd = err.fd();
  absl::StatusOr<double> answer = absl::UnavailableError("refused");
  ProgressBar bar(context, "import a", 100, [&answer] { return answer; });
  bar.Tick();
  EXPECT_THAT(err.Content(), HasSubstr("the server does not answer"));
}

TEST(ProgressTest, RateIsAnAverageByTheContextsClock) {
  MemoryFile err;
  absl::Time now = absl::UnixEpoch();
  CliContext context;
  context.err_fd = err.fd();
  context.terminal_columns = [] { return 100; };
  context.now = [&now] { return now; };
  int asked = 0;
  ProgressBar bar(context, "import a", 100 * kMiB, [&asked] {
    ++asked;
    return 3.5;
  });
  now += absl::Seconds(1);
  bar.done_bytes() = 10 * kMiB;
  bar.Tick();
  EXPECT_THAT(err.Content(), HasSubstr("10 MiB/s  ETA 0:09  ratio 3.50"));
  // A pause lowers the rate, but not at once to nothing.
  now += absl::Milliseconds(500);
  bar.Tick();
  EXPECT_THAT(err.Content(), HasSubstr("8.5 MiB/s"));
  EXPECT_EQ(asked, 1) << "the ratio was asked for more than once a second";
  EXPECT_THAT(err.Content(), Not(HasSubstr("\n")));
}

}  // namespace
}  // namespace ramvol::cli
