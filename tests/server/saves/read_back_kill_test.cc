// Kills a process whose volumes, in a state_dir, are still being read from a
// save, while threads change, copy and delete them. The next one must find all
// that was acknowledged, and go on reading.
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/saves/save_dir.h"
#include "tests/server/engine/support/crash_model.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/server/engine/support/state_image.h"
#include "tests/server/saves/save_fixture.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace ramvol::saves {
namespace {

using ::ramvol::engine::CrashModel;
using ::ramvol::engine::Engine;
using ::ramvol::engine::ShmDir;
using ::ramvol::engine::StateImage;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::TempDir;
using ::ramvol::testing::TestSeed;
using ::ramvol::testing::TestSteps;
using ::testing::IsEmpty;

constexpr int kRounds = 60;
// To make what is saved first.
constexpr uint64_t kMakePoints = 50000;
constexpr uint64_t kMakeMicros = 200000;
// While it is read back.
constexpr uint64_t kMaxPoints = 6000;
constexpr uint64_t kMaxMicros = 60000;
// How often a process reads only what is asked for, so that the next one still
// has something to read.
constexpr uint64_t kReadsAhead = 4;

std::unique_ptr<Engine> OpenEngine(const std::string& state) {
  engine::EngineOptions options;
  options.memory_limit_bytes = 64 << 20;
  options.hot_cache_bytes = 1 << 20;
  options.merge_interval_ms = 1;
  options.background_threads = 2;
  options.state_dir = state;
  auto engine = Engine::Create(options);
  RAMVOL_CHECK(engine.ok());
  return *std::move(engine);
}

// What a server has, and does at its start.
struct Running {
  Running(const std::string& state, const std::string& path,
          bool reads_ahead = true)
      : engine(OpenEngine(state)) {
    auto opened = SaveDir::Open(path);
    RAMVOL_CHECK(opened.ok());
    saves = *std::move(opened);
    if (!reads_ahead) saves->ReadNothingAheadForTest();
    const auto& recovered = engine->recovered();
    RAMVOL_CHECK(recovered.damaged.empty() && !recovered.lost);
    if (recovered.volumes == 0) {
      auto begun = saves->Begin(engine.get(), nullptr);
      RAMVOL_CHECK(begun.ok() && begun->damaged.empty());
    } else if (recovered.outside != 0) {
      auto begun = saves->Resume(engine.get());
      RAMVOL_CHECK(begun.ok() && begun->damaged.empty());
    }
  }

  std::unique_ptr<Engine> engine;
  std::unique_ptr<SaveDir> saves;
};

class ReadBackKillTest : public ::testing::Test {
 protected:
  // There is always a volume, so that a state_dir without one is new.
  static void MakeAnchor(Engine& engine) {
    engine::VolumeOptions options;
    options.name = "anchor";
    options.size_bytes = 1 << 20;
    ASSERT_THAT(engine.CreateVolume(options).status(), IsOk());
  }

  // Looks at a copy, so that what was not read yet stays so. Whether there was
  // something.
  bool CheckCopy() {
    const ShmDir copy;
    StateImage::Of(state_->path()).PutInto(copy.path());
    Running running(copy.path(), path());
    const bool left = !running.engine->recovered().outside_images.empty();
    model_.Check(*running.engine);
    if (!left || HasFailure()) return left;
    ++in_the_middle_;
    EXPECT_THAT(running.saves->AwaitRestored(nullptr), IsOk());
    model_.Check(*running.engine);
    return left;
  }

  // Reads the rest and saves all; then only the save is there.
  void SaveAndBoot() {
    {
      Running running(state_->path(), path());
      const auto saved =
          running.saves->Save(running.engine.get(), /*quiet=*/true, nullptr);
      ASSERT_THAT(saved.status(), IsOk());
      EXPECT_THAT(saved->left_out, IsEmpty());
    }
    EXPECT_EQ(OpenEngine(state_->path())->recovered().outside, 0u);
    state_.emplace();
  }

  std::string path() const { return dir_.path() + "/saves"; }

  TempDir dir_;
  std::optional<ShmDir> state_{std::in_place};
  CrashModel model_;
  int in_the_middle_ = 0;
};

TEST_F(ReadBackKillTest, WhatWasAcknowledgedIsThereAfterKill) {
  std::mt19937_64 random(TestSeed(1));
  const uint64_t allocated_at_first =
      OpenEngine(state_->path())->Stats().memory_allocated_bytes;
  MakeAnchor(*OpenEngine(state_->path()));
  const int rounds = TestSteps(kRounds);
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    const uint64_t seed = random();
    const bool first = round == 0;
    const bool reads_ahead = random() % kReadsAhead == 0;
    engine::RunAndKill(random, first ? kMakePoints : kMaxPoints,
                       first ? kMakeMicros : kMaxMicros, [&] {
                         Running running(state_->path(), path(), reads_ahead);
                         model_.Work(*running.engine, seed);
                       });
    if (HasFatalFailure()) return;
    const bool left = CheckCopy();
    if (HasFailure()) return;
    if (first || (!left && random() % 2 == 0)) SaveAndBoot();
    if (HasFailure()) return;
  }
  std::printf("killed %d times, %d of them before all was read\n", rounds,
              in_the_middle_);
  EXPECT_GT(in_the_middle_, 0);
  Running last(state_->path(), path());
  EXPECT_THAT(last.saves->AwaitRestored(nullptr), IsOk());
  last.saves = nullptr;
  engine::ExpectFreed(*last.engine, allocated_at_first);
  model_.ExpectAllKinds();
}

}  // namespace
}  // namespace ramvol::saves
