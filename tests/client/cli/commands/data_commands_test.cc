#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/client/cli/cli_harness.h"
#include "tests/client/cli/command_line_fixture.h"
#include "tests/client/fake_volume.h"

namespace ramvol::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class DataCommandsTest : public CommandLineTest {};

TEST_F(DataCommandsTest, ReadWriteAndTrim) {
  FakeVolume& volume = cli_.AddVolume("a", 1 << 20);
  cli_.in().Set("hello");
  EXPECT_EQ(Run("write a 4K").exit_code, 0);
  EXPECT_EQ(volume.Content(4096, 5), "hello");
  const auto read = Run("read a 4095 7");
  EXPECT_EQ(read.exit_code, 0);
  EXPECT_EQ(read.out, std::string("\0hello\0", 7));
  const std::string path = TempPath("out");
  EXPECT_EQ(cli_.Run({"read", "a", "4K", "5", "--out", path}).out, "");
  EXPECT_EQ(ReadFile(path), "hello");
  EXPECT_EQ(cli_.Run({"write", "a", "0", path}).exit_code, 0);
  EXPECT_EQ(volume.Content(0, 5), "hello");
  EXPECT_EQ(Run("trim a 4K 4K").exit_code, 0);
  EXPECT_EQ(volume.Content(4096, 5), std::string(5, '\0'));
  EXPECT_EQ(volume.Content(0, 5), "hello");
  EXPECT_EQ(Run("trim a --all").exit_code, 0);
  EXPECT_EQ(volume.allocated_bytes(), 0);
}

TEST_F(DataCommandsTest, OnlyTextGoesToATerminal) {
  FakeVolume& volume = cli_.AddVolume("a", 1 << 20);
  volume.Fill(0, "hello,\tRAM\n");
  cli_.context().out_terminal = [] { return TerminalSize(); };
  EXPECT_EQ(Run("read a 0 11").out, "hello,\tRAM\n");
  EXPECT_THAT(UsageErrorOf("read a 0 12"), HasSubstr("--force"));
  UsageErrorOf("read a 0 1M");
  UsageErrorOf("export a -");
  EXPECT_EQ(Run("read a 0 12 --force").out, std::string("hello,\tRAM\n\0", 12));
  EXPECT_EQ(Run("export a - --force").out.size(), size_t{1} << 20);
  volume.Fill(0, "\033[2J");
  UsageErrorOf("read a 0 4");
  const std::string path = TempPath("out");
  EXPECT_EQ(cli_.Run({"read", "a", "0", "12", "--out", path}).exit_code, 0);
}

TEST_F(DataCommandsTest, TrimOfEverythingMustBeSaid) {
  cli_.AddVolume("a", 1 << 20);
  UsageErrorOf("trim a");
  UsageErrorOf("trim a 0");
  UsageErrorOf("trim a 0 4K --all");
  EXPECT_THAT(cli_.server().data("a").trims(), IsEmpty());
}

TEST_F(DataCommandsTest, ChangesNoVolumeThatOthersHoldUnlessForced) {
  FakeVolume& volume = cli_.AddVolume("a", 1 << 20);
  volume.Fill(0, "precious");
  cli_.server().attached = true;
  for (const char* line :
       {"write a 0", "trim a --all", "trim a 0 4K", "resize a 4K --shrink"}) {
    cli_.in().Set("slip");
    const auto refused = Run(line);
    EXPECT_EQ(refused.exit_code, 1) << line;
    EXPECT_THAT(refused.err, HasSubstr("(VOLUME_ATTACHED)")) << line;
  }
  EXPECT_EQ(volume.Content(0, 8), "precious");
  EXPECT_EQ(cli_.server().settings("a").size_bytes(), 1 << 20);
  EXPECT_EQ(Run("read a 0 8").out, "precious");
  EXPECT_EQ(Run("resize a 2M").exit_code, 0);
  for (const char* line :
       {"write a 0 --force", "trim a --all --force", "trim a 0 4K --force",
        "resize a 4K --shrink --force"}) {
    cli_.in().Set("meant");
    EXPECT_EQ(Run(line).exit_code, 0) << line;
  }
  EXPECT_EQ(cli_.server().settings("a").size_bytes(), 4096);
}

TEST_F(DataCommandsTest, RangePastTheEndTouchesNoFile) {
  cli_.AddVolume("a", 4096);
  const std::string path = TempPath("out");
  WriteFile(path, "precious");
  const auto result = cli_.Run({"read", "a", "4000", "97", "--out", path});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("(PAST_END)"));
  EXPECT_EQ(ReadFile(path), "precious");
  EXPECT_EQ(Run("read a 4000 96").exit_code, 0);
  cli_.in().Set("x");
  EXPECT_EQ(Run("write a 4096").exit_code, 1);
  EXPECT_EQ(Run("write a 4097").exit_code, 1);
  EXPECT_EQ(Run("write a 4095").exit_code, 0);
}

}  // namespace
}  // namespace ramvol::cli
