// The parts of one volume, made without an engine.
#ifndef RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_VOLUME_PARTS_FIXTURE_H_
#define RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_VOLUME_PARTS_FIXTURE_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/engine/background/compactor.h"
#include "server/engine/background/engine_parts.h"
#include "server/engine/background/work_queue.h"
#include "server/engine/content/chunk_edit.h"
#include "server/engine/content/chunk_refs.h"
#include "server/engine/content/content.h"
#include "server/engine/content/hot_cache.h"
#include "server/engine/content/layer.h"
#include "server/engine/content/packing_policy.h"
#include "server/engine/counters/totals.h"
#include "server/engine/counters/volume_counters.h"
#include "server/engine/memory/arena.h"
#include "server/engine/memory/slab_evacuator.h"
#include "server/engine/types/blocks.h"
#include "server/engine/types/options.h"
#include "server/engine/types/stats.h"
#include "tests/server/engine/support/fake_worker.h"

namespace ramvol::engine {

class VolumePartsTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kLimitBytes = 16 << 20;
  static constexpr uint64_t kCacheBytes = 1 << 20;

  // A block of half noise, which compresses, and one of noise, which does not.
  std::string Compressible() {
    std::string block = Incompressible();
    std::fill(block.begin() + kBlockBytes / 2, block.end(), 'x');
    return block;
  }
  std::string Incompressible() {
    std::string block(kBlockBytes, '\0');
    for (char& byte : block) byte = static_cast<char>(random_());
    return block;
  }
  // Puts a block into the hot overlay; beyond any limit.
  void PutHot(uint64_t chunk, int block, const std::string& data, bool dirty) {
    const PageId page = layer_->account.NewPage(Priority::kGuaranteed);
    std::memcpy(arena_->PageData(page), data.data(), kBlockBytes);
    Replaced replaced;
    content_
        .Edit({.chunk = chunk, .create = true}, *layer_, &replaced,
              [&](ChunkMap& map) {
                if (dirty) map.cold[block] = Slot();
                DropHot(map, BlockBit(block), &replaced);
                SetHot(map, block, page, dirty);
              })
        .Ignore();
    Free(&replaced);
  }
  void Zero(uint64_t chunk, BlockMask blocks) {
    Replaced replaced;
    content_
        .Edit({.chunk = chunk}, *layer_, &replaced,
              [&](ChunkMap& map) {
                DropHot(map, blocks, &replaced);
                for (const int block : Bits(blocks)) map.cold[block] = Slot();
              })
        .Ignore();
    Free(&replaced);
  }
  // What background threads do to a chunk.
  void Flush(uint64_t chunk) { compactor_.Flush(content_.FindHome(chunk)); }
  void Drop(uint64_t chunk) { compactor_.DropClean(content_.FindHome(chunk)); }
  void Rewrite(uint64_t chunk, RewriteReason reason) {
    compactor_.Rewrite(content_.FindHome(chunk), reason);
  }
  std::string ReadBlock(uint64_t chunk, int block) {
    ChunkRefs refs(*arena_);
    content_.Take(chunk, 0, BlockBit(block), &refs).Ignore();
    std::string data(kBlockBytes, '?');
    ReadCost cost(totals_.decompressions);
    EXPECT_TRUE(refs.Copy(block * kBlockBytes, (block + 1) * kBlockBytes,
                          data.data(), &cost));
    return data;
  }
  uint64_t Count(Gauge gauge, int offset = 0) const {
    return content_.Measure()
        .census[static_cast<Gauge>(static_cast<int>(gauge) + offset)];
  }
  VolumeStats Stats() const {
    VolumeStats stats;
    counters_->FillIn(&stats);
    return stats;
  }
  static VolumeOptions Options() {
    VolumeOptions options;
    options.size_bytes = kMaxVolumeBytes;
    return options;
  }

  std::mt19937 random_{5};
  const std::unique_ptr<Arena> arena_ = *Arena::Create(kLimitBytes);
  HotCache hot_{kCacheBytes};
  WorkQueue work_;
  Totals totals_;
  SlabEvacuator evacuator_{
      *arena_, [] { return std::vector<std::weak_ptr<SlabTenant>>(); }};
  Compactor compactor_{*arena_, hot_, work_, totals_};
  FakeWorker worker_;
  const std::shared_ptr<PackingPolicy> packing_ =
      std::make_shared<PackingPolicy>(Options());
  const std::shared_ptr<VolumeCounters> counters_ =
      std::make_shared<VolumeCounters>(totals_);
  const std::shared_ptr<Layer> layer_ =
      std::make_shared<Layer>(*arena_, 0, packing_, counters_);
  Record record_{kMaxVolumeBytes};
  Content content_{layer_, hot_, record_};
  const EngineParts engine_{*arena_, hot_, work_, totals_, evacuator_, worker_};
  const VolumeParts parts_{engine_, *packing_, content_, *counters_};
};

}  // namespace ramvol::engine

#endif  // RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_VOLUME_PARTS_FIXTURE_H_
