// Snapshots, clones, reverts and comparisons of whole volumes.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "tests/server/engine/support/expect_allocated.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::Noise;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kMib = 1 << 20;
// Behind which another leaf begins.
constexpr uint64_t kLeafBytes = 4 * kMib;

class SnapshotTest : public ::testing::Test {
 protected:
  SnapshotTest() {
    EngineOptions options;
    options.memory_limit_bytes = 128 * kMib;
    options.hot_cache_bytes = 16 * kMib;
    options.merge_interval_ms = 3600000;
    engine_ = *Engine::Create(options);
    empty_bytes_ = engine_->Stats().memory_allocated_bytes;
  }

  std::shared_ptr<Volume> Create(const std::string& name, uint64_t size,
                                 Allocator allocator = Allocator::kZstd) {
    VolumeOptions options;
    options.name = name;
    options.size_bytes = size;
    options.allocator = allocator;
    return *engine_->CreateVolume(options);
  }
  absl::StatusOr<std::shared_ptr<Volume>> Clone(
      const std::shared_ptr<Volume>& source, const std::string& name,
      uint64_t size = 0) {
    VolumeOptions options;
    options.name = name;
    options.size_bytes = size;
    return engine_->CloneVolume(options, source);
  }
  std::shared_ptr<Volume> Snapshot(const std::shared_ptr<Volume>& volume,
                                   const std::string& name) {
    auto made = engine_->CreateSnapshots({{volume, name}});
    EXPECT_THAT(made.status(), IsOk());
    return made->front();
  }
  static void Write(Volume& volume, uint64_t offset, const std::string& data) {
    ASSERT_THAT(volume.Write(offset, {data.data(), data.size()}), IsOk());
  }
  static std::string Read(Volume& volume, uint64_t offset, size_t length) {
    std::string data(length, '?');
    EXPECT_THAT(volume.Read(offset, absl::MakeSpan(data)), IsOk());
    return data;
  }
  static std::vector<Changes::Range> ChangesOf(Volume& now, Volume& since) {
    auto changes = now.GetChanges(since, 0, now.size_bytes(), 1000);
    EXPECT_THAT(changes.status(), IsOk());
    EXPECT_EQ(changes->next_offset_bytes, now.size_bytes());
    return changes->ranges;
  }
  // Data that compresses to about half.
  std::string Data(size_t bytes) {
    std::string data = Noise(random_, bytes);
    for (size_t i = 0; i < bytes; i += 2) data[i] = 'x';
    return data;
  }
  void ExpectEmpty() { ExpectAllocated(*engine_, empty_bytes_); }
  void Delete(const std::shared_ptr<Volume>& volume) {
    ASSERT_THAT(engine_->DeleteVolume(volume, false), IsOk());
  }

  std::mt19937_64 random_{7};
  std::unique_ptr<Engine> engine_;
  uint64_t empty_bytes_ = 0;
};

TEST_F(SnapshotTest, HoldsWhatTheVolumeHeldAndOutlivesIt) {
  const auto volume = Create("disk", 64 * kMib);
  const std::string before = Data(300000);
  Write(*volume, kLeafBytes - 150000, before);
  const auto snapshot = Snapshot(volume, "monday");
  EXPECT_EQ(snapshot->name(), "@monday");
  EXPECT_EQ(snapshot->size_bytes(), 64 * kMib);
  EXPECT_TRUE(snapshot->is_snapshot());
  EXPECT_NE(snapshot->uid(), volume->uid());
  EXPECT_EQ(*engine_->Find("@monday"), snapshot);
  EXPECT_EQ(engine_->FindUid(snapshot->uid()), snapshot);
  const std::string after = Data(300000);
  Write(*volume, kLeafBytes - 150000, after);
  ASSERT_THAT(volume->Trim(0, kLeafBytes), IsOk());
  EXPECT_TRUE(Read(*snapshot, kLeafBytes - 150000, 300000) == before);
  EXPECT_TRUE(Read(*volume, kLeafBytes, 150000) == after.substr(150000));
  engine_->QuiesceForTest(/*merge=*/true);
  Delete(volume);
  EXPECT_TRUE(Read(*snapshot, kLeafBytes - 150000, 300000) == before);
  Delete(snapshot);
  EXPECT_THAT(
      engine_->Find("@monday").status(),
      HasReason(absl::StatusCode::kNotFound, reason::kSnapshotNotFound));
  EXPECT_EQ(engine_->FindUid(snapshot->uid()), nullptr);
  ExpectEmpty();
}

