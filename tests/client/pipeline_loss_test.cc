// What the pipeline does when streams are lost, refused or too late.
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/reason.h"
#include "client/io_transport.h"
#include "client/pipeline.h"
#include "client/pipelined_connection.h"
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

using PipelineLossTest = PipelineTest;

TEST_F(PipelineLossTest, ReplaysInOrderWhatWasNotAnswered) {
  CreateOpen();
  Outcome outcome;
  for (std::string_view data : {"a", "b", "c", "d"}) {
    volume_->WriteAsync(0, data, outcome.Done());
  }
  stream(0).Written();
  stream(0).Answer({Ok(stream(0).sent()[1])});
  stream(0).Close(absl::UnavailableError("reset"));
  volume_->WriteAsync(0, "e", outcome.Done());
  AwaitNextStream();
  EXPECT_THAT(last().messages, IsEmpty());
  last().Open(SomeVolume());
  const auto sent = last().sent();
  ASSERT_THAT(sent, SizeIs(4));
  EXPECT_EQ(sent[0].data + sent[1].data + sent[2].data + sent[3].data, "acde");
  EXPECT_EQ(outcome.count, 1);
  for (const SentOperation& operation : sent) last().Answer({Ok(operation)});
  EXPECT_EQ(outcome.count, 5);
  EXPECT_TRUE(outcome.status.ok());
}

TEST_F(PipelineLossTest, ChangesOfALostStreamWaitForOneThatReplacesIt) {
  CreateOpen(2);
  EXPECT_THAT(stream(0).opening.replaces, IsEmpty());
  EXPECT_NE(stream(0).opening.stream_id, 0u);
  EXPECT_NE(stream(0).opening.stream_id, stream(1).opening.stream_id);
  EXPECT_NE(stream(0).opening.client_id, 0u);
  EXPECT_EQ(stream(0).opening.client_id, stream(1).opening.client_id);
  Outcome outcome;
  std::string in(1, ' ');
  volume_->WriteAsync(0, "a", outcome.Done());
  stream(0).Written();
  ASSERT_THAT(stream(0).sent(), SizeIs(1));
  volume_->FlushAsync(outcome.Done());  // Goes over the other one.
  stream(1).Written();
  volume_->ReadAsync(0, absl::MakeSpan(in), outcome.Done());
  stream(0).Close(absl::UnavailableError("reset"));
  volume_->WriteAsync(1, "b", outcome.Done());
  stream(1).Written();
  for (const SentOperation& sent : stream(1).sent()) {
    EXPECT_NE(sent.data, "a") << "sent again while the server may run it";
  }
  AwaitNextStream();
  EXPECT_THAT(last().opening.replaces,
              ElementsAre(stream(0).opening.stream_id));
  EXPECT_EQ(last().opening.client_id, stream(0).opening.client_id);
  last().Open(SomeVolume());
  stream(1).Written();
  std::vector<std::string> written;
  for (FakeStream* each : {&stream(1), &last()}) {
    for (const SentOperation& sent : each->sent()) {
      written.push_back(sent.data);
      if (sent.data == "a") each->Answer({Ok(sent)});
    }
  }
  EXPECT_THAT(written, ::testing::Contains("a").Times(1));
  EXPECT_EQ(outcome.count, 1);
}

TEST_F(PipelineLossTest, ReadsOfALostStreamGoOverTheOthersAtOnce) {
  CreateOpen(2);
  Outcome outcome;
  std::string in(4, ' ');
  volume_->ReadAsync(0, absl::MakeSpan(in), outcome.Done());
  ASSERT_THAT(stream(0).sent(), SizeIs(1));
  stream(0).Close(absl::UnavailableError("reset"));
  ASSERT_THAT(stream(1).sent(), SizeIs(1));
  stream(1).Answer({Data(stream(1).sent()[0], "data")});
  EXPECT_EQ(in, "data");
  AwaitNextStream();
  EXPECT_THAT(last().opening.replaces, IsEmpty()) << "there is nothing to stop";
}

