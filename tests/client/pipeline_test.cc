#include "client/pipeline.h"

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/reason.h"
#include "client/call.h"
#include "client/callback_scope.h"
#include "client/dispatcher.h"
#include "client/extent.h"
#include "client/io_transport.h"
#include "client/pipelined_connection.h"
#include "client/remote_volume.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_transport.h"
#include "tests/client/manual_timer.h"
#include "tests/client/pipeline_fixture.h"

namespace ramvol {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(PipelineTest, SendsNothingBeforeTheVolumeIsKnown) {
  Create(2);
  EXPECT_TRUE(stream(0).started && stream(1).started);
  Outcome write;
  volume_->WriteAsync(0, "x", write.Done());
  stream(0).Written();
  EXPECT_THAT(stream(0).messages, IsEmpty());
  EXPECT_EQ(opened_.count, 0);
  stream(0).Open(SomeVolume());
  EXPECT_EQ(opened_.count, 1);
  EXPECT_EQ(volume_->size_bytes(), int64_t{1} << 30);
  ASSERT_THAT(stream(0).sent(), SizeIs(1));
  EXPECT_EQ(stream(0).sent()[0].data, "x");
  EXPECT_THAT(stream(1).messages, IsEmpty());
}

TEST_F(PipelineTest, UnknownVolumeFailsOpenAndAllLaterCalls) {
  Create(2);
  stream(0).Close(WithReason(absl::NotFoundError("no volume \"scratch\""),
                             reason::kVolumeNotFound));
  EXPECT_TRUE(absl::IsNotFound(opened_.status)) << opened_.status;
  EXPECT_EQ(GetReason(opened_.status), reason::kVolumeNotFound);
  EXPECT_TRUE(stream(1).cancelled);
  Outcome write;
  volume_->WriteAsync(0, "x", write.Done());
  EXPECT_EQ(write.count, 0) << "done ran on the caller's thread";
  timer_->RunDue();
  EXPECT_TRUE(absl::IsNotFound(write.status)) << write.status;
  EXPECT_THAT(transport_->streams, SizeIs(2));
}

TEST_F(PipelineTest, BatchesWhatQueuesWhileAMessageIsWritten) {
  CreateOpen();
  Outcome outcome;
  for (int i = 0; i < 5; ++i) volume_->WriteAsync(i, "x", outcome.Done());
  ASSERT_THAT(stream(0).messages, SizeIs(1));
  EXPECT_THAT(stream(0).messages[0], SizeIs(1));
  stream(0).Written();
  ASSERT_THAT(stream(0).messages, SizeIs(2));
  EXPECT_THAT(stream(0).messages[1], SizeIs(4));
}

TEST_F(PipelineTest, BatchesAreBounded) {
  VolumeOpened opened = SomeVolume();
  opened.window_operations = 1000;
  CreateOpen(1, opened);
  Outcome outcome;
  for (int i = 0; i < 1 + kMaxBatchOperations + 1; ++i) {
    volume_->TrimAsync(i, 1, outcome.Done());
  }
  const std::string large(700 << 10, 'x');
  volume_->WriteAsync(0, large, outcome.Done());
  volume_->WriteAsync(0, large, outcome.Done());
  stream(0).Written();
  EXPECT_THAT(stream(0).messages[1], SizeIs(kMaxBatchOperations));
  stream(0).Written();
  EXPECT_THAT(stream(0).messages[2], SizeIs(2)) << "a trim and one large write";
  stream(0).Written();
  EXPECT_THAT(stream(0).messages[3], SizeIs(1));
}

TEST_F(PipelineTest, KeepsToTheWindowOfOperations) {
  VolumeOpened opened = SomeVolume();
  opened.window_operations = 3;
  CreateOpen(1, opened);
  Outcome outcome;
  for (int i = 0; i < 5; ++i) volume_->FlushAsync(outcome.Done());
  stream(0).Written();
  stream(0).Written();
  EXPECT_THAT(stream(0).sent(), SizeIs(3));
  stream(0).Answer({Ok(stream(0).sent()[1])});
  EXPECT_THAT(stream(0).sent(), SizeIs(4));
  EXPECT_EQ(outcome.count, 1);
}

TEST_F(PipelineTest, KeepsToTheWindowOfBytes) {
  VolumeOpened opened = SomeVolume();
  opened.window_bytes = 10000;
  CreateOpen(1, opened);
  Outcome outcome;
  std::string in(4096, '\0');
  const std::string data(4096, 'x');
  volume_->ReadAsync(0, absl::MakeSpan(in), outcome.Done());
  volume_->WriteAsync(0, data, outcome.Done());
  volume_->WriteAsync(0, data, outcome.Done());
  stream(0).Written();
  stream(0).Written();
  EXPECT_THAT(stream(0).sent(), SizeIs(2));
  stream(0).Answer({Data(stream(0).sent()[0], data)});
  EXPECT_THAT(stream(0).sent(), SizeIs(3));
  EXPECT_EQ(in, data);
}

TEST_F(PipelineTest, StripesByLeastInFlight) {
  CreateOpen(2);
  Outcome outcome;
  const std::string large(kMiB, 'x');
  volume_->WriteAsync(0, large, outcome.Done());
  volume_->WriteAsync(0, "a", outcome.Done());
  stream(0).Written();
  stream(1).Written();
  volume_->WriteAsync(0, "b", outcome.Done());
  EXPECT_THAT(stream(0).sent(), SizeIs(1));
  EXPECT_THAT(stream(1).sent(), SizeIs(2));
}

TEST_F(PipelineTest, CutsLargeWritesAtMebibytes) {
  CreateOpen(2);
  std::string data;
  for (int64_t i = 0; i < 3 * kMiB; ++i)
    data.push_back(static_cast<char>(i % 251));
  Outcome outcome;
  volume_->WriteAsync(4096, data, outcome.Done());
  for (int i = 0; i < 4; ++i) {
    stream(0).Written();
    stream(1).Written();
  }
  std::string written(4096 + data.size(), '\0');
  size_t operations = 0;
  for (int i : {1, 0}) {
    for (const SentOperation& sent : stream(i).sent()) {
      EXPECT_LE(sent.data.size(), static_cast<size_t>(kMiB));
      EXPECT_EQ(
          sent.head.offset / kMiB,
          (sent.head.offset + static_cast<int64_t>(sent.data.size()) - 1) /
              kMiB);
      written.replace(sent.head.offset, sent.data.size(), sent.data);
      EXPECT_EQ(outcome.count, 0);
      stream(i).Answer({Ok(sent)});
      ++operations;
    }
  }
  EXPECT_EQ(operations, 4u);
  EXPECT_EQ(written.substr(4096), data);
  EXPECT_EQ(outcome.count, 1);
  EXPECT_TRUE(outcome.status.ok());
}

TEST_F(PipelineTest, FirstErrorStopsTheRestOfALargeWrite) {
  VolumeOpened opened = SomeVolume();
  opened.window_bytes = 2 * kMiB;
  CreateOpen(1, opened);
  const std::string data(8 * kMiB, 'x');
  Outcome outcome;
  volume_->WriteAsync(0, data, outcome.Done());
  stream(0).Written();
  ASSERT_THAT(stream(0).sent(), SizeIs(2));
  stream(0).Written();
  stream(0).Answer(
      {Failed(stream(0).sent()[1], absl::ResourceExhaustedError("full"))});
  EXPECT_EQ(outcome.count, 0) << "a part is still out";
  stream(0).Answer({Failed(stream(0).sent()[0], absl::DataLossError("later"))});
  EXPECT_EQ(outcome.count, 1);
  EXPECT_TRUE(absl::IsResourceExhausted(outcome.status)) << outcome.status;
  EXPECT_THAT(stream(0).sent(), SizeIs(2));
}

TEST_F(PipelineTest, ErrorOfOneOperationLeavesTheOthersAlone) {
  CreateOpen();
  std::string in1(4, ' ');
  std::string in2(4, ' ');
  Outcome bad;
  Outcome good;
  volume_->ReadAsync(0, absl::MakeSpan(in1), bad.Done());
  volume_->ReadAsync(4, absl::MakeSpan(in2), good.Done());
  stream(0).Written();
  const auto sent = stream(0).sent();
  stream(0).Answer({Data(sent[1], "good"),
                    Failed(sent[0], WithReason(absl::DataLossError("bad"),
                                               reason::kCorruptFrame))});
  EXPECT_TRUE(absl::IsDataLoss(bad.status));
  EXPECT_EQ(GetReason(bad.status), reason::kCorruptFrame);
  EXPECT_TRUE(good.status.ok());
  EXPECT_EQ(in2, "good");
}

TEST_F(PipelineTest, ReadJoinsPiecesAndRejectsAWrongLength) {
  CreateOpen();
  std::string in(6, ' ');
  Outcome outcome;
  volume_->ReadAsync(0, absl::MakeSpan(in), outcome.Done());
  OperationResult result = Ok(stream(0).sent()[0]);
  result.data = {"ab", "", "cdef"};
  stream(0).Answer({result});
  EXPECT_EQ(in, "abcdef");
  stream(0).Written();
  volume_->ReadAsync(0, absl::MakeSpan(in), outcome.Done());
  stream(0).Answer({Data(stream(0).sent()[1], "short")});
  EXPECT_EQ(outcome.count, 2);
  EXPECT_TRUE(absl::IsInternal(outcome.status));
  EXPECT_THAT(outcome.status.message(), HasSubstr("5 bytes"));
}

TEST_F(PipelineTest, AnswersToUnknownIdsAreIgnored) {
  CreateOpen();
  Outcome outcome;
  volume_->FlushAsync(outcome.Done());
  SentOperation stranger;
  stranger.head.id = 12345;
  stream(0).Answer({Ok(stranger)});
  EXPECT_EQ(outcome.count, 0);
  stream(0).Answer({Ok(stream(0).sent()[0]), Ok(stream(0).sent()[0])});
  EXPECT_EQ(outcome.count, 1);
}

TEST_F(PipelineTest, RangesThatWrapAroundAreRefused) {
  CreateOpen();
  Outcome outcome;
  volume_->WriteAsync(INT64_MAX, "ab", outcome.Done());
  timer_->RunDue();
  EXPECT_TRUE(absl::IsOutOfRange(outcome.status)) << outcome.status;
  EXPECT_EQ(GetReason(outcome.status), reason::kPastEnd);
  EXPECT_THAT(stream(0).messages, IsEmpty());
}

TEST_F(PipelineTest, EmptyAndNegativeRangesAreTheServersToJudge) {
  CreateOpen();
  Outcome outcome;
  volume_->WriteAsync(7, "", outcome.Done());
  stream(0).Written();
  volume_->WriteAsync(-7, "ab", outcome.Done());
  stream(0).Written();
  volume_->TrimAsync(-1, INT64_MAX, outcome.Done());
  const auto sent = stream(0).sent();
  ASSERT_THAT(sent, SizeIs(3));
  EXPECT_EQ(sent[0].head.offset, 7);
  EXPECT_EQ(sent[1].head.offset, -7);
  EXPECT_EQ(sent[2].head.length, INT64_MAX);
}

// ---- Losing streams.

TEST_F(PipelineTest, ABufferIsHeldWhileItIsEncoded) {
  options_.timeout = absl::Seconds(1);
  CreateOpen();
  Outcome outcome;
  int during = -1;
  stream(0).during_prepare = [&] {
    timer_->Advance(absl::Seconds(2));  // Expires it.
    stream(0).Close(absl::UnavailableError("reset"));
    during = outcome.count;
  };
  volume_->WriteAsync(0, "x", outcome.Done());
  EXPECT_EQ(during, 0);
  EXPECT_EQ(outcome.count, 0) << "done ran on the caller's thread";
  timer_->RunDue();
  EXPECT_EQ(outcome.count, 1);
  EXPECT_TRUE(absl::IsDeadlineExceeded(outcome.status));
}

TEST_F(PipelineTest, ALossWhileEncodingIsReplayed) {
  CreateOpen();
  Outcome outcome;
  stream(0).during_prepare = [&] {
    stream(0).Close(absl::UnavailableError("reset"));
  };
  volume_->WriteAsync(0, "x", outcome.Done());
  AwaitNextStream();
  last().Open(SomeVolume());
  ASSERT_THAT(last().sent(), SizeIs(1));
  last().Answer({Ok(last().sent()[0])});
  EXPECT_EQ(outcome.count, 1);
  EXPECT_TRUE(outcome.status.ok());
}

// ---- Callbacks and back-pressure.

TEST_F(PipelineTest, WhatCallbacksStartDoesNotBlockAndSharesAMessage) {
  options_.max_inflight_bytes = 1;
  CreateOpen();
  Outcome inner;
  volume_->WriteAsync(0, "x", [&](const absl::Status&) {
    for (int i = 0; i < 10; ++i) volume_->TrimAsync(0, i, inner.Done());
  });
  stream(0).Written();
  stream(0).Answer({Ok(stream(0).sent()[0])});
  ASSERT_THAT(stream(0).messages, SizeIs(2));
  EXPECT_THAT(stream(0).messages[1], SizeIs(10));
}

TEST_F(PipelineTest, WhatStartsTogetherDoesNotBlockAndSharesAMessage) {
  options_.max_inflight_bytes = 1;
  CreateOpen();
  Outcome outcome;
  volume_->Together([&] {
    for (int i = 0; i < 10; ++i) volume_->TrimAsync(0, i, outcome.Done());
    volume_->Together([&] { volume_->TrimAsync(0, 10, outcome.Done()); });
    EXPECT_THAT(stream(0).messages, IsEmpty());
  });
  ASSERT_THAT(stream(0).messages, SizeIs(1));
  EXPECT_THAT(stream(0).messages[0], SizeIs(11));
}

TEST_F(PipelineTest, CallbacksKnowHowManyFollow) {
  CreateOpen();
  std::vector<size_t> left;
  volume_->Together([&] {
    for (int i = 0; i < 3; ++i) {
      volume_->FlushAsync(
          [&](const absl::Status&) { left.push_back(CallbackScope::left()); });
    }
  });
  const auto sent = stream(0).sent();
  stream(0).Answer({Ok(sent[0]), Ok(sent[1]), Ok(sent[2])});
  EXPECT_THAT(left, ElementsAre(2, 1, 0));
}

TEST_F(PipelineTest, SynchronousCallInACallbackFails) {
  CreateOpen();
  std::shared_ptr<VolumeConnection> shared = std::move(volume_);
  RemoteVolume volume(shared);
  absl::Status inner;
  volume.FlushAsync([&](const absl::Status&) { inner = volume.Flush(); });
  stream(0).Answer({Ok(stream(0).sent()[0])});
  EXPECT_TRUE(absl::IsFailedPrecondition(inner)) << inner;
  EXPECT_THAT(inner.message(), HasSubstr("asynchronous"));
}

TEST_F(PipelineTest, BytesOnTheirWayAreBounded) {
  options_.max_inflight_bytes = 2 * kMiB;
  CreateOpen(2);
  const std::string data(8 * kMiB, 'x');
  Outcome outcome;
  volume_->WriteAsync(0, data, outcome.Done());
  for (int i = 0; i < 3; ++i) {
    stream(0).Written();
    stream(1).Written();
  }
  EXPECT_EQ(stream(0).sent().size() + stream(1).sent().size(), 2u);
}

TEST_F(PipelineTest, CallersBeyondMaxInflightWaitForRoom) {
  options_.max_inflight_bytes = 4096;
  CreateOpen();
  const std::string data(4096, 'x');
  Outcome first;
  volume_->WriteAsync(0, data, first.Done());
  Outcome second;
  std::thread caller([&] { volume_->WriteAsync(0, data, second.Done()); });
  // The answer lets the caller in, whether it waits already or comes later.
  stream(0).Written();
  stream(0).Answer({Ok(stream(0).sent()[0])});
  caller.join();
  ASSERT_THAT(stream(0).sent(), SizeIs(2));
}

TEST_F(PipelineTest, WaitingForRoomHasADeadline) {
  options_.max_inflight_bytes = 4096;
  options_.timeout = absl::Seconds(5);
  CreateOpen();
  const std::string data(4096, 'x');
  Outcome first;
  volume_->WriteAsync(0, data, first.Done());
  timer_->Advance(absl::Seconds(1));
  Outcome second;
  std::thread caller([&] { volume_->WriteAsync(0, data, second.Done()); });
  timer_->Advance(absl::Seconds(10));  // Frees the first, and so the caller.
  caller.join();
  timer_->Advance(absl::Seconds(10));
  EXPECT_EQ(first.count, 1);
  EXPECT_TRUE(absl::IsDeadlineExceeded(first.status));
  EXPECT_EQ(second.count, 1);
  EXPECT_TRUE(absl::IsDeadlineExceeded(second.status)) << second.status;
}

// ---- The end.

TEST_F(PipelineTest, OperationsInFlightFinishAfterTheLastHandleIsGone) {
  CreateOpen(2);
  Outcome outcome;
  volume_->WriteAsync(0, "x", outcome.Done());
  volume_.reset();
  EXPECT_FALSE(stream(0).half_closed || stream(0).cancelled);
  stream(0).Written();
  stream(0).Answer({Ok(stream(0).sent()[0])});
  EXPECT_EQ(outcome.count, 1);
  EXPECT_TRUE(outcome.status.ok());
  EXPECT_TRUE(stream(0).half_closed);
  EXPECT_TRUE(stream(1).half_closed);
  stream(0).Close(absl::OkStatus());
  timer_->Advance(absl::Seconds(2));
  EXPECT_TRUE(stream(1).cancelled) << "the server did not end it";
  stream(1).Close(absl::CancelledError("ours"));
  timer_->Advance(absl::Hours(1));
  EXPECT_THAT(transport_->streams, SizeIs(2)) << "reconnected after the end";
}

TEST_F(PipelineTest, TheLastHandleMayGoInACallback) {
  CreateOpen();
  Outcome outcome;
  volume_->FlushAsync([&](const absl::Status& status) {
    volume_.reset();
    outcome.Done()(status);
  });
  stream(0).Written();
  stream(0).Answer({Ok(stream(0).sent()[0])});
  EXPECT_EQ(outcome.count, 1);
  EXPECT_TRUE(stream(0).half_closed);
}

TEST_F(PipelineTest, ReleaseWhileDisconnectedEndsWithTheCalls) {
  CreateOpen();
  Outcome outcome;
  volume_->FlushAsync(outcome.Done());
  stream(0).Close(absl::UnavailableError("reset"));
  volume_.reset();
  AwaitNextStream();
  last().Open(SomeVolume());
  last().Written();
  last().Answer({Ok(last().sent()[0])});
  EXPECT_TRUE(outcome.status.ok());
  EXPECT_TRUE(last().half_closed);
}

TEST_F(PipelineTest, ACompletedCallLetsGoOfItsCallback) {
  options_.timeout = absl::Seconds(1);
  CreateOpen();
  auto token = std::make_shared<int>(0);
  volume_->FlushAsync([token](const absl::Status&) {});
  EXPECT_EQ(token.use_count(), 2);
  timer_->Advance(absl::Seconds(1));
  EXPECT_EQ(token.use_count(), 1) << "kept by the unanswered part";
}

// ---- Flush and extents.

TEST_F(PipelineTest, FlushIsOneOperation) {
  CreateOpen(2);
  Outcome outcome;
  volume_->FlushAsync(outcome.Done());
  EXPECT_EQ(stream(0).sent().size() + stream(1).sent().size(), 1u);
  EXPECT_EQ(stream(0).sent()[0].head.kind, OperationKind::kFlush);
}

TEST_F(PipelineTest, ExtentsAreFetchedInPagesAndJoined) {
  CreateOpen();
  absl::StatusOr<std::vector<Extent>> extents;
  volume_->ExtentsAsync(0, 100 << 10, 0,
                        [&](auto result) { extents = std::move(result); });
  stream(0).Written();
  ASSERT_THAT(stream(0).sent(), SizeIs(1));
  EXPECT_EQ(stream(0).sent()[0].head.max_extents, kMaxExtents);
  OperationResult page = Ok(stream(0).sent()[0]);
  page.extents = {{0, 4096, true}, {4096, 8192, false}};
  page.next_offset = 12288;
  stream(0).Answer({page});
  stream(0).Written();
  ASSERT_THAT(stream(0).sent(), SizeIs(2));
  EXPECT_EQ(stream(0).sent()[1].head.offset, 12288);
  EXPECT_EQ(stream(0).sent()[1].head.length, (100 << 10) - 12288);
  page = Ok(stream(0).sent()[1]);
  page.extents = {{12288, (100 << 10) - 12288, false}};
  page.next_offset = 100 << 10;
  stream(0).Answer({page});
  ASSERT_TRUE(extents.ok()) << extents.status();
  EXPECT_THAT(*extents, ElementsAre(Extent{0, 4096, true},
                                    Extent{4096, (100 << 10) - 4096, false}));
}

TEST_F(PipelineTest, FirstExtentsAreOneOperation) {
  CreateOpen();
  absl::StatusOr<std::vector<Extent>> extents;
  volume_->ExtentsAsync(0, 100 << 10, 2,
                        [&](auto result) { extents = std::move(result); });
  ASSERT_THAT(stream(0).sent(), SizeIs(1));
  EXPECT_EQ(stream(0).sent()[0].head.max_extents, 2);
  OperationResult page = Ok(stream(0).sent()[0]);
  page.extents = {{0, 4096, true}, {4096, 8192, false}};
  page.next_offset = 12288;
  stream(0).Answer({page});
  ASSERT_TRUE(extents.ok()) << extents.status();
  EXPECT_THAT(*extents,
              ElementsAre(Extent{0, 4096, true}, Extent{4096, 8192, false}));
}

TEST_F(PipelineTest, ExtentsThatStopShortAreAnError) {
  CreateOpen();
  absl::StatusOr<std::vector<Extent>> extents;
  volume_->ExtentsAsync(0, 8192, 0,
                        [&](auto result) { extents = std::move(result); });
  stream(0).Answer({Ok(stream(0).sent()[0])});
  EXPECT_TRUE(absl::IsInternal(extents.status())) << extents.status();
}

}  // namespace
}  // namespace ramvol
