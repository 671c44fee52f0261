#include "server/engine/compactor.h"

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/memory/arena.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;

constexpr uint64_t kLimit = 64 << 20;
constexpr uint64_t kLeafChunks = 64;
constexpr size_t kObjectBytes = 1000;
constexpr int kObjects = 40000;
constexpr int kLeaves = 4;

// Holds objects in some leaves, and moves those that the arena wants moved.
class FakeOwner : public ChunkOwner {
 public:
  explicit FakeOwner(Arena& arena) : arena_(arena) {
    for (int i = 0; i < kObjects; ++i) {
      leaves_[i % kLeaves * 10 * kLeafChunks].push_back(
          arena_.Allocate(kObjectBytes, Priority::kNormal));
    }
  }
  ~FakeOwner() override { KeepOneIn(kObjects + 1); }

  // Of each leaf, so that every slab keeps some.
  void KeepOneIn(size_t n) {
    for (auto& [first, objects] : leaves_) {
      std::vector<void*> kept;
      for (size_t i = 0; i < objects.size(); ++i) {
        if (i % n == n - 1) {
          kept.push_back(objects[i]);
        } else {
          arena_.Free(objects[i], kObjectBytes);
        }
      }
      objects = kept;
    }
  }

  void FlushChunk(uint64_t) override {}
  void DropClean(uint64_t) override {}
  void RewriteChunk(uint64_t, RewriteReason) override {}
  std::optional<LeafRange> FindLeaf(uint64_t chunk) override {
    for (const auto& [first, objects] : leaves_) {
      if (chunk < first + kLeafChunks) {
        return LeafRange{first, first + kLeafChunks};
      }
    }
    return std::nullopt;
  }
  void CompactLeaf(uint64_t first_chunk) override {
    visited_.push_back(first_chunk);
    for (void*& object : leaves_[first_chunk]) {
      if (!arena_.ShouldMove(object)) continue;
      void* copy = arena_.Allocate(kObjectBytes, Priority::kReclaim);
      if (copy == nullptr) continue;
      std::memcpy(copy, object, kObjectBytes);
      arena_.Free(object, kObjectBytes);
      object = copy;
    }
  }

  const std::vector<uint64_t>& visited() const { return visited_; }

 private:
  Arena& arena_;
  std::map<uint64_t, std::vector<void*>> leaves_;
  std::vector<uint64_t> visited_;
};

class CompactorTest : public ::testing::TestWithParam<Compaction> {
 protected:
  // Until there is nothing to do; returns the number of steps.
  int Run() {
    int steps = 0;
    while (compactor_.Step(GetParam())) EXPECT_LT(++steps, 1000);
    return steps;
  }

  const std::unique_ptr<Arena> arena_ = *Arena::Create(kLimit);
  const std::shared_ptr<FakeOwner> owner_ =
      std::make_shared<FakeOwner>(*arena_);
  Compactor compactor_{*arena_, [this] {
                         return std::vector<std::weak_ptr<ChunkOwner>>{owner_};
                       }};
};

TEST_P(CompactorTest, DoesNothingWhereSlabsAreFull) {
  EXPECT_FALSE(compactor_.HasWork(GetParam()));
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(compactor_.rounds(), 0u);
}

TEST_P(CompactorTest, ARoundVisitsEachLeafOnce) {
  owner_->KeepOneIn(10);
  EXPECT_TRUE(compactor_.HasWork(GetParam()));
  while (compactor_.rounds() == 0) ASSERT_TRUE(compactor_.Step(GetParam()));
  EXPECT_THAT(
      owner_->visited(),
      ElementsAre(0, 10 * kLeafChunks, 20 * kLeafChunks, 30 * kLeafChunks));
}

TEST_P(CompactorTest, GivesBackWhatIsFreeInSlabs) {
  owner_->KeepOneIn(10);
  arena_->ReleaseFreeMemory();
  const uint64_t before = arena_->used_bytes();
  ASSERT_GT(arena_->slack_bytes(), 4u << 20);
  EXPECT_GT(Run(), 0);
  arena_->ReleaseFreeMemory();
  EXPECT_LT(arena_->slack_bytes(), 512u << 10);
  EXPECT_LT(arena_->used_bytes(), before - (3u << 20));
}

TEST_P(CompactorTest, RestsUntilSlackGrowsAgain) {
  owner_->KeepOneIn(10);
  Run();
  const uint64_t rounds = compactor_.rounds();
  EXPECT_EQ(Run(), 0) << "what a round could not move is not tried again";
  EXPECT_EQ(compactor_.rounds(), rounds);
  owner_->KeepOneIn(4);
  EXPECT_GT(Run(), 0);
}

INSTANTIATE_TEST_SUITE_P(Kinds, CompactorTest,
                         ::testing::Values(Compaction::kLight,
                                           Compaction::kTight),
                         [](const auto& info) {
                           return info.param == Compaction::kLight ? "Light"
                                                                   : "Tight";
                         });

TEST(CompactorKeepUpTest, TellsThatMergingHasNoRoom) {
  const auto arena = *Arena::Create(kLimit);
  Compactor compactor(*arena,
                      [] { return std::vector<std::weak_ptr<ChunkOwner>>(); });
  EXPECT_TRUE(compactor.KeepUp(kPageBytes));
  EXPECT_FALSE(compactor.KeepUp(2 * kLimit));
}

}  // namespace
}  // namespace ramvol::engine