TEST_F(PipelineLossTest, AStreamReplacesWhatWasLostBeforeItStarted) {
  CreateOpen(2);
  Outcome outcome;
  const std::string large(kMiB, 'x');
  volume_->WriteAsync(0, large, outcome.Done());
  volume_->WriteAsync(kMiB, "b", outcome.Done());
  ASSERT_THAT(stream(0).sent(), SizeIs(1));
  ASSERT_THAT(stream(1).sent(), SizeIs(1));
  stream(0).Close(absl::UnavailableError("reset"));
  AwaitNextStream();
  const std::shared_ptr<FakeStream> third = transport_->streams.back();
  stream(1).Close(absl::UnavailableError("reset"));
  third->Open(SomeVolume());
  ASSERT_THAT(third->sent(), SizeIs(1));
  EXPECT_EQ(third->sent()[0].data, large);
  AwaitNextStream();
  EXPECT_THAT(last().opening.replaces,
              ElementsAre(stream(1).opening.stream_id));
  // Lost before it was open: the next one replaces the same.
  last().Close(absl::UnavailableError("reset"));
  AwaitNextStream();
  EXPECT_THAT(last().opening.replaces,
              ElementsAre(stream(1).opening.stream_id));
  last().Open(SomeVolume());
  third->Written();
  std::vector<SentOperation> sent = third->sent();
  for (const SentOperation& one : last().sent()) sent.push_back(one);
  ASSERT_THAT(sent, SizeIs(2));
  EXPECT_EQ(sent[1].data, "b");
}

TEST_F(PipelineLossTest, WhatFailedIsStoppedAllTheSameBeforeLaterCalls) {
  options_.reconnect_timeout = absl::ZeroDuration();
  CreateOpen();
  Outcome lost;
  volume_->WriteAsync(0, "old", lost.Done());
  stream(0).Close(absl::UnavailableError("reset"));
  EXPECT_TRUE(absl::IsUnavailable(lost.status)) << lost.status;
  Outcome next;
  volume_->WriteAsync(0, "new", next.Done());
  ASSERT_THAT(transport_->streams, SizeIs(2));
  EXPECT_THAT(last().opening.replaces,
              ElementsAre(stream(0).opening.stream_id));
  last().Open(SomeVolume());
  ASSERT_THAT(last().sent(), SizeIs(1));
  EXPECT_EQ(last().sent()[0].data, "new");
}

TEST_F(PipelineLossTest, ChangesWaitForNoLongerThanReconnectTimeout) {
  options_.reconnect_timeout = absl::Seconds(10);
  CreateOpen(2);
  Outcome outcome;
  volume_->WriteAsync(0, "a", outcome.Done());
  stream(0).Close(absl::UnavailableError("reset"));
  for (int i = 0; i < 100 && outcome.count == 0; ++i) {
    timer_->Advance(absl::Seconds(1));
    if (!last().closed && &last() != &stream(1)) {
      last().Close(absl::UnavailableError("refused"));
    }
  }
  EXPECT_TRUE(absl::IsUnavailable(outcome.status)) << outcome.status;
  EXPECT_THAT(outcome.status.message(), HasSubstr("refused"));
  Outcome other;
  volume_->FlushAsync(other.Done());
  EXPECT_THAT(stream(1).sent(), SizeIs(1)) << "the other stream lives";
}

TEST_F(PipelineLossTest, CountsReconnections) {
  options_.channels = 1;
  auto counters = std::make_shared<ClientCounters>();
  auto pipeline = std::make_shared<VolumePipeline>(
      "scratch", options_, transport_, timer_, counters);
  volume_ = std::make_unique<PipelinedConnection>(pipeline, /*wait=*/false);
  pipeline_ = pipeline;
  pipeline->Open(opened_.Done());
  pipeline.reset();
  stream(0).Close(absl::UnavailableError("not up yet"));
  AwaitNextStream();
  last().Open(SomeVolume());
  EXPECT_EQ(counters->reconnects, 0u);
  EXPECT_EQ(counters->lost_streams, 0u) << "it had not been open";
  last().Close(absl::UnavailableError("reset"));
  EXPECT_EQ(counters->lost_streams, 1u);
  AwaitNextStream();
  EXPECT_EQ(counters->lost_streams, 1u) << "a new one is not open yet";
  last().Open(SomeVolume());
  EXPECT_EQ(counters->reconnects, 1u);
  EXPECT_EQ(counters->lost_streams, 0u);
  last().Close(absl::UnavailableError("reset"));
  EXPECT_EQ(counters->lost_streams, 1u);
  volume_.reset();
  EXPECT_EQ(counters->lost_streams, 0u) << "nobody wants it any more";
}

