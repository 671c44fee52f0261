#include "base/metrics/client_memory_metrics.h"

#include <cstddef>
#include <functional>

#include "absl/time/time.h"
#include "base/client_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/metric_value.h"

namespace ramvol::metrics {
namespace {

using ::ramvol::testing::MetricValue;
using ::testing::Optional;

constexpr size_t kLimitBytes = size_t{64} << 20;

class Client final : public ClientMemory::Client {
 public:
  std::function<void()> SendAway() override { return nullptr; }
};

TEST(ClientMemoryMetricsTest, TellWhatIsHeldAndWhoWaits) {
  ClientMemory memory(
      {.limit_bytes = kLimitBytes, .sweep_interval = absl::InfiniteDuration()});
  Client client;
  ClientMemory::Holder first(&memory, &client);
  first.Open();
  ASSERT_TRUE(first.Reserve(kLimitBytes / 4));
  first.SetHeld(kLimitBytes / 4);
  ClientMemory::Holder second(&memory, &client);
  second.Open();
  ASSERT_FALSE(second.Reserve(kLimitBytes));
  second.Ask(kLimitBytes, [] {});

  const ClientMemory::Stats stats = memory.GetStats();
  ASSERT_GT(stats.used_bytes, kLimitBytes / 4);
  const auto families = ClientMemoryMetrics(&memory).Collect();
  EXPECT_EQ(families.size(), 4u);
  EXPECT_THAT(MetricValue(families, "ramvol_client_memory_limit_bytes"),
              Optional(static_cast<double>(kLimitBytes)));
  EXPECT_THAT(MetricValue(families, "ramvol_client_memory_used_bytes"),
              Optional(static_cast<double>(stats.used_bytes)));
  EXPECT_THAT(MetricValue(families, "ramvol_client_memory_waiting"),
              Optional(1));
  EXPECT_THAT(MetricValue(families, "ramvol_clients_sent_away_total"),
              Optional(0));
}

}  // namespace
}  // namespace ramvol::metrics
