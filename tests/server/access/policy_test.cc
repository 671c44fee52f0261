#include "server/access/policy.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/usage_limits.h"
#include "gtest/gtest.h"

namespace ramvol::access {
namespace {

std::shared_ptr<const Policy> Parse(const std::string& text) {
  auto policy = Policy::Parse("p", text);
  EXPECT_TRUE(policy.ok()) << policy.status();
  return policy.ok() ? *policy : std::make_shared<Policy>();
}

Role RoleOf(const std::string& policy, const std::string& identity,
            const std::string& volume, const Labels& labels = {}) {
  Identity who;
  if (!identity.empty()) who.names = {identity};
  return Subject(Parse(policy), who).RoleOn(volume, [&] { return labels; });
}

std::string ErrorOf(const std::string& text) {
  return std::string(Policy::Parse("p", text).status().message());
}

constexpr char kPolicy[] = R"(
grants { identities: "token:ci" volumes: "ci-*" volumes: "x" role: ROLE_OWNER }
grants { identities: "token:*" volumes: "ci-1" role: ROLE_READER }
grants { identities: "anonymous" volumes: "@gold-?" role: ROLE_READER }
grants { identities: "unix:root" role: ROLE_ADMIN }
grants {
  identities: "cn:build"
  volumes: "b-*"
  labels { key: "team" value: "build*" }
  labels { key: "tier" value: "1" }
  role: ROLE_WRITER
}
grants { identities: "cn:build" volumes: "b-*" role: ROLE_VIEWER }
)";

TEST(PolicyTest, HighestRoleCounts) {
  EXPECT_EQ(RoleOf(kPolicy, "token:ci", "ci-1"), Role::kOwner);
  EXPECT_EQ(RoleOf(kPolicy, "token:ci", "x"), Role::kOwner);
  EXPECT_EQ(RoleOf(kPolicy, "token:other", "ci-1"), Role::kReader);
}

TEST(PolicyTest, GivesNothingElse) {
  EXPECT_EQ(RoleOf(kPolicy, "token:other", "ci-2"), Role::kNone);
  EXPECT_EQ(RoleOf(kPolicy, "token:ci", "xx"), Role::kNone);
  EXPECT_EQ(RoleOf(kPolicy, "", "ci-1"), Role::kNone);
  EXPECT_EQ(RoleOf(kPolicy, "cn:ci", "ci-1"), Role::kNone);
  EXPECT_EQ(RoleOf("", "unix:0", "ci-1"), Role::kNone);
}

TEST(PolicyTest, PatternsOfNamesFitSnapshotsToo) {
  EXPECT_EQ(RoleOf(kPolicy, "token:ci", "@ci-1"), Role::kOwner);
  EXPECT_EQ(RoleOf(kPolicy, "", "@gold-1"), Role::kReader);
  EXPECT_EQ(RoleOf(kPolicy, "", "gold-1"), Role::kNone);
}

TEST(PolicyTest, AnonymousIsEveryone) {
  EXPECT_EQ(RoleOf(kPolicy, "token:other", "@gold-1"), Role::kReader);
}

TEST(PolicyTest, UsersHaveNames) {
  EXPECT_EQ(RoleOf(kPolicy, "unix:0", "any"), Role::kAdmin);
  EXPECT_EQ(RoleOf(kPolicy, "unix:1000", "any"), Role::kNone);
}

TEST(PolicyTest, AllLabelsMustFit) {
  EXPECT_EQ(RoleOf(kPolicy, "cn:build", "b-1"), Role::kViewer);
  EXPECT_EQ(RoleOf(kPolicy, "cn:build", "b-1", {{"team", "builders"}}),
            Role::kViewer);
  EXPECT_EQ(RoleOf(kPolicy, "cn:build", "b-1",
                   {{"team", "builders"}, {"tier", "1"}, {"more", ""}}),
            Role::kWriter);
  EXPECT_EQ(
      RoleOf(kPolicy, "cn:build", "c", {{"team", "build"}, {"tier", "1"}}),
      Role::kNone);
}

TEST(PolicyTest, AsksForLabelsOnlyWhereTheyMatter) {
  const Subject subject(Parse(kPolicy), Identity{.names = {"token:ci"}});
  subject.RoleOn("ci-1", []() -> Labels {
    ADD_FAILURE() << "asked";
    return {};
  });
}

TEST(PolicyTest, RemembersNamesWithinBounds) {
  const Subject subject(Parse(kPolicy), Identity{.names = {"token:ci"}});
  const auto none = [] { return Labels(); };
  for (int i = 0; i < 5000; ++i) {
    EXPECT_EQ(subject.RoleOn(absl::StrCat("ci-", i), none), Role::kOwner);
    EXPECT_EQ(subject.RoleOn(absl::StrCat("no-", i), none), Role::kNone);
  }
  EXPECT_EQ(subject.RoleOn(std::string(1 << 20, 'c'), none), Role::kNone);
}

TEST(PolicyTest, SaysWhatIsWrongWhere) {
  const struct {
    const char* text;
    const char* where;
    const char* what;
  } kWrong[] = {
      {"grants {\n  identity: \"x\"\n}", "p:2:11: ", "identity"},
      {"grants { identities: \"token:x\"\n role: ROLE_KING }",
       "p:2:18: ", "ROLE_KING"},
      {"\ngrants { role: ROLE_VIEWER }", "p:2:1: ", "no identities"},
      {"grants { identities: \"token:x\" }", "p:1:1: ", "no role"},
      {"grants { identities: \"token:x\" role: ROLE_UNSPECIFIED }",
       "p:1:32: ", "no role"},
      {"grants { identities: \"token:x\"\n  identities: \"bob\" role: "
       "ROLE_VIEWER }",
       "p:2:3: ", "does not begin with"},
      {"grants { identities: \"unix:no-such-user\" role: ROLE_VIEWER }",
       "p:1:10: ", "no user"},
      {"grants { identities: \"token:x\" volumes: \"\" role: ROLE_VIEWER }",
       "p:1:32: ", "empty"},
      {"grants { identities: \"token:x\" volumes: \"a\" role: ROLE_ADMIN }",
       "p:1:45: ", "ROLE_OWNER"},
      {"grants { identities: \"token:x\" role: ROLE_VIEWER", "p:1:49: ", ""},
  };
  for (const auto& one : kWrong) {
    const std::string error = ErrorOf(one.text);
    EXPECT_TRUE(absl::StartsWith(error, one.where)) << error;
    EXPECT_TRUE(absl::StrContains(error, one.what)) << error;
  }
}

TEST(PolicyTest, BoundsWhatItHolds) {
  std::string many;
  for (int i = 0; i <= Policy::kMaxGrants; ++i) {
    many += "grants { identities: \"token:x\" role: ROLE_VIEWER }\n";
  }
  EXPECT_TRUE(absl::StrContains(ErrorOf(many), "p:1001:1: there are more"));
  const std::string pattern(Policy::kMaxPatternBytes + 1, 'a');
  EXPECT_TRUE(absl::StrContains(
      ErrorOf(absl::StrCat("grants { identities: \"token:x\" volumes: \"",
                           pattern, "\" role: ROLE_VIEWER }")),
      "513 bytes"));
}

constexpr char kLimits[] = R"(
limits { identities: "token:ci" limits { iops_total: 10 bps_total: -1 } }
limits { identities: "token:*" identities: "cn:a" limits { iops_total: 20 } }
limits { identities: "anonymous" limits { nbd_connections: 3 } }
)";

