#include "server/engine/content/index.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/memory/account.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/options.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kMostChunks = kMaxVolumeBytes / kChunkBytes + 1;

class IndexTest : public ::testing::Test {
 protected:
  // Makes the leaf that covers `chunk`, and says that it holds something.
  static Leaf* Fill(Index& index, uint64_t chunk) {
    StripedReaderLock lock(&index.lock());
    Leaf* leaf = index.FindOrCreate(chunk, Priority::kNormal);
    if (leaf == nullptr) return nullptr;
    MutexLock leaf_lock(&leaf->mu);
    leaf->present |= uint64_t{1} << chunk % kFanout;
    return leaf;
  }
  static Leaf* Find(const Index& index, uint64_t chunk) {
    StripedReaderLock lock(&index.lock());
    return index.Find(chunk);
  }
  static void Empty(Leaf* leaf) {
    MutexLock lock(&leaf->mu);
    leaf->present = 0;
  }
  static void Prune(Index& index, uint64_t first, uint64_t last) {
    StripedWriterLock lock(&index.lock());
    index.Prune(first, last);
  }
  // The first chunks of all leaves from the one that covers `chunk` on.
  static std::vector<uint64_t> Leaves(const Index& index, uint64_t chunk) {
    StripedReaderLock lock(&index.lock());
    std::vector<uint64_t> first_chunks;
    for (auto at = index.FindFrom(chunk); at.has_value();
         at = index.FindFrom(at->first_chunk + kFanout)) {
      first_chunks.push_back(at->first_chunk);
    }
    return first_chunks;
  }

  const std::unique_ptr<Arena> arena_ = *Arena::Create(16 << 20);
  Account account_{*arena_, 0};
};

TEST_F(IndexTest, TakesNothingUntilSomethingIsStored) {
  Index index(account_, kMostChunks);
  EXPECT_EQ(Find(index, 0), nullptr);
  EXPECT_EQ(Find(index, kMostChunks - 1), nullptr);
  EXPECT_THAT(Leaves(index, 0), IsEmpty());
  EXPECT_EQ(account_.used_bytes(), 0u);
}

TEST_F(IndexTest, FindsWhatWasMadeAndNothingElse) {
  Index index(account_, kMostChunks);
  Leaf* first = Fill(index, 0);
  Leaf* last = Fill(index, kMostChunks - 1);
  EXPECT_EQ(Find(index, kFanout - 1), first) << "one leaf for 64 chunks";
  EXPECT_EQ(Find(index, kFanout), nullptr);
  EXPECT_EQ(Find(index, kMostChunks - 1), last);
  EXPECT_EQ(Fill(index, 1), first);
}

TEST_F(IndexTest, WalksLeavesInOrderPastWhatIsNotThere) {
  Index index(account_, kMostChunks);
  for (const uint64_t chunk : {uint64_t{5}, uint64_t{1} << 20, uint64_t{130}}) {
    Fill(index, chunk);
  }
  EXPECT_THAT(Leaves(index, 0), ElementsAre(0, 128, 1 << 20));
  EXPECT_THAT(Leaves(index, 63), ElementsAre(0, 128, 1 << 20));
  EXPECT_THAT(Leaves(index, 64), ElementsAre(128, 1 << 20));
  EXPECT_THAT(Leaves(index, (1 << 20) + 64), IsEmpty());
}

TEST_F(IndexTest, GrowsAroundWhatItHolds) {
  Index index(account_, 1);
  Leaf* leaf = Fill(index, 0);
  {
    StripedWriterLock lock(&index.lock());
    index.Grow(kMostChunks);
  }
  EXPECT_EQ(Find(index, 0), leaf);
  EXPECT_NE(Fill(index, kMostChunks - 1), nullptr);
}

TEST_F(IndexTest, PruningGivesEmptyNodesBackAndKeepsTheOthers) {
  Index index(account_, kMostChunks);
  Leaf* kept = Fill(index, 0);
  const uint64_t bytes = account_.used_bytes();
  Empty(Fill(index, kMostChunks - 1));
  EXPECT_GT(account_.used_bytes(), bytes);
  Prune(index, 0, kMostChunks - 1 - kFanout);
  EXPECT_NE(Find(index, kMostChunks - 1), nullptr) << "out of range";
  Prune(index, 0, kMostChunks - 1);
  EXPECT_EQ(Find(index, kMostChunks - 1), nullptr);
  EXPECT_EQ(Find(index, 0), kept);
  EXPECT_EQ(account_.used_bytes(), bytes);
  Empty(kept);
  Prune(index, 0, 0);
  EXPECT_EQ(account_.used_bytes(), 0u);
}

TEST_F(IndexTest, MakesNoLeafWithoutMemory) {
  for (int n = 0; n < 5; ++n) {
    Index index(account_, kMostChunks);
    arena_->FailAllocationsAfterForTest(n);
    EXPECT_EQ(Fill(index, 0), nullptr) << n;
    arena_->FailAllocationsAfterForTest(-1);
    EXPECT_EQ(Find(index, 0), nullptr);
    EXPECT_NE(Fill(index, 0), nullptr);
  }
}

}  // namespace
}  // namespace ramvol::engine
