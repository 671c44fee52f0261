#include "client/cli/output/json.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

using ::testing::HasSubstr;

TEST(JsonTest, HasEveryFieldAndNumbersOf64BitsAsStrings) {
  v1::CreateVolumeRequest message;
  message.set_name("scratch");
  message.set_size_bytes(9223372036854775807);
  message.set_allocator(v1::ALLOCATOR_ZSTD);
  const std::string json = ToJson(message);
  EXPECT_THAT(json, HasSubstr("\"sizeBytes\": \"9223372036854775807\""));
  EXPECT_THAT(json, HasSubstr("\"allocator\": \"ALLOCATOR_ZSTD\""));
  EXPECT_THAT(json, HasSubstr("\"zstdLevel\": 0"));
  EXPECT_THAT(json, HasSubstr("\"readOnly\": false"));
  EXPECT_EQ(json.back(), '\n');
}

TEST(JsonTest, MapsAreInOrderOfTheirKeys) {
  v1::Volume message;
  for (const char* key : {"z", "a", "m", "b", "y"}) {
    (*message.mutable_labels())[key] = "v";
  }
  EXPECT_THAT(ToJson(message),
              HasSubstr("\"labels\": {\n"
                        "  \"a\": \"v\",\n  \"b\": \"v\",\n  \"m\": \"v\",\n"
                        "  \"y\": \"v\",\n  \"z\": \"v\"\n }"));
}

TEST(JsonTest, PlainObjects) {
  EXPECT_EQ(ToJson({{"name", JsonString("a\"b\\\n")}, {"n", JsonNumber(7)}}),
            "{\n \"name\": \"a\\\"b\\\\\\u000a\",\n \"n\": \"7\"\n}\n");
}

}  // namespace
}  // namespace ramvol::cli
