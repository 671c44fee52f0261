#include "base/metrics/process_metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/support/metric_value.h"

namespace ramvol::metrics {
namespace {

double Value(const std::string& name) {
  return testing::MetricValue(ProcessMetrics().Collect(), name).value_or(-1);
}

TEST(ProcessMetricsTest, TellsOfThisProcess) {
  const double now = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
  EXPECT_NEAR(Value("process_start_time_seconds"), now, 600);
  EXPECT_GT(Value("process_resident_memory_bytes"), 1 << 20);
  EXPECT_GT(Value("process_virtual_memory_bytes"),
            Value("process_resident_memory_bytes"));
  EXPECT_GE(Value("process_max_fds"), 64);
  EXPECT_EQ(testing::MetricValue(ProcessMetrics().Collect(),
                                 "ramvol_build_info", {{"version", "0.1.0"}}),
            1);
}

TEST(ProcessMetricsTest, CountsOpenFiles) {
  const double before = Value("process_open_fds");
  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(Value("process_open_fds"), before + 1);
  close(fd);
  EXPECT_EQ(Value("process_open_fds"), before);
}

TEST(ProcessMetricsTest, CpuTimeGrows) {
  const double before = Value("process_cpu_seconds_total");
  EXPECT_GE(before, 0);
  const absl::Time end = absl::Now() + absl::Minutes(2);
  while (Value("process_cpu_seconds_total") <= before && absl::Now() < end) {
  }
  EXPECT_GT(Value("process_cpu_seconds_total"), before);
}

}  // namespace
}  // namespace ramvol::metrics
