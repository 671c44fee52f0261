#include "server/engine/content/content.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/hot_cache.h"
#include "server/engine/content/layer.h"
#include "server/engine/content/packer.h"
#include "server/engine/content/refusal.h"
#include "server/engine/memory/account.h"
#include "server/engine/memory/arena.h"
#include "server/engine/types/blocks.h"
#include "server/engine/types/options.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;

// Counts copied nodes; nothing here is flushed, which would count other work.
class CopiedNodes final : public WorkCounts {
 public:
  void AddReadCost(const ReadCost&) override {}
  void AddPackCost(const PackCost&) override {}
  void CountMergedFrames(int) override {}
  void CountSplitFrames(int) override {}
  void CountCopiedNodes(int nodes) override { count += nodes; }

  int count = 0;
};

class ContentTest : public ::testing::Test {
 protected:
  PageId NewPage(char fill) {
    const PageId page = layer_->account.NewPage(Priority::kNormal);
    std::memset(arena_->PageData(page), fill, kBlockBytes);
    return page;
  }
  Frame* NewFrameOf(BlockMask blocks, char fill) {
    const std::string text(std::popcount(blocks) * kBlockBytes, fill);
    PackCost cost(durations_);
    Frame* frame = nullptr;
    EXPECT_TRUE(PackGroup(layer_->account, Priority::kNormal, blocks,
                          text.data(), 1, &frame, &cost));
    return frame;
  }
  // Edits a chunk that may have to be made, and frees what goes.
  Cause Edit(uint64_t chunk, absl::FunctionRef<void(ChunkMap&)> edit,
             uint64_t end = 0) {
    const Refusal refusal =
        content_.Edit({chunk, end, /*create=*/true}, *layer_, &replaced_, edit);
    Free(&replaced_);
    return refusal.cause;
  }
  void PutPage(uint64_t chunk, int block, char fill) {
    const PageId page = NewPage(fill);
    Edit(chunk, [&](ChunkMap& map) { map.cold[block] = Slot::OfPage(page); });
  }
  // The first bytes of the chunk's blocks; '.' for what reads as zero.
  std::string Blocks(uint64_t chunk) {
    ChunkRefs refs(*arena_);
    content_.Take(chunk, 0, kAllBlocks, &refs).Ignore();
    return Blocks(refs);
  }
  std::string Blocks(ChunkRefs& refs) {
    std::string content(kChunkBytes, 'x');
    ReadCost cost(durations_);
    EXPECT_TRUE(refs.Copy(0, kChunkBytes, content.data(), &cost));
    std::string first;
    for (size_t at = 0; at < kChunkBytes; at += kBlockBytes) {
      first += content[at] == 0 ? '.' : content[at];
    }
    return first;
  }

  DurationHistogram durations_;
  const std::unique_ptr<Arena> arena_ = *Arena::Create(16 << 20);
  HotCache hot_{1 << 20};
  const std::shared_ptr<CopiedNodes> copied_ = std::make_shared<CopiedNodes>();
  const std::shared_ptr<Layer> layer_ =
      std::make_shared<Layer>(*arena_, 0, nullptr, copied_);
  Record record_{kMaxVolumeBytes};
  Content content_{layer_, hot_, record_};
  Replaced replaced_;
};

TEST_F(ContentTest, AnEditIsSeenByWhoLooksAfterIt) {
  EXPECT_EQ(Blocks(7), "................");
  PutPage(7, 3, 'a');
  Edit(7, [](ChunkMap& map) {
    map.cold[4] = Slot::OfPattern(0x6262626262626262);
  });
  EXPECT_EQ(Blocks(7), "...ab...........");
  EXPECT_EQ(Blocks(6), "................");
  EXPECT_EQ(content_.Measure().census[Gauge::kRawBlocks], 1);
  EXPECT_EQ(content_.Measure().census[Gauge::kSameFilledBlocks], 1);
}

TEST_F(ContentTest, ReferencesOutliveAnEdit) {
  Frame* frame = NewFrameOf(0x000f, 'a');
  Edit(0, [&](ChunkMap& map) {
    for (int block = 0; block < 4; ++block) {
      map.cold[block] = Slot::OfFrame(frame);
    }
  });
  ChunkRefs refs(*arena_);
  ASSERT_TRUE(content_.Take(0, 0, kAllBlocks, &refs).ok());
  Edit(0, [](ChunkMap& map) { map.cold.fill({}); });
  EXPECT_EQ(Blocks(0), "................");
  EXPECT_EQ(Blocks(refs), "aaaa............");
  EXPECT_EQ(layer_->account.used_bytes(), 0u) << "charges go with the edit";
}