TEST_F(SnapshotTest, NeverChanges) {
  const auto volume = Create("disk", 64 * kMib);
  const auto snapshot = Snapshot(volume, "monday");
  EXPECT_THAT(snapshot->Write(0, "x"),
              HasReason(absl::StatusCode::kFailedPrecondition,
                        reason::kReadOnlySnapshot));
  EXPECT_THAT(snapshot->Trim(0, 4096),
              HasReason(absl::StatusCode::kFailedPrecondition,
                        reason::kReadOnlySnapshot));
  EXPECT_THAT(snapshot->WriteZeroes(0, 4096, true),
              HasReason(absl::StatusCode::kFailedPrecondition,
                        reason::kReadOnlySnapshot));
  VolumeUpdate update;
  update.size_bytes = kMib;
  EXPECT_THAT(snapshot->Update(update),
              HasReason(absl::StatusCode::kFailedPrecondition,
                        reason::kReadOnlySnapshot));
  EXPECT_THAT(engine_->CreateSnapshots({{snapshot, "tuesday"}}).status(),
              HasReason(absl::StatusCode::kFailedPrecondition,
                        reason::kReadOnlySnapshot));
  EXPECT_THAT(
      engine_->CreateSnapshots({{volume, "monday"}}).status(),
      HasReason(absl::StatusCode::kAlreadyExists, reason::kSnapshotExists));
  EXPECT_THAT(
      engine_->CreateSnapshots({{volume, "Monday"}}).status(),
      HasReason(absl::StatusCode::kInvalidArgument, reason::kInvalidName));
}

TEST_F(SnapshotTest, SeveralAreAllOrNothing) {
  const auto one = Create("one", kMib);
  const auto two = Create("two", kMib);
  Snapshot(one, "b");
  EXPECT_THAT(
      engine_->CreateSnapshots({{one, "a"}, {two, "b"}}).status(),
      HasReason(absl::StatusCode::kAlreadyExists, reason::kSnapshotExists));
  EXPECT_THAT(
      engine_->Find("@a").status(),
      HasReason(absl::StatusCode::kNotFound, reason::kSnapshotNotFound));
  EXPECT_THAT(
      engine_->CreateSnapshots({{one, "c"}, {two, "c"}}).status(),
      HasReason(absl::StatusCode::kAlreadyExists, reason::kSnapshotExists));
  Delete(two);
  EXPECT_THAT(engine_->CreateSnapshots({{one, "d"}, {two, "e"}}).status(),
              HasReason(absl::StatusCode::kNotFound, reason::kVolumeDeleted));
  EXPECT_THAT(engine_->List("@", 10), ::testing::SizeIs(1));
  EXPECT_THAT(engine_->CreateSnapshots({{one, "d"}, {one, "e"}}).status(),
              IsOk());
}

