#include "client/cli/wording.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(WordingTest, NamesFlagsInPlaceOfFields) {
  EXPECT_EQ(InWordsOfCommandLine("zstd_level is 99; zstd levels go to 19"),
            "--level is 99; zstd levels go to 19");
  EXPECT_EQ(InWordsOfCommandLine(
                "min_frame_bytes is 8192, more than max_frame_bytes, 4096"),
            "--min-frame is 8192, more than --max-frame, 4096");
  EXPECT_EQ(InWordsOfCommandLine("volume.size_bytes is 0; a volume has 1"),
            "SIZE is 0; a volume has 1");
  EXPECT_EQ(InWordsOfCommandLine(
                "a volume of ALLOCATOR_MALLOC takes no memory_limit_bytes"),
            "a volume of malloc takes no --memory-limit");
}

TEST(WordingTest, NamesCommandsInPlaceOfCalls) {
  EXPECT_EQ(InWordsOfCommandLine(
                "there is no volume \"a\"; ListVolumes shows those that there "
                "are"),
            "there is no volume \"a\"; \"ramvol ls\" lists those that there "
            "are");
  EXPECT_THAT(InWordsOfCommandLine("trim it or raise memory_limit_bytes"),
              HasSubstr("\"ramvol set --memory-limit\""));
}

TEST(WordingTest, LeavesWhatIsQuotedAndOtherWords) {
  for (const char* text :
       {"volume \"read_only\" exists", "a resize_bytes b", "the volume. It",
        "an open \"quote size_bytes", ""}) {
    EXPECT_EQ(InWordsOfCommandLine(text), text);
  }
}

TEST(WordingTest, UnreachableServersInPlainWords) {
  const struct {
    const char* words;
    const char* cause;
  } cases[] = {
      {"failed to connect to all addresses; last error: UNKNOWN: "
       "ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused",
       "nothing listens there"},
      {"DNS resolution failed for foo:1: C-ares status is not ARES_SUCCESS "
       "qtype=AAAA name=foo is_balancer=0: Domain name not found",
       "the name is unknown"},
      {"failed to connect to all addresses; last error: UNKNOWN: unix:/s: No "
       "such file or directory",
       "there is no such socket"},
      {"Socket closed", "the connection broke"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(UnreachableText(c.words, "box:1"),
                AllOf(HasSubstr("no server answers at box:1: "),
                      HasSubstr(c.cause), Not(HasSubstr("UNKNOWN")),
                      Not(HasSubstr("C-ares")), Not(HasSubstr("failed to"))));
  }
}

TEST(WordingTest, OwnWordsStayBeforeTheCause) {
  EXPECT_THAT(
      UnreachableText("volume \"a\" is partly written: Socket closed", "box:1"),
      HasSubstr("at box:1: volume \"a\" is partly written: the "
                "connection broke; check"));
  EXPECT_THAT(UnreachableText("refused", "box:1"),
              HasSubstr("at box:1: refused; check"));
}

TEST(WordingTest, OnlyAServerOfThisMachineCanBeStarted) {
  EXPECT_THAT(UnreachableText("", "127.0.0.1:1"),
              HasSubstr("start one with \"ramvold --listen=127.0.0.1:1\""));
  EXPECT_THAT(UnreachableText("", "unix:/run/s"),
              HasSubstr("\"ramvold --listen=unix:/run/s\""));
  EXPECT_THAT(UnreachableText("", "box:1"), Not(HasSubstr("start")));
}

TEST(WordingTest, NearestIsTheOneThatWasMeant) {
  EXPECT_EQ(Nearest("craete", {"export", "create", "resize"}), "create");
  EXPECT_EQ(Nearest("snapshto", {"stat", "snapshot"}), "snapshot");
  EXPECT_EQ(Nearest("comp", {"create", "completion"}), "completion");
  EXPECT_EQ(Nearest("--memroy-limit", {"--level", "--memory-limit"}),
            "--memory-limit");
  EXPECT_EQ(Nearest("frobnicate", {"create", "rm", "ls"}), "");
  EXPECT_EQ(Nearest("x", {"ls", "y"}), "");
  EXPECT_EQ(Nearest("", {"ls", ""}), "");
}

}  // namespace
}  // namespace ramvol::cli
