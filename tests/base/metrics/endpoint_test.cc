#include "base/metrics/endpoint.h"

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/metrics/family.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/http.h"
#include "tests/support/status_matchers.h"

namespace ramvol::metrics {
namespace {

using ::ramvol::testing::HttpAnswer;
using ::ramvol::testing::HttpRequest;
using ::ramvol::testing::PortOf;
using ::ramvol::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class OneGauge final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    return {Gauge("answer", "What is it?", 42)};
  }
};

class EndpointTest : public ::testing::Test {
 protected:
  EndpointTest() {
    endpoint_ = *Endpoint::Start(
        "127.0.0.1:0", {std::make_shared<OneGauge>()},
        [this] { return reason_; }, &stats_);
  }
  HttpAnswer Get(const std::string& path, const std::string& method = "GET") {
    return HttpRequest(PortOf(endpoint_->url()), path, method);
  }

  std::string reason_;
  DoorStats stats_;
  std::unique_ptr<Endpoint> endpoint_;
};

TEST_F(EndpointTest, ServesMetricsAsTheyAre) {
  const HttpAnswer answer = Get("/metrics");
  EXPECT_EQ(answer.code, 200);
  EXPECT_EQ(answer.body,
            "# HELP answer What is it?\n# TYPE answer gauge\nanswer 42\n");
  EXPECT_THAT(answer.head, HasSubstr("text/plain; version=0.0.4"));
  EXPECT_THAT(answer.head, Not(HasSubstr("gzip")));
}

TEST_F(EndpointTest, IsReadyUnlessThereIsAReason) {
  EXPECT_EQ(Get("/readyz").code, 200);
  EXPECT_EQ(Get("/readyz").body, "ok\n");
  reason_ = "too tired";
  EXPECT_EQ(Get("/readyz").code, 503);
  EXPECT_EQ(Get("/readyz").body, "too tired\n");
  EXPECT_EQ(Get("/healthz").code, 200);
  EXPECT_EQ(Get("/healthz").body, "ok\n");
}

TEST_F(EndpointTest, KnowsNothingElse) {
  for (const char* path : {"/", "/metrics/", "/metricsx", "/../etc/passwd",
                           "/etc/passwd", "/favicon.ico"}) {
    EXPECT_EQ(Get(path).code, 404) << path;
  }
  EXPECT_EQ(Get("/metrics", "POST").code, 405);
  EXPECT_EQ(Get("/metrics", "HEAD").code, 200);
  EXPECT_THAT(Get("/metrics", "HEAD").body, IsEmpty());
}

TEST_F(EndpointTest, EndsQuickly) {
  const absl::Time begin = absl::Now();
  endpoint_.reset();
  EXPECT_LT(absl::Now() - begin, absl::Seconds(1));
}

TEST_F(EndpointTest, SaysWhyItCannotListen) {
  const std::string taken =
      "127.0.0.1:" + std::to_string(PortOf(endpoint_->url()));
  EXPECT_THAT(Endpoint::Start(
                  taken, {}, [] { return ""; }, &stats_),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("in use")));
}

}  // namespace
}  // namespace ramvol::metrics
