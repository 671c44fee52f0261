#include "client/cli/commands/auth_commands.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/token.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/access_service.pb.h"
#include "tests/client/cli/cli_harness.h"

namespace ramvol::cli {
namespace {

using ::testing::HasSubstr;

class AuthCommandsTest : public ::testing::Test {
 protected:
  CliHarness::Result Auth(std::vector<std::string> words) {
    words.insert(words.begin(), "auth");
    return cli_.Run(words);
  }

  CliHarness cli_;
};

TEST_F(AuthCommandsTest, WhoAmI) {
  EXPECT_EQ(Auth({"whoami"}).out,
            "anonymous\n  the server has no policy: everyone may do "
            "everything\n");
  v1::WhoAmIResponse& who = cli_.server().who;
  who.set_policy(true);
  EXPECT_EQ(Auth({"whoami"}).out, "anonymous\n  no role\n");
  who.add_identities("token:ci");
  who.add_identities("cn:\x1b[31m");
  v1::EffectiveGrant& grant = *who.add_grants();
  grant.set_role(v1::ROLE_WRITER);
  grant.add_volumes("ci-*");
  (*grant.mutable_labels())["team"] = "a";
  who.add_grants()->set_role(v1::ROLE_ADMIN);
  EXPECT_EQ(Auth({"whoami"}).out,
            "token:ci\ncn:\\x1b[31m\n  writer on ci-* team=a\n  admin on "
            "everything\n");
  EXPECT_THAT(Auth({"whoami", "-o", "json"}).out, HasSubstr("ROLE_WRITER"));
}

TEST_F(AuthCommandsTest, CanI) {
  v1::CheckAccessResponse& access = cli_.server().access;
  access.set_needed(v1::ROLE_WRITER);
  const auto no = Auth({"can-i", "write", "disk"});
  EXPECT_EQ(no.exit_code, 1);
  EXPECT_EQ(no.out, "no\n");
  EXPECT_EQ(no.err,
            "ramvol: auth: that needs the role writer, and yours is none "
            "(PERMISSION_DENIED)\n");
  EXPECT_EQ(cli_.server().last_access.right(), v1::RIGHT_WRITE);
  EXPECT_EQ(cli_.server().last_access.volume(), "disk");
  access.set_allowed(true);
  const auto yes = Auth({"can-i", "admin"});
  EXPECT_EQ(yes.exit_code, 0) << yes.err;
  EXPECT_EQ(yes.out, "yes\n");
  EXPECT_EQ(cli_.server().last_access.right(), v1::RIGHT_ADMIN);
}

TEST_F(AuthCommandsTest, NewTokensFitTheirLines) {
  const auto made = Auth({"new-token", "ci"});
  EXPECT_EQ(made.exit_code, 0) << made.err;
  const std::vector<std::string> lines = absl::StrSplit(made.out, '\n');
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[1], absl::StrCat("ci:sha256:", HexOf(DigestOf(lines[0]))));
  EXPECT_NE(Auth({"new-token", "ci"}).out, made.out);
}

TEST_F(AuthCommandsTest, WrongWordsAreNamed) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"whoami", "x"},
        {"can-i"},
        {"can-i", "fly", "disk"},
        {"can-i", "unspecified", "disk"},
        {"can-i", "write"},
        {"can-i", "admin", "disk"},
        {"new-token"},
        {"new-token", "a:b"},
        {"elsewhat"}}) {
    EXPECT_EQ(Auth(words).exit_code, 2) << words[0];
  }
}

}  // namespace
}  // namespace ramvol::cli
