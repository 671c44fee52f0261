#include "base/token.h"

#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

TEST(TokenTest, DigestIsSha256) {
  // Of FIPS 180-2.
  EXPECT_EQ(HexOf(DigestOf("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(TokenTest, NewTokensDiffer) {
  const auto a = NewToken();
  const auto b = NewToken();
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_NE(*a, *b);
  EXPECT_EQ(a->size(), 46u);
  EXPECT_EQ(a->substr(0, 3), "rv_");
  EXPECT_FALSE(SameDigest(DigestOf(*a), DigestOf(*b)));
  EXPECT_TRUE(SameDigest(DigestOf(*a), DigestOf(*a)));
}

TEST(TokenTest, DigestsGoThroughText) {
  const TokenDigest digest = DigestOf("secret");
  const auto parsed = ParseDigest(HexOf(digest));
  ASSERT_TRUE(parsed.has_value());
  EXPECT_TRUE(SameDigest(*parsed, digest));
  for (const char* wrong : {"", "12", "zz"}) {
    EXPECT_FALSE(ParseDigest(wrong).has_value()) << wrong;
  }
  EXPECT_FALSE(ParseDigest(std::string(64, 'g')).has_value());
}

TEST(TokenTest, Names) {
  for (const char* good : {"a", "ci", "Build.2-x_y"}) {
    EXPECT_TRUE(IsTokenName(good)) << good;
  }
  for (const char* bad : {"", "a b", "a:b", "*", "\n"}) {
    EXPECT_FALSE(IsTokenName(bad)) << bad;
  }
  EXPECT_FALSE(IsTokenName(std::string(64, 'a')));
}

TEST(TokenTest, ReadsOneTokenOfAFile) {
  const std::string path = ::testing::TempDir() + "/token";
  std::ofstream(path) << "  rv_abc\n";
  EXPECT_EQ(*ReadTokenFile(path), "rv_abc");
  std::ofstream(path) << "rv_abc rv_def\n";
  EXPECT_EQ(ReadTokenFile(path).status().code(),
            absl::StatusCode::kInvalidArgument);
  std::ofstream(path) << "\n";
  EXPECT_FALSE(ReadTokenFile(path).ok());
  std::ofstream(path) << std::string(5000, 'a');
  EXPECT_FALSE(ReadTokenFile(path).ok());
  EXPECT_FALSE(ReadTokenFile(path + ".missing").ok());
}

}  // namespace
}  // namespace ramvol
