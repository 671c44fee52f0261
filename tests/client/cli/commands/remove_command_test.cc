#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_line_fixture.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kGiB = int64_t{1} << 30;

class RemoveCommandTest : public CommandLineTest {};

TEST_F(RemoveCommandTest, RemoveGoesOnAfterAFailureAndReportsAll) {
  Run("create a 1G");
  Run("create c 1G");
  const auto result = Run("rm a b c d --force");
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("named \"b\""), HasSubstr("named \"d\"")));
  EXPECT_LT(result.err.find("\"b\""), result.err.find("\"d\""));
  EXPECT_EQ(result.out, "removed a\nremoved c\n");
  EXPECT_FALSE(cli_.server().Has("a"));
  EXPECT_FALSE(cli_.server().Has("c"));
  EXPECT_TRUE(cli_.server().last_delete.force());
}

TEST_F(RemoveCommandTest, RemovingManyIsShownAndAsked) {
  for (const char* name : {"ci-1", "ci-2", "golden"}) {
    cli_.AddVolume(name, kGiB);
  }
  const std::string refused = UsageErrorOf("rm ci-*");
  EXPECT_THAT(refused, AllOf(HasSubstr("2 volumes"), HasSubstr("--yes")));
  EXPECT_TRUE(cli_.server().Has("ci-1"));
  cli_.context().in_is_terminal = true;
  cli_.context().err_is_terminal = true;
  for (const char* answer : {"", "n\n", "yep\n"}) {
    cli_.in().Set(answer);
    const auto kept = Run("rm ci-*");
    EXPECT_EQ(kept.exit_code, 1);
    EXPECT_THAT(kept.err, AllOf(HasSubstr("ci-1 "), HasSubstr("ci-2 "),
                                Not(HasSubstr("golden")),
                                HasSubstr("Remove 2 volumes? [y/N] "),
                                HasSubstr("nothing was removed")));
    EXPECT_TRUE(cli_.server().Has("ci-1"));
  }
  cli_.in().Set("y\n");
  EXPECT_EQ(Run("rm ci-*").out, "removed ci-1\nremoved ci-2\n");
  EXPECT_FALSE(cli_.server().last_delete.etag().empty());
  EXPECT_TRUE(cli_.server().Has("golden"));
  EXPECT_EQ(Run("rm x* --yes").exit_code, 3);
  EXPECT_EQ(Run("rm g* --yes -o name").out, "golden\n");
  UsageErrorOf("rm");
}

}  // namespace
}  // namespace ramvol::cli