TEST_F(ContentTest, TellsWhatAnEditReplaced) {
  Frame* frame = NewFrameOf(0x000f, 'a');
  Edit(0, [&](ChunkMap& map) {
    for (int block = 0; block < 4; ++block) {
      map.cold[block] = Slot::OfFrame(frame);
    }
  });
  const auto cut = [&](int block) {
    content_
        .Edit({.chunk = 0}, *layer_, &replaced_,
              [&](ChunkMap& map) { map.cold[block] = Slot(); })
        .Ignore();
  };
  cut(0);
  EXPECT_FALSE(replaced_.mostly_dead);
  cut(1);
  EXPECT_TRUE(replaced_.mostly_dead);
  EXPECT_TRUE(replaced_.frames.empty());
  cut(2);
  cut(3);
  EXPECT_THAT(replaced_.frames, ElementsAre(frame));
  Free(&replaced_);
  EXPECT_EQ(layer_->account.used_bytes(), 0u);
}

TEST_F(ContentTest, HotBlocksCoverColdOnesUntilTheyAreDropped) {
  PutPage(5, 0, 'a');
  const PageId page = NewPage('b');
  Edit(5, [&](ChunkMap& map) { SetHot(map, 0, page, false); });
  EXPECT_EQ(Blocks(5), "b...............");
  EXPECT_EQ(hot_.hot_blocks(), 1);
  EXPECT_EQ(layer_->hot_nodes.size(), 1u);
  EXPECT_EQ(layer_->hot_nodes.Rotate().chunk(), 5u);
  EXPECT_EQ(hot_.PickClean().chunk(), 5u);
  Edit(5, [&](ChunkMap& map) { DropHot(map, 1, &replaced_); });
  EXPECT_EQ(Blocks(5), "a...............");
  EXPECT_EQ(hot_.hot_blocks(), 0);
  EXPECT_FALSE(layer_->hot_nodes.Rotate());
}

TEST_F(ContentTest, ANodeMovesToTheDirtyQueueWithItsFirstDirtyBlock) {
  const PageId clean = NewPage('a');
  const PageId dirty = NewPage('b');
  Edit(0, [&](ChunkMap& map) {
    map.cold[0] = Slot::OfPattern(1);
    SetHot(map, 0, clean, false);
  });
  EXPECT_FALSE(hot_.PickDirty());
  Edit(0, [&](ChunkMap& map) { SetHot(map, 1, dirty, true); });
  EXPECT_EQ(hot_.dirty_blocks(), 1);
  EXPECT_TRUE(hot_.PickDirty());
}

TEST_F(ContentTest, AnEmptiedLeafGoesAtOnce) {
  PutPage(1000, 0, 'a');
  EXPECT_EQ(content_.FindLeaf(0), 960u);
  Edit(1000, [](ChunkMap& map) { map.cold.fill({}); });
  EXPECT_EQ(content_.FindLeaf(0), std::nullopt);
  EXPECT_EQ(layer_->account.used_bytes(), 0u);
}

TEST_F(ContentTest, AnEditThatMakesNothingSeesHolesWhereNothingIs) {
  int calls = 0;
  ASSERT_TRUE(content_
                  .Edit({.chunk = 9}, *layer_, &replaced_,
                        [&](ChunkMap& map) {
                          ++calls;
                          EXPECT_EQ(map.PresentBlocks(), 0);
                        })
                  .ok());
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(layer_->account.used_bytes(), 0u);
}

TEST_F(ContentTest, ClearMakesHolesOfARangeAndOfNothingElse) {
  for (const uint64_t chunk : {0, 1, 63, 64, 200, 100000}) {
    PutPage(chunk, 0, 'a');
  }
  content_.Clear(1, 200);
  EXPECT_EQ(Blocks(0), "a...............");
  EXPECT_EQ(Blocks(1), "................");
  EXPECT_EQ(Blocks(200), "................");
  EXPECT_EQ(Blocks(100000), "a...............");
  EXPECT_EQ(content_.Measure().census[Gauge::kRawBlocks], 2);
  content_.Clear(0, kMaxVolumeBytes / kChunkBytes);
  EXPECT_EQ(layer_->account.used_bytes(), 0u);
}

