#include "server/access/monitoring.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/token.h"
#include "gtest/gtest.h"
#include "server/access/authority.h"

namespace ramvol::access {
namespace {

constexpr char kPolicy[] = R"(
grants { identities: "token:all" role: ROLE_VIEWER }
grants { identities: "token:star" volumes: "a" volumes: "*" role: ROLE_READER }
grants { identities: "token:root" role: ROLE_ADMIN }
grants { identities: "token:some" volumes: "ci-*" role: ROLE_OWNER }
grants { identities: "token:labels" labels { key: "a" value: "*" } role: ROLE_OWNER }
)";

class MonitoringTest : public ::testing::Test {
 protected:
  static std::string Write(const std::string& name, const std::string& text) {
    const std::string path = absl::StrCat(::testing::TempDir(), "/", name);
    std::ofstream(path) << text;
    return path;
  }
  // Everyone's token is "of-" and the name.
  static std::unique_ptr<Authority> Make(const std::string& policy) {
    std::string tokens;
    for (const char* name : {"all", "star", "root", "some", "labels", "none"}) {
      absl::StrAppend(&tokens, name,
                      ":sha256:", HexOf(DigestOf(absl::StrCat("of-", name))),
                      "\n");
    }
    auto authority = Authority::Make(
        policy.empty() ? "" : Write("policy", policy), Write("tokens", tokens));
    EXPECT_TRUE(authority.ok()) << authority.status();
    return *std::move(authority);
  }
  static std::string Basic(const std::string& pair) {
    return "Basic " + absl::Base64Escape(pair);
  }
};

TEST_F(MonitoringTest, IsForThoseWhoSeeAll) {
  const auto authority = Make(kPolicy);
  for (const char* name : {"all", "star", "root"}) {
    EXPECT_TRUE(MayMonitor(*authority, absl::StrCat("Bearer of-", name)));
    EXPECT_TRUE(MayMonitor(*authority, Basic(absl::StrCat("x:of-", name))));
  }
  for (const char* name : {"some", "labels", "none", "unknown"}) {
    EXPECT_FALSE(MayMonitor(*authority, absl::StrCat("Bearer of-", name)));
    EXPECT_FALSE(MayMonitor(*authority, Basic(absl::StrCat("x:of-", name))));
  }
  EXPECT_EQ(authority->GetStats().allowed, 6);
  EXPECT_EQ(authority->GetStats().denied, 6);
  EXPECT_EQ(authority->GetStats().unauthenticated, 2);
}

TEST_F(MonitoringTest, TakesNoOtherCredentials) {
  const auto authority = Make(kPolicy);
  for (const std::string& field :
       {std::string(), std::string("of-all"), std::string("Bearer"),
        std::string("Bearer "), std::string("Digest of-all"), Basic("of-all"),
        Basic("of-all:"), std::string("Basic %%%"), std::string("Basic")}) {
    EXPECT_FALSE(MayMonitor(*authority, field)) << field;
  }
  EXPECT_TRUE(MayMonitor(*authority, "bearer of-all"));
  EXPECT_TRUE(MayMonitor(*authority, Basic(":of-all")));
}

TEST_F(MonitoringTest, IsForAllWithoutAPolicyOrByIt) {
  EXPECT_TRUE(MayMonitor(*Make(""), ""));
  EXPECT_TRUE(MayMonitor(*Make(""), "Bearer unknown"));
  const auto open =
      Make("grants { identities: \"anonymous\" role: ROLE_VIEWER }");
  EXPECT_TRUE(MayMonitor(*open, ""));
  EXPECT_TRUE(MayMonitor(*open, "Bearer of-none"));
  // As everywhere: whoever sends it may have been somebody.
  EXPECT_FALSE(MayMonitor(*open, "Bearer unknown"));
}

}  // namespace
}  // namespace ramvol::access
