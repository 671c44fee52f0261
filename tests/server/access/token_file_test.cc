#include "server/access/token_file.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/token.h"
#include "gtest/gtest.h"

namespace ramvol::access {
namespace {

std::string Line(const std::string& name, const std::string& token) {
  return absl::StrCat(name, ":sha256:", HexOf(DigestOf(token)), "\n");
}

TEST(TokenFileTest, FindsTokens) {
  const auto file = TokenFile::Parse(
      "t", absl::StrCat("# two of ci\n\n", Line("ci", "a"), Line("ci", "b"),
                        "  ", Line("root", "c")));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->size(), 3u);
  EXPECT_EQ(*file->Find(DigestOf("a")), "ci");
  EXPECT_EQ(*file->Find(DigestOf("b")), "ci");
  EXPECT_EQ(*file->Find(DigestOf("c")), "root");
  EXPECT_EQ(file->Find(DigestOf("d")), nullptr);
  // One byte other than the first ones.
  TokenDigest near = DigestOf("a");
  near[31] ^= 1;
  EXPECT_EQ(file->Find(near), nullptr);
}

TEST(TokenFileTest, SaysWhatIsWrongWhere) {
  const std::string good = Line("ci", "a");
  const struct {
    std::string text;
    const char* where;
  } kWrong[] = {{good + "rv_secret\n", "t:2:11: "},
                {good + "a b:sha256:00\n", "t:2:1: "},
                {":sha256:00\n", "t:1:1: "},
                {"ci:md5:00\n", "t:1:4: "},
                {"ci:sha256:00\n", "t:1:11: "},
                {"ci:sha256:" + std::string(64, 'x'), "t:1:11: "}};
  for (const auto& one : kWrong) {
    const absl::Status status = TokenFile::Parse("t", one.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StartsWith(status.message(), one.where)) << status;
    // Whoever puts a token there by mistake does not find it in the log.
    EXPECT_FALSE(absl::StrContains(status.message(), "secret")) << status;
  }
}

}  // namespace
}  // namespace ramvol::access
