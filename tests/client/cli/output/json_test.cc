#include "client/cli/output/json.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/output/v1/output.pb.h"
#include "ramvol/v1/volume_service.pb.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

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

TEST(JsonTest, ALineHasNoOther) {
  output::v1::ErrorOutput message;
  message.mutable_error()->set_message("a\n\"b\"");
  EXPECT_EQ(ToJsonLine(message),
            "{\"error\":{\"command\":\"\",\"code\":\"\",\"reason\":\"\","
            "\"message\":\"a\\n\\\"b\\\"\",\"metadata\":{}}}\n");
}

TEST(JsonTest, YamlIsInBlocksAndSaysTheSame) {
  output::v1::ListOutput message;
  v1::Volume& volume = *message.add_volumes();
  volume.set_name("scratch");
  volume.set_size_bytes(4096);
  volume.set_read_only(true);
  volume.set_zstd_level(-5);
  (*volume.mutable_labels())["note"] = "a: \"b\"\nc";
  (*volume.mutable_labels())["on"] = "1e3";
  message.add_volumes()->set_name("007");
  EXPECT_THAT(ToYaml(message),
              AllOf(StartsWith("stats: {}\n"
                               "volumes:\n"
                               "  - allocator: ALLOCATOR_UNSPECIFIED\n"
                               "    etag: \"\"\n"
                               "    labels:\n"
                               "      note: \"a: \\\"b\\\"\\u000ac\"\n"
                               "      \"on\": \"1e3\"\n"
                               "    maxFrameBytes: 0\n"),
                    HasSubstr("    readOnly: true\n"
                              "    sizeBytes: \"4096\"\n"),
                    HasSubstr("    zstdLevel: -5\n"
                              "  - allocator: ALLOCATOR_UNSPECIFIED\n"),
                    HasSubstr("    name: \"007\"\n")));
}

}  // namespace
}  // namespace ramvol::cli