TEST_F(ContentTest, VisitsLeavesAndTellsWhichWereTouched) {
  PutPage(3, 0, 'a');
  PutPage(130, 0, 'a');
  std::vector<uint64_t> visited;
  const auto settle = [&](const Content::LeafView& leaf) {
    visited.push_back(leaf.first_chunk());
    EXPECT_TRUE(leaf.unsettled());
    leaf.unsettled() = false;
  };
  EXPECT_EQ(content_.VisitLeaf(0, settle), 64u);
  EXPECT_EQ(content_.VisitLeaf(64, settle), 192u);
  EXPECT_EQ(content_.VisitLeaf(192, settle), std::nullopt);
  EXPECT_THAT(visited, ElementsAre(0, 128));
  const auto expect_touched = [&](bool touched) {
    content_.VisitLeaf(0, [&](const Content::LeafView& leaf) {
      EXPECT_EQ(leaf.present(), uint64_t{1} << 3);
      EXPECT_EQ(leaf.unsettled(), touched);
    });
  };
  content_.Look(3, 0, [](const ChunkMap&) { return false; }).Ignore();
  expect_touched(false);
  content_.Look(3, 0, [](const ChunkMap&) { return true; }).Ignore();
  expect_touched(true);
}

TEST_F(ContentTest, RefusesWhatEndsPastItAndEverythingOnceClosed) {
  const auto never = [](ChunkMap&) { ADD_FAILURE(); };
  {
    StripedWriterLock lock(&content_.lock());
    content_.SetSizeLocked(kChunkBytes);
  }
  EXPECT_EQ(Edit(1, never, kChunkBytes + 1), Cause::kShrunk);
  ChunkRefs refs(*arena_);
  EXPECT_EQ(content_.Take(1, kChunkBytes + 1, 1, &refs).cause, Cause::kShrunk);
  EXPECT_TRUE(content_.Take(0, kChunkBytes, 1, &refs).ok());
  PutPage(0, 0, 'a');
  {
    StripedWriterLock lock(&content_.lock());
    content_.CloseLocked();
  }
  EXPECT_EQ(Edit(0, never), Cause::kDeleted);
  EXPECT_EQ(content_.Take(0, 0, 1, &refs).cause, Cause::kDeleted);
  EXPECT_EQ(content_.FindLeaf(0), std::nullopt);
  content_.Clear(0, 0);
  EXPECT_EQ(layer_->account.used_bytes(), 0u);
}

TEST_F(ContentTest, MovesItsMapsOutOfSparseSlabs) {
  for (uint64_t chunk = 0; chunk < 20000; ++chunk) {
    Edit(chunk, [](ChunkMap& map) { map.cold[0] = Slot::OfPattern(7); });
  }
  for (uint64_t chunk = 0; chunk < 20000; ++chunk) {
    if (chunk % 10 != 0) content_.Clear(chunk, chunk);
  }
  const uint64_t slack = arena_->slack_bytes();
  ASSERT_TRUE(arena_->StartEvacuation(Evacuation::kTight));
  for (uint64_t chunk = 0; chunk < 20000; chunk += kFanout) {
    content_.MoveMaps(chunk);
  }
  arena_->EndEvacuation();
  EXPECT_LT(arena_->slack_bytes(), slack / 2);
  EXPECT_EQ(content_.Measure().census[Gauge::kSameFilledBlocks], 2000);
}

TEST_F(ContentTest, EditsOfOneChunkByManyThreadsAllCount) {
  constexpr int kThreads = 4;
  constexpr int kEdits = 500;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kEdits; ++i) {
        Replaced replaced;
        content_
            .Edit({.chunk = 1, .create = true}, *layer_, &replaced,
                  [&](ChunkMap& map) {
                    Slot& slot = map.cold[thread];
                    slot = Slot::OfPattern(slot.value + 1);
                  })
            .Ignore();
        Free(&replaced);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  content_
      .Look(1, 0,
            [](const ChunkMap& map) {
              for (int thread = 0; thread < kThreads; ++thread) {
                EXPECT_EQ(map.cold[thread], Slot::OfPattern(kEdits));
              }
              return false;
            })
      .Ignore();
}