TEST(PolicyTest, TheFirstLimitsThatFitCount) {
  const auto policy = Parse(kLimits);
  const auto limits = [&](std::vector<std::string> names) {
    return policy->LimitsOf(policy->LimitedName({.names = std::move(names)}));
  };
  EXPECT_EQ(limits({"token:ci"}), UsageLimits{.iops_total = 10});
  EXPECT_EQ(limits({"unix:0", "token:x"}), UsageLimits{.iops_total = 20});
  EXPECT_EQ(limits({"unix:0", "cn:a"}), UsageLimits{.iops_total = 20});
  EXPECT_EQ(limits({}), UsageLimits{.nbd_connections = 3});
  EXPECT_EQ(limits({"unix:0"}), UsageLimits{.nbd_connections = 3});
}

TEST(PolicyTest, IdentitiesAreLimitedUnderTheNameThatFits) {
  const auto policy = Parse(kLimits);
  EXPECT_EQ(policy->LimitedName({.names = {"unix:0", "token:x"}}), "token:x");
  EXPECT_EQ(policy->LimitedName({.names = {"unix:0"}}), "unix:0");
  EXPECT_EQ(policy->LimitedName({}), "anonymous");
  EXPECT_EQ(Parse(kPolicy)->LimitedName({.names = {"token:ci"}}), "");
  EXPECT_FALSE(Parse(kPolicy)->has_limits());
}

TEST(PolicyTest, SaysWhatIsWrongWithLimits) {
  for (const char* text :
       {"limits { limits { iops_total: 1 } }",
        "limits { identities: \"token:x\" }",
        "limits { identities: \"x\" limits { iops_total: 1 } }",
        "limits { identities: \"token:x\" limits { iops_total: -1 } }",
        "limits { identities: \"token:x\" limits { bps_total: 2 "
        "bps_total_max: 1 } }"}) {
    EXPECT_TRUE(absl::StartsWith(ErrorOf(text), "p:1:1: ")) << ErrorOf(text);
  }
}

}  // namespace
}  // namespace ramvol::access
