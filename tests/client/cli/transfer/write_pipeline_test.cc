#include "client/cli/transfer/write_pipeline.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "client/cli/transfer/transfer.h"
#include "client/remote_volume.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/cli_harness.h"
#include "tests/client/fake_volume.h"

namespace ramvol::cli {
namespace {

using ::testing::SizeIs;

class WritePipelineTest : public ::testing::Test {
 protected:
  static WritePipeline::Buffer Filled(WritePipeline& pipeline,
                                      const std::string& data) {
    WritePipeline::Buffer buffer =
        pipeline.NewBuffer(static_cast<int64_t>(data.size()));
    std::memcpy(buffer.memory.get(), data.data(), data.size());
    return buffer;
  }

  std::shared_ptr<FakeVolume> volume_ =
      std::make_shared<FakeVolume>(64 * kOperationBytes);
};

TEST_F(WritePipelineTest, DrainWaitsForAll) {
  WritePipeline pipeline{RemoteVolume(volume_)};
  const std::string data = Noise(40 * kOperationBytes, 1);
  for (int64_t i = 0; i < 40; ++i) {
    const int64_t offset = i * kOperationBytes;
    ASSERT_TRUE(pipeline
                    .Write(offset, Filled(pipeline,
                                          data.substr(offset, kOperationBytes)))
                    .ok());
  }
  EXPECT_TRUE(pipeline.Drain().ok());
  EXPECT_TRUE(volume_->Content(0, 40 * kOperationBytes) == data);
}

TEST_F(WritePipelineTest, ACopyOutlivesWhatWasCopied) {
  WritePipeline pipeline{RemoteVolume(volume_)};
  const std::string data = Noise(5000, 2);
  std::string buffer = data;
  ASSERT_TRUE(pipeline.WriteCopy(77, buffer).ok());
  buffer.assign(buffer.size(), 'x');
  ASSERT_TRUE(pipeline.Drain().ok());
  EXPECT_EQ(volume_->Content(77, 5000), data);
}

TEST_F(WritePipelineTest, MemoryOfEndedWritesIsUsedAgain) {
  WritePipeline pipeline{RemoteVolume(volume_)};
  WritePipeline::Buffer buffer = Filled(pipeline, Noise(5000, 3));
  const char* const memory = buffer.memory.get();
  ASSERT_TRUE(pipeline.Write(0, std::move(buffer)).ok());
  ASSERT_TRUE(pipeline.Drain().ok());
  buffer = pipeline.NewBuffer(5000);
  EXPECT_EQ(buffer.memory.get(), memory);
  EXPECT_EQ(pipeline.NewBuffer(6000).size, 6000);
}

TEST_F(WritePipelineTest, NothingStartsAfterAFailure) {
  volume_->FailAfter(1, absl::ResourceExhaustedError("full"));
  WritePipeline pipeline{RemoteVolume(volume_)};
  ASSERT_TRUE(pipeline.WriteCopy(0, "a").ok());
  ASSERT_TRUE(pipeline.Drain().ok());
  ASSERT_TRUE(pipeline.Trim(0, 4096).ok()) << "not known yet";
  EXPECT_TRUE(absl::IsResourceExhausted(pipeline.Drain()));
  EXPECT_TRUE(absl::IsResourceExhausted(pipeline.WriteCopy(0, "b")));
  EXPECT_TRUE(absl::IsResourceExhausted(pipeline.Trim(0, 4096)));
  EXPECT_TRUE(
      absl::IsResourceExhausted(pipeline.Write(0, Filled(pipeline, "c"))));
  EXPECT_THAT(volume_->writes(), SizeIs(1));
}

}  // namespace
}  // namespace ramvol::cli
