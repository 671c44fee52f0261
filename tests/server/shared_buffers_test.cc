// Others change the buffers of an export's device while it has them.
#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/block/block_device.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "server/engine_exports.h"
#include "server/service/catalog.h"
#include "tests/support/random_data.h"

namespace ramvol::server {
namespace {

constexpr uint64_t kPieces = 64;
constexpr uint64_t kPieceBytes = 64 << 10;

// Keeps what it is told.
class Completion final : public block::Completion {
 public:
  void Done(absl::Status status) override { status_ = std::move(status); }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_ = absl::UnknownError("not done");
};

// Without a policy of access, too: that has a way to open of its own.
TEST(SharedBuffersTest, StayWholeInAVolumeThatEverybodyMayUse) {
  engine::EngineOptions limits;
  limits.memory_limit_bytes = uint64_t{64} << 20;
  const auto engine = engine::Engine::Create(limits);
  ASSERT_TRUE(engine.ok());
  engine::VolumeOptions options;
  options.name = "disk";
  options.size_bytes = kPieces * kPieceBytes;
  ASSERT_TRUE((*engine)->CreateVolume(options).ok());
  const service::Catalog catalog(engine->get());
  EngineExports exports(engine->get(), &catalog,
                        {.over = "vhost-user", .shared_buffers = true});
  const auto device = exports.Open("disk", "here");
  ASSERT_TRUE(device.ok());

  std::mt19937_64 random(1);
  std::string data = testing::Text(random, kPieceBytes);
  std::atomic<bool> stop{false};
  std::thread guest([&] {
    for (uint64_t i = 0; !stop; ++i) {
      *static_cast<volatile char*>(&data[i * 97 % kPieceBytes]) =
          static_cast<char>('a' + i % 26);
    }
  });
  Completion done;
  const std::string before = data;
  while (data == before) std::this_thread::yield();
  for (uint64_t i = 0; i < kPieces; ++i) {
    (*device)->Write(i * kPieceBytes, data, &done);
    EXPECT_TRUE(done.status().ok()) << done.status();
  }
  stop = true;
  guest.join();
  for (uint64_t i = 0; i < kPieces; ++i) {
    (*device)->Read(i * kPieceBytes, absl::MakeSpan(data), &done);
    EXPECT_TRUE(done.status().ok()) << done.status();
  }
}

}  // namespace
}  // namespace ramvol::server