// Makes `copy` share all of content_, which goes on with `next`.
class SharingTest : public ContentTest {
 protected:
  void Share(Content& from, std::shared_ptr<Layer>* next, Content& to) {
    StripedWriterLock from_lock(&from.lock());
    const Tree tree = from.ShareLocked(next);
    StripedWriterLock to_lock(&to.lock());
    std::vector<Tree> nothing;
    to.BecomeLocked(tree, kMaxVolumeBytes, &nothing);
  }
  std::shared_ptr<Layer> NewLayer() const {
    return std::make_shared<Layer>(*arena_, 0, nullptr, copied_);
  }
  static void Put(Content& content, Layer& layer, uint64_t chunk, int block,
                  char fill) {
    const PageId page = layer.account.NewPage(Priority::kNormal);
    std::memset(layer.account.arena().PageData(page), fill, kBlockBytes);
    Replaced replaced;
    content
        .Edit({.chunk = chunk, .create = true}, layer, &replaced,
              [&](ChunkMap& map) { map.cold[block] = Slot::OfPage(page); })
        .Ignore();
    Free(&replaced);
  }
};

TEST_F(SharingTest, ChargesStayAndWhatIsWrittenIsChargedAnew) {
  PutPage(0, 0, 'a');
  PutPage(1, 0, 'b');
  PutPage(200, 0, 'c');
  const uint64_t before = layer_->account.used_bytes();
  const std::shared_ptr<Layer> next = NewLayer();
  const std::shared_ptr<Layer> none = NewLayer();
  {
    Record record(kMaxVolumeBytes);
    Content snapshot(none, hot_, record);
    std::shared_ptr<Layer> ended = next;
    Share(content_, &ended, snapshot);
    EXPECT_EQ(ended, layer_);
    EXPECT_EQ(layer_->account.used_bytes(), before);
    EXPECT_EQ(next->account.used_bytes(), 0u);
    EXPECT_EQ(content_.Measure().own_bytes, 0u);
    EXPECT_EQ(copied_->count, 0);
    Put(content_, *next, 0, 1, 'x');
    const int copied = copied_->count;
    EXPECT_GT(copied, 1) << "a leaf and what is above it";
    Put(content_, *next, 0, 2, 'x');
    EXPECT_EQ(copied_->count, copied);
    EXPECT_GT(next->account.used_bytes(), kPageBytes);
    EXPECT_EQ(content_.Measure().own_bytes, next->account.used_bytes());
    EXPECT_EQ(content_.OwnBytes(), next->account.used_bytes());
    EXPECT_EQ(snapshot.OwnBytes(), snapshot.Measure().own_bytes);
    EXPECT_EQ(arena_->common_bytes(), kPageBytes) << "the page of block 0";
    EXPECT_EQ(Blocks(0), "axx.............");
    EXPECT_EQ(none->account.used_bytes(), 0u);
  }
  // The other one is gone: what is left is the content's own.
  EXPECT_EQ(content_.Measure().own_bytes, content_.Measure().memory_bytes);
  for (const uint64_t chunk : {0, 128, 192}) content_.AdoptLeaf(chunk);
  EXPECT_EQ(Blocks(1), "b...............");
  content_.Clear(0, kLastChunk);
  EXPECT_EQ(layer_->account.used_bytes(), 0u);
  EXPECT_EQ(next->account.used_bytes(), 0u);
  EXPECT_EQ(arena_->common_bytes(), 0u);
}

TEST_F(SharingTest, AnEditMovesTheChargesOfALeafThatIsItsOwnAgain) {
  for (const uint64_t chunk : {0, 2, 63}) PutPage(chunk, 0, 'a');
  Frame* const frame = NewFrameOf(0xf0, 'f');
  const PageId hot = NewPage('h');
  Edit(1, [&](ChunkMap& map) {
    map.cold.fill({});
    for (int block = 4; block < 8; ++block) {
      map.cold[block] = Slot::OfFrame(frame);
    }
    map.cold[0] = Slot::OfPattern(1);
    SetHot(map, 9, hot, /*dirty=*/true);
  });
  const std::shared_ptr<Layer> next = NewLayer();
  const std::shared_ptr<Layer> last = NewLayer();
  const std::shared_ptr<Layer> none = NewLayer();
  {
    Record record(kMaxVolumeBytes);
    Content snapshot(none, hot_, record);
    std::shared_ptr<Layer> ended = next;
    Share(content_, &ended, snapshot);
    // Chunk 1 leaves its cell; its pages are common now.
    Put(content_, *next, 1, 1, 'x');
    std::shared_ptr<Layer> also_ended = last;
    Record second_record(kMaxVolumeBytes);
    Content second(none, hot_, second_record);
    Share(content_, &also_ended, second);
  }
  EXPECT_GT(arena_->common_bytes(), 0u);
  Put(content_, *last, 7, 0, 'y');
  content_.AdoptLeaf(0);
  EXPECT_EQ(layer_->account.used_bytes(), 0u);
  const uint64_t inner = next->account.used_bytes();
  EXPECT_EQ(inner % Arena::AllocatedBytes(sizeof(Inner)), 0u)
      << "what is above the leaf stays with the layer that made it";
  EXPECT_EQ(last->account.used_bytes() + arena_->common_bytes() + inner,
            content_.Measure().memory_bytes);
  content_.Clear(0, kLastChunk);
  EXPECT_EQ(last->account.used_bytes(), 0u);
}