// Each write goes over the border of two leaves.
TEST_F(SnapshotTest, IsOneInstantOfEachVolume) {
  const auto one = Create("one", 64 * kMib);
  const auto two = Create("two", 64 * kMib);
  constexpr size_t kBytes = 16384;
  std::atomic<uint64_t> acknowledged{0};
  std::atomic<bool> over = false;
  std::thread writer([&] {
    std::string data(kBytes, '\0');
    for (uint64_t n = 1; !over; ++n) {
      std::memcpy(data.data(), &n, sizeof(n));
      std::memcpy(data.data() + kBytes - sizeof(n), &n, sizeof(n));
      Write(*one, kLeafBytes - kBytes / 2, data);
      Write(*two, kLeafBytes - kBytes / 2, data);
      acknowledged = n;
    }
  });
  const auto number = [](Volume& volume, uint64_t offset) {
    uint64_t n = 0;
    std::memcpy(&n, Read(volume, offset, sizeof(n)).data(), sizeof(n));
    return n;
  };
  for (int i = 0; i < 200; ++i) {
    const uint64_t before = acknowledged;
    const auto made = engine_->CreateSnapshots(
        {{one, absl::StrCat("one", i)}, {two, absl::StrCat("two", i)}});
    const uint64_t after = acknowledged;
    ASSERT_THAT(made.status(), IsOk());
    uint64_t first[2];
    for (int j = 0; j < 2; ++j) {
      Volume& snapshot = *(*made)[j];
      first[j] = number(snapshot, kLeafBytes - kBytes / 2);
      EXPECT_EQ(number(snapshot, kLeafBytes + kBytes / 2 - sizeof(uint64_t)),
                first[j])
          << "half of a write";
    }
    EXPECT_GE(first[1], before) << "it was acknowledged";
    EXPECT_LE(first[0], after + 1);
    EXPECT_THAT(first[0] - first[1], ::testing::AnyOf(0, 1)) << "one instant";
    for (const auto& snapshot : *made) Delete(snapshot);
  }
  over = true;
  writer.join();
}

TEST_F(SnapshotTest, CopiesShareUntilTheyAreWritten) {
  const auto golden = Create("golden", 64 * kMib);
  Write(*golden, 0, Data(8 * kMib));
  engine_->QuiesceForTest(true);
  const uint64_t before = engine_->Stats().memory_allocated_bytes;
  std::vector<std::shared_ptr<Volume>> clones;
  for (int i = 0; i < 50; ++i) {
    clones.push_back(*Clone(golden, absl::StrCat("clone", i)));
  }
  const uint64_t cloned = engine_->Stats().memory_allocated_bytes;
  EXPECT_LE((cloned - before) / clones.size(), 10240u);
  for (const auto& clone : clones) Write(*clone, 5 * kMib, Data(4096));
  const uint64_t written = engine_->Stats().memory_allocated_bytes;
  EXPECT_LE((written - before) / clones.size(), 20480u);
  const VolumeStats stats = clones[7]->Stats();
  EXPECT_LE(stats.own_bytes, 20480u);
  EXPECT_GT(stats.shared_bytes, 3 * kMib);
  EXPECT_EQ(stats.own_bytes + stats.shared_bytes, stats.memory_bytes);
  // No chain: a clone of a clone of a clone.
  const auto second = *Clone(clones[7], "second");
  const auto third = *Clone(second, "third");
  Delete(second);
  EXPECT_TRUE(Read(*third, 5 * kMib, 4096) == Read(*clones[7], 5 * kMib, 4096));
  EXPECT_TRUE(Read(*third, 0, kMib) == Read(*golden, 0, kMib));
  Delete(golden);
  for (const auto& clone : clones) Delete(clone);
  Delete(third);
  ExpectEmpty();
}

TEST_F(SnapshotTest, AReadByOneCloneMakesABlockHotForAll) {
  const auto golden = Create("golden", 64 * kMib);
  Write(*golden, 0, Data(kMib));
  std::vector<std::shared_ptr<Volume>> clones;
  for (int i = 0; i < 8; ++i) {
    clones.push_back(*Clone(golden, absl::StrCat("clone", i)));
    // Each has a copy of the leaf, too.
    Write(*clones.back(), 2 * kMib, Data(4096));
  }
  engine_->QuiesceForTest(true);
  const uint64_t before = engine_->Stats().decompressions.count();
  for (const auto& clone : clones) {
    for (uint64_t at = 0; at < kMib; at += 4096) Read(*clone, at, 4096);
  }
  EXPECT_LE(engine_->Stats().decompressions.count() - before, kMib / 4096);
  EXPECT_EQ(clones[7]->Stats().cache_misses, 0u);
}

