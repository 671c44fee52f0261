// Kills a process that changes volumes, at a random time or right after the
// n-th store that publishes a change. Each time, the next engine must have all
// that was acknowledged, and of what was under way the old or the new state.
#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "tests/server/engine/support/crash_model.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/support/random_data.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::TestSeed;
using ::ramvol::testing::TestSteps;
using ::testing::IsEmpty;

constexpr int kRounds = 50;
constexpr uint64_t kMaxPoints = 20000;
constexpr uint64_t kMaxMicros = 60000;

std::unique_ptr<Engine> Open(const std::string& dir) {
  EngineOptions options;
  options.memory_limit_bytes = 64 << 20;
  options.hot_cache_bytes = 1 << 20;
  options.merge_interval_ms = 1;
  options.background_threads = 2;
  options.state_dir = dir;
  auto engine = Engine::Create(options);
  RAMVOL_CHECK(engine.ok());
  return *std::move(engine);
}

TEST(StateCrashTest, WhatWasAcknowledgedIsThereAfterKill) {
  std::mt19937_64 random(TestSeed(1));
  const ShmDir dir;
  CrashModel model;
  const uint64_t allocated_at_first =
      Open(dir.path())->Stats().memory_allocated_bytes;
  const int rounds = TestSteps(kRounds);
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    const uint64_t seed = random();
    RunAndKill(random, kMaxPoints, kMaxMicros,
               [&] { model.Work(*Open(dir.path()), seed); });
    if (HasFatalFailure()) return;
    auto engine = Open(dir.path());
    EXPECT_THAT(engine->recovered().damaged, IsEmpty());
    EXPECT_FALSE(engine->recovered().lost);
    model.Check(*engine);
    if (HasFailure()) return;
  }
  ExpectFreed(*Open(dir.path()), allocated_at_first);
  model.ExpectAllKinds();
}

}  // namespace
}  // namespace ramvol::engine
