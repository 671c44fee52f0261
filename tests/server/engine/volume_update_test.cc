// Changes of size and settings.
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/volume.h"
#include "tests/server/engine/support/volume_fixture.h"
#include "tests/support/random_data.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::Text;
using ::testing::HasSubstr;

constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kTiB = uint64_t{1} << 40;

class VolumeUpdateTest : public VolumeTest {};

TEST_F(VolumeUpdateTest, GrowsFromOneByteToTheGreatestSize) {
  Volume& volume = Make(1);
  ASSERT_TRUE(Write(volume, 0, "a").ok());
  for (uint64_t size :
       {uint64_t{4097}, uint64_t{70000}, 100 * kGiB, kMaxVolumeBytes}) {
    VolumeUpdate update;
    update.size_bytes = size;
    ASSERT_TRUE(volume.Update(update).ok());
    ASSERT_TRUE(Write(volume, size - 1, "z").ok());
    EXPECT_EQ(Read(volume, size - 1, 1), "z");
    EXPECT_EQ(Read(volume, 0, 1), "a");
  }
}

TEST_F(VolumeUpdateTest, WhatAShrinkCutsOffStaysGone) {
  Volume& volume = Make(kMaxVolumeBytes);
  const std::string data = Text(random_, 300000);
  ASSERT_TRUE(Write(volume, 0, data).ok());
  ASSERT_TRUE(Write(volume, kTiB, data).ok());
  VolumeUpdate update;
  update.size_bytes = 100001;
  ASSERT_TRUE(volume.Update(update).ok());
  EXPECT_EQ(Read(volume, 0, 100001), data.substr(0, 100001));
  EXPECT_EQ(Write(volume, 100001, "x").code(), absl::StatusCode::kOutOfRange);
  update.size_bytes = 2 * kTiB;
  ASSERT_TRUE(volume.Update(update).ok());
  EXPECT_EQ(Read(volume, 0, 300000),
            data.substr(0, 100001) + std::string(199999, '\0'));
  EXPECT_EQ(Read(volume, kTiB, 300000), std::string(300000, '\0'));
  EXPECT_EQ(volume.size_bytes(), 2 * kTiB);
}

TEST_F(VolumeUpdateTest, WhatAShrinkCutsOffStaysGoneThoughItsEdgeIsCorrupt) {
  Volume& volume = Make(kGiB);
  const std::string data = Text(random_, 300000);
  ASSERT_TRUE(Write(volume, 0, data).ok());
  ASSERT_TRUE(volume.CorruptForTest(70000));
  VolumeUpdate update;
  update.size_bytes = 70000;
  update.read_only = true;
  EXPECT_TRUE(volume.Update(update).ok());
  EXPECT_TRUE(volume.read_only());
  EXPECT_EQ(volume.Stats().logical_bytes, 18u * 4096);
  update.size_bytes = kGiB;
  ASSERT_TRUE(volume.Update(update).ok());
  EXPECT_EQ(Read(volume, 0, kChunkBytes), data.substr(0, kChunkBytes));
  EXPECT_TRUE(Read(volume, 18 * 4096, 300000) == std::string(300000, '\0'));
  std::string out(1, 'x');
  EXPECT_EQ(volume.Read(70000, absl::MakeSpan(out)).code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(VolumeUpdateTest, UpdateChangesAllOrNothing) {
  Volume& volume = Make(kGiB);
  VolumeUpdate update;
  update.size_bytes = 2 * kGiB;
  update.write_level = 99;
  const absl::Status status = volume.Update(update);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("99"));
  EXPECT_EQ(volume.size_bytes(), kGiB);
}

}  // namespace
}  // namespace ramvol::engine
