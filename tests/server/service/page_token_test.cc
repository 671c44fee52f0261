#include "server/service/page_token.h"

#include <string>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::IsInvalidField;
using ::ramvol::testing::IsOk;

TEST(PageTokenTest, HoldsTheLastName) {
  for (const std::string name : {"a", "disk-1", "x.y_z"}) {
    const auto parsed = ParsePageToken(MakePageToken(name));
    ASSERT_THAT(parsed, IsOk());
    EXPECT_EQ(*parsed, name);
  }
}

TEST(PageTokenTest, TheFirstPageHasNone) {
  const auto parsed = ParsePageToken("");
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(*parsed, "");
}

TEST(PageTokenTest, OtherTextIsNoToken) {
  const std::string token = MakePageToken("disk-1");
  std::string text;
  ASSERT_TRUE(absl::WebSafeBase64Unescape(token, &text));
  text.back() = '2';
  for (const std::string& wrong :
       {std::string("disk-1"), token.substr(0, token.size() - 2),
        absl::WebSafeBase64Escape(text), std::string("!"),
        absl::WebSafeBase64Escape("00000000")}) {
    EXPECT_THAT(ParsePageToken(wrong), IsInvalidField("page_token")) << wrong;
  }
}

}  // namespace
}  // namespace ramvol::service
