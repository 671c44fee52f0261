#include "server/engine/content/index.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/content/layer.h"
#include "server/engine/content/node.h"
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
  Leaf* Fill(Index& index, uint64_t chunk) {
    StripedReaderLock lock(&index.lock());
    Leaf* leaf = index.FindOwn(chunk, /*create=*/true, layer_).leaf;
    if (leaf == nullptr) return nullptr;
    SmallMutexLock leaf_lock(&leaf->mu);
    leaf->present |= uint64_t{1} << chunk % kFanout;
    return leaf;
  }
  static Leaf* Find(const Index& index, uint64_t chunk) {
    StripedReaderLock lock(&index.lock());
    return index.Find(chunk);
  }
  static void Empty(Leaf* leaf) {
    SmallMutexLock lock(&leaf->mu);
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

  bool IsShared(Index& index, uint64_t chunk) {
    StripedReaderLock lock(&index.lock());
    return index.FindOwn(chunk, /*create=*/false, layer_).shared;
  }
  // Takes everything out that covers chunks `first` to `last`.
  void Detach(Index& index, uint64_t first, uint64_t last) {
    std::vector<Tree> detached;
    {
      StripedWriterLock lock(&index.lock());
      index.Detach(first, last, layer_, &detached);
    }
    for (const Tree& tree : detached) ReleaseTree(tree, Empty);
  }
  void DetachAll(Index& index) { Detach(index, 0, kLastChunk); }
  static Tree Share(Index& index) {
    StripedWriterLock lock(&index.lock());
    return index.Share();
  }
  static void Adopt(Index& index, const Tree& tree) {
    StripedWriterLock lock(&index.lock());
    std::vector<Tree> before;
    TextPiece* description = nullptr;
    index.Become(tree, 1, &description, &before);
    EXPECT_TRUE(before.empty());
  }
  // With an empty leaf for a copy. Returns how many leaves were copied.
  int Unshare(Index& index, uint64_t chunk) {
    std::vector<Tree> before;
    int copied = 0;
    {
      StripedWriterLock lock(&index.lock());
      index.Unshare(
          chunk, layer_,
          [&](Leaf* leaf) {
            ++copied;
            return NewNode<Leaf>(leaf->first_chunk, layer_, Priority::kNormal);
          },
          &before);
    }
    for (const Tree& tree : before) ReleaseTree(tree, Empty);
    return copied;
  }
  uint64_t used_bytes() const { return layer_->account.used_bytes(); }

  const std::unique_ptr<Arena> arena_ = *Arena::Create(16 << 20);
  const std::shared_ptr<Layer> layer_ =
      std::make_shared<Layer>(*arena_, 0, nullptr, nullptr);
};

TEST_F(IndexTest, TakesNothingUntilSomethingIsStored) {
  Record record(0);
  Index index(record, kMostChunks);
  EXPECT_EQ(Find(index, 0), nullptr);
  EXPECT_EQ(Find(index, kMostChunks - 1), nullptr);
  EXPECT_THAT(Leaves(index, 0), IsEmpty());
  EXPECT_EQ(used_bytes(), 0u);
}

TEST_F(IndexTest, FindsWhatWasMadeAndNothingElse) {
  Record record(0);
  Index index(record, kMostChunks);
  Leaf* first = Fill(index, 0);
  Leaf* last = Fill(index, kMostChunks - 1);
  EXPECT_EQ(Find(index, kFanout - 1), first) << "one leaf for 64 chunks";
  EXPECT_EQ(Find(index, kFanout), nullptr);
  EXPECT_EQ(Find(index, kMostChunks - 1), last);
  EXPECT_EQ(Fill(index, 1), first);
  DetachAll(index);
}

TEST_F(IndexTest, WalksLeavesInOrderPastWhatIsNotThere) {
  Record record(0);
  Index index(record, kMostChunks);
  for (const uint64_t chunk : {uint64_t{5}, uint64_t{1} << 20, uint64_t{130}}) {
    Fill(index, chunk);
  }
  EXPECT_THAT(Leaves(index, 0), ElementsAre(0, 128, 1 << 20));
  EXPECT_THAT(Leaves(index, 63), ElementsAre(0, 128, 1 << 20));
  EXPECT_THAT(Leaves(index, 64), ElementsAre(128, 1 << 20));
  EXPECT_THAT(Leaves(index, (1 << 20) + 64), IsEmpty());
  DetachAll(index);
}

TEST_F(IndexTest, GrowsAroundWhatItHolds) {
  Record record(0);
  Index index(record, 1);
  Leaf* leaf = Fill(index, 0);
  {
    StripedWriterLock lock(&index.lock());
    index.Grow(kMostChunks, layer_);
  }
  EXPECT_EQ(Find(index, 0), leaf);
  EXPECT_NE(Fill(index, kMostChunks - 1), nullptr);
  DetachAll(index);
}

TEST_F(IndexTest, PruningGivesEmptyNodesBackAndKeepsTheOthers) {
  Record record(0);
  Index index(record, kMostChunks);
  Leaf* kept = Fill(index, 0);
  const uint64_t bytes = used_bytes();
  Empty(Fill(index, kMostChunks - 1));
  EXPECT_GT(used_bytes(), bytes);
  Prune(index, 0, kMostChunks - 1 - kFanout);
  EXPECT_NE(Find(index, kMostChunks - 1), nullptr) << "out of range";
  Prune(index, 0, kMostChunks - 1);
  EXPECT_EQ(Find(index, kMostChunks - 1), nullptr);
  EXPECT_EQ(Find(index, 0), kept);
  EXPECT_EQ(used_bytes(), bytes);
  Empty(kept);
  Prune(index, 0, 0);
  EXPECT_EQ(used_bytes(), 0u);
}