TEST_F(SnapshotTest, MergingHelpsAllAndLooksLikeNoChange) {
  const auto volume = Create("disk", 64 * kMib);
  for (uint64_t at = 0; at < kMib; at += 4096) {
    Write(*volume, at, std::string(4096, static_cast<char>('a' + at % 7)));
    Write(*volume, at, Data(4096));
  }
  engine_->QuiesceForTest(false);
  const auto snapshot = Snapshot(volume, "s");
  const auto clone = *Clone(snapshot, "clone");
  Write(*clone, 3 * kMib, Data(4096));
  const uint64_t before = engine_->Stats().memory_allocated_bytes;
  const uint64_t merged_before = engine_->Stats().merged_frames;
  engine_->QuiesceForTest(true);
  EXPECT_LT(engine_->Stats().memory_allocated_bytes, before);
  const uint64_t merged = engine_->Stats().merged_frames - merged_before;
  EXPECT_GT(merged, 0u);
  EXPECT_LE(merged, kMib / 4096) << "each frame once";
  EXPECT_THAT(ChangesOf(*volume, *snapshot), IsEmpty());
  EXPECT_THAT(ChangesOf(*clone, *snapshot),
              ElementsAre(Changes::Range{3 * kMib, 4096}));
}

TEST_F(SnapshotTest, NamesWhatHasChanged) {
  const auto volume = Create("disk", uint64_t{1} << 40);
  const uint64_t far = uint64_t{1} << 39;
  Write(*volume, 0, Data(10 * kMib));
  Write(*volume, far, Data(kMib));
  const auto first = Snapshot(volume, "first");
  EXPECT_THAT(ChangesOf(*volume, *first), IsEmpty());
  Write(*volume, 4096, Data(4096));
  Write(*volume, far + 4096, Data(4096));
  ASSERT_THAT(volume->Trim(9 * kMib, 8192), IsOk());
  Write(*volume, 20 * kMib, Data(4096));
  const std::vector<Changes::Range> expected = {
      {4096, 4096}, {9 * kMib, 8192}, {20 * kMib, 4096}, {far + 4096, 4096}};
  EXPECT_EQ(ChangesOf(*volume, *first), expected);
  const auto second = Snapshot(volume, "second");
  EXPECT_EQ(ChangesOf(*second, *first), expected);
  EXPECT_EQ(ChangesOf(*first, *second), expected) << "in either direction";
  // In parts.
  const auto part = volume->GetChanges(*first, 0, volume->size_bytes(), 1);
  EXPECT_THAT(part->ranges, ElementsAre(expected[0]));
  EXPECT_EQ(part->next_offset_bytes, 9 * kMib);
  const auto within = volume->GetChanges(*first, 5000, 100, 1);
  EXPECT_THAT(within->ranges, ElementsAre(Changes::Range{5000, 100}));
}

TEST_F(SnapshotTest, RevertingBringsContentAndSizeBack) {
  const auto volume = Create("disk", 8 * kMib);
  const std::string before = Data(kMib);
  Write(*volume, 0, before);
  const auto snapshot = Snapshot(volume, "s");
  VolumeUpdate grow;
  grow.size_bytes = 16 * kMib;
  ASSERT_THAT(volume->Update(grow), IsOk());
  Write(*volume, 0, Data(12 * kMib));
  {
    auto attachment = *Attachment::Make(volume, {"nbd", "127.0.0.1:1"});
    EXPECT_THAT(engine_->RevertVolume(volume, snapshot, false),
                HasReason(absl::StatusCode::kFailedPrecondition,
                          reason::kVolumeAttached));
    EXPECT_THAT(engine_->RevertVolume(volume, snapshot, true), IsOk());
  }
  EXPECT_EQ(volume->size_bytes(), 8 * kMib);
  EXPECT_TRUE(Read(*volume, 0, kMib) == before);
  EXPECT_THAT(ChangesOf(*volume, *snapshot), IsEmpty());
  const VolumeStats stats = volume->Stats();
  EXPECT_EQ(stats.own_bytes, stats.memory_bytes - stats.shared_bytes);
  ASSERT_THAT(volume->Update(grow), IsOk());
  EXPECT_EQ(Read(*volume, 8 * kMib, 4096), std::string(4096, '\0'));
  Delete(volume);
  Delete(snapshot);
  ExpectEmpty();
}

