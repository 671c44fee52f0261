// image_test has the streams, against a server; this is what needs none.
#include "client/cli/commands/image_commands.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/client/cli/cli_harness.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kUsage = 2;

class SaveAllTest : public ::testing::Test {
 protected:
  SaveAllTest() {
    v1::SaveAllResponse& answer = cli_.server().save_answer;
    answer.set_directory("/saves/save-3");
    answer.set_volumes(5);
    answer.set_snapshots(2);
    answer.set_bytes(1 << 20);
  }

  CliHarness cli_;
};

TEST_F(SaveAllTest, PrintsTheDirectory) {
  const auto saved = cli_.Run({"save", "--all"});
  EXPECT_EQ(saved.exit_code, 0) << saved.err;
  EXPECT_EQ(saved.out, "/saves/save-3\n");
  const auto json = cli_.Run({"save", "--all", "-o", "json"});
  EXPECT_THAT(json.out, AllOf(HasSubstr("\"directory\": \"/saves/save-3\""),
                              HasSubstr("\"volumes\": 5")));
}

TEST_F(SaveAllTest, FailsWhenSomethingIsLeftOut) {
  auto& left_out = *cli_.server().save_answer.add_left_out();
  left_out.set_name("huge");
  left_out.set_why("it is too large");
  const auto saved = cli_.Run({"save", "--all"});
  EXPECT_EQ(saved.exit_code, 1);
  EXPECT_EQ(saved.out, "/saves/save-3\n");
  EXPECT_THAT(saved.err, AllOf(HasSubstr("huge (it is too large)"),
                               HasSubstr("SAVE_FAILED")));
}

TEST_F(SaveAllTest, AllOrOne) {
  EXPECT_EQ(cli_.Run({"save", "--all", "disk"}).exit_code, kUsage);
  EXPECT_EQ(cli_.Run({"save", "disk"}).exit_code, kUsage);
  EXPECT_EQ(cli_.Run({"save"}).exit_code, kUsage);
}

}  // namespace
}  // namespace ramvol::cli