TEST_F(PipelineLossTest, AVolumeThatIsGoneHasNoLostStreams) {
  options_.channels = 1;
  auto counters = std::make_shared<ClientCounters>();
  auto pipeline = std::make_shared<VolumePipeline>(
      "scratch", options_, transport_, timer_, counters);
  volume_ = std::make_unique<PipelinedConnection>(pipeline, /*wait=*/false);
  pipeline_ = pipeline;
  pipeline->Open(opened_.Done());
  pipeline.reset();
  stream(0).Open(SomeVolume());
  stream(0).Close(absl::UnavailableError("reset"));
  EXPECT_EQ(counters->lost_streams, 1u);
  AwaitNextStream();
  last().Close(absl::NotFoundError("deleted"));
  EXPECT_EQ(counters->lost_streams, 0u);
}

TEST_F(PipelineLossTest, ALateReportOfALostStreamDoesNothing) {
  CreateOpen();
  Outcome outcome;
  volume_->FlushAsync(outcome.Done());
  const std::shared_ptr<FakeStream> old = transport_->streams[0];
  old->Close(absl::UnavailableError("reset"));
  AwaitNextStream();
  last().Open(SomeVolume());
  EXPECT_THAT(last().sent(), SizeIs(1));
  EXPECT_EQ(outcome.count, 0);
}

TEST_F(PipelineLossTest, KeepsTryingWithGrowingPauses) {
  options_.reconnect_timeout = absl::Seconds(30);
  Create();
  std::vector<absl::Duration> pauses;
  absl::Time last_try = timer_->Now();
  for (int i = 0; i < 10; ++i) {
    last().Close(absl::UnavailableError("refused"));
    last_try = timer_->Now();
    const size_t before = transport_->streams.size();
    while (transport_->streams.size() == before) {
      timer_->Advance(absl::Milliseconds(1));
    }
    pauses.push_back(timer_->Now() - last_try);
  }
  EXPECT_LE(pauses[0], options_.initial_backoff + absl::Milliseconds(1));
  EXPECT_GE(pauses[4], options_.initial_backoff * 8);
  EXPECT_GE(pauses[9], options_.max_backoff / 2);
  EXPECT_LE(pauses[9], options_.max_backoff + absl::Milliseconds(1));
  EXPECT_EQ(opened_.count, 0);
}

TEST_F(PipelineLossTest,
       GivesUpAfterReconnectTimeoutAndTriesAnewForTheNextCall) {
  CreateOpen();
  Outcome lost;
  volume_->FlushAsync(lost.Done());
  stream(0).Close(absl::UnavailableError("connection refused"));
  while (lost.count == 0) {
    AwaitNextStream();
    last().Close(absl::UnavailableError("connection refused"));
    ASSERT_LT(transport_->streams.size(), 100u);
    if (transport_->streams.size() > 15) timer_->Advance(absl::Seconds(30));
  }
  EXPECT_TRUE(absl::IsUnavailable(lost.status)) << lost.status;
  EXPECT_THAT(lost.status.message(), HasSubstr("scratch"));
  EXPECT_THAT(lost.status.message(), HasSubstr("unix:/fake"));
  EXPECT_THAT(lost.status.message(), HasSubstr("connection refused"));
  if (!last().closed) last().Close(absl::CancelledError("ours"));
  const size_t before = transport_->streams.size();
  timer_->Advance(absl::Hours(1));
  EXPECT_EQ(transport_->streams.size(), before) << "tries though nobody asks";
  Outcome next;
  volume_->FlushAsync(next.Done());
  ASSERT_EQ(transport_->streams.size(), before + 1);
  last().Open(SomeVolume());
  last().Answer({Ok(last().sent()[0])});
  EXPECT_EQ(next.count, 1);
  EXPECT_TRUE(next.status.ok()) << next.status;
}

