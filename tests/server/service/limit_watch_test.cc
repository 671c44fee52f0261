#include "server/service/limit_watch.h"

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/event_log.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint64_t kMiB = uint64_t{1} << 20;

class LimitWatchTest : public ::testing::Test, public EventObserver {
 protected:
  LimitWatchTest() {
    engine::EngineOptions options;
    options.memory_limit_bytes = 64 * kMiB;
    engine_ = *engine::Engine::Create(options);
    watch_ = std::make_unique<LimitWatch>(engine_.get());
    EventLog::OfProcess().AddObserver(this);
  }
  ~LimitWatchTest() override { EventLog::OfProcess().RemoveObserver(this); }

  void OnEvent(Event event, const LogFields& fields) override {
    if (event != Event::kMemoryLow) return;
    heard_.push_back(absl::StrCat(std::string(fields.volume), " ",
                                  std::string(fields.reason)));
  }
  // What a look tells.
  std::vector<std::string> Look() {
    heard_.clear();
    watch_->Look();
    return heard_;
  }
  std::shared_ptr<engine::Volume> Make(
      const std::string& name, uint64_t limit_bytes,
      engine::Allocator allocator = engine::Allocator::kSparse) {
    engine::VolumeOptions options;
    options.name = name;
    options.size_bytes = 64 * kMiB;
    options.allocator = allocator;
    options.memory_limit_bytes = limit_bytes;
    return engine_->CreateVolume(options).value();
  }
  static void Write(engine::Volume& volume, uint64_t from, uint64_t to) {
    std::mt19937_64 random(1);
    const std::string data = testing::Noise(random, to - from);
    ASSERT_THAT(volume.Write(from, data), IsOk());
  }

  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<LimitWatch> watch_;
  std::vector<std::string> heard_;
};

TEST_F(LimitWatchTest, TellsOnceWhenAVolumeIsNearItsLimit) {
  const auto volume = Make("v", 10 * kMiB);
  Make("other", 0);
  Write(*volume, 0, 8 * kMiB);
  EXPECT_THAT(Look(), IsEmpty());
  Write(*volume, 8 * kMiB, 9 * kMiB + kMiB / 2);
  EXPECT_THAT(Look(), ElementsAre("v VOLUME_MEMORY_LIMIT"));
  EXPECT_THAT(Look(), IsEmpty());
  // A little less is not enough to be told again.
  ASSERT_THAT(volume->Trim(9 * kMiB - kMiB / 8, kMiB), IsOk());
  EXPECT_THAT(Look(), IsEmpty());
  Write(*volume, 9 * kMiB, 9 * kMiB + kMiB / 2);
  EXPECT_THAT(Look(), IsEmpty());
  ASSERT_THAT(volume->Trim(0, 9 * kMiB), IsOk());
  EXPECT_THAT(Look(), IsEmpty());
  Write(*volume, 0, 9 * kMiB);
  EXPECT_THAT(Look(), ElementsAre("v VOLUME_MEMORY_LIMIT"));
}

TEST_F(LimitWatchTest, TellsOnceWhenTheServerIsNearItsLimit) {
  EXPECT_THAT(Look(), IsEmpty());
  {
    engine::VolumeOptions options;
    options.name = "reserved";
    options.size_bytes = 58 * kMiB;
    options.allocator = engine::Allocator::kMalloc;
    const auto volume = engine_->CreateVolume(options).value();
    EXPECT_THAT(Look(), ElementsAre(" SERVER_MEMORY_LIMIT"));
    EXPECT_THAT(Look(), IsEmpty());
    ASSERT_THAT(engine_->DeleteVolume(volume, false), IsOk());
  }
  EXPECT_THAT(Look(), IsEmpty());
}

TEST_F(LimitWatchTest, AllVolumesGetTheirTurn) {
  constexpr int kVolumes = 2500;
  for (int i = 0; i < kVolumes; ++i) Make(absl::StrCat("v", i), 0);
  Write(*Make("z", kMiB), 0, kMiB - kMiB / 16);
  EXPECT_THAT(Look(), IsEmpty());
  EXPECT_THAT(Look(), IsEmpty());
  EXPECT_THAT(Look(), ElementsAre("z VOLUME_MEMORY_LIMIT"));
  for (int i = 0; i < 6; ++i) EXPECT_THAT(Look(), IsEmpty());
}

}  // namespace
}  // namespace ramvol::service
