#include "server/access/authority.h"

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/reason.h"
#include "base/token.h"
#include "base/usage_limiter.h"
#include "base/usage_timer.h"
#include "gtest/gtest.h"
#include "server/access/identity.h"
#include "server/access/role.h"

namespace ramvol::access {
namespace {

constexpr char kPolicy[] = R"(
grants { identities: "token:ci" volumes: "ci-*" role: ROLE_READER }
grants { identities: "token:root" role: ROLE_ADMIN }
)";

Labels NoLabels() { return {}; }

class AuthorityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = absl::StrCat(
        ::testing::TempDir(), "/",
        ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(dir_);
    policy_ = dir_ + "/policy";
    tokens_ = dir_ + "/tokens";
  }

  static void Write(const std::string& path, const std::string& text) {
    std::ofstream(path + ".new") << text;
    std::rename((path + ".new").c_str(), path.c_str());
  }
  static std::string Line(const std::string& name, const std::string& token) {
    return absl::StrCat(name, ":sha256:", HexOf(DigestOf(token)), "\n");
  }
  std::unique_ptr<Authority> Make() {
    Write(policy_, kPolicy);
    Write(tokens_, Line("ci", "secret") + Line("root", "key"));
    auto authority = Authority::Make(policy_, tokens_);
    EXPECT_TRUE(authority.ok()) << authority.status();
    return *std::move(authority);
  }
  static Identity Bearer(const Authority& authority, const char* token) {
    Identity identity;
    EXPECT_TRUE(authority.AddToken(token, &identity).ok());
    return identity;
  }

  std::string dir_;
  std::string policy_;
  std::string tokens_;
};

TEST_F(AuthorityTest, WithoutAPolicyAllMayDoAll) {
  const auto authority = *Authority::Make("", "");
  EXPECT_FALSE(authority->has_policy());
  EXPECT_EQ(authority->Decide({}, Right::kServer, "", NoLabels),
            Decision::kAllowed);
}

TEST_F(AuthorityTest, Decides) {
  const auto authority = Make();
  const Identity ci = Bearer(*authority, "secret");
  const auto decide = [&](const Identity& who, Right right, const char* name) {
    return authority->Decide(who, right, name, NoLabels);
  };
  EXPECT_EQ(decide(ci, Right::kRead, "ci-1"), Decision::kAllowed);
  EXPECT_EQ(decide(ci, Right::kWrite, "ci-1"), Decision::kDenied);
  EXPECT_EQ(decide(ci, Right::kView, "other"), Decision::kInvisible);
  EXPECT_EQ(decide(ci, Right::kCreate, "other"), Decision::kInvisible);
  EXPECT_EQ(decide(ci, Right::kEnter, ""), Decision::kAllowed);
  EXPECT_EQ(decide(ci, Right::kServer, ""), Decision::kDenied);
  EXPECT_EQ(decide(Bearer(*authority, "key"), Right::kServer, ""),
            Decision::kAllowed);
  EXPECT_EQ(decide({}, Right::kView, "ci-1"), Decision::kUnauthenticated);
  EXPECT_EQ(decide({}, Right::kNothing, ""), Decision::kAllowed);
  const Identity stranger{.names = {"cn:x"}};
  EXPECT_EQ(decide(stranger, Right::kView, "ci-1"), Decision::kInvisible);
  EXPECT_EQ(decide(stranger, Right::kEnter, ""), Decision::kDenied);
}

TEST_F(AuthorityTest, RefusesUnknownTokens) {
  const auto authority = Make();
  for (const std::string& token :
       {std::string(), std::string("secre"), std::string("secret "),
        std::string(1 << 20, 'a')}) {
    Identity identity;
    const absl::Status status = authority->AddToken(token, &identity);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
    EXPECT_EQ(GetReason(status), "UNAUTHENTICATED");
    EXPECT_TRUE(identity.anonymous());
  }
}

TEST_F(AuthorityTest, TakesOverWhatChanges) {
  const auto authority = Make();
  const Identity ci = Bearer(*authority, "secret");
  Write(policy_,
        "grants { identities: \"token:ci\" volumes: \"b\" role: ROLE_WRITER }");
  EXPECT_EQ(authority->Decide(ci, Right::kRead, "ci-1", NoLabels),
            Decision::kAllowed);
  authority->Reload();
  EXPECT_EQ(authority->Decide(ci, Right::kRead, "ci-1", NoLabels),
            Decision::kInvisible);
  EXPECT_EQ(authority->Decide(ci, Right::kWrite, "b", NoLabels),
            Decision::kAllowed);
}

