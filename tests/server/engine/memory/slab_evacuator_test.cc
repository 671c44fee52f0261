#include "server/engine/memory/slab_evacuator.h"

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/memory/arena.h"

namespace ramvol::engine {
namespace {

using ::testing::ElementsAre;

constexpr uint64_t kLimit = 64 << 20;
constexpr uint64_t kPartKeys = 64;
constexpr size_t kObjectBytes = 1000;
constexpr int kObjects = 40000;
constexpr int kParts = 4;

// Holds objects in some parts, and moves those that the arena wants moved.
class FakeTenant : public SlabTenant {
 public:
  explicit FakeTenant(Arena& arena) : arena_(arena) {
    for (int i = 0; i < kObjects; ++i) {
      parts_[i % kParts * 10 * kPartKeys].push_back(
          arena_.Allocate(kObjectBytes, Priority::kNormal));
    }
  }
  ~FakeTenant() override { KeepOneIn(kObjects + 1); }

  // Of each part, so that every slab keeps some.
  void KeepOneIn(size_t n) {
    KeepIf([n](size_t i) { return i % n == n - 1; });
  }
  void KeepIf(absl::FunctionRef<bool(size_t)> keeps) {
    for (auto& [first, objects] : parts_) {
      std::vector<void*> kept;
      for (size_t i = 0; i < objects.size(); ++i) {
        if (keeps(i)) {
          kept.push_back(objects[i]);
        } else {
          arena_.Free(objects[i], kObjectBytes);
        }
      }
      objects = kept;
    }
  }

  std::optional<TenantPart> FindPart(uint64_t key) override {
    for (const auto& [first, objects] : parts_) {
      if (key < first + kPartKeys) {
        return TenantPart{first, first + kPartKeys};
      }
    }
    return std::nullopt;
  }
  void MovePart(uint64_t first) override {
    visited_.push_back(first);
    for (void*& object : parts_[first]) {
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
  std::map<uint64_t, std::vector<void*>> parts_;
  std::vector<uint64_t> visited_;
};

class SlabEvacuatorTest : public ::testing::TestWithParam<Evacuation> {
 protected:
  // Until there is nothing to do; returns the number of steps.
  int Run() {
    int steps = 0;
    while (evacuator_.Step(GetParam())) EXPECT_LT(++steps, 1000);
    return steps;
  }

  const std::unique_ptr<Arena> arena_ = *Arena::Create(kLimit);
  const std::shared_ptr<FakeTenant> tenant_ =
      std::make_shared<FakeTenant>(*arena_);
  SlabEvacuator evacuator_{
      *arena_,
      [this] { return std::vector<std::weak_ptr<SlabTenant>>{tenant_}; }};
};

TEST_P(SlabEvacuatorTest, DoesNothingWhereSlabsAreFull) {
  EXPECT_FALSE(evacuator_.HasWork(GetParam()));
  EXPECT_EQ(Run(), 0);
  EXPECT_EQ(evacuator_.rounds(), 0u);
}

TEST_P(SlabEvacuatorTest, ARoundVisitsEachPartOnce) {
  tenant_->KeepOneIn(10);
  EXPECT_TRUE(evacuator_.HasWork(GetParam()));
  while (evacuator_.rounds() == 0) ASSERT_TRUE(evacuator_.Step(GetParam()));
  EXPECT_THAT(tenant_->visited(),
              ElementsAre(0, 10 * kPartKeys, 20 * kPartKeys, 30 * kPartKeys));
}

TEST_P(SlabEvacuatorTest, GivesBackWhatIsFreeInSlabs) {
  tenant_->KeepOneIn(10);
  arena_->ReleaseFreeMemory();
  const uint64_t before = arena_->used_bytes();
  ASSERT_GT(arena_->slack_bytes(), 4u << 20);
  EXPECT_GT(Run(), 0);
  arena_->ReleaseFreeMemory();
  EXPECT_LT(arena_->slack_bytes(), 512u << 10);
  EXPECT_LT(arena_->used_bytes(), before - (3u << 20));
}

TEST_P(SlabEvacuatorTest, RestsUntilSlackGrowsAgain) {
  tenant_->KeepOneIn(10);
  Run();
  const uint64_t rounds = evacuator_.rounds();
  EXPECT_EQ(Run(), 0) << "what a round could not move is not tried again";
  EXPECT_EQ(evacuator_.rounds(), rounds);
  tenant_->KeepOneIn(4);
  EXPECT_GT(Run(), 0);
}

INSTANTIATE_TEST_SUITE_P(Kinds, SlabEvacuatorTest,
                         ::testing::Values(Evacuation::kLight,
                                           Evacuation::kTight),
                         [](const auto& info) {
                           return info.param == Evacuation::kLight ? "Light"
                                                                   : "Tight";
                         });

// A seventh of what is in them is free: too little to move the rest in a hurry.
TEST(SlabEvacuatorTightenTest, FillsSlabsThatAreNotSparse) {
  const auto arena = *Arena::Create(kLimit);
  const auto tenant = std::make_shared<FakeTenant>(*arena);
  SlabEvacuator evacuator(
      *arena, [&] { return std::vector<std::weak_ptr<SlabTenant>>{tenant}; });
  tenant->KeepIf([](size_t i) { return i % 8 != 0; });
  evacuator.KeepUp(0);
  ASSERT_GT(arena->slack_bytes(), 4u << 20);
  evacuator.Tighten();
  EXPECT_LT(arena->slack_bytes(), 512u << 10);
  const uint64_t rounds = evacuator.rounds();
  evacuator.Tighten();
  EXPECT_EQ(evacuator.rounds(), rounds);
}

TEST(SlabEvacuatorKeepUpTest, TellsThatMergingHasNoRoom) {
  const auto arena = *Arena::Create(kLimit);
  SlabEvacuator evacuator(
      *arena, [] { return std::vector<std::weak_ptr<SlabTenant>>(); });
  EXPECT_TRUE(evacuator.KeepUp(kPageBytes));
  EXPECT_FALSE(evacuator.KeepUp(2 * kLimit));
}

}  // namespace
}  // namespace ramvol::engine
