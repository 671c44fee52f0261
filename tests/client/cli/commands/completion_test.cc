#include "client/cli/commands/completion.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/cli_harness.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Script(const std::string& shell) {
  CliHarness cli;
  const auto result = cli.Run({"completion", shell});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result.out;
}

TEST(CompletionTest, BashKnowsCommandsFlagsAndChoices) {
  EXPECT_THAT(Script("bash"),
              AllOf(HasSubstr("complete -F _ramvol ramvol"),
                    HasSubstr("create|set|resize|rename|rm|ls|show|stat|"),
                    HasSubstr("--allocator) COMPREPLY=($(compgen -W "
                              "\"zstd sparse malloc\""),
                    HasSubstr("--out) COMPREPLY=($(compgen -f"),
                    HasSubstr("resize) flags=\"--help --shrink --force\""),
                    HasSubstr("attach|detach)\n      COMPREPLY+=($(compgen -G"),
                    HasSubstr("snapshot|clone|revert|diff|"),
                    HasSubstr("compgen -W \"create ls show rm\""),
                    Not(ContainsRegex("@[A-Z_]+@"))));
}

TEST(CompletionTest, ZshKnowsCommandsFlagsAndChoices) {
  EXPECT_THAT(
      Script("zsh"),
      AllOf(HasSubstr("#compdef ramvol"), HasSubstr("'*--allocator=["),
            HasSubstr(":value:(zstd sparse malloc)'"),
            HasSubstr("':NAME:_ramvol_volumes'"),
            HasSubstr("'*:NAME:_ramvol_volumes'"), HasSubstr("':FILE:_files'"),
            HasSubstr("':DEVICE:_files -g")));
}

TEST(CompletionTest, FishKnowsCommandsFlagsAndChoices) {
  EXPECT_THAT(
      Script("fish"),
      AllOf(HasSubstr("-n __fish_use_subcommand -a create"),
            HasSubstr("-l allocator -x -a 'zstd sparse malloc'"),
            HasSubstr("-l out -r -F"), HasSubstr("(for d in /dev/nbd*")));
}

}  // namespace
}  // namespace ramvol::cli
