#include "server/engine/background/maintainer.h"

#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/background/compactor.h"
#include "tests/server/engine/support/volume_parts_fixture.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;

// Whose leaves begin with chunks 0 and 64.
class TwoLeaves : public FakeOwner {
 public:
  std::optional<uint64_t> MergeLeaf(uint64_t chunk, bool all_cold) override {
    if (chunk > 64) return std::nullopt;
    merged.push_back(chunk);
    EXPECT_TRUE(all_cold);
    return chunk + 64;
  }
  void RewriteChunk(uint64_t chunk, RewriteReason) override {
    rewritten_chunk.set_value(chunk);
  }
  std::vector<uint64_t> merged;
  std::promise<uint64_t> rewritten_chunk;
};

class MaintainerTest : public VolumePartsTest {
 protected:
  Maintainer::OwnerList List() {
    return [this] {
      return std::vector<std::weak_ptr<ChunkOwner>>{owner_, two_leaves_};
    };
  }

  const EngineParts engine_{*arena_, hot_, work_, totals_, evacuator_};
  const std::shared_ptr<TwoLeaves> two_leaves_ = std::make_shared<TwoLeaves>();
};

TEST_F(MaintainerTest, AMergePassVisitsEveryLeafOfEveryVolume) {
  Maintainer maintainer(engine_, List(), 1, absl::Hours(1));
  maintainer.MergePass(/*all_cold=*/true);
  EXPECT_THAT(two_leaves_->merged, ElementsAre(0, 64));
}

TEST_F(MaintainerTest, FlushingAllLeavesNothingDirty) {
  Compactor compactor(parts_);
  // Its own threads may flush, too.
  owner_->when_flushing = [&](uint64_t chunk) { compactor.FlushChunk(chunk); };
  for (uint64_t chunk = 0; chunk < 20; ++chunk) {
    PutHot(chunk, 0, Compressible(), /*dirty=*/true);
  }
  Maintainer maintainer(engine_, List(), 1, absl::Hours(1));
  maintainer.FlushAll();
  EXPECT_EQ(hot_.dirty_blocks(), 0);
}

TEST_F(MaintainerTest, ItsThreadsDoWhatIsAskedFor) {
  Maintainer maintainer(engine_, List(), 1, absl::Hours(1));
  work_.Push({two_leaves_, 5, RewriteReason::kMostlyDead});
  EXPECT_EQ(two_leaves_->rewritten_chunk.get_future().get(), 5u);
}

}  // namespace
}  // namespace ramvol::engine
