#include "server/status/status_pages.h"

#include <memory>
#include <optional>
#include <string>

#include "base/client_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::status {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class StatusPagesTest : public ::testing::Test {
 protected:
  StatusPagesTest() {
    engine::EngineOptions options;
    options.memory_limit_bytes = 64 << 20;
    engine_ = *engine::Engine::Create(options);
    engine::VolumeOptions volume;
    volume.name = "disk";
    volume.size_bytes = 1 << 20;
    (void)*engine_->CreateVolume(volume);
    pages_ = std::make_unique<StatusPages>(
        engine_.get(), &client_memory_,
        [] {
          ServerState state;
          state.why_not_ready = "too \"tired\"";
          state.vhost_user_connections = 7;
          state.turned_away = {{"nbd", "full", 3}};
          return state;
        },
        [](const std::string&) { return Labels{{"note", "</script><b>\n"}}; });
  }
  metrics::HttpAnswer Get(const std::string& path,
                          const std::string& query = "") {
    const auto made = pages_->Make({.method = "GET",
                                    .path = path,
                                    .query = query,
                                    .host = "localhost",
                                    .authorization = ""});
    return made.value_or(metrics::HttpAnswer{.code = 404});
  }

  std::unique_ptr<engine::Engine> engine_;
  ClientMemory client_memory_{ClientMemory::Options()};
  std::unique_ptr<StatusPages> pages_;
};

TEST_F(StatusPagesTest, FilesForbidWhatIsFromElsewhere) {
  for (const char* path :
       {"/", "/page/main.js", "/page/style.css", "/page/icon.svg"}) {
    const metrics::HttpAnswer* const file = pages_->FindFile(path);
    ASSERT_NE(file, nullptr) << path;
    EXPECT_THAT(
        file->fields,
        AllOf(HasSubstr("Content-Security-Policy: default-src 'none'"),
              HasSubstr("script-src 'self';"), HasSubstr("nosniff"),
              HasSubstr("frame-ancestors 'none'"), Not(HasSubstr("unsafe"))))
        << path;
    EXPECT_THAT(file->body, Not(HasSubstr("https://")));
  }
  EXPECT_THAT(pages_->FindFile("/")->body, StartsWith("<!doctype html>"));
  EXPECT_EQ(pages_->FindFile("/page/"), nullptr);
  EXPECT_EQ(pages_->FindFile("/page/../main.js"), nullptr);
}

TEST_F(StatusPagesTest, AnswersJson) {
  const metrics::HttpAnswer status = Get("/api/v1/status");
  EXPECT_EQ(status.code, 200);
  EXPECT_EQ(status.type, "application/json");
  EXPECT_THAT(status.fields, HasSubstr("nosniff"));
  EXPECT_THAT(
      status.body,
      AllOf(HasSubstr(R"("ready":false,"why_not_ready":"too \"tired\"")"),
            HasSubstr(R"({"protocol":"nbd","cause":"full","count":3})"),
            HasSubstr(R"("nbd":0,"vhost_user":7,)"),
            HasSubstr(R"("volumes":1,)")));
  EXPECT_THAT(Get("/api/v1/volumes").body,
              HasSubstr(R"("labels":{"note":"</script><b>\n"})"));
  EXPECT_THAT(Get("/api/v1/series").body, HasSubstr(R"("columns":["time_ms")"));
  EXPECT_EQ(Get("/api/v2/status").code, 404);
}

TEST_F(StatusPagesTest, SaysWhatIsWrongWithARequest) {
  for (const char* query :
       {"sort=colour", "order=up", "limit=1001", "limit=x", "offset=-1"}) {
    const metrics::HttpAnswer answer = Get("/api/v1/volumes", query);
    EXPECT_EQ(answer.code, 400) << query;
    EXPECT_THAT(answer.body, StartsWith(R"({"error":")")) << query;
  }
  EXPECT_EQ(Get("/api/v1/series", "since_ms=now").code, 400);
}

}  // namespace
}  // namespace ramvol::status
