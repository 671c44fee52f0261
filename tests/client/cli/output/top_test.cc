#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "client/cli/exit_code.h"
#include "client/cli/output/top_sample.h"
#include "client/cli/output/top_text.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/client/cli/cli_harness.h"

namespace ramvol::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr int64_t kMiB = 1 << 20;

TopSample::Volume Volume(const std::string& name, int64_t reads,
                         int64_t read_us, int64_t writes) {
  TopSample::Volume volume{name, absl::StrCat("uid-", name), {}};
  v1::IoCounters& io = *volume.stats.mutable_io();
  io.set_read_operations(reads);
  io.set_read_bytes(reads * 4096);
  io.set_read_nanoseconds(reads * read_us * 1000);
  io.set_write_operations(writes);
  io.set_written_bytes(writes * kMiB);
  io.set_write_nanoseconds(writes * 2'000'000);
  volume.stats.set_size_bytes(INT64_MAX);
  volume.stats.set_logical_bytes(writes * kMiB);
  volume.stats.set_stored_bytes(writes * kMiB / 4);
  volume.stats.set_memory_bytes(writes * kMiB / 4 + 8192);
  volume.stats.set_ratio(writes > 0 ? 4 : 0);
  return volume;
}

TopSample SampleAt(int seconds, std::vector<TopSample::Volume> volumes) {
  TopSample sample;
  sample.time = absl::FromUnixSeconds(1'000'000 + seconds);
  sample.server.mutable_start_time()->set_seconds(1'000'000 - 3600);
  sample.server.set_version("1.2.3");
  sample.server.set_memory_limit_bytes(1024 * kMiB);
  sample.server.set_memory_used_bytes(256 * kMiB);
  sample.server.set_volumes(static_cast<int32_t>(volumes.size()));
  sample.volumes = std::move(volumes);
  return sample;
}

