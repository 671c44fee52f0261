#include "server/access/audit_log.h"

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/status/status.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/access/identity.h"

namespace ramvol::access {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

std::string Content(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string NewPath(const std::string& name) {
  const std::string path = ::testing::TempDir() + "/" + name;
  std::remove(path.c_str());
  return path;
}

TEST(AuditLogTest, WritesOneLineForEachRecord) {
  const std::string path = NewPath("audit");
  const Identity identity{.names = {"token:ci", "cn:a\"b\nc"}};
  {
    const auto log = *AuditLog::Open(path);
    log->Add({.identity = &identity,
              .peer = "127.0.0.1:1",
              .call = "s/Create",
              .volumes = {"disk"},
              .result = absl::OkStatus()});
    log->Add({.call = "nbd/open",
              .volumes = {"\xff"},
              .result = WithReason(absl::PermissionDeniedError("no"),
                                   reason::kPermissionDenied)});
  }
  const std::string content = Content(path);
  EXPECT_THAT(
      content,
      MatchesRegex(
          "\\{\"time\":\"20[0-9T:.-]+Z\",\"identities\":\\[\"token:ci\","
          "\"cn:a\\\\\"b\\\\nc\"\\],\"peer\":\"127.0.0.1:1\",\"call\":"
          "\"s/Create\",\"volumes\":\\[\"disk\"\\],\"result\":\"OK\"\\}\n"
          ".*\n"));
  EXPECT_THAT(content, HasSubstr("\"result\":\"PERMISSION_DENIED\",\"reason\":"
                                 "\"PERMISSION_DENIED\"}\n"));
  EXPECT_THAT(content, testing::Not(HasSubstr("\xff")));
}

TEST(AuditLogTest, FollowsItsName) {
  const std::string path = NewPath("rotated");
  const auto log = *AuditLog::Open(path);
  std::rename(path.c_str(), (path + ".1").c_str());
  log->Reopen();
  log->Add({.call = "after"});
  while (log->written() == 0) {
  }
  EXPECT_THAT(Content(path), HasSubstr("after"));
  EXPECT_EQ(Content(path + ".1"), "");
}

TEST(AuditLogTest, CountsWhatItCannotWrite) {
  const auto log = *AuditLog::Open("/dev/full");
  log->Add({.call = "a"});
  while (log->lost() == 0) {
  }
  EXPECT_EQ(log->written(), 0u);
  EXPECT_FALSE(AuditLog::Open("/nonexistent/audit").ok());
}

}  // namespace
}  // namespace ramvol::access
