#include "base/tls/psk_file.h"

#include <string>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

const char kHex[] = "30313233343536373839616263646566";

std::string Error(std::string_view text) {
  return std::string(ParsePskKeys(text).status().message());
}

TEST(PskFileTest, ReadsUsersAndKeys) {
  const std::string key(kHex);
  const auto keys =
      ParsePskKeys("# of the farm\nalice:" + key + "\r\n\nbob:" + key + "ff");
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_THAT(*keys, UnorderedElementsAre(Pair("alice", "0123456789abcdef"),
                                          Pair("bob", "0123456789abcdef\xff")));
}

TEST(PskFileTest, NamesTheLineAndNoKey) {
  const std::string key(kHex);
  EXPECT_THAT(Error("alice:" + key + "\nbob"),
              HasSubstr("line 2: there is no"));
  EXPECT_THAT(Error(":" + key), HasSubstr("line 1: there is no user"));
  EXPECT_THAT(Error("alice:" + key + "0"), HasSubstr("not hexadecimal"));
  EXPECT_THAT(Error("alice:xx" + key), Not(HasSubstr(key)));
  EXPECT_THAT(Error("alice:3031"), HasSubstr("has 2 bytes, not 16 to 256"));
  EXPECT_THAT(Error("alice:" + key + "\nalice:" + key),
              HasSubstr("line 2: the user was there already"));
  EXPECT_EQ(Error("# nothing\n"), "it has no keys");
}

}  // namespace
}  // namespace ramvol
