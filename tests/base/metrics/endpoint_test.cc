#include "base/metrics/endpoint.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/metrics/family.h"
#include "base/metrics/host_rule.h"
#include "base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/http.h"
#include "tests/support/status_matchers.h"

namespace ramvol::metrics {
namespace {

using Answer = ::ramvol::testing::HttpAnswer;
using ::ramvol::testing::PortOf;
using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::AnyOf;
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
  Answer Get(const std::string& path, const std::string& method = "GET") {
    return ramvol::testing::HttpRequest(PortOf(endpoint_->url()), path, method);
  }

  std::string reason_;
  DoorStats stats_;
  std::unique_ptr<Endpoint> endpoint_;
};

TEST_F(EndpointTest, ServesMetricsAsTheyAre) {
  const Answer answer = Get("/metrics");
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

// Makes an answer only while it is let.
class SlowPages final : public HttpPages {
 public:
  const HttpAnswer* FindFile(const std::string& path) const override {
    return path == "/file" ? &file_ : nullptr;
  }
  std::optional<HttpAnswer> Make(const HttpRequest& request) override {
    if (request.path != "/slow") return std::nullopt;
    MutexLock lock(&mu_);
    ++waiting_;
    changed_.SignalAll();
    while (!open_) changed_.Wait(&mu_);
    return HttpAnswer{.body = request.query, .type = "text/slow"};
  }
  void WaitUntilAsked() {
    MutexLock lock(&mu_);
    while (waiting_ == 0) changed_.Wait(&mu_);
  }
  void Open() {
    MutexLock lock(&mu_);
    open_ = true;
    changed_.SignalAll();
  }

 private:
  const HttpAnswer file_ = {
      .body = "file", .type = "text/file", .fields = "X-More: yes\r\n"};
  Mutex mu_;
  CondVar changed_;
  int waiting_ = 0;
  bool open_ = false;
};

TEST_F(EndpointTest, ServesPages) {
  SlowPages pages;
  pages.Open();
  endpoint_ = *Endpoint::Start(
      "127.0.0.1:0", {std::make_shared<OneGauge>()}, [this] { return reason_; },
      &stats_, &pages);
  EXPECT_EQ(Get("/file?x").body, "file");
  EXPECT_THAT(Get("/file").head,
              AllOf(HasSubstr("X-More: yes"), HasSubstr("text/file"),
                    HasSubstr("Connection: close")));
  EXPECT_EQ(Get("/slow?a=b&c").body, "a=b&c");
  EXPECT_EQ(Get("/slow").body, "");
  EXPECT_EQ(Get("/slow", "POST").code, 405);
  EXPECT_EQ(Get("/nothing").code, 404);
  EXPECT_EQ(Get("/metrics").code, 200);
  EXPECT_EQ(Get("/healthz").code, 200);
}

// A site's own name that leads here: DNS rebinding.
TEST_F(EndpointTest, ServesNoPagesForForeignHosts) {
  SlowPages pages;
  pages.Open();
  endpoint_ = *Endpoint::Start(
      "127.0.0.1:0", {std::make_shared<OneGauge>()}, [this] { return reason_; },
      &stats_, &pages, *HostRule::Parse("ramvol.example"));
  const auto ask = [this](const std::string& path, const std::string& host) {
    return ramvol::testing::HttpReceive(
        ramvol::testing::HttpSend(PortOf(endpoint_->url()), path, "GET", host));
  };
  for (const char* path : {"/file", "/slow", "/nothing"}) {
    const Answer refused = ask(path, "evil.example\x1b:7421");
    EXPECT_EQ(refused.code, 421) << path;
    EXPECT_THAT(refused.head, HasSubstr("421 Misdirected Request"));
    EXPECT_THAT(refused.body, AllOf(HasSubstr("evil.example\\x1b:7421"),
                                    HasSubstr("--status_page_hosts")));
  }
  EXPECT_EQ(ask("/file", "127.0.0.1:7421").code, 200);
  EXPECT_EQ(ask("/slow", "ramvol.example").code, 200);
  // Prometheus and kubelets ask by names that are not known here.
  for (const char* path : {"/metrics", "/healthz", "/readyz"}) {
    EXPECT_EQ(ask(path, "ramvol-0.ramvol-replicas:7421").code, 200) << path;
  }
}

TEST_F(EndpointTest, AGuardKeepsEverythingButProbes) {
  SlowPages pages;
  pages.Open();
  endpoint_ = *Endpoint::Start(
      "127.0.0.1:0", {std::make_shared<OneGauge>()}, [this] { return reason_; },
      &stats_, &pages, /*hosts=*/{}, /*secure=*/nullptr, /*insecure=*/false,
      [](std::string_view authorization) {
        return authorization == "Bearer right";
      });
  const auto ask = [this](const std::string& path, const std::string& field) {
    return ramvol::testing::HttpReceive(
        ramvol::testing::HttpSend(PortOf(endpoint_->url()), path, "GET",
                                  "localhost\r\nAuthorization: " + field));
  };
  for (const char* path : {"/metrics", "/file", "/slow", "/nothing"}) {
    for (const Answer& refused : {Get(path), ask(path, "Bearer wrong")}) {
      EXPECT_EQ(refused.code, 401) << path;
      EXPECT_THAT(refused.head, HasSubstr("WWW-Authenticate: Basic"));
    }
    EXPECT_NE(ask(path, "Bearer right").code, 401) << path;
  }
  EXPECT_THAT(ask("/metrics", "Bearer right").body, HasSubstr("answer 42"));
  EXPECT_EQ(ask("/file", "Bearer right").body, "file");
  EXPECT_EQ(Get("/healthz").code, 200);
  EXPECT_EQ(Get("/readyz").code, 200);
}

TEST_F(EndpointTest, PagesPushNoScrapeOut) {
  SlowPages pages;
  endpoint_ = *Endpoint::Start(
      "127.0.0.1:0", {std::make_shared<OneGauge>()}, [this] { return reason_; },
      &stats_, &pages);
  const auto ask = [this](const std::string& path) {
    return ramvol::testing::HttpSend(PortOf(endpoint_->url()), path);
  };
  std::vector<int> slow = {ask("/slow")};
  pages.WaitUntilAsked();
  for (int i = 0; i < 3; ++i) slow.push_back(ask("/slow"));
  const int scrape = ask("/metrics");
  for (int i = 0; i < 20; ++i) slow.push_back(ask("/slow"));
  pages.Open();
  EXPECT_EQ(ramvol::testing::HttpReceive(scrape).code, 200);
  EXPECT_EQ(ramvol::testing::HttpReceive(slow[0]).code, 200);
  for (size_t i = 1; i < slow.size(); ++i) {
    EXPECT_THAT(ramvol::testing::HttpReceive(slow[i]).code, AnyOf(200, 503, 0));
  }
}

TEST_F(EndpointTest, EndsQuickly) {
  const absl::Time begin = absl::Now();
  endpoint_.reset();
  EXPECT_LT(absl::Now() - begin, absl::Minutes(1));
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