TEST_F(SnapshotTest, AClonesSizeIsItsSourcesOrLarger) {
  const auto volume = Create("disk", 8 * kMib);
  Write(*volume, 0, Data(8 * kMib));
  VolumeUpdate shrink;
  shrink.size_bytes = kMib + 100;
  ASSERT_THAT(volume->Update(shrink), IsOk());
  EXPECT_EQ((*Clone(volume, "same"))->size_bytes(), kMib + 100);
  const auto larger = *Clone(volume, "larger", 64 * kMib);
  EXPECT_EQ(Read(*larger, kMib + 100, 3 * kMib), std::string(3 * kMib, '\0'));
  const absl::Status smaller = Clone(volume, "smaller", kMib).status();
  EXPECT_THAT(smaller, HasReason(absl::StatusCode::kInvalidArgument,
                                 reason::kInvalidField));
  EXPECT_THAT(smaller.message(), HasSubstr("less than the 1048676 bytes"));
}

TEST_F(SnapshotTest, AVolumesOwnLimitCountsNothingOfItsSource) {
  const auto golden = Create("golden", 64 * kMib);
  Write(*golden, 0, Data(16 * kMib));
  VolumeOptions options;
  options.name = "clone";
  options.memory_limit_bytes = kMib;
  const auto clone = *engine_->CloneVolume(options, golden);
  uint64_t at = 0;
  for (; clone->Write(at, Data(65536)).ok(); at += 65536) {
    ASSERT_LT(at, 16 * kMib) << "the limit did not bite";
  }
  EXPECT_GT(at, kMib);
  EXPECT_LE(clone->Stats().own_bytes, kMib + 65536);
}

TEST_F(SnapshotTest, ALongWriteNeedsRoomForItsLeavesNotForEachChunk) {
  const auto golden = Create("golden", 64 * kMib);
  Write(*golden, 0, Data(16 * kMib));
  VolumeOptions options;
  options.name = "clone";
  options.memory_limit_bytes = kMib;
  const auto clone = *engine_->CloneVolume(options, golden);
  Write(*clone, 0, std::string(16 * kMib, 'x'));
  // What it is refused for is its own limit.
  const std::string data = Noise(random_, 16 * kMib);
  EXPECT_THAT(clone->Write(0, {data.data(), data.size()}),
              HasReason(absl::StatusCode::kResourceExhausted,
                        reason::kVolumeMemoryLimit));
}

TEST_F(SnapshotTest, AReservedVolumeIsReservedAgain) {
  const auto volume = Create("disk", 40 * kMib, Allocator::kMalloc);
  Write(*volume, 0, Noise(random_, 20 * kMib));
  const auto snapshot = Snapshot(volume, "s");
  // All of it can be written beside the snapshot.
  Create("other", 40 * kMib, Allocator::kMalloc);
  EXPECT_THAT(engine_->CreateSnapshots({{volume, "t"}}).status(),
              HasReason(absl::StatusCode::kResourceExhausted,
                        reason::kServerMemoryLimit));
  for (uint64_t at = 0; at < 40 * kMib; at += 4 * kMib) {
    Write(*volume, at, Noise(random_, 4 * kMib));
  }
  EXPECT_LE(engine_->Stats().memory_used_bytes,
            engine_->Stats().memory_limit_bytes);
}

TEST_F(SnapshotTest, ADamagedFrameIsLostForThoseWhoShareItOnly) {
  const auto volume = Create("disk", 64 * kMib);
  Write(*volume, 0, Data(kMib));
  const auto snapshot = Snapshot(volume, "s");
  const auto clone = *Clone(snapshot, "clone");
  const auto other = *Clone(snapshot, "other");
  Write(*other, 0, Data(65536));
  engine_->QuiesceForTest(true);
  ASSERT_TRUE(volume->CorruptForTest(8192));
  std::string data(4096, '?');
  for (const auto& who : {volume, snapshot, clone}) {
    EXPECT_THAT(who->Read(8192, absl::MakeSpan(data)),
                HasReason(absl::StatusCode::kDataLoss, reason::kCorruptFrame));
    EXPECT_THAT(who->Read(80000, absl::MakeSpan(data)), IsOk());
  }
  EXPECT_THAT(other->Read(8192, absl::MakeSpan(data)), IsOk());
}

