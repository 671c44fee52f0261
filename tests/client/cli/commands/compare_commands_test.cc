#include <string>

#include "gtest/gtest.h"
#include "ramvol/output/v1/output.pb.h"
#include "tests/client/cli/cli_harness.h"
#include "tests/client/cli/command_line_fixture.h"

namespace ramvol::cli {
namespace {

class CompareCommandsTest : public CommandLineTest {};

TEST_F(CompareCommandsTest, ChecksumsAndComparisons) {
  cli_.AddVolume("a", 1 << 20).Fill(8192, "x");
  cli_.AddVolume("b", 1 << 20);
  const std::string file = TempPath("compared");
  EXPECT_EQ(cli_.Run({"export", "a", file}).exit_code, 0);
  const auto sums = cli_.Run({"checksum", "a", file});
  EXPECT_EQ(sums.exit_code, 0) << sums.err;
  EXPECT_EQ(sums.out.substr(32),
            "  a\n" + sums.out.substr(0, 32) + "  " + file + "\n");
  const auto json =
      FromJson<output::v1::ChecksumOutput>(Run("checksum a b -o json").out);
  ASSERT_EQ(json.checksums_size(), 2);
  EXPECT_EQ(json.checksums(0).checksum(), sums.out.substr(0, 32));
  EXPECT_EQ(json.checksums(1).size_bytes(), 1 << 20);
  const auto same = cli_.Run({"cmp", "a", file});
  EXPECT_EQ(same.exit_code, 0) << same.err;
  EXPECT_EQ(same.out, "");
  const auto differ = Run("cmp a b");
  EXPECT_EQ(differ.exit_code, 1);
  EXPECT_EQ(differ.err,
            "ramvol: cmp: a and b differ from byte 8192 on "
            "(CONTENT_DIFFERS)\n");
  EXPECT_EQ(Run("cmp a nothing").exit_code, 3);
  EXPECT_EQ(Run("checksum ./nothing").exit_code, 1);
  UsageErrorOf("cmp a");
}

}  // namespace
}  // namespace ramvol::cli
