// Volumes that outlive their engine, in one process. state_crash_test kills it.
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/types/blocks.h"
#include "tests/server/engine/support/damage.h"
#include "tests/server/engine/support/expect_allocated.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::Noise;
using ::ramvol::testing::RandomData;
using ::ramvol::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAreArray;

constexpr uint64_t kSize = 5 << 20;

class StateTest : public ::testing::Test {
 protected:
  StateTest() { Start(); }

  void Open(uint64_t memory_limit_bytes = 64 << 20) {
    EngineOptions options;
    options.memory_limit_bytes = memory_limit_bytes;
    options.hot_cache_bytes = 4 << 20;
    options.state_dir = dir_.path();
    auto engine = Engine::Create(options);
    ASSERT_THAT(engine.status(), IsOk());
    engine_ = *std::move(engine);
  }
  void Start(uint64_t memory_limit_bytes = 64 << 20) {
    Open(memory_limit_bytes);
    EXPECT_THAT(engine_->recovered().damaged, IsEmpty());
    EXPECT_FALSE(engine_->recovered().lost);
  }
  void Restart() {
    engine_.reset();
    Start();
  }

  std::shared_ptr<Volume> Create(const std::string& name,
                                 Allocator allocator = Allocator::kZstd,
                                 uint64_t size = kSize) {
    VolumeOptions options;
    options.name = name;
    options.size_bytes = size;
    options.allocator = allocator;
    auto volume = engine_->CreateVolume(options);
    EXPECT_THAT(volume.status(), IsOk());
    return *std::move(volume);
  }
  std::shared_ptr<Volume> Find(const std::string& name) {
    auto volume = engine_->Find(name);
    EXPECT_THAT(volume.status(), IsOk());
    return *std::move(volume);
  }
  std::shared_ptr<Volume> Clone(const std::string& from,
                                const std::string& name) {
    VolumeOptions options;
    options.name = name;
    auto clone = engine_->CloneVolume(options, Find(from));
    EXPECT_THAT(clone.status(), IsOk());
    return *std::move(clone);
  }
  void Snapshot(const std::string& of, const std::string& name) {
    EXPECT_THAT(engine_->CreateSnapshots({{Find(of), name}}).status(), IsOk());
  }
  std::string Content(const std::string& name) {
    auto volume = Find(name);
    std::string content(volume->size_bytes(), '?');
    EXPECT_THAT(volume->Read(0, absl::MakeSpan(content)), IsOk());
    return content;
  }
  // Random writes and trims.
  static void Scribble(Volume& volume, std::mt19937_64& random, int steps) {
    for (int i = 0; i < steps; ++i) {
      const uint64_t offset = random() % (volume.size_bytes() - 200000);
      const uint64_t length = 1 + random() % 200000;
      if (random() % 5 == 0) {
        EXPECT_THAT(volume.Trim(offset, length), IsOk());
      } else {
        EXPECT_THAT(volume.Write(offset, RandomData(random, length)), IsOk());
      }
    }
  }

  ShmDir dir_;
  std::unique_ptr<Engine> engine_;
};

// What is past the end of a chunk that is outside is not known to be zero, so a
// start cuts it off. A volume then leaves what it shares.
TEST_F(StateTest, WhatVolumesShareIsRecoveredOnce) {
  constexpr uint64_t kLast = 4;
  auto disk = Create("disk", Allocator::kZstd, kLast * kChunkBytes + 1);
  EXPECT_THAT(disk->AddOutside(1, {{{kLast, 0}}}), IsOk());
  EXPECT_THAT(engine_->BeginOutside(nullptr, {}, 0, 1), IsOk());
  std::mt19937_64 random(1);
  EXPECT_THAT(disk->Write(0, Noise(random, kBlockBytes)), IsOk());
  disk = nullptr;
  Clone("disk", "clone");
  const uint64_t hot_bytes = engine_->Stats().hot_cache_bytes;
  ASSERT_GT(hot_bytes, 0u);
  Restart();
  EXPECT_EQ(engine_->Stats().hot_cache_bytes, hot_bytes);
}

TEST_F(StateTest, ANewOneIsEmpty) {
  EXPECT_EQ(engine_->recovered().volumes, 0u);
  EXPECT_THAT(engine_->List("", 10), IsEmpty());
}

TEST_F(StateTest, ContentOfAllKindsIsThere) {
  std::mt19937_64 random(1);
  for (const Allocator allocator :
       {Allocator::kZstd, Allocator::kSparse, Allocator::kMalloc}) {
    Scribble(
        *Create(absl::StrCat("disk", static_cast<int>(allocator)), allocator),
        random, 60);
  }
  std::vector<std::string> before;
  for (int i = 0; i < 3; ++i) {
    before.push_back(Content(absl::StrCat("disk", i)));
  }
  for (const bool quiesce : {false, true, true}) {
    if (quiesce) engine_->QuiesceForTest(/*merge=*/true);
    Restart();
    EXPECT_EQ(engine_->recovered().volumes, 3u);
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(Content(absl::StrCat("disk", i)) == before[i]) << i;
    }
  }
}

