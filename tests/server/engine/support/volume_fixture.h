// An engine, and volumes of it.
#ifndef RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_VOLUME_FIXTURE_H_
#define RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_VOLUME_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"

namespace ramvol::engine {

class VolumeTest : public ::testing::Test {
 protected:
  VolumeTest() {
    options_.memory_limit_bytes = 64 << 20;
    options_.merge_interval_ms = 3600000;
    Restart();
  }

  void Restart() {
    volume_.reset();
    engine_.reset();
    engine_ = *Engine::Create(options_);
  }

  Volume& Make(uint64_t size, Allocator allocator = Allocator::kZstd) {
    VolumeOptions options;
    options.name = "v";
    options.size_bytes = size;
    options.allocator = allocator;
    return Make(options);
  }
  Volume& Make(const VolumeOptions& options) {
    auto volume = engine_->CreateVolume(options);
    EXPECT_TRUE(volume.ok()) << volume.status();
    volume_ = *volume;
    return *volume_;
  }

  static absl::Status Write(Volume& volume, uint64_t offset,
                            const std::string& data) {
    return volume.Write(offset, absl::MakeConstSpan(data.data(), data.size()));
  }
  static std::string Read(Volume& volume, uint64_t offset, size_t length) {
    std::string data(length, 'x');
    const absl::Status status = volume.Read(offset, absl::MakeSpan(data));
    return status.ok() ? data : status.ToString();
  }
  static std::vector<Extent> AllExtents(Volume& volume) {
    return volume.GetExtents(0, volume.size_bytes(), 1000)->extents;
  }

  EngineOptions options_;
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<Volume> volume_;
  std::mt19937_64 random_{7};
};

}  // namespace ramvol::engine

#endif  // RAMVOL_TESTS_SERVER_ENGINE_SUPPORT_VOLUME_FIXTURE_H_
