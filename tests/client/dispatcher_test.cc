#include "client/dispatcher.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "client/call.h"
#include "client/call_table.h"
#include "client/channel_stream.h"
#include "client/client_counters.h"
#include "client/io_transport.h"
#include "client/options.h"
#include "client/outbox.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_transport.h"
#include "tests/client/make_call.h"

namespace ramvol {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kUnbounded = INT64_MAX;

class DispatcherTest : public ::testing::Test {
 protected:
  // Adds an open stream, with nothing on its way.
  void AddStream(int32_t window_operations = 1000) {
    ChannelStream& stream = streams_.emplace_back(options_, counters_);
    stream.Start(std::make_shared<FakeStream>(0, StreamOpening(), nullptr),
                 streams_.size(), {}, At(10));
    VolumeOpened opened;
    opened.window_operations = window_operations;
    opened.window_bytes = int64_t{64} << 20;
    stream.Open(opened);
    stream.set_writing(false);
  }
  std::shared_ptr<Call> AddCall(OperationKind kind, int64_t length) {
    auto call = MakeCall(kind, 0, length);
    calls_.Add(call);
    return call;
  }
  std::vector<Batch> Dispatch(Dispatcher& dispatcher) {
    std::vector<Batch> batches;
    dispatcher.Dispatch(calls_, absl::MakeSpan(streams_), batches);
    return batches;
  }

  ClientOptions options_;
  ClientCounters counters_;
  CallTable calls_;
  std::vector<ChannelStream> streams_;
};

TEST_F(DispatcherTest, NothingGoesWithoutAStreamThatCanSend) {
  Dispatcher dispatcher(kUnbounded);
  AddCall(OperationKind::kTrim, 1);
  EXPECT_THAT(Dispatch(dispatcher), IsEmpty());
  AddStream();
  streams_[0].set_writing(true);
  EXPECT_THAT(Dispatch(dispatcher), IsEmpty());
  streams_[0].set_writing(false);
  const std::vector<Batch> batches = Dispatch(dispatcher);
  ASSERT_THAT(batches, SizeIs(1));
  EXPECT_EQ(batches[0].stream, streams_[0].stream());
  EXPECT_FALSE(streams_[0].CanSend()) << "a message is on its way";
  EXPECT_TRUE(calls_.nothing_queued());
}

TEST_F(DispatcherTest, MessagesAreBounded) {
  Dispatcher dispatcher(kUnbounded);
  AddStream();
  for (int i = 0; i < kMaxBatchOperations + 1; ++i) {
    AddCall(OperationKind::kTrim, 1);
  }
  AddCall(OperationKind::kRead, kMaxBatchBytes / 2);
  AddCall(OperationKind::kRead, kMaxBatchBytes / 2 + 1);
  std::vector<size_t> sizes;
  for (int i = 0; i < 3; ++i) {
    for (const Batch& batch : Dispatch(dispatcher)) {
      sizes.push_back(batch.operations.size());
    }
    streams_[0].set_writing(false);
  }
  EXPECT_THAT(sizes, ElementsAre(kMaxBatchOperations, 2, 1));
}

TEST_F(DispatcherTest, TheStreamWithLeastDataGetsTheNextMessage) {
  Dispatcher dispatcher(kUnbounded);
  AddStream();
  AddStream();
  AddCall(OperationKind::kRead, 1000);
  EXPECT_EQ(Dispatch(dispatcher)[0].stream, streams_[0].stream());
  streams_[0].set_writing(false);
  AddCall(OperationKind::kRead, 10);
  EXPECT_EQ(Dispatch(dispatcher)[0].stream, streams_[1].stream());
  streams_[1].set_writing(false);
  AddCall(OperationKind::kRead, 10);
  EXPECT_EQ(Dispatch(dispatcher)[0].stream, streams_[1].stream());
}

TEST_F(DispatcherTest, AFullStreamLeavesTheRestToOthers) {
  Dispatcher dispatcher(kUnbounded);
  AddStream(/*window_operations=*/2);
  AddStream(/*window_operations=*/1);
  for (int i = 0; i < 5; ++i) AddCall(OperationKind::kTrim, 1);
  const std::vector<Batch> batches = Dispatch(dispatcher);
  ASSERT_THAT(batches, SizeIs(2));
  EXPECT_THAT(batches[0].operations, SizeIs(2));
  EXPECT_THAT(batches[1].operations, SizeIs(1));
  EXPECT_THAT(TakeParts(calls_), SizeIs(2));
}

TEST_F(DispatcherTest, AllStreamsTogetherAreBounded) {
  Dispatcher dispatcher(/*max_inflight_bytes=*/1500);
  AddStream();
  AddStream();
  AddStream();
  for (int i = 0; i < 3; ++i) AddCall(OperationKind::kRead, 500);
  AddCall(OperationKind::kRead, 1);
  const std::vector<Batch> batches = Dispatch(dispatcher);
  ASSERT_THAT(batches, SizeIs(1));
  EXPECT_THAT(batches[0].operations, SizeIs(3));
  streams_[0].Answer(batches[0].operations[0].id);
  EXPECT_THAT(Dispatch(dispatcher), SizeIs(1));
}

TEST_F(DispatcherTest, WhatIsLargerThanTheBoundGoesAlone) {
  Dispatcher dispatcher(/*max_inflight_bytes=*/100);
  AddStream();
  AddStream();
  for (int i = 0; i < 2; ++i) AddCall(OperationKind::kRead, 500);
  const std::vector<Batch> batches = Dispatch(dispatcher);
  ASSERT_THAT(batches, SizeIs(1));
  EXPECT_THAT(batches[0].operations, SizeIs(1));
}

TEST_F(DispatcherTest, WritesArePinnedAndOperationsHaveIdsOfTheirOwn) {
  Dispatcher dispatcher(kUnbounded);
  AddStream();
  const std::string data(10, 'x');
  auto write = MakeCall(OperationKind::kWrite, 0, 10);
  write->request.data = data.data();
  calls_.Add(write);
  auto read = AddCall(OperationKind::kRead, 10);
  const std::vector<Batch> batches = Dispatch(dispatcher);
  ASSERT_THAT(batches, SizeIs(1));
  EXPECT_THAT(batches[0].pinned, ElementsAre(write));
  EXPECT_EQ(write->pins, 1);
  EXPECT_EQ(read->pins, 0);
  ASSERT_THAT(batches[0].operations, SizeIs(2));
  EXPECT_NE(batches[0].operations[0].id, batches[0].operations[1].id);
  EXPECT_EQ(streams_[0].Answer(batches[0].operations[0].id).call, write);
}

}  // namespace
}  // namespace ramvol