TopView Busy() {
  TopSample before =
      SampleAt(0, {Volume("a", 1000, 10, 5), Volume("b", 0, 0, 0)});
  TopSample after =
      SampleAt(2, {Volume("a", 1000, 10, 5), Volume("b", 40'000, 15, 10)});
  v1::IoCounters& io = *after.volumes[1].stats.mutable_io();
  io.set_cache_hits(30);
  io.set_cache_misses(10);
  io.set_failed_operations(4);
  io.set_flush_operations(6);
  return CompareTopSamples(before, after);
}

std::vector<std::string> Names(const std::vector<TopLine>& lines) {
  std::vector<std::string> names;
  for (const TopLine& line : lines) names.push_back(line.name);
  return names;
}

TEST(TopSampleTest, RatesAreDifferencesOverTheInterval) {
  const TopView view = Busy();
  const TopLine& b = view.volumes[1];
  EXPECT_DOUBLE_EQ(b.read.operations_per_second, 20'000);
  EXPECT_DOUBLE_EQ(b.read.bytes_per_second, 20'000 * 4096.0);
  EXPECT_DOUBLE_EQ(b.read.microseconds, 15);
  EXPECT_DOUBLE_EQ(b.write.operations_per_second, 5);
  EXPECT_DOUBLE_EQ(b.write.microseconds, 2000);
  EXPECT_DOUBLE_EQ(b.hit_rate, 0.75);
  EXPECT_DOUBLE_EQ(b.errors_per_second, 2);
  EXPECT_DOUBLE_EQ(b.other_operations_per_second, 3);
  // Nothing happened there.
  EXPECT_DOUBLE_EQ(view.volumes[0].operations_per_second(), 0);
  EXPECT_DOUBLE_EQ(view.volumes[0].read.microseconds, 0);
  EXPECT_DOUBLE_EQ(view.volumes[0].hit_rate, -1);
}

TEST(TopSampleTest, TheTotalIsTheSumAndItsRatioThatOfAllBytes) {
  const TopView view = Busy();
  EXPECT_DOUBLE_EQ(view.total.read.operations_per_second, 20'000);
  EXPECT_EQ(view.total.stats.logical_bytes(), 15 * kMiB);
  EXPECT_DOUBLE_EQ(view.total.stats.ratio(), 4);
}

TEST(TopSampleTest, AVolumeThatTookAnothersNameCountsFromZero) {
  const TopSample before = SampleAt(0, {Volume("a", 1000, 1, 0)});
  TopSample after = SampleAt(1, {Volume("a", 10, 1, 0)});
  after.volumes[0].uid = "another";
  const TopView view = CompareTopSamples(before, after);
  EXPECT_DOUBLE_EQ(view.volumes[0].read.operations_per_second, 10);
  EXPECT_DOUBLE_EQ(view.total.read.operations_per_second, 10);
}

TEST(TopTextTest, SortsByNameWhereAllElseIsEqual) {
  std::vector<TopLine> lines = Busy().volumes;
  lines.push_back(lines[0]);
  lines[2].name = "c";
  SortTopLines(TopOrder::kOperations, &lines);
  EXPECT_THAT(Names(lines), ElementsAre("b", "a", "c"));
  SortTopLines(TopOrder::kName, &lines);
  EXPECT_THAT(Names(lines), ElementsAre("a", "b", "c"));
}

TEST(TopTextTest, KeysAreTheFirstLettersOfTheOrders) {
  EXPECT_EQ(TopOrderOfKey('i'), TopOrder::kOperations);
  EXPECT_EQ(TopOrderOfKey('n'), TopOrder::kName);
  EXPECT_EQ(TopOrderOfKey('x'), std::nullopt);
}

TEST(TopTextTest, ShowsTheServerAndEveryColumnWhenThereIsNoScreen) {
  const std::string text = TopText(Busy(), "host:7420", std::nullopt);
  EXPECT_THAT(text, HasSubstr("host:7420, ramvold 1.2.3, up 1:00:02, 2 vol"));
  EXPECT_THAT(text, HasSubstr("256 MiB of 1 GiB (25%)"));
  EXPECT_THAT(text, HasSubstr("Reads:   20.0k/s, 78.1 MiB/s, 15.0 us\n"));
  EXPECT_THAT(text, HasSubstr("others 3.0/s; errors 2.0/s\n"));
  EXPECT_THAT(text, HasSubstr("CLIENTS"));
}

TEST(TopTextTest, FitsEverySizeOfScreen) {
  TopView view = Busy();
  for (int i = 0; i < 50; ++i) {
    view.volumes.push_back(view.volumes[1]);
    view.volumes.back().name = std::string(63, 'x');
  }
  for (int columns = 1; columns < 200; ++columns) {
    for (const int rows : {1, 2, 3, 4, 5, 7, 10, 22, 59}) {
      const std::string text =
          TopText(view, "host:7420", TerminalSize{columns, rows});
      std::vector<std::string> lines = absl::StrSplit(text, '\n');
      lines.pop_back();
      ASSERT_LE(static_cast<int>(lines.size()), rows) << columns << "\n"
                                                      << text;
      for (const std::string& line : lines) {
        ASSERT_LT(line.size(), static_cast<size_t>(std::max(columns, 2)))
            << rows << "\n"
            << text;
      }
    }
  }
}

TEST(TopTextTest, TellsHowManyVolumesAreLeftOut) {
  TopView view = Busy();
  while (view.volumes.size() < 30) view.volumes.push_back(view.volumes[0]);
  const std::string text = TopText(view, "host:7420", TerminalSize{80, 24});
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  EXPECT_THAT(lines, SizeIs(25));  // The last is what follows the newline.
  EXPECT_EQ(lines[23], "and 15 more");
  EXPECT_THAT(lines[7], Not(HasSubstr("CLIENTS")));
}

TEST(TopCommandTest, OncePrintsATable) {
  CliHarness harness;
  harness.AddVolume("disk", kMiB);
  const CliHarness::Result result =
      harness.Run({"top", "--once", "--interval=10ms"});
  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_THAT(result.out, HasSubstr("VOLUME"));
  EXPECT_THAT(result.out, HasSubstr("\ndisk "));
}

TEST(TopCommandTest, OncePrintsJson) {
  CliHarness harness;
  harness.AddVolume("disk", kMiB);
  const CliHarness::Result result =
      harness.Run({"top", "--once", "--interval=10ms", "--output=json"});
  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  output::v1::TopOutput top;
  ASSERT_TRUE(
      google::protobuf::util::JsonStringToMessage(result.out, &top).ok())
      << result.out;
  ASSERT_EQ(top.volumes_size(), 1);
  EXPECT_EQ(top.volumes(0).name(), "disk");
  EXPECT_EQ(top.volumes(0).size_bytes(), kMiB);
  EXPECT_THAT(result.out, HasSubstr("\"latencySeconds\": 0"));
  EXPECT_THAT(result.out, Not(HasSubstr("cacheHitRate")));
}

TEST(TopCommandTest, WithoutATerminalItNeedsOnce) {
  CliHarness harness;
  const CliHarness::Result result = harness.Run({"top"});
  EXPECT_EQ(result.exit_code, kExitUsage);
  EXPECT_THAT(result.err, HasSubstr("--once"));
}

TEST(TopCommandTest, AnInterruptEndsTheWait) {
  CliHarness harness;
  harness.interrupted() = true;
  const CliHarness::Result result =
      harness.Run({"top", "--once", "--interval=1h"});
  EXPECT_EQ(result.exit_code, kExitInterrupted);
}

}  // namespace
}  // namespace ramvol::cli
