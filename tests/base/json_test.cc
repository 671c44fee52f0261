#include "base/json.h"

#include <cmath>
#include <limits>
#include <string>

#include "gtest/gtest.h"

namespace ramvol {
namespace {

TEST(JsonTest, EscapesWhatAStringMayNotHold) {
  EXPECT_EQ(JsonString("disk"), R"("disk")");
  EXPECT_EQ(JsonString("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(JsonString("\n\r\t\x01\x7f"), R"("\n\r\t\u0001\u007f")");
  EXPECT_EQ(JsonString(std::string("\0", 1)), R"("\u0000")");
}

TEST(JsonTest, KeepsTextAndReplacesWhatIsNone) {
  EXPECT_EQ(JsonString("gr\u00fc\u00df \U0001F600"),
            "\"gr\u00fc\u00df \U0001F600\"");
  EXPECT_EQ(JsonString("a\xff"
                       "b\xc3"),
            "\"a\uFFFD"
            "b\uFFFD\"");
  EXPECT_EQ(JsonString("\u2028"), R"("\u2028")");
}

TEST(JsonTest, WritesValues) {
  JsonWriter json;
  json.BeginObject().Key("a").BeginArray().EndArray();
  json.Key("b").BeginArray().Number(1).Decimal(2.5).Null().EndArray();
  json.Key("c").BeginObject().Key("d").Bool(true).Key("e").String("f");
  json.EndObject().EndObject();
  EXPECT_EQ(json.Take(), R"({"a":[],"b":[1,2.5,null],"c":{"d":true,"e":"f"}})");
}

TEST(JsonTest, WritesNumbersExactlyAndOthersAsNull) {
  JsonWriter json;
  json.BeginArray().Number(std::numeric_limits<uint64_t>::max());
  json.Decimal(std::nan("")).Decimal(1e30).Decimal(123456.0).EndArray();
  EXPECT_EQ(json.Take(), "[18446744073709551615,null,1e+30,1.235e+05]");
}

}  // namespace
}  // namespace ramvol
