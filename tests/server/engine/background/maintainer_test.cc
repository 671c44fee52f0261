#include "server/engine/background/maintainer.h"

#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/engine/support/fake_owner.h"
#include "tests/server/engine/support/volume_parts_fixture.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;

// Whose leaves begin with chunks 0 and 64.
class TwoLeaves : public FakeOwner {
 public:
  std::optional<uint64_t> MergeLeaf(uint64_t chunk, bool all_cold,
                                    uint32_t walk) override {
    if (chunk > 64) return std::nullopt;
    merged.push_back(chunk);
    walks.push_back(walk);
    EXPECT_TRUE(all_cold);
    return chunk + 64;
  }
  std::vector<uint64_t> merged;
  std::vector<uint32_t> walks;
};

class MaintainerTest : public VolumePartsTest {
 protected:
  Maintainer::OwnerList List() {
    return [this] {
      return std::vector<std::weak_ptr<ChunkOwner>>{owner_, two_leaves_};
    };
  }

  const std::shared_ptr<FakeOwner> owner_ = std::make_shared<FakeOwner>();
  const std::shared_ptr<TwoLeaves> two_leaves_ = std::make_shared<TwoLeaves>();
};

TEST_F(MaintainerTest, AMergePassVisitsEveryLeafOfEveryVolume) {
  Maintainer maintainer(engine_, List(), 1, absl::Hours(1));
  maintainer.MergePass(/*all_cold=*/true);
  maintainer.MergePass(/*all_cold=*/true);
  EXPECT_THAT(two_leaves_->merged, ElementsAre(0, 64, 0, 64));
  EXPECT_THAT(two_leaves_->walks, ElementsAre(2, 2, 4, 4));
}

// A volume that is read or written each time that somebody looks.
class BusyOwner : public FakeOwner {
 public:
  uint64_t activity() const override { return ++operations_; }

 private:
  mutable uint64_t operations_ = 0;
};

// Frees some of each slab, too little for it to be sparse.
class HolesTest : public MaintainerTest {
 protected:
  static constexpr size_t kObjectBytes = 1000;
  static constexpr int kObjects = 4000;
  static constexpr int kFreedOneIn = 8;

  HolesTest() {
    for (int i = 0; i < kObjects; ++i) {
      objects_.push_back(arena_->Allocate(kObjectBytes, Priority::kNormal));
    }
    for (int i = 0; i < kObjects; i += kFreedOneIn) {
      arena_->Free(std::exchange(objects_[i], nullptr), kObjectBytes);
    }
  }
  ~HolesTest() override {
    for (void* object : objects_) {
      if (object != nullptr) arena_->Free(object, kObjectBytes);
    }
  }

  std::vector<void*> objects_;
};

TEST_F(HolesTest, FramesAreMovedTogetherWhenNobodyUsesAVolume) {
  Maintainer maintainer(engine_, List(), 1, absl::Hours(1));
  maintainer.MergePass(/*all_cold=*/true);
  EXPECT_GT(engine_.evacuator.rounds(), 0u);
}

TEST_F(HolesTest, FramesStayWhereTheyAreWhileAVolumeIsUsed) {
  const auto busy = std::make_shared<BusyOwner>();
  Maintainer maintainer(
      engine_, [&] { return std::vector<std::weak_ptr<ChunkOwner>>{busy}; }, 1,
      absl::Hours(1));
  maintainer.MergePass(/*all_cold=*/true);
  EXPECT_EQ(engine_.evacuator.rounds(), 0u);
}

TEST_F(MaintainerTest, FlushingAllLeavesNothingDirty) {
  worker_.to = &compactor_;
  for (uint64_t chunk = 0; chunk < 20; ++chunk) {
    PutHot(chunk, 0, Compressible(), /*dirty=*/true);
  }
  Maintainer maintainer(engine_, List(), 1, absl::Hours(1));
  maintainer.FlushAll();
  EXPECT_EQ(hot_.dirty_blocks(), 0);
}

TEST_F(MaintainerTest, ItsThreadsDoWhatIsAskedFor) {
  PutHot(5, 0, Compressible(), /*dirty=*/true);
  std::promise<uint64_t> flushed;
  worker_.when_flushing = [&](const Home& home) {
    ASSERT_TRUE(home);
    flushed.set_value(home.chunk());
    worker_.when_flushing = nullptr;
  };
  Maintainer maintainer(engine_, List(), 0, absl::Hours(1));
  EXPECT_EQ(flushed.get_future().get(), 5u);
}

}  // namespace
}  // namespace ramvol::engine