TEST_F(StateTest, MemoryAndStatisticsAreWhatTheyWere) {
  std::mt19937_64 random(2);
  Scribble(*Create("disk"), random, 60);
  Snapshot("disk", "one");
  Scribble(*Find("disk"), random, 20);
  Scribble(*Clone("@one", "clone"), random, 20);
  engine_->QuiesceForTest(/*merge=*/true);
  const uint64_t allocated = engine_->Stats().memory_allocated_bytes;
  const VolumeStats before = Find("disk")->Stats();
  Restart();
  EXPECT_EQ(engine_->Stats().memory_allocated_bytes, allocated);
  const VolumeStats after = Find("disk")->Stats();
  EXPECT_EQ(after.logical_bytes, before.logical_bytes);
  EXPECT_EQ(after.stored_bytes, before.stored_bytes);
  EXPECT_EQ(after.memory_bytes, before.memory_bytes);
  EXPECT_EQ(after.hot_bytes, before.hot_bytes);
  EXPECT_EQ(after.dirty_bytes, before.dirty_bytes);
  EXPECT_EQ(after.dead_bytes, before.dead_bytes);
  EXPECT_EQ(after.own_bytes, before.own_bytes);
}

TEST_F(StateTest, AllThatWasDeletedIsGoneAndFreesItsMemory) {
  std::mt19937_64 random(3);
  const uint64_t allocated = engine_->Stats().memory_allocated_bytes;
  Scribble(*Create("disk"), random, 30);
  Snapshot("disk", "one");
  Scribble(*Clone("@one", "clone"), random, 10);
  ASSERT_THAT(engine_->DeleteVolume(Find("disk"), false), IsOk());
  Restart();
  EXPECT_EQ(engine_->recovered().volumes, 2u);
  EXPECT_THAT(engine_->Find("disk").status(),
              StatusIs(absl::StatusCode::kNotFound, _));
  ASSERT_THAT(engine_->DeleteVolume(Find("clone"), false), IsOk());
  ASSERT_THAT(engine_->DeleteVolume(Find("@one"), false), IsOk());
  ExpectAllocated(*engine_, allocated);
  Restart();
  EXPECT_EQ(engine_->recovered().volumes, 0u);
  EXPECT_EQ(engine_->Stats().memory_allocated_bytes, allocated);
}

TEST_F(StateTest, SnapshotsAndClonesGoOnApart) {
  std::mt19937_64 random(4);
  Scribble(*Create("disk"), random, 40);
  Snapshot("disk", "one");
  const std::string one = Content("@one");
  Scribble(*Find("disk"), random, 10);
  for (int i = 0; i < 5; ++i) Clone("@one", absl::StrCat("clone", i));
  const std::string disk = Content("disk");
  Restart();
  EXPECT_EQ(engine_->recovered().volumes, 7u);
  EXPECT_TRUE(Find("@one")->is_snapshot());
  Scribble(*Find("clone3"), random, 20);
  EXPECT_TRUE(Content("disk") == disk);
  EXPECT_TRUE(Content("@one") == one);
  EXPECT_TRUE(Content("clone2") == one);
  const std::string clone3 = Content("clone3");
  Restart();
  EXPECT_TRUE(Content("clone3") == clone3);
  EXPECT_TRUE(Content("clone2") == one);
  ASSERT_THAT(engine_->RevertVolume(Find("disk"), Find("@one"), false), IsOk());
  Restart();
  EXPECT_TRUE(Content("disk") == one);
}

TEST_F(StateTest, WhatUsersSetIsThere) {
  const uint64_t uid = Create("disk")->uid();
  VolumeUpdate update;
  update.size_bytes = 3 * kSize + 5;
  update.memory_limit_bytes = 20 << 20;
  update.write_level = 3;
  update.read_only = true;
  update.attributes = std::string(10000, 'a');
  ASSERT_THAT(Find("disk")->Update(update), IsOk());
  ASSERT_THAT(engine_->RenameVolume(Find("disk"), "disc"), IsOk());
  VolumeOptions options;
  options.name = "other";
  options.size_bytes = 1;
  ASSERT_THAT(engine_
                  ->CreateVolume(options,
                                 [](const Volume& volume) {
                                   return absl::StrCat("of ", volume.name());
                                 })
                  .status(),
              IsOk());
  Restart();
  auto disk = Find("disc");
  EXPECT_EQ(disk->uid(), uid);
  EXPECT_EQ(engine_->FindUid(uid), disk);
  EXPECT_EQ(disk->size_bytes(), 3 * kSize + 5);
  EXPECT_EQ(disk->options().memory_limit_bytes, 20u << 20);
  EXPECT_EQ(disk->options().write_level, 3);
  EXPECT_TRUE(disk->read_only());
  EXPECT_EQ(disk->attributes(), std::string(10000, 'a'));
  EXPECT_EQ(Find("other")->attributes(), "of other");
  EXPECT_EQ(Find("other")->size_bytes(), 1u);
}

