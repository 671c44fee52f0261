#include "server/engine/content/packing_policy.h"

#include "gtest/gtest.h"
#include "server/engine/types/options.h"

namespace ramvol::engine {
namespace {

VolumeOptions WithFrames(uint32_t min_bytes, uint32_t max_bytes) {
  VolumeOptions options;
  options.min_frame_bytes = min_bytes;
  options.max_frame_bytes = max_bytes;
  return options;
}

TEST(PackingPolicyTest, WritesFramesOf16KiBAndLongOnesOf32) {
  const PackingPolicy packing(WithFrames(4096, 65536));
  EXPECT_EQ(packing.min_span(), 1);
  EXPECT_EQ(packing.max_span(), 16);
  EXPECT_EQ(packing.split_span(), 4);
  EXPECT_EQ(packing.write_span((128 << 10) - 1), 4);
  EXPECT_EQ(packing.write_span(128 << 10), 8);
}

TEST(PackingPolicyTest, KeepsToTheBoundsThatWereChosen) {
  const PackingPolicy small(WithFrames(4096, 8192));
  EXPECT_EQ(small.split_span(), 2);
  EXPECT_EQ(small.write_span(1 << 20), 2);
  const PackingPolicy large(WithFrames(65536, 65536));
  EXPECT_EQ(large.split_span(), 16);
  EXPECT_EQ(large.write_span(4096), 16);
}

TEST(PackingPolicyTest, LevelsChangeTogether) {
  PackingPolicy packing{VolumeOptions()};
  EXPECT_EQ(packing.write_level(), kDefaultWriteLevel);
  EXPECT_EQ(packing.merge_level(), kDefaultMergeLevel);
  packing.SetLevels(3, 12);
  EXPECT_EQ(packing.write_level(), 3);
  EXPECT_EQ(packing.merge_level(), 12);
}

}  // namespace
}  // namespace ramvol::engine
