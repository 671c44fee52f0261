// Engines with volumes as a server makes them, and a --save_dir.
#ifndef RAMVOL_TESTS_SERVER_SAVES_SAVE_FIXTURE_H_
#define RAMVOL_TESTS_SERVER_SAVES_SAVE_FIXTURE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "ramvol/state/v1/state.pb.h"
#include "server/engine/engine.h"
#include "server/saves/save_dir.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"

namespace ramvol::saves {

// One server's volumes. What is made from what is in their attributes.
class TestVolumes {
 public:
  explicit TestVolumes(uint64_t memory_limit_bytes = uint64_t{256} << 20,
                       const std::string& state_dir = "") {
    engine::EngineOptions options;
    options.memory_limit_bytes = memory_limit_bytes;
    options.hot_cache_bytes = 4 << 20;
    options.background_threads = 2;
    options.state_dir = state_dir;
    auto engine = engine::Engine::Create(options);
    EXPECT_THAT(engine.status(), testing::IsOk());
    engine_ = *std::move(engine);
  }

  engine::Engine& engine() { return *engine_; }

  std::shared_ptr<engine::Volume> Create(const engine::VolumeOptions& options) {
    auto made = engine_->CreateVolume(options, KeptOf(0));
    EXPECT_THAT(made.status(), testing::IsOk());
    return *std::move(made);
  }
  std::shared_ptr<engine::Volume> Create(const std::string& name,
                                         uint64_t size_bytes) {
    engine::VolumeOptions options;
    options.name = name;
    options.size_bytes = size_bytes;
    return Create(options);
  }
  std::shared_ptr<engine::Volume> Clone(const std::string& source,
                                        const std::string& name) {
    engine::VolumeOptions options;
    options.name = name;
    auto from = Find(source);
    auto made = engine_->CloneVolume(options, from, KeptOf(from->uid()));
    EXPECT_THAT(made.status(), testing::IsOk());
    return *std::move(made);
  }
  std::shared_ptr<engine::Volume> Snapshot(const std::string& source,
                                           const std::string& name) {
    auto from = Find(source);
    const int64_t second = ++second_;
    auto made = engine_->CreateSnapshots(
        {{from, name, [&](const engine::Volume&) {
            state::v1::KeptSnapshot kept;
            kept.mutable_snapshot()->set_source_uid(Hex(from->uid()));
            kept.mutable_snapshot()->mutable_create_time()->set_seconds(second);
            return kept.SerializeAsString();
          }}});
    EXPECT_THAT(made.status(), testing::IsOk());
    return made->front();
  }
  std::shared_ptr<engine::Volume> Find(const std::string& name) {
    auto found = engine_->Find(name);
    EXPECT_THAT(found.status(), testing::IsOk()) << name;
    return *std::move(found);
  }

  // All that must be the same after a restart, of contents a hash. Damaged ones
  // are left out.
  std::map<std::string, std::string> Everything() {
    std::map<std::string, std::string> all;
    for (const char* const after : {"", "@"}) {
      for (const auto& [name, volume] : engine_->List(after, 1000000)) {
        if (!volume->damaged()) all[name] = All(*volume);
      }
    }
    return all;
  }
  static std::string Content(engine::Volume& volume) {
    std::string content(volume.size_bytes(), '?');
    EXPECT_THAT(volume.Read(0, absl::MakeSpan(content)), testing::IsOk());
    return content;
  }

  // Of one of them.
  static std::string All(engine::Volume& volume) {
    const engine::VolumeOptions options = volume.options();
    return absl::StrCat(
        volume.uid(), " ", options.name, " ", options.size_bytes, " ",
        static_cast<int>(options.allocator), " ", options.min_frame_bytes, " ",
        options.max_frame_bytes, " ", options.write_level, " ",
        options.merge_level, " ", options.memory_limit_bytes, " ",
        options.read_only, " ", volume.is_snapshot(), " ", volume.attributes(),
        " ", std::hash<std::string>()(Content(volume)));
  }

 private:
  static std::string Hex(uint64_t uid) {
    return absl::StrCat(absl::Hex(uid, absl::kZeroPad16));
  }
  engine::AttributesOf KeptOf(uint64_t source_uid) {
    return [source_uid, second = ++second_](const engine::Volume&) {
      state::v1::KeptVolume kept;
      if (source_uid != 0) {
        kept.mutable_settings()->set_source_uid(Hex(source_uid));
      }
      kept.mutable_settings()->mutable_create_time()->set_seconds(second);
      (*kept.mutable_settings()->mutable_labels())["team"] = "storage";
      return kept.SerializeAsString();
    };
  }

  int64_t second_ = 1000;
  std::unique_ptr<engine::Engine> engine_;
};

// About the size of what Fill makes.
inline constexpr uint64_t kFilledBytes = 4 << 20;

inline void Scribble(engine::Volume& volume, std::mt19937_64& random,
                     int steps) {
  for (int i = 0; i < steps; ++i) {
    const uint64_t length = 1 + random() % 200000;
    const uint64_t offset = random() % (volume.size_bytes() - length);
    if (random() % 5 == 0) {
      EXPECT_THAT(volume.Trim(offset, length), testing::IsOk());
    } else {
      EXPECT_THAT(volume.Write(offset, testing::RandomData(random, length)),
                  testing::IsOk());
    }
  }
}

// Volumes of all kinds, snapshots, clones.
inline void Fill(TestVolumes& volumes, uint64_t seed) {
  std::mt19937_64 random(seed);
  for (const engine::Allocator allocator :
       {engine::Allocator::kZstd, engine::Allocator::kSparse,
        engine::Allocator::kMalloc}) {
    engine::VolumeOptions options;
    options.name = absl::StrCat("disk", static_cast<int>(allocator));
    options.size_bytes = kFilledBytes + 12345 * static_cast<int>(allocator);
    options.allocator = allocator;
    options.write_level = 3;
    if (allocator == engine::Allocator::kZstd) {
      options.memory_limit_bytes = 100 << 20;
      options.min_frame_bytes = 8192;
    }
    Scribble(*volumes.Create(options), random, 20);
    volumes.Snapshot(options.name, options.name + "-early");
    Scribble(*volumes.Find(options.name), random, 5);
    volumes.Snapshot(options.name, options.name + "-late");
    Scribble(*volumes.Find(options.name), random, 5);
    volumes.Clone("@" + options.name + "-early", options.name + "-clone");
    Scribble(*volumes.Find(options.name + "-clone"), random, 3);
    volumes.Snapshot(options.name + "-clone", options.name + "-of-clone");
  }
  volumes.Create("empty", 1);
  engine::VolumeUpdate update;
  update.size_bytes = 2 << 20;
  update.read_only = true;
  EXPECT_THAT(volumes.Find("disk1-clone")->Update(update), testing::IsOk());
  update.size_bytes = 9 << 20;
  update.read_only = false;
  EXPECT_THAT(volumes.Find("disk0-clone")->Update(update), testing::IsOk());
}
// A few small ones, for tests that save them again and again.
inline void FillALittle(TestVolumes& volumes, uint64_t seed) {
  std::mt19937_64 random(seed);
  Scribble(*volumes.Create("disk", 1 << 20), random, 4);
  volumes.Snapshot("disk", "snapshot");
  Scribble(*volumes.Find("disk"), random, 2);
  Scribble(*volumes.Clone("@snapshot", "clone"), random, 2);
  Scribble(*volumes.Create("other", 1 << 20), random, 2);
}

}  // namespace ramvol::saves

#endif  // RAMVOL_TESTS_SERVER_SAVES_SAVE_FIXTURE_H_
