// The fixture of the pipeline's tests: a volume over a transport and a clock
// that do what the test says.
#ifndef RAMVOL_TESTS_CLIENT_PIPELINE_FIXTURE_H_
#define RAMVOL_TESTS_CLIENT_PIPELINE_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/io_transport.h"
#include "client/options.h"
#include "client/pipeline.h"
#include "client/pipelined_connection.h"
#include "gtest/gtest.h"
#include "tests/client/fake_transport.h"
#include "tests/client/manual_timer.h"

namespace ramvol {

inline constexpr int64_t kMiB = int64_t{1} << 20;

inline VolumeOpened SomeVolume() {
  return {.size_bytes = int64_t{1} << 30,
          .read_only = false,
          .window_operations = 256,
          .window_bytes = 16 * kMiB,
          .max_data_bytes = 16 * kMiB,
          .uid = "uid-1"};
}

inline OperationResult Ok(const SentOperation& operation) {
  OperationResult result;
  result.id = operation.head.id;
  return result;
}

inline OperationResult Failed(const SentOperation& operation,
                              absl::Status status) {
  OperationResult result = Ok(operation);
  result.status = std::move(status);
  return result;
}

inline OperationResult Data(const SentOperation& operation,
                            std::string_view data) {
  OperationResult result = Ok(operation);
  result.data.push_back(data);
  return result;
}

// What a call has come to. Its callback may outlive it.
struct Outcome {
  struct State {
    int count = 0;
    absl::Status status;
  };

  VolumeConnection::Done Done() {
    return [state = state](absl::Status result) {
      ++state->count;
      state->status = std::move(result);
    };
  }

  const std::shared_ptr<State> state = std::make_shared<State>();
  int& count = state->count;
  absl::Status& status = state->status;
};

class PipelineTest : public ::testing::Test {
 protected:
  // Ends all calls and streams, which hold the pipeline.
  void TearDown() override {
    for (const auto& stream : transport_->streams) stream->ignores_data = true;
    volume_.reset();
    for (int i = 0; i < 20; ++i) {
      const auto streams = transport_->streams;
      for (const auto& stream : streams) {
        if (!stream->closed) stream->Close(absl::UnavailableError("test ends"));
      }
      timer_->Advance(absl::Seconds(60));
    }
    EXPECT_TRUE(pipeline_.expired()) << "something holds the pipeline";
  }

  // Everything up to the streams' start.
  void Create(int channels = 1) {
    options_.server = "unix:/fake";
    options_.channels = channels;
    auto pipeline = std::make_shared<VolumePipeline>("scratch", options_,
                                                     transport_, timer_);
    volume_ = std::make_unique<PipelinedConnection>(pipeline, /*wait=*/false);
    pipeline_ = pipeline;
    pipeline->Open(opened_.Done());
  }

  void CreateOpen(int channels = 1, const VolumeOpened& opened = SomeVolume()) {
    Create(channels);
    for (int i = 0; i < channels; ++i) stream(i).Open(opened);
    timer_->RunDue();
    ASSERT_TRUE(opened_.status.ok()) << opened_.status;
    ASSERT_EQ(opened_.count, 1);
  }

  FakeStream& stream(size_t i) { return *transport_->streams.at(i); }
  FakeStream& last() { return *transport_->streams.back(); }

  // Lets the pause before the next attempt pass.
  void AwaitNextStream() {
    const size_t before = transport_->streams.size();
    for (int i = 0; i < 100 && transport_->streams.size() == before; ++i) {
      timer_->Advance(options_.initial_backoff);
    }
    ASSERT_GT(transport_->streams.size(), before);
  }

  ClientOptions options_;
  std::shared_ptr<ManualTimer> timer_ = std::make_shared<ManualTimer>();
  std::shared_ptr<FakeTransport> transport_ = std::make_shared<FakeTransport>();
  Outcome opened_;
  std::weak_ptr<VolumePipeline> pipeline_;
  std::unique_ptr<PipelinedConnection> volume_;
};

}  // namespace ramvol

#endif  // RAMVOL_TESTS_CLIENT_PIPELINE_FIXTURE_H_