// A frame is shared as long as nobody writes over its blocks, also by leaves
// and chunks that are not shared any more.
TEST_F(SnapshotTest, DamageGoesWithTheFrame) {
  const auto volume = Create("disk", 64 * kMib);
  const std::string data = Data(kMib);
  Write(*volume, 0, data);
  const auto alone = Create("alone", 64 * kMib);
  Write(*alone, 0, data);
  engine_->QuiesceForTest(true);
  const auto snapshot = Snapshot(volume, "s");
  const std::string patch = Data(4096);
  const auto leaf = *Clone(snapshot, "leaf");  // Another chunk is its own.
  Write(*leaf, 65536, patch);
  const auto chunk = *Clone(snapshot, "chunk");  // So is a block of this one.
  Write(*chunk, 8192, patch);
  ASSERT_TRUE(volume->CorruptForTest(8192));
  std::string out(4096, '?');
  const auto is_lost =
      HasReason(absl::StatusCode::kDataLoss, reason::kCorruptFrame);
  for (const auto& who : {volume, snapshot, leaf}) {
    EXPECT_THAT(who->Read(8192, absl::MakeSpan(out)), is_lost) << who->name();
  }
  EXPECT_THAT(chunk->Read(12288, absl::MakeSpan(out)), is_lost);
  // What would need the lost bytes is refused.
  EXPECT_THAT(chunk->Write(12300, {"x", 1}), is_lost);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(Read(*chunk, 8192, 4096), patch);
    EXPECT_EQ(Read(*leaf, 65536, 4096), patch);
    EXPECT_TRUE(Read(*alone, 0, kMib) == data);
    for (const auto& who : {volume, snapshot, chunk}) {
      EXPECT_TRUE(Read(*who, 65536, kMib - 65536) == data.substr(65536));
    }
    engine_->QuiesceForTest(true);  // Merging spreads nothing.
  }
  // Who clones it has it, who writes over it is rid of it.
  const auto late = *Clone(leaf, "late");
  EXPECT_THAT(late->Read(8192, absl::MakeSpan(out)), is_lost);
  Write(*late, 0, data.substr(0, 65536));
  EXPECT_EQ(Read(*late, 8192, 4096), data.substr(8192, 4096));
  EXPECT_THAT(leaf->Read(8192, absl::MakeSpan(out)), is_lost);
  for (const auto& who : {snapshot, volume, chunk, late, leaf, alone}) {
    Delete(who);
  }
  ExpectEmpty();
}

TEST_F(SnapshotTest, WithoutMemoryNothingChanges) {
  const auto golden = Create("golden", 64 * kMib);
  const std::string before = Data(kMib);
  Write(*golden, 0, before);
  engine_->QuiesceForTest(true);
  const uint64_t with_golden = engine_->Stats().memory_allocated_bytes;
  for (int64_t n = 0; n < 12; ++n) {
    engine_->FailAllocationsAfterForTest(n);
    auto clone = Clone(golden, "clone");
    absl::Status written;
    const std::string data = Data(10000);
    if (clone.ok()) written = (*clone)->Write(3000, {data.data(), data.size()});
    engine_->FailAllocationsAfterForTest(-1);
    EXPECT_TRUE(Read(*golden, 0, kMib) == before) << n;
    if (!clone.ok()) {
      EXPECT_THAT(clone.status(),
                  HasReason(absl::StatusCode::kResourceExhausted,
                            reason::kServerMemoryLimit));
      continue;
    }
    std::string expected = before;
    if (written.ok()) expected.replace(3000, data.size(), data);
    EXPECT_TRUE(Read(**clone, 0, kMib) == expected) << n;
    Delete(*clone);
    engine_->QuiesceForTest(true);
  }
  Delete(golden);
  EXPECT_GT(with_golden, empty_bytes_);
  ExpectEmpty();
}

}  // namespace
}  // namespace ramvol::engine
