#include "server/engine/volume.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "tests/server/engine/support/expect_allocated.h"
#include "tests/server/engine/support/volume_fixture.h"
#include "tests/support/random_data.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::Text;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kGiB = uint64_t{1} << 30;

TEST_F(VolumeTest, ReadsBackWhatWasWrittenAtEveryBoundary) {
  Volume& volume = Make(4 * kChunkBytes + 5);
  const std::vector<uint64_t> edges = {0,      1,      4095,   4096,  4097,
                                       65535,  65536,  65537,  69632, 131071,
                                       131072, 262143, 262144, 262148};
  for (uint64_t begin : edges) {
    for (uint64_t end : edges) {
      if (end <= begin) continue;
      const std::string data = Text(random_, end - begin);
      ASSERT_TRUE(Write(volume, begin, data).ok());
      ASSERT_EQ(Read(volume, begin, data.size()), data) << begin << ' ' << end;
    }
  }
}

TEST_F(VolumeTest, AcceptsNothingAndTheLastByte) {
  Volume& volume = Make(1);
  EXPECT_TRUE(Write(volume, 0, "").ok());
  EXPECT_TRUE(Write(volume, 1, "").ok());
  EXPECT_TRUE(volume.Trim(1, 0).ok());
  EXPECT_TRUE(Write(volume, 0, "z").ok());
  EXPECT_EQ(Read(volume, 0, 1), "z");
}