TEST_F(SharingTest, WhatIsPutByAnEditorOfAnEndedLayerIsChargedToTheNewOne) {
  PutPage(0, 0, 'a');
  const std::shared_ptr<Layer> next = NewLayer();
  const std::shared_ptr<Layer> none = NewLayer();
  Record record(kMaxVolumeBytes);
  Content snapshot(none, hot_, record);
  const uint64_t before = layer_->account.used_bytes();
  std::shared_ptr<Layer> ended = next;
  Share(content_, &ended, snapshot);
  Put(content_, *layer_, 70, 0, 'x');
  EXPECT_EQ(layer_->account.used_bytes(), before);
  EXPECT_EQ(next->account.used_bytes(), content_.Measure().own_bytes);
}

TEST_F(SharingTest, KeepingChangesAllAndEditingOne) {
  PutPage(0, 0, 'a');
  PutPage(0, 1, 'b');
  std::shared_ptr<Layer> next = NewLayer();
  const std::shared_ptr<Layer> none = NewLayer();
  Record record(kMaxVolumeBytes);
  Content snapshot(none, hot_, record);
  Share(content_, &next, snapshot);
  // Copies the leaf, not the chunk.
  Put(content_, *content_.layer(), 5, 0, 'x');
  Replaced replaced;
  const PageId page = layer_->account.NewPage(Priority::kNormal);
  std::memset(arena_->PageData(page), 'a', kBlockBytes);
  content_
      .Keep(0, *layer_, &replaced,
            [&](ChunkMap& map) { SetHot(map, 0, page, /*dirty=*/false); })
      .Ignore();
  Free(&replaced);
  const auto hot_blocks = [](const Content& of) {
    return of.Measure().census[Gauge::kHotBlocks];
  };
  EXPECT_EQ(hot_blocks(content_), 1);
  EXPECT_EQ(hot_blocks(snapshot), 1) << "it is hot for both";
  Put(content_, *content_.layer(), 0, 1, 'y');
  EXPECT_EQ(Blocks(0), "ay..............");
  EXPECT_EQ(hot_blocks(snapshot), 1);
  EXPECT_EQ(hot_blocks(content_), 0);
}

TEST_F(SharingTest, ComparingNamesWhatDiffers) {
  for (const uint64_t chunk : {0, 1, 64, 5000}) PutPage(chunk, 0, 'a');
  std::shared_ptr<Layer> next = NewLayer();
  const std::shared_ptr<Layer> none = NewLayer();
  Record record(kMaxVolumeBytes);
  Content snapshot(none, hot_, record);
  Share(content_, &next, snapshot);
  Put(content_, *content_.layer(), 1, 3, 'x');
  Put(content_, *content_.layer(), 70, 0, 'x');
  content_.Clear(5000, 5000);
  using Chunks = std::vector<std::pair<uint64_t, BlockMask>>;
  const auto compare = [](const Content& now, const Content& since) {
    Chunks found;
    now.Compare(since, 0, kLastChunk,
                [&](uint64_t chunk, BlockMask blocks) {
                  found.emplace_back(chunk, blocks);
                  return true;
                })
        .Ignore();
    return found;
  };
  const Chunks expected = {{1, 0x8}, {70, 0x1}, {5000, 0x1}};
  EXPECT_EQ(compare(content_, snapshot), expected);
  EXPECT_EQ(compare(snapshot, content_), expected);
}

}  // namespace
}  // namespace ramvol::engine
