#include "csi/parameters.h"

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kGib = uint64_t{1} << 30;

TEST(ParametersTest, NothingMeansTheServersDefaults) {
  const auto parameters = ParseParameters({}, /*is_inline=*/false);
  ASSERT_THAT(parameters, IsOk());
  const v1::CreateVolumeRequest request = parameters->ToRequest(kGib);
  EXPECT_EQ(request.size_bytes(), int64_t{kGib});
  EXPECT_EQ(request.allocator(), v1::ALLOCATOR_UNSPECIFIED);
  EXPECT_EQ(request.memory_limit_bytes(), 0);
}

TEST(ParametersTest, AllOfThem) {
  const auto parameters = ParseParameters({{"allocator", "sparse"},
                                           {"zstdLevel", "-3"},
                                           {"mergeZstdLevel", "12"},
                                           {"minFrame", "8Ki"},
                                           {"maxFrame", "32768"},
                                           {"memoryLimit", "512Mi"},
                                           {"fsType", "xfs"},
                                           {"image", "@golden"},
                                           {"csi.storage.k8s.io/pv/name", "x"},
                                           {"size", "3Gi"}},
                                          /*is_inline=*/true);
  ASSERT_THAT(parameters, IsOk());
  const v1::CreateVolumeRequest request = parameters->ToRequest(kGib);
  EXPECT_EQ(request.allocator(), v1::ALLOCATOR_SPARSE);
  EXPECT_EQ(request.zstd_level(), -3);
  EXPECT_EQ(request.merge_zstd_level(), 12);
  EXPECT_EQ(request.min_frame_bytes(), 8192);
  EXPECT_EQ(request.max_frame_bytes(), 32768);
  EXPECT_EQ(request.memory_limit_bytes(), int64_t{512} << 20);
  EXPECT_EQ(parameters->fs_type, "xfs");
  EXPECT_EQ(parameters->image, "@golden");
  EXPECT_EQ(parameters->size_bytes, 3 * kGib);
}

TEST(ParametersTest, AMemoryLimitCanBeAShare) {
  const auto parameters =
      ParseParameters({{"memoryLimit", "50%"}}, /*is_inline=*/false);
  ASSERT_THAT(parameters, IsOk());
  EXPECT_NEAR(parameters->ToRequest(kGib).memory_limit_bytes(), kGib / 2, 100);
  // Nothing overflows.
  EXPECT_GT(parameters->ToRequest(INT64_MAX).memory_limit_bytes(),
            INT64_MAX / 2 - 100);
}

TEST(ParametersTest, AContextHasWhatMakesTheVolumeAnew) {
  const ParameterMap map = {{"whenLost", "recreate"},
                            {"fsType", "xfs"},
                            {"class", "scratch"},
                            {"csi.storage.k8s.io/pv/name", "x"}};
  ParameterMap context = RecreationContext(map, 3 * kGib);
  context["attach"] = "nbd";
  context["fsType"] = "xfs";
  const auto parameters = ParseRecreation(context);
  ASSERT_THAT(parameters, IsOk());
  ASSERT_TRUE(parameters->has_value());
  EXPECT_EQ((*parameters)->size_bytes, 3 * kGib);
  EXPECT_EQ((*parameters)->fs_type, "xfs");
  EXPECT_EQ((*parameters)->class_name, "scratch");
  EXPECT_TRUE((*parameters)->recreate);
  // Of volumes that fail when they are lost.
  const auto none = ParseRecreation({{"attach", "nbd"}, {"fsType", "xfs"}});
  ASSERT_THAT(none, IsOk());
  EXPECT_FALSE(none->has_value());
  for (const char* wrong : {"recreate/size", "recreate/none"}) {
    context[wrong] = "much";
    EXPECT_THAT(
        ParseRecreation(context),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("parameter")));
    context.erase(wrong);
    context["recreate/size"] = "1Gi";
  }
}

TEST(ParametersTest, ErrorsNameParameterAndValue) {
  for (const auto& [name, value] : ParameterMap{{"allocator", "unspecified"},
                                                {"zstdLevel", "fast"},
                                                {"minFrame", "1Mi"},
                                                {"memoryLimit", "0%"},
                                                {"whenLost", "retry"},
                                                {"fsType", "ntfs"}}) {
    EXPECT_THAT(ParseParameters({{name, value}}, /*is_inline=*/false),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(name), HasSubstr(value))));
  }
  for (const char* name : {"size", "fstype", ""}) {
    EXPECT_THAT(
        ParseParameters({{name, "1Gi"}}, /*is_inline=*/false),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is unknown")));
  }
}

}  // namespace
}  // namespace ramvol::csi_driver