TEST_F(IndexTest, DetachesWhatTheRangeCoversAndNoMore) {
  Record record(0);
  Index index(record, kMostChunks);
  for (const uint64_t chunk : {0, 64, 128, 4096, 100000}) Fill(index, chunk);
  Detach(index, 10, 128);
  EXPECT_THAT(Leaves(index, 0), ElementsAre(0, 128, 4096, 99968))
      << "leaves of which the range covers a part stay";
  Detach(index, 0, 99999);
  EXPECT_THAT(Leaves(index, 0), ElementsAre(99968));
  DetachAll(index);
  EXPECT_EQ(used_bytes(), 0u);
}

TEST_F(IndexTest, SharesAllAtOnceAndCopiesOneWayDown) {
  Record record(0);
  Index index(record, kMostChunks);
  Record other_record(0);
  Index other(other_record, kMostChunks);
  for (const uint64_t chunk : {0, 64, 100000}) Fill(index, chunk);
  const uint64_t bytes = used_bytes();
  Adopt(other, Share(index));
  EXPECT_EQ(used_bytes(), bytes);
  EXPECT_EQ(Find(other, 64), Find(index, 64));
  EXPECT_TRUE(IsShared(index, 0));
  EXPECT_TRUE(IsShared(other, 100000));
  EXPECT_EQ(Unshare(index, 0), 1);
  EXPECT_FALSE(IsShared(index, 0));
  EXPECT_TRUE(IsShared(index, 64));
  EXPECT_NE(Find(other, 0), Find(index, 0));
  EXPECT_EQ(Find(other, 64), Find(index, 64));
  DetachAll(index);
  EXPECT_FALSE(IsShared(other, 64)) << "it is the other's alone";
  EXPECT_EQ(used_bytes(), bytes);
  DetachAll(other);
  EXPECT_EQ(used_bytes(), 0u);
}

TEST_F(IndexTest, DetachingAPartLeavesTheOtherIndexAlone) {
  Record record(0);
  Index index(record, kMostChunks);
  Record other_record(0);
  Index other(other_record, kMostChunks);
  for (const uint64_t chunk : {0, 64, 100000}) Fill(index, chunk);
  Adopt(other, Share(index));
  Detach(index, 0, 127);
  EXPECT_THAT(Leaves(index, 0), ElementsAre(99968));
  EXPECT_THAT(Leaves(other, 0), ElementsAre(0, 64, 99968));
  DetachAll(other);
  DetachAll(index);
  EXPECT_EQ(used_bytes(), 0u);
}

TEST_F(IndexTest, AWalkSeesWhatIsSharedOnce) {
  Record record(0);
  Index index(record, kMostChunks);
  Record other_record(0);
  Index other(other_record, kMostChunks);
  for (const uint64_t chunk : {0, 64, 100000}) Fill(index, chunk);
  Adopt(other, Share(index));
  Unshare(other, 100000);
  const auto walk = [](const Index& of, uint32_t number) {
    StripedReaderLock lock(&of.lock());
    std::vector<uint64_t> first_chunks;
    for (auto at = of.FindFrom(0, number); at.has_value();
         at = of.FindFrom(at->first_chunk + kFanout, number)) {
      first_chunks.push_back(at->first_chunk);
    }
    return first_chunks;
  };
  EXPECT_THAT(walk(index, 2), ElementsAre(0, 64, 99968));
  EXPECT_THAT(walk(other, 2), ElementsAre(99968)) << "its own";
  EXPECT_THAT(walk(other, 4), ElementsAre(0, 64, 99968));
  EXPECT_THAT(walk(index, 4), ElementsAre(99968));
  EXPECT_THAT(Leaves(other, 0), ElementsAre(0, 64, 99968));
  DetachAll(other);
  DetachAll(index);
}

TEST_F(IndexTest, AStepOfAWalkVisitsOneLeafAndWhatIsAboveIt) {
  Record record(0);
  Index index(record, kMostChunks);
  Record other_record(0);
  Index other(other_record, kMostChunks);
  for (const uint64_t chunk : {0, 64, 100000}) Fill(index, chunk);
  Adopt(other, Share(index));
  Unshare(index, 100000);
  struct Seen {
    std::vector<uint64_t> leaves;
    std::vector<size_t> nodes_a_step;
  };
  const auto walk = [&](Index::Which which, bool only_own) {
    StripedReaderLock lock(&index.lock());
    Seen seen;
    for (std::optional<uint64_t> next = 0; next.has_value();) {
      size_t nodes = 0;
      next = index.VisitFrom(*next, which, [&](Node* node, int level, bool) {
        ++nodes;
        if (level == 0) seen.leaves.push_back(node->first_chunk);
      });
      seen.nodes_a_step.push_back(nodes);
    }
    EXPECT_EQ(only_own, seen.leaves.size() == 1);
    return seen;
  };
  const Seen all = walk(Index::Which::kAll, false);
  EXPECT_THAT(all.leaves, ElementsAre(0, 64, 99968));
  const auto levels = all.nodes_a_step[0];
  EXPECT_GT(levels, 3u);
  EXPECT_THAT(all.nodes_a_step, ElementsAre(levels, 1, 2, 0))
      << "there is one inner node for 4,096 chunks";
  const Seen own = walk(Index::Which::kOwn, true);
  EXPECT_THAT(own.leaves, ElementsAre(99968));
  EXPECT_THAT(own.nodes_a_step, ElementsAre(levels, 0));
  DetachAll(other);
  DetachAll(index);
}

}  // namespace
}  // namespace ramvol::engine
