// What the log says of data that is lost.
#include <algorithm>
#include <random>
#include <string>

#include "absl/types/span.h"
#include "base/event_log.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "tests/support/random_data.h"

namespace ramvol::engine {
namespace {

using ::testing::HasSubstr;

// However often it is read.
TEST(DataLossLogTest, DataLossIsLoggedOnce) {
  EngineOptions options;
  options.memory_limit_bytes = 64 << 20;
  const auto engine = *Engine::Create(options);
  VolumeOptions volume_options;
  volume_options.name = "v";
  volume_options.size_bytes = 1 << 20;
  const auto volume = *engine->CreateVolume(volume_options);
  std::mt19937_64 random(1);
  const std::string data = testing::Text(random, 128 << 10);
  ASSERT_TRUE(volume->Write(0, absl::MakeConstSpan(data)).ok());
  ASSERT_TRUE(volume->CorruptForTest(70000));

  EventLog& log = EventLog::OfProcess();
  log.Configure({.program = "test", .level = LogLevel::kError});
  ::testing::internal::CaptureStderr();
  std::string out(10, 'x');
  for (int i = 0; i < 3; ++i) {
    volume->Read(70000, absl::MakeSpan(out)).IgnoreError();
  }
  const std::string lines = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(lines, HasSubstr("error data_loss volume=v "
                               "reason=CORRUPT_FRAME: a frame of"));
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 1);
}

}  // namespace
}  // namespace ramvol::engine