TEST_F(AuthorityTest, KeepsTheOldPolicyWhenTheNewOneIsBad) {
  const auto authority = Make();
  const Identity ci = Bearer(*authority, "secret");
  for (const char* bad : {"grants { role: ROLE_ADMIN }", "\xff\xff"}) {
    Write(policy_, bad);
    authority->Reload();
    authority->Reload();
    EXPECT_EQ(authority->Decide(ci, Right::kRead, "ci-1", NoLabels),
              Decision::kAllowed);
    EXPECT_FALSE(authority->GetStats().current);
  }
  EXPECT_EQ(authority->GetStats().refused_reloads, 2u);
  std::filesystem::remove(policy_);
  authority->Reload();
  EXPECT_EQ(authority->GetStats().refused_reloads, 3u);
  EXPECT_EQ(authority->GetStats().grants, 2u);
  Write(policy_, kPolicy);
  authority->Reload();
  EXPECT_TRUE(authority->GetStats().current);
}

TEST_F(AuthorityTest, ATokenThatIsTakenAwayCountsNoMore) {
  const auto authority = Make();
  Identity ci = Bearer(*authority, "secret");
  ci.names.push_back("cn:ci");
  Write(tokens_, Line("ci", "another") + Line("root", "key"));
  authority->Reload();
  EXPECT_NE(authority->Decide(ci, Right::kRead, "ci-1", NoLabels),
            Decision::kAllowed);
  EXPECT_EQ(authority->Decide(Bearer(*authority, "another"), Right::kRead,
                              "ci-1", NoLabels),
            Decision::kAllowed);
}

TEST_F(AuthorityTest, DoesNotBeginWithWhatIsWrong) {
  Write(policy_, "grants {\n identities: 3 }");
  const absl::Status status = Authority::Make(policy_, "").status();
  EXPECT_TRUE(absl::StartsWith(status.message(),
                               absl::StrCat("--auth_policy: ", policy_, ":2:")))
      << status;
  EXPECT_FALSE(Authority::Make(policy_ + ".missing", "").ok());
  Write(tokens_, "x");
  EXPECT_TRUE(absl::StartsWith(Authority::Make("", tokens_).status().message(),
                               "--token_file: "));
}

TEST_F(AuthorityTest, ErrorsSayWhatToDo) {
  const absl::Status denied =
      DeniedError({.names = {"token:ci"}}, Right::kWrite, "@ci-1");
  EXPECT_EQ(denied.message(),
            "token:ci may not write to snapshot \"ci-1\"; that needs the role "
            "writer, by a grant in the server's --auth_policy");
  EXPECT_EQ(GetReason(denied), "PERMISSION_DENIED");
  EXPECT_EQ(GetReason(UnauthenticatedError()), "UNAUTHENTICATED");
}

TEST_F(AuthorityTest, HoldsIdentitiesToLimits) {
  UsageTimer timer;
  const auto authority = Make();
  authority->LimitUsage(&timer);
  const Identity ci = Bearer(*authority, "secret");
  EXPECT_EQ(authority->LimiterOf(ci), nullptr);
  const std::string limits = "limits { identities: \"token:*\" limits { ";
  Write(policy_, kPolicy + limits + "iops_total: 5 } }");
  authority->Reload();
  const auto limiter = authority->LimiterOf(ci);
  ASSERT_NE(limiter, nullptr);
  EXPECT_EQ(limiter->limits(), UsageLimits{.iops_total = 5});
  EXPECT_EQ(authority->LimiterOf(ci), limiter);
  EXPECT_NE(authority->LimiterOf(Bearer(*authority, "key")), limiter);
  EXPECT_EQ(authority->LimiterOf({.names = {"unix:0"}}), nullptr);
  // What is in use follows the policy.
  Write(policy_, kPolicy + limits + "iops_total: 6 } }");
  authority->Reload();
  EXPECT_EQ(limiter->limits(), UsageLimits{.iops_total = 6});
  EXPECT_EQ(authority->LimiterOf(ci), limiter);
  Write(policy_, kPolicy);
  authority->Reload();
  EXPECT_EQ(limiter->limits(), UsageLimits());
  EXPECT_EQ(authority->LimiterOf(ci), nullptr);
}

// No bound: the figure is for the log of the test.
TEST_F(AuthorityTest, MeasureDecision) {
  const auto authority = Make();
  const Identity ci = Bearer(*authority, "secret");
  constexpr int kTimes = 100'000;
  int allowed = 0;
  const int64_t began_ns = SteadyNowNs();
  for (int i = 0; i < kTimes; ++i) {
    allowed += authority->Check(ci, Right::kRead, "ci-1", NoLabels) ==
               Decision::kAllowed;
  }
  const int64_t decided_ns = SteadyNowNs();
  for (int i = 0; i < kTimes; ++i) {
    Identity identity;
    allowed += authority->AddToken("secret", &identity).ok();
  }
  const int64_t ended_ns = SteadyNowNs();
  EXPECT_EQ(allowed, 2 * kTimes);
  std::printf("a decision: %ld ns; a token: %ld ns\n",
              static_cast<long>((decided_ns - began_ns) / kTimes),
              static_cast<long>((ended_ns - decided_ns) / kTimes));
}

}  // namespace
}  // namespace ramvol::access