TEST_F(PipelineLossTest, WithoutReconnectTimeoutALossFailsAtOnce) {
  options_.reconnect_timeout = absl::ZeroDuration();
  CreateOpen();
  Outcome lost;
  volume_->FlushAsync(lost.Done());
  stream(0).Close(absl::UnavailableError("reset"));
  EXPECT_TRUE(absl::IsUnavailable(lost.status));
  EXPECT_EQ(lost.count, 1);
  Outcome next;
  volume_->FlushAsync(next.Done());
  ASSERT_THAT(transport_->streams, SizeIs(2));
  timer_->Advance(absl::Milliseconds(1));
  EXPECT_EQ(next.count, 0) << "the attempt has not ended";
  last().Close(absl::UnavailableError("refused"));
  EXPECT_TRUE(absl::IsUnavailable(next.status));
}

TEST_F(PipelineLossTest, AnAttemptThatHangsIsGivenUp) {
  options_.reconnect_timeout = absl::Seconds(10);
  options_.timeout = absl::Seconds(60);
  Create();
  timer_->Advance(absl::Seconds(20));
  EXPECT_EQ(opened_.count, 1);
  EXPECT_TRUE(absl::IsUnavailable(opened_.status)) << opened_.status;
  EXPECT_TRUE(last().cancelled);
}

TEST_F(PipelineLossTest, NothingIsSentToAReplacedVolume) {
  CreateOpen();
  Outcome outcome;
  volume_->WriteAsync(0, "x", outcome.Done());
  stream(0).Close(absl::UnavailableError("reset"));
  AwaitNextStream();
  VolumeOpened other = SomeVolume();
  other.uid = "uid-2";
  last().Open(other);
  EXPECT_THAT(last().messages, IsEmpty());
  EXPECT_TRUE(last().cancelled);
  EXPECT_TRUE(absl::IsAborted(outcome.status)) << outcome.status;
  EXPECT_EQ(GetReason(outcome.status), reason::kVolumeReplaced);
  Outcome next;
  volume_->FlushAsync(next.Done());
  timer_->RunDue();
  EXPECT_TRUE(absl::IsAborted(next.status));
}

TEST_F(PipelineLossTest, StreamsMustAgreeOnTheVolume) {
  Create(2);
  stream(0).Open(SomeVolume());
  VolumeOpened other = SomeVolume();
  other.uid = "uid-2";
  stream(1).Open(other);
  Outcome next;
  volume_->FlushAsync(next.Done());
  timer_->RunDue();
  EXPECT_EQ(GetReason(next.status), reason::kVolumeReplaced);
}

TEST_F(PipelineLossTest, VolumeThatIsGoneAfterARestartFailsForGood) {
  CreateOpen();
  Outcome outcome;
  volume_->WriteAsync(0, "x", outcome.Done());
  stream(0).Close(absl::UnavailableError("reset"));
  AwaitNextStream();
  last().Close(absl::NotFoundError("no volume"));
  EXPECT_TRUE(absl::IsNotFound(outcome.status));
  Outcome next;
  volume_->FlushAsync(next.Done());
  timer_->RunDue();
  EXPECT_TRUE(absl::IsNotFound(next.status));
}

