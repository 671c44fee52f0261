#include "gtest/gtest.h"
#include "tests/client/cli/command_line_fixture.h"

namespace ramvol::cli {
namespace {

class ExtentsCommandTest : public CommandLineTest {};

TEST_F(ExtentsCommandTest, ExtentsAsTableAndJson) {
  cli_.AddVolume("a", 1 << 20).Fill(8192, "x");
  EXPECT_EQ(Run("extents a").out,
            " OFFSET   LENGTH  STATE\n"
            "      0     8192  hole\n"
            "   8192     4096  data\n"
            "  12288  1036288  hole\n"
            "\n"
            "Extents:  3\n"
            "Data:     4 KiB (4096 bytes)\n"
            "Holes:    1020 KiB (1044480 bytes)\n");
  EXPECT_EQ(Run("extents a --offset 8K --length 8K --output=json").out,
            "{\n \"extents\": [\n"
            "  {\"offset\": \"8192\", \"length\": \"4096\", \"hole\": false},\n"
            "  {\"offset\": \"12288\", \"length\": \"4096\", \"hole\": true}\n"
            " ],\n \"extentCount\": \"2\",\n \"dataBytes\": \"4096\",\n"
            " \"holeBytes\": \"4096\"\n}\n");
  EXPECT_EQ(Run("extents a --totals").out,
            "Extents:  3\n"
            "Data:     4 KiB (4096 bytes)\n"
            "Holes:    1020 KiB (1044480 bytes)\n");
  EXPECT_EQ(Run("extents a --totals --output=json").out,
            "{\n \"extentCount\": \"3\",\n \"dataBytes\": \"4096\",\n"
            " \"holeBytes\": \"1044480\"\n}\n");
  EXPECT_EQ(Run("extents a --offset 2M").exit_code, 1);
}

}  // namespace
}  // namespace ramvol::cli
