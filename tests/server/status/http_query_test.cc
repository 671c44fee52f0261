#include "server/status/http_query.h"

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::status {
namespace {

using ::ramvol::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

TEST(HttpQueryTest, DecodesNamesAndValues) {
  EXPECT_THAT(ParseHttpQuery(""), IsEmpty());
  EXPECT_THAT(ParseHttpQuery("a=1&b=x%20y+z&&c&a=%3D&d=1=2"),
              UnorderedElementsAre(Pair("a", "="), Pair("b", "x y z"),
                                   Pair("c", ""), Pair("d", "1=2")));
}

TEST(HttpQueryTest, KeepsWhatIsNotEncodedWell) {
  EXPECT_THAT(
      ParseHttpQuery("a=%zz&b=%4&c=%"),
      UnorderedElementsAre(Pair("a", "%zz"), Pair("b", "%4"), Pair("c", "%")));
}

TEST(HttpQueryTest, ReadsNumbersWithinBounds) {
  const auto query = ParseHttpQuery("a=7&b=-1&c=x&d=11");
  EXPECT_EQ(*NumberOf(query, "a", 3, 10), 7u);
  EXPECT_EQ(*NumberOf(query, "none", 3, 10), 3u);
  for (const char* name : {"b", "c", "d"}) {
    EXPECT_THAT(NumberOf(query, name, 3, 10),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("give a number from 0 to 10")));
  }
}

}  // namespace
}  // namespace ramvol::status
