#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/command_line_fixture.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ListCommandTest : public CommandLineTest {};

TEST_F(ListCommandTest, ListShowsATable) {
  Run("create scratch 10G --label team=x");
  Run("create a 512 --allocator=malloc --read-only");
  EXPECT_EQ(Run("ls").out,
            "NAME       SIZE  ALLOCATOR  ACCESS  LABELS\n"
            "a         512 B  malloc     ro\n"
            "scratch  10 GiB  zstd       rw      team=x\n");
  EXPECT_EQ(Run("ls --quiet").out, "a\nscratch\n");
  cli_.server().stats.set_ratio(2.5);
  cli_.server().stats.set_stored_bytes(4096);
  cli_.server().stats.set_memory_bytes(8192);
  cli_.server().stats.set_own_bytes(1024);
  EXPECT_EQ(Run("ls -l").out,
            "NAME       SIZE  ALLOCATOR  ACCESS  DATA  STORED  MEMORY    OWN  "
            "RATIO  CLIENTS  LABELS\n"
            "a         512 B  malloc     ro       0 B   4 KiB   8 KiB  1 KiB  "
            " 2.50        0\n"
            "scratch  10 GiB  zstd       rw       0 B   4 KiB   8 KiB  1 KiB  "
            " 2.50        0  team=x\n");
  EXPECT_THAT(Run("ls --output=json").out,
              AllOf(StartsWith("{\n \"volumes\": [\n"),
                    HasSubstr("\"name\": \"scratch\"")));
}

TEST_F(ListCommandTest, EmptyListIsEmpty) {
  EXPECT_EQ(Run("ls").out, "NAME  SIZE  ALLOCATOR  ACCESS  LABELS\n");
  EXPECT_EQ(Run("ls -q").out, "");
  EXPECT_THAT(Run("ls --output=json").out, HasSubstr("\"volumes\": []"));
}

TEST_F(ListCommandTest, VolumesAreChosenByNamesPatternsAndLabels) {
  Run("create a1 1G --label=team=x --label=keep=");
  Run("create a2 3G --label=team=y");
  Run("create b 2G --label=team=x");
  EXPECT_EQ(Run("ls -q b a1").out, "a1\nb\n");
  EXPECT_EQ(Run("ls -q a?").out, "a1\na2\n");
  EXPECT_EQ(Run("ls -q [b-z]* a2").out, "a2\nb\n");
  EXPECT_EQ(Run("ls -q --selector=team=x").out, "a1\nb\n");
  EXPECT_EQ(Run("ls -q --selector team!=x").out, "a2\n");
  EXPECT_EQ(Run("ls -q --selector team==x,!keep").out, "b\n");
  EXPECT_EQ(Run("ls -q --selector keep").out, "a1\n");
  EXPECT_EQ(Run("ls -q a* --selector team=x").out, "a1\n");
  EXPECT_EQ(Run("ls -q --selector team=z").out, "");
  EXPECT_EQ(Run("ls c").exit_code, 3);
  EXPECT_EQ(Run("ls c*").exit_code, 3);
  UsageErrorOf("ls --selector ,");
  UsageErrorOf("ls --selector =x");
  EXPECT_EQ(Run("ls -q --sort=size").out, "a2\nb\na1\n");
  UsageErrorOf("ls --sort=colour");
  EXPECT_EQ(Run("rm --selector=team=x --yes").out, "removed a1\nremoved b\n");
}

}  // namespace
}  // namespace ramvol::cli