TEST_F(StateTest, AShrunkVolumeGrowsIntoZeroes) {
  auto disk = Create("disk");
  ASSERT_THAT(disk->Write(0, std::string(kSize, 'x')), IsOk());
  VolumeUpdate update;
  update.size_bytes = 1000001;
  ASSERT_THAT(disk->Update(update), IsOk());
  disk = nullptr;
  Restart();
  update.size_bytes = kSize;
  ASSERT_THAT(Find("disk")->Update(update), IsOk());
  EXPECT_TRUE(Content("disk") ==
              std::string(1000001, 'x') + std::string(kSize - 1000001, '\0'));
}

TEST_F(StateTest, WhatDamagedVolumesHoldIsFreedWithThem) {
  constexpr uint64_t kFirstChunk = 0x1357'9000;
  constexpr uint64_t kBase = kFirstChunk * kChunkBytes;
  std::mt19937_64 random(7);
  const uint64_t allocated = engine_->Stats().memory_allocated_bytes;
  Scribble(*Create("whole"), random, 20);
  const std::string whole = Content("whole");
  const auto write = [&](Volume& volume, int steps) {
    for (int i = 0; i < steps; ++i) {
      const uint64_t offset = kBase + random() % (20 << 20);
      const uint64_t length = 1 + random() % 100000;
      EXPECT_THAT(volume.Write(offset, RandomData(random, length)), IsOk());
    }
  };
  write(*Create("disk", Allocator::kZstd, kBase << 1), 100);
  Snapshot("disk", "one");
  write(*Clone("disk", "clone"), 10);
  write(*Find("disk"), 10);
  engine_.reset();
  ASSERT_EQ(DamageIndex(dir_.path(), kFirstChunk), 3);
  const std::vector<std::string> all = {"clone", "disk", "@one"};
  for (size_t deleted = 0; deleted <= all.size(); ++deleted) {
    Open();
    EXPECT_THAT(engine_->recovered().damaged,
                UnorderedElementsAreArray(all.begin() + deleted, all.end()));
    EXPECT_TRUE(Content("whole") == whole);
    if (deleted == all.size()) break;
    EXPECT_THAT(engine_->DeleteVolume(Find(all[deleted]), false), IsOk());
    engine_.reset();
  }
  // And of one process.
  ASSERT_THAT(engine_->DeleteVolume(Find("whole"), false), IsOk());
  ExpectAllocated(*engine_, allocated);
}

TEST_F(StateTest, AllDamagedVolumesCanBeDeletedAtOnce) {
  constexpr uint64_t kFirstChunk = 0x1357'9000;
  constexpr uint64_t kBase = kFirstChunk * kChunkBytes;
  std::mt19937_64 random(8);
  const uint64_t allocated = engine_->Stats().memory_allocated_bytes;
  auto disk = Create("disk", Allocator::kZstd, kBase << 1);
  for (int i = 0; i < 100; ++i) {
    EXPECT_THAT(disk->Write(kBase + random() % (20 << 20),
                            RandomData(random, 1 + random() % 100000)),
                IsOk());
  }
  disk = nullptr;
  Snapshot("disk", "one");
  Clone("@one", "clone");
  ASSERT_THAT(Find("disk")->Write(kBase + (9 << 20), "changed"), IsOk());
  engine_.reset();
  ASSERT_EQ(DamageIndex(dir_.path(), kFirstChunk), 2);
  Open();
  EXPECT_GT(engine_->Stats().memory_allocated_bytes, allocated + (1 << 20));
  for (const std::string name : {"disk", "@one", "clone"}) {
    ASSERT_THAT(engine_->DeleteVolume(Find(name), false), IsOk());
  }
  ExpectAllocated(*engine_, allocated);
  Restart();
  EXPECT_EQ(engine_->recovered().volumes, 0u);
}

TEST_F(StateTest, TwoServersAreNotLetIn) {
  EngineOptions options;
  options.memory_limit_bytes = 64 << 20;
  options.state_dir = dir_.path();
  EXPECT_THAT(
      Engine::Create(options).status(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(dir_.path())));
}

TEST_F(StateTest, ALargerLimitGoesOn) {
  std::mt19937_64 random(5);
  Scribble(*Create("disk"), random, 40);
  const std::string before = Content("disk");
  engine_.reset();
  Start(256 << 20);
  EXPECT_TRUE(Content("disk") == before);
}

TEST_F(StateTest, TheLimitHoldsAfterwards) {
  std::mt19937_64 random(6);
  auto disk = Create("disk", Allocator::kZstd, 1 << 30);
  uint64_t offset = 0;
  while (disk->Write(offset, Noise(random, 1 << 20)).ok()) offset += 1 << 20;
  disk = nullptr;
  Restart();
  EXPECT_LE(engine_->Stats().memory_used_bytes, 64u << 20);
  EXPECT_THAT(Find("disk")->Write(offset, Noise(random, 1 << 20)),
              StatusIs(absl::StatusCode::kResourceExhausted, _));
  ASSERT_THAT(Find("disk")->Trim(0, 1 << 30), IsOk());
  EXPECT_THAT(Find("disk")->Write(0, Noise(random, 10 << 20)), IsOk());
}

}  // namespace
}  // namespace ramvol::engine
