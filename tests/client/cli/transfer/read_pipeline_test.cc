#include "client/cli/transfer/read_pipeline.h"

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/transfer/transfer.h"
#include "client/remote_volume.h"
#include "gtest/gtest.h"
#include "tests/client/cli/cli_harness.h"
#include "tests/client/fake_volume.h"

namespace ramvol::cli {
namespace {

constexpr int64_t kBytes = 5000;

class ReadPipelineTest : public ::testing::Test {
 protected:
  std::shared_ptr<FakeVolume> volume_ = std::make_shared<FakeVolume>(1 << 20);
};

TEST_F(ReadPipelineTest, ReadsComeOutInTheirOrder) {
  const std::string data = Noise(2 * kMaxBuffers * kBytes, 1);
  volume_->Fill(0, data);
  ReadPipeline pipeline{RemoteVolume(volume_)};
  EXPECT_TRUE(pipeline.empty());
  int64_t pushed = 0;
  for (int64_t popped = 0; popped < 2 * kMaxBuffers; ++popped) {
    for (; !pipeline.full() && pushed < 2 * kMaxBuffers; ++pushed) {
      pipeline.Push(pushed * kBytes, kBytes);
    }
    const absl::StatusOr<ReadPipeline::Piece> piece = pipeline.Pop();
    ASSERT_TRUE(piece.ok()) << piece.status();
    EXPECT_EQ(piece->offset, popped * kBytes);
    EXPECT_EQ(piece->data, data.substr(popped * kBytes, kBytes));
  }
  EXPECT_TRUE(pipeline.empty());
}

TEST_F(ReadPipelineTest, AFailureComesInItsTurn) {
  ReadPipeline pipeline{RemoteVolume(volume_)};
  volume_->FailAfter(1, absl::DataLossError("bad"));
  pipeline.Push(0, kBytes);
  pipeline.Push(kBytes, kBytes);
  EXPECT_TRUE(pipeline.Pop().ok());
  EXPECT_TRUE(absl::IsDataLoss(pipeline.Pop().status()));
}

TEST_F(ReadPipelineTest, MayGoWhileReadsAreUnderWay) {
  ReadPipeline pipeline{RemoteVolume(volume_)};
  while (!pipeline.full()) pipeline.Push(0, kBytes);
}

}  // namespace
}  // namespace ramvol::cli
