// Others change buffers while the engine has them.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "server/engine/volume.h"
#include "tests/server/engine/support/volume_fixture.h"
#include "tests/support/random_data.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::Text;

// Writes to a buffer until it is destroyed.
class Scribbler {
 public:
  explicit Scribbler(absl::Span<char> buffer)
      : thread_([this, buffer] {
          for (uint64_t i = 0; !stop_.load(std::memory_order_relaxed); ++i) {
            auto* const byte =
                static_cast<volatile char*>(&buffer[i * 97 % buffer.size()]);
            *byte = static_cast<char>('a' + i % 26);
          }
        }) {}
  ~Scribbler() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

TEST_F(VolumeTest, StaysWholeWhenItsWritersChangeTheirData) {
  Volume& volume = Make(64 * kChunkBytes);
  std::string data = Text(random_, kChunkBytes);
  {
    const Scribbler scribbler(absl::MakeSpan(data));
    for (uint64_t chunk = 0; chunk < 64; ++chunk) {
      ASSERT_TRUE(
          volume.Write(chunk * kChunkBytes, data, BufferOf::kOthers).ok());
    }
  }
  std::string out(kChunkBytes, ' ');
  for (uint64_t chunk = 0; chunk < 64; ++chunk) {
    const absl::Status read =
        volume.Read(chunk * kChunkBytes, absl::MakeSpan(out));
    ASSERT_TRUE(read.ok()) << read;
  }
}

TEST_F(VolumeTest, KeepsItsContentWhenReadersChangeTheirBuffers) {
  Volume& volume = Make(64 * kChunkBytes);
  const std::string data = Text(random_, kChunkBytes);
  for (uint64_t chunk = 0; chunk < 64; ++chunk) {
    ASSERT_TRUE(volume.Write(chunk * kChunkBytes, data).ok());
  }
  std::string out(kChunkBytes, ' ');
  {
    const Scribbler scribbler(absl::MakeSpan(out));
    for (uint64_t chunk = 0; chunk < 64; ++chunk) {
      // Short ones go to the cache, long ones do not.
      for (const size_t bytes : {kChunkBytes / 4, kChunkBytes}) {
        const absl::Status read =
            volume.Read(chunk * kChunkBytes, absl::MakeSpan(out).first(bytes),
                        BufferOf::kOthers);
        ASSERT_TRUE(read.ok()) << read;
      }
    }
  }
  for (uint64_t chunk = 0; chunk < 64; ++chunk) {
    ASSERT_EQ(Read(volume, chunk * kChunkBytes, kChunkBytes), data);
  }
}

}  // namespace
}  // namespace ramvol::engine