TEST_F(PipelineLossTest, RefusedStreamFailsItsPartsOnly) {
  CreateOpen(2);
  Outcome refused;
  Outcome fine;
  volume_->WriteAsync(0, "a", refused.Done());
  volume_->WriteAsync(1, "b", fine.Done());
  stream(0).Close(WithReason(absl::FailedPreconditionError("window"),
                             reason::kWindowExceeded));
  EXPECT_EQ(GetReason(refused.status), reason::kWindowExceeded);
  EXPECT_EQ(fine.count, 0);
  stream(1).Answer({Ok(stream(1).sent()[0])});
  EXPECT_TRUE(fine.status.ok());
  AwaitNextStream();
  EXPECT_EQ(last().index, 0);
}

TEST_F(PipelineLossTest, RefusalByTheLastStreamFailsWhatIsQueued) {
  Create();
  stream(0).Close(absl::PermissionDeniedError("not you"));
  EXPECT_EQ(opened_.count, 1);
  EXPECT_TRUE(absl::IsPermissionDenied(opened_.status));
  timer_->Advance(absl::Hours(1));
  EXPECT_THAT(transport_->streams, SizeIs(1));
}

TEST_F(PipelineLossTest, AnOrderlyEndOfAStreamIsALossToo) {
  CreateOpen();
  Outcome outcome;
  volume_->FlushAsync(outcome.Done());
  stream(0).Close(absl::OkStatus());
  AwaitNextStream();
  last().Open(SomeVolume());
  last().Answer({Ok(last().sent()[0])});
  EXPECT_TRUE(outcome.status.ok());
}

// ---- Deadlines.

TEST_F(PipelineLossTest, ExpiredCallKeepsItsPlaceInTheWindowUntilAnswered) {
  VolumeOpened opened = SomeVolume();
  opened.window_operations = 1;
  options_.timeout = absl::Seconds(5);
  CreateOpen(1, opened);
  std::string in = "untouched";
  Outcome slow;
  volume_->ReadAsync(0, absl::MakeSpan(in), slow.Done());
  timer_->Advance(absl::Seconds(4));
  Outcome queued;
  volume_->FlushAsync(queued.Done());
  stream(0).Written();
  EXPECT_EQ(slow.count, 0);
  timer_->Advance(absl::Seconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(slow.status)) << slow.status;
  EXPECT_THAT(slow.status.message(), HasSubstr("read at offset 0"));
  EXPECT_THAT(stream(0).sent(), SizeIs(1));
  stream(0).Answer({Data(stream(0).sent()[0], "too late!")});
  EXPECT_EQ(in, "untouched");
  EXPECT_EQ(slow.count, 1);
  ASSERT_THAT(stream(0).sent(), SizeIs(2));
  stream(0).Answer({Ok(stream(0).sent()[1])});
  EXPECT_TRUE(queued.status.ok());
}

TEST_F(PipelineLossTest, ExpiredCallsAreNotReplayed) {
  options_.timeout = absl::Seconds(5);
  CreateOpen();
  Outcome outcome;
  volume_->WriteAsync(0, "old", outcome.Done());
  timer_->Advance(absl::Seconds(5));
  EXPECT_EQ(outcome.count, 1);
  stream(0).Close(absl::UnavailableError("reset"));
  AwaitNextStream();
  last().Open(SomeVolume());
  EXPECT_THAT(last().messages, IsEmpty());
}

TEST_F(PipelineLossTest, OpenHasADeadline) {
  options_.timeout = absl::Seconds(1);
  Create();
  timer_->Advance(absl::Seconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(opened_.status)) << opened_.status;
  EXPECT_THAT(opened_.status.message(), HasSubstr("did not open"));
}

TEST_F(PipelineLossTest, AVolumeDeletedBeforeAllStreamsHadItIsDeleted) {
  Create(2);
  stream(0).Open(SomeVolume());
  Outcome write;
  volume_->WriteAsync(0, "x", write.Done());
  // A restarted server would have ended the other stream, too.
  stream(1).Close(WithReason(absl::NotFoundError("no volume \"scratch\""),
                             reason::kVolumeNotFound));
  timer_->RunDue();
  EXPECT_TRUE(absl::IsNotFound(write.status)) << write.status;
  EXPECT_EQ(GetReason(write.status), reason::kVolumeDeleted);
}

}  // namespace
}  // namespace ramvol
