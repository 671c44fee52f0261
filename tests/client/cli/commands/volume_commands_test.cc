#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/client/cli/command_line_fixture.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kGiB = int64_t{1} << 30;

class VolumeCommandsTest : public CommandLineTest {};

TEST_F(VolumeCommandsTest, CreateSendsEveryFlagInAnyOrder) {
  const auto result = Run(
      "--output json create --level -5 scratch --merge-level=7 1.5G "
      "--allocator ZSTD --min-frame 8K --max-frame=32768 --memory-limit 1G "
      "--read-only --label a=b --label c=d=e --server other:1 --timeout 5s");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const v1::CreateVolumeRequest& sent = cli_.server().last_create;
  EXPECT_EQ(sent.name(), "scratch");
  EXPECT_EQ(sent.size_bytes(), 3 * kGiB / 2);
  EXPECT_EQ(sent.zstd_level(), -5);
  EXPECT_EQ(sent.merge_zstd_level(), 7);
  EXPECT_EQ(sent.allocator(), v1::ALLOCATOR_ZSTD);
  EXPECT_EQ(sent.min_frame_bytes(), 8192);
  EXPECT_EQ(sent.max_frame_bytes(), 32768);
  EXPECT_EQ(sent.memory_limit_bytes(), kGiB);
  EXPECT_TRUE(sent.read_only());
  EXPECT_EQ(sent.labels().at("a"), "b");
  EXPECT_EQ(sent.labels().at("c"), "d=e");
  EXPECT_FALSE(sent.validate_only());
  EXPECT_EQ(cli_.options().server, "other:1");
  EXPECT_EQ(cli_.options().timeout, absl::Seconds(5));
  EXPECT_THAT(result.out, HasSubstr("\"sizeBytes\": \"1610612736\""));
}

TEST_F(VolumeCommandsTest, DryRunMakesNothing) {
  const auto result = Run("create a 1G --dry-run");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_TRUE(cli_.server().last_create.validate_only());
  EXPECT_FALSE(cli_.server().Has("a"));
  EXPECT_EQ(result.out,
            "Name:          a\n"
            "Size:          1 GiB (1073741824 bytes)\n"
            "Allocator:     zstd\n"
            "Frames:        4 KiB to 64 KiB\n"
            "Levels:        1 writing, 3 merging\n"
            "Memory limit:  none\n"
            "Access:        read-write\n"
            "Time to live:  none\n"
            "Labels:        none\n");
}

TEST_F(VolumeCommandsTest, TimesToLiveAreSetShownAndRemoved) {
  EXPECT_EQ(Run("create a 1G --ttl=90m").exit_code, 0);
  EXPECT_EQ(cli_.server().last_create.ttl().seconds(), 5400);
  v1::Volume& volume = cli_.server().settings("a");
  EXPECT_THAT(Run("show a").out,
              HasSubstr("1h30m after the last client has detached"));
  EXPECT_THAT(Run("ls -o wide").out, HasSubstr("in use"));
  volume.mutable_expire_time()->set_seconds(1'700'003'600);
  cli_.context().now = [] { return absl::FromUnixSeconds(1'700'000'000); };
  EXPECT_THAT(Run("show a").out,
              HasSubstr("1h30m after the last use: in 1h, at 2023-11-14 "
                        "23:13:20 UTC"));
  EXPECT_THAT(Run("ls -o wide").out,
              AllOf(HasSubstr("EXPIRES"), HasSubstr("in 1h")));
  EXPECT_THAT(Run("ls").out, Not(HasSubstr("EXPIRES")));
  EXPECT_EQ(Run("set a --ttl=7d").exit_code, 0);
  EXPECT_EQ(cli_.server().last_update.volume().ttl().seconds(), 7 * 86400);
  EXPECT_EQ(Run("set a --ttl=1.5s").exit_code, 0);
  EXPECT_EQ(cli_.server().last_update.volume().ttl().nanos(), 500'000'000);
  EXPECT_EQ(Run("set a --ttl=0").exit_code, 0);
  EXPECT_THAT(cli_.server().last_update.update_mask().paths(),
              ElementsAre("ttl"));
  EXPECT_FALSE(volume.has_ttl());
  EXPECT_THAT(Run("ls -o wide").out, Not(HasSubstr("in 1h")));
  UsageErrorOf("set a --ttl=-1s");
  UsageErrorOf("set a --ttl=soon");
  UsageErrorOf("set a --ttl=d");
}

TEST_F(VolumeCommandsTest, SetNamesOnlyWhatChanges) {
  Run("create a 1G --label keep=1 --label drop=2");
  EXPECT_EQ(Run("set a --level 9 --read-only=true").exit_code, 0);
  EXPECT_THAT(cli_.server().last_update.update_mask().paths(),
              ElementsAre("zstd_level", "read_only"));
  EXPECT_TRUE(cli_.server().settings("a").read_only());
  EXPECT_EQ(Run("set a --read-only false").exit_code, 0);
  EXPECT_FALSE(cli_.server().settings("a").read_only());
  EXPECT_EQ(Run("set a --memory-limit=0").exit_code, 0);
  EXPECT_THAT(cli_.server().last_update.update_mask().paths(),
              ElementsAre("memory_limit_bytes"));
  EXPECT_THAT(UsageErrorOf("set a"), HasSubstr("nothing to change"));
}

TEST_F(VolumeCommandsTest, LabelsAreMerged) {
  Run("create a 1G --label keep=1 --label drop=2 --label change=3");
  const auto result =
      Run("set a --label change=4 --label new=5 --unlabel drop");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Labels:        change=4,keep=1,new=5\n"));
  EXPECT_EQ(cli_.server().last_update.etag(),
            cli_.server().settings("a").etag());
}

TEST_F(VolumeCommandsTest, ShrinkingNeedsAFlag) {
  Run("create a 2G");
  EXPECT_EQ(Run("resize a 3G").exit_code, 0);
  const auto refused = Run("resize a 1G");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("3221225472"), HasSubstr("--shrink"),
                                 HasSubstr("(SHRINK_LOSES_DATA)")));
  EXPECT_EQ(cli_.server().settings("a").size_bytes(), 3 * kGiB);
  EXPECT_EQ(Run("resize a 1G --shrink").exit_code, 0);
  EXPECT_EQ(cli_.server().settings("a").size_bytes(), kGiB);
}

}  // namespace
}  // namespace ramvol::cli