TEST_F(VolumeTest, RefusesRangesPastTheEndAndNamesThem) {
  Volume& volume = Make(10000);
  const uint64_t kHuge = std::numeric_limits<uint64_t>::max();
  std::string out(8, 'x');
  const absl::Status past = volume.Read(9993, absl::MakeSpan(out));
  EXPECT_EQ(past.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(past.message()),
              AllOf(HasSubstr("8 bytes"), HasSubstr("9993"), HasSubstr("10000"),
                    HasSubstr("\"v\"")));
  EXPECT_EQ(GetReason(past), reason::kPastEnd);
  for (uint64_t offset : {uint64_t{10000}, kHuge - 3, kHuge}) {
    EXPECT_EQ(Write(volume, offset, "12345678").code(),
              absl::StatusCode::kOutOfRange);
    EXPECT_EQ(volume.Trim(offset, 8).code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ(volume.WriteZeroes(8, offset, true).code(),
              absl::StatusCode::kOutOfRange);
    EXPECT_EQ(volume.GetExtents(offset, 8, 1).status().code(),
              absl::StatusCode::kOutOfRange);
  }
  EXPECT_EQ(volume.Stats().failed_operations, 1u + 3 * 4);
}

TEST_F(VolumeTest, OfGreatestSizeCostsKilobytesAndHoldsItsLastByte) {
  const uint64_t before = engine_->Stats().memory_used_bytes;
  Volume& volume = Make(kMaxVolumeBytes);
  EXPECT_LE(engine_->Stats().memory_used_bytes - before, 64u << 10);
  const uint64_t empty = volume.Stats().memory_bytes;
  const uint64_t last = kMaxVolumeBytes - 1;
  ASSERT_TRUE(Write(volume, last, "!").ok());
  EXPECT_EQ(Read(volume, last, 1), "!");
  EXPECT_EQ(Read(volume, last - 5, 6), std::string(5, '\0') + "!");
  EXPECT_LE(volume.Stats().memory_bytes, 32u << 10);
  EXPECT_THAT(AllExtents(volume),
              ElementsAre(Extent{0, last - 4094, true},
                          Extent{last - 4094, 4095, false}));
  ASSERT_TRUE(volume.Trim(0, kMaxVolumeBytes).ok());
  EXPECT_EQ(Read(volume, last, 1), std::string(1, '\0'));
  EXPECT_EQ(volume.Stats().logical_bytes, 0u);
  EXPECT_EQ(volume.Stats().memory_bytes, empty);
}

TEST_F(VolumeTest, ZeroesBecomeHolesAndPatternsTakeNoData) {
  Volume& volume = Make(kGiB);
  ASSERT_TRUE(Write(volume, 0, std::string(1 << 20, '\0')).ok());
  EXPECT_EQ(volume.Stats().logical_bytes, 0u);
  ASSERT_TRUE(Write(volume, 0, std::string(1 << 20, '\xff')).ok());
  EXPECT_EQ(volume.Stats().same_filled_blocks, 256u);
  EXPECT_EQ(volume.Stats().stored_bytes, 0u);
  EXPECT_EQ(Read(volume, 5000, 10000), std::string(10000, '\xff'));
  ASSERT_TRUE(Write(volume, 8192, std::string(4096, '\0')).ok());
  EXPECT_THAT(AllExtents(volume),
              ElementsAre(Extent{0, 8192, false}, Extent{8192, 4096, true},
                          Extent{12288, (1 << 20) - 12288, false},
                          Extent{1 << 20, kGiB - (1 << 20), true}));
}

TEST_F(VolumeTest, AnUnalignedWriteThatLeavesOnlyZeroesMakesAHole) {
  Volume& volume = Make(kGiB);
  ASSERT_TRUE(Write(volume, 100, "abc").ok());
  EXPECT_EQ(volume.Stats().logical_bytes, 4096u);
  ASSERT_TRUE(Write(volume, 100, std::string(3, '\0')).ok());
  EXPECT_EQ(volume.Stats().logical_bytes, 0u);
}

TEST_F(VolumeTest, ExtentsStopAtTheirNumberAndGoOn) {
  Volume& volume = Make(kGiB);
  for (uint64_t at = 0; at < 100; ++at) {
    ASSERT_TRUE(Write(volume, at * 8192, "x").ok());
  }
  uint64_t at = 0;
  std::vector<Extent> all;
  while (at < kGiB) {
    auto some = volume.GetExtents(at, kGiB - at, 7);
    ASSERT_TRUE(some.ok());
    ASSERT_LE(some->extents.size(), 7u);
    all.insert(all.end(), some->extents.begin(), some->extents.end());
    at = some->next_offset_bytes;
  }
  EXPECT_EQ(all.size(), 200u);
}

TEST_F(VolumeTest, ReadOnlyRefusesChangesUntilItIsSwitchedOff) {
  VolumeOptions options;
  options.name = "v";
  options.size_bytes = kGiB;
  options.read_only = true;
  Volume& volume = Make(options);
  EXPECT_EQ(Write(volume, 0, "x").code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetReason(volume.Trim(0, 1)), reason::kVolumeReadOnly);
  EXPECT_EQ(volume.WriteZeroes(0, 1, false).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Read(volume, 0, 1), std::string(1, '\0'));
  VolumeUpdate update;
  update.read_only = false;
  ASSERT_TRUE(volume.Update(update).ok());
  EXPECT_TRUE(Write(volume, 0, "x").ok());
}

TEST_F(VolumeTest, DeletedVolumeGivesMemoryBackAndAnswersNotFound) {
  const uint64_t before = engine_->Stats().memory_allocated_bytes;
  Volume& volume = Make(kGiB);
  ASSERT_TRUE(Write(volume, 0, Text(random_, 8 << 20)).ok());
  ASSERT_TRUE(Write(volume, kGiB / 2, Text(random_, 4096)).ok());
  ASSERT_TRUE(engine_->DeleteVolume(volume_, false).ok());
  ExpectAllocated(*engine_, before);
  std::string out(10, 'x');
  const absl::Status status = volume.Read(0, absl::MakeSpan(out));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetReason(status), reason::kVolumeDeleted);
  EXPECT_EQ(Write(volume, 0, "x").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(volume.Flush().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(volume.Attach({}, false).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->DeleteVolume(volume_, false).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(engine_->Find("v").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(VolumeTest, CorruptFrameIsDataLossAndHarmsNoOther) {
  Volume& volume = Make(kGiB);
  const std::string data = Text(random_, 2 * kChunkBytes);
  ASSERT_TRUE(Write(volume, 0, data).ok());
  ASSERT_TRUE(volume.CorruptForTest(70000));
  std::string out(10, 'x');
  const absl::Status status = volume.Read(70000, absl::MakeSpan(out));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(GetReason(status), reason::kCorruptFrame);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("65536"), HasSubstr("\"v\"")));
  EXPECT_EQ(volume.Stats().corrupt_frames, 1u);
  EXPECT_EQ(Read(volume, 0, kChunkBytes), data.substr(0, kChunkBytes));
  // Needs the damaged frame for its edges; says so and changes nothing.
  EXPECT_EQ(Write(volume, 70000, "x").code(), absl::StatusCode::kDataLoss);
  engine_->QuiesceForTest(true);
  // Whole blocks need nothing old; once all are new the damage is gone.
  ASSERT_TRUE(Write(volume, kChunkBytes, data.substr(0, kChunkBytes)).ok());
  EXPECT_EQ(Read(volume, kChunkBytes, kChunkBytes),
            data.substr(0, kChunkBytes));
}

}  // namespace
}  // namespace ramvol::engine
