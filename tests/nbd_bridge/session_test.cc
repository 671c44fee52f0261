#include "nbd_bridge/session.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "base/nbd_constants.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nbd_bridge/stats.h"
#include "tests/nbd_bridge/nbd_harness.h"
#include "tests/support/random_data.h"

namespace ramvol::testing {
namespace {

using nbd::Command;
using nbd::Error;
using nbd::Style;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Status = Answer::Status;

constexpr uint64_t kVolumeBytes = uint64_t{64} << 20;
constexpr uint64_t kBlock = 4096;

// Every style of headers, over devices that do their work at once and others.
class SessionTest : public ::testing::TestWithParam<std::tuple<Style, bool>> {
 protected:
  SessionTest() {
    volume_ = &harness_.exports().Add("v", kVolumeBytes);
    client_ = harness_.NewClient();
    client_->Enter("v", style());
  }

  Style style() const { return std::get<0>(GetParam()); }
  bool synchronous() const { return std::get<1>(GetParam()); }
  bool chunked() const { return style() != Style::kSimple; }

  // The answer to one request.
  Answer Ask(Command command, uint64_t offset, uint64_t length,
             uint16_t flags = 0) {
    client_->Send(command, ++cookie_, offset, length, flags);
    return Read(command == Command::kRead ? length : 0);
  }
  Answer Write(uint64_t offset, std::string_view data, uint16_t flags = 0) {
    client_->SendWrite(++cookie_, offset, data, flags);
    return Read();
  }
  Answer Read(uint64_t bytes = 0) {
    Answer answer = client_->Read(bytes);
    EXPECT_EQ(answer.cookie, cookie_);
    return answer;
  }
  // With its message, where the style has one.
  void ExpectError(const Answer& answer, Error error,
                   const std::string& message = "") {
    EXPECT_EQ(answer.error, error) << answer.message;
    if (chunked()) {
      EXPECT_THAT(answer.message, HasSubstr(message));
    }
  }

  NbdHarness harness_{std::get<1>(GetParam())};
  MemoryVolume* volume_;
  std::unique_ptr<RawClient> client_;
  uint64_t cookie_ = 0;
};

std::string NameOf(
    const ::testing::TestParamInfo<std::tuple<Style, bool>>& info) {
  static constexpr const char* kStyles[] = {"Simple", "Structured", "Extended"};
  const std::string style =
      kStyles[static_cast<size_t>(std::get<0>(info.param))];
  return style + (std::get<1>(info.param) ? "Synchronous" : "Asynchronous");
}

INSTANTIATE_TEST_SUITE_P(
    All, SessionTest,
    ::testing::Combine(::testing::Values(Style::kSimple, Style::kStructured,
                                         Style::kExtended),
                       ::testing::Bool()),
    NameOf);

TEST_P(SessionTest, ReadsWhatWasWrittenAtAnyByte) {
  EXPECT_EQ(Write(12345, "hello").error, Error::kNone);
  EXPECT_EQ(Ask(Command::kRead, 12344, 7).Data(), std::string("\0hello\0", 7));
  EXPECT_EQ(Write(kVolumeBytes - 1, "x").error, Error::kNone);
  EXPECT_EQ(Ask(Command::kRead, kVolumeBytes - 1, 1).Data(), "x");
}

TEST_P(SessionTest, LargestPayloadIsTakenAndMoreIsRefused) {
  std::mt19937_64 random(1);
  const std::string large = Noise(random, nbd::kMaxPayloadBytes);
  EXPECT_EQ(Write(4097, large).error, Error::kNone);
  EXPECT_TRUE(Ask(Command::kRead, 4097, large.size()).Data() == large);
  ExpectError(Ask(Command::kRead, 0, large.size() + 1), Error::kInval,
              "33554433");
  // With extended headers it ends the connection.
  if (style() == Style::kExtended) return;
  ExpectError(Write(0, large + "x"), Error::kInval, "33554432");
  EXPECT_EQ(Ask(Command::kFlush, 0, 0).error, Error::kNone);
}

TEST_P(SessionTest, RangesPastTheEndAreRefused) {
  ExpectError(Ask(Command::kRead, kVolumeBytes - 1, 2), Error::kInval,
              "67108863");
  ExpectError(Ask(Command::kRead, ~uint64_t{0}, 2), Error::kInval);
  ExpectError(Write(kVolumeBytes, "x"), Error::kNoSpace, "67108864");
  ExpectError(Ask(Command::kWriteZeroes, kVolumeBytes, 1), Error::kNoSpace);
  ExpectError(Ask(Command::kTrim, kVolumeBytes - 5, 6), Error::kInval);
  ExpectError(Ask(Command::kCache, kVolumeBytes, 1), Error::kInval);
  if (chunked()) {
    ExpectError(Ask(Command::kBlockStatus, kVolumeBytes, 1), Error::kInval);
  }
}

TEST_P(SessionTest, AVolumeThatGrewIsServedToItsEnd) {
  ExpectError(Ask(Command::kRead, kVolumeBytes, 1), Error::kInval, "past");
  volume_->Grow(2 * kVolumeBytes);
  EXPECT_EQ(Ask(Command::kRead, 2 * kVolumeBytes - 3, 3).Data(),
            std::string(3, '\0'));
  EXPECT_EQ(Ask(Command::kTrim, 0, 2 * kVolumeBytes).error, Error::kNone);
  ExpectError(Ask(Command::kRead, 2 * kVolumeBytes - 3, 4), Error::kInval,
              "past");
}

TEST_P(SessionTest, RangesOfNothingAreRefused) {
  ExpectError(Ask(Command::kRead, 0, 0), Error::kInval, "no bytes");
  ExpectError(Ask(Command::kTrim, 0, 0), Error::kInval, "no bytes");
  ExpectError(Ask(Command::kFlush, 0, 1), Error::kInval, "flush");
}

TEST_P(SessionTest, UnknownCommandsAndFlagsAreRefused) {
  ExpectError(Ask(static_cast<Command>(8), 0, 1), Error::kInval,
              "command 8 is unknown");
  ExpectError(Ask(static_cast<Command>(0xffff), 0, 1), Error::kInval);
  ExpectError(Ask(Command::kRead, 0, 1, 1 << 15), Error::kInval, "0x8000");
  ExpectError(Ask(Command::kRead, 0, 1, nbd::kCmdNoHole), Error::kInval);
  ExpectError(Write(0, "abc", nbd::kCmdDf), Error::kInval);
  ExpectError(Ask(Command::kTrim, 0, 1, nbd::kCmdNoHole), Error::kInval);
  ExpectError(Ask(Command::kCache, 0, 1, nbd::kCmdReqOne), Error::kInval);
  if (style() == Style::kSimple) {
    ExpectError(Ask(Command::kRead, 0, 1, nbd::kCmdDf), Error::kInval);
  }
  EXPECT_EQ(Ask(Command::kRead, 0, 1).Data(), std::string(1, '\0'));
}

TEST_P(SessionTest, FuaIsAcceptedEverywhere) {
  EXPECT_EQ(Write(0, "abc", nbd::kCmdFua).error, Error::kNone);
  for (const Command command : {Command::kRead, Command::kTrim, Command::kCache,
                                Command::kWriteZeroes}) {
    EXPECT_EQ(Ask(command, 0, 3, nbd::kCmdFua).error, Error::kNone);
  }
  EXPECT_EQ(Ask(Command::kFlush, 0, 0, nbd::kCmdFua).error, Error::kNone);
}

TEST_P(SessionTest, FastZeroIsHonest) {
  Write(0, std::string(3 * kBlock, 'x'));
  const uint16_t fast = nbd::kCmdFastZero;
  ExpectError(Ask(Command::kWriteZeroes, 1, kBlock, fast),
              Error::kNotSupported);
  ExpectError(Ask(Command::kWriteZeroes, 1, 2 * kBlock - 2, fast),
              Error::kNotSupported);
  EXPECT_EQ(Ask(Command::kWriteZeroes, 1, 2 * kBlock - 1, fast).error,
            Error::kNone);
  EXPECT_EQ(Ask(Command::kRead, 0, 2 * kBlock + 1).Data(),
            "x" + std::string(2 * kBlock - 1, '\0') + "x");
}

TEST_P(SessionTest, DeviceErrorsAreTranslated) {
  const std::vector<std::tuple<absl::Status, Error, Error>> cases = {
      {absl::ResourceExhaustedError("full"), Error::kIo, Error::kNoSpace},
      {absl::FailedPreconditionError("read-only"), Error::kIo, Error::kPerm},
      {absl::OutOfRangeError("shrunk"), Error::kInval, Error::kNoSpace},
      {absl::DataLossError("rotten"), Error::kIo, Error::kIo},
      {absl::UnavailableError("gone"), Error::kIo, Error::kIo},
      {absl::AbortedError("replaced"), Error::kIo, Error::kIo},
  };
  for (const auto& [status, read_error, write_error] : cases) {
    volume_->FailWith(status);
    const std::string message(status.message());
    ExpectError(Ask(Command::kRead, 0, 1), read_error, message);
    ExpectError(Write(0, "x"), write_error, message);
  }
}

TEST_P(SessionTest, ADeletedVolumeEndsTheConnection) {
  volume_->FailWith(absl::NotFoundError("deleted"));
  // A busy client sends on until it has read the first answer.
  for (int i = 0; i < 20; ++i) {
    ExpectError(Ask(Command::kRead, 0, 1), Error::kShutdown, "deleted");
  }
  EXPECT_TRUE(client_->SeesEnd());
}

TEST_P(SessionTest, DisconnectEndsAfterWhatIsUnderWay) {
  client_->SendWrite(1, 0, "abc");
  client_->Send(Command::kRead, 2, 0, 3);
  client_->Send(Command::kDisconnect, 3, 0, 0);
  const Answer first = client_->Read(style() == Style::kSimple ? 0 : 3);
  EXPECT_EQ(first.error, Error::kNone);
  if (chunked()) {
    client_->Read();
    EXPECT_TRUE(client_->SeesEnd());
  }
}

TEST_P(SessionTest, BadMagicEnds) {
  EXPECT_TRUE(client_->socket().SendAll(std::string(64, 'x'),
                                        absl::Now() + absl::Seconds(60)));
  EXPECT_TRUE(client_->SeesEnd());
}

TEST_P(SessionTest, AHeldReadHoldsUpNoOther) {
  // Long enough that another thread reads on meanwhile.
  constexpr uint64_t kLong = 256 << 10;
  Write(0, "not a hole");
  volume_->HoldReads();
  client_->Send(Command::kRead, 1, 0, kLong);
  while (volume_->held_reads() == 0) std::this_thread::yield();
  client_->SendWrite(2, kLong, "x");
  EXPECT_EQ(client_->Read().cookie, 2);
  client_->Send(Command::kTrim, 3, 0, 1);
  EXPECT_EQ(client_->Read().cookie, 3);
  volume_->ReleaseReads();
  EXPECT_EQ(client_->Read(kLong).cookie, 1);
}

TEST_P(SessionTest, AVanishedClientLetsGoOfTheVolume) {
  Write(0, "not a hole");
  volume_->HoldReads();
  client_->Send(Command::kRead, 1, 0, 256 << 10);
  while (volume_->held_reads() == 0) std::this_thread::yield();
  client_.reset();
  volume_->ReleaseReads();
  while (harness_.exports().open_devices() != 0) std::this_thread::yield();
  while (harness_.stats().Get().connections != 0) std::this_thread::yield();
  EXPECT_EQ(harness_.stats().Get().inflight_requests, 0);
}

TEST_P(SessionTest, ShutdownAnswersWhatIsUnderWay) {
  volume_->HoldReads();
  client_->Send(Command::kRead, 1, 0, 4096);
  while (volume_->held_reads() == 0) std::this_thread::yield();
  auto other = harness_.NewClient();
  other->Enter("v", Style::kStructured);
  std::thread stop([this] { harness_.server().Shutdown(absl::Seconds(60)); });
  // Others get answers or nothing, and no errors, which a kernel would give to
  // its file systems.
  const std::string flush = RawClient::Encode(
      Style::kStructured, {0, static_cast<uint16_t>(Command::kFlush), 1, 0, 0});
  std::string reply(20, '\0');
  while (other->socket().SendAll(flush, absl::InfiniteFuture()) &&
         other->socket().ReceiveAll(absl::MakeSpan(reply),
                                    absl::InfiniteFuture())) {
    EXPECT_EQ(reply.substr(6, 2), std::string(2, '\0')) << "an error chunk";
  }
  volume_->ReleaseReads();
  EXPECT_EQ(client_->Read(4096).error, Error::kNone);
  EXPECT_TRUE(client_->SeesEnd());
  stop.join();
}

TEST_P(SessionTest, AClientThatNeverReadsIsNotReadFrom) {
  // Far more than the socket and the connection's bound hold.
  std::atomic<int> sent{0};
  std::thread sender([&] {
    for (int i = 0; i < 400; ++i) {
      const std::string request =
          RawClient::Encode(style(), {0, 0, 1, 0, 8 << 20});
      if (!client_->socket().SendAll(request, absl::InfiniteFuture())) {
        return;
      }
      ++sent;
    }
  });
  // Noise, so that replies cannot be holes.
  std::mt19937_64 random(1);
  auto other = harness_.NewClient();
  other->Enter("v", Style::kStructured);
  const std::string noise = Noise(random, 8 << 20);
  other->SendWrite(1, 0, noise);
  EXPECT_EQ(other->Read().error, Error::kNone);
  // The other client goes on meanwhile.
  for (int i = 0; i < 100; ++i) {
    other->Send(Command::kRead, 2, 0, 4096);
    EXPECT_EQ(other->Read().Data(), noise.substr(0, 4096));
  }
  EXPECT_LE(harness_.stats().Get().inflight_requests,
            nbd::kMaxConnectionBytes / (8 << 20));
  client_->socket().Shutdown();
  sender.join();
}

// As one that sends a large write, and reads nothing meanwhile.
TEST_P(SessionTest, AClientThatSendsBeforeItReadsIsReadFrom) {
  const std::string data(4 << 20, 'x');
  Write(0, data);
  for (uint64_t cookie = 1; cookie <= 4; ++cookie) {
    client_->Send(Command::kRead, cookie, 0, data.size());
  }
  // So that the replies are on their way, as far as they fit.
  constexpr auto kKind = static_cast<size_t>(nbd::CommandKind::kRead);
  while (harness_.stats().Get().requests[kKind][0] < 4) {
    std::this_thread::yield();
  }
  for (uint64_t cookie = 5; cookie <= 8; ++cookie) {
    client_->SendWrite(cookie, cookie * data.size(), data);
  }
  // All could be sent. Simple replies do not tell how long they are.
  for (int i = 0; chunked() && i < 8; ++i) {
    const Answer answer = client_->Read();
    EXPECT_EQ(answer.error, Error::kNone);
    EXPECT_EQ(answer.Data(), answer.cookie <= 4 ? data : "");
  }
}

TEST_P(SessionTest, PayloadsOfRefusedWritesAreSkipped) {
  const std::string data(300'000, 'x');
  for (int i = 0; i < 3; ++i) {
    ExpectError(Write(kVolumeBytes - 1, data), Error::kNoSpace);
    EXPECT_EQ(Write(0, "abc").error, Error::kNone);
  }
}

TEST_P(SessionTest, ManyWritesInOnePiece) {
  std::string all;
  constexpr int kCount = 500;
  for (int i = 0; i < kCount; ++i) {
    const auto number = static_cast<uint64_t>(i);
    all +=
        RawClient::Encode(style(),
                          {0, static_cast<uint16_t>(Command::kWrite), number,
                           number * 1000, 1000},
                          std::string(1000, static_cast<char>('a' + i % 26)));
  }
  std::thread sender([&] {
    EXPECT_TRUE(client_->socket().SendAll(all, absl::InfiniteFuture()));
  });
  std::vector<bool> seen(kCount);
  for (int i = 0; i < kCount; ++i) {
    const Answer answer = client_->Read();
    EXPECT_EQ(answer.error, Error::kNone);
    ASSERT_LT(answer.cookie, kCount);
    EXPECT_FALSE(seen[answer.cookie]);
    seen[answer.cookie] = true;
  }
  sender.join();
  cookie_ = 1;
  for (int i = 0; i < kCount; ++i) {
    EXPECT_EQ(Ask(Command::kRead, static_cast<uint64_t>(i) * 1000, 1000).Data(),
              std::string(1000, static_cast<char>('a' + i % 26)));
  }
}

// Each request lies in one of several areas, of which each has one request at a
// time: so the order is known, and all areas run at once.
TEST_P(SessionTest, RandomRequestsAgreeWithAByteArray) {
  constexpr uint64_t kAreas = 12;
  constexpr uint64_t kAreaBytes = 1 << 20;
  std::mt19937_64 random(TestSeed(7));
  std::string model(kAreas * kAreaBytes, '\0');
  struct Pending {
    uint64_t offset = 0;
    uint64_t length = 0;
    bool is_read = false;
  };
  std::map<uint64_t, Pending> pending;  // By area, which is the cookie.
  const auto start = [&](uint64_t area) {
    const uint64_t from = SkewedBelow(random, kAreaBytes);
    Pending request{area * kAreaBytes + from,
                    1 + SkewedBelow(random, kAreaBytes - from), false};
    switch (random() % 4) {
      case 0:
      case 1: {
        const std::string data = RandomData(random, request.length);
        model.replace(request.offset, request.length, data);
        client_->SendWrite(area, request.offset, data);
        break;
      }
      case 2:
        model.replace(request.offset, request.length,
                      std::string(request.length, '\0'));
        client_->Send(Command::kWriteZeroes, area, request.offset,
                      request.length, random() % 2 ? nbd::kCmdNoHole : 0);
        break;
      default:
        request.is_read = true;
        client_->Send(Command::kRead, area, request.offset, request.length,
                      chunked() && random() % 2 ? nbd::kCmdDf : 0);
    }
    pending[area] = request;
  };
  // Simple replies do not tell their length before the cookie: one at a time.
  const uint64_t at_once = chunked() ? kAreas : 1;
  for (int step = TestSteps(400); step > 0 || !pending.empty();) {
    const uint64_t area = random() % kAreas;
    if (step > 0 && pending.size() < at_once && !pending.contains(area)) {
      start(area);
      --step;
      continue;
    }
    if (pending.size() < at_once && step > 0) continue;
    const Pending& first = pending.begin()->second;
    const Answer answer = client_->Read(first.is_read ? first.length : 0);
    ASSERT_EQ(answer.error, Error::kNone) << answer.message;
    ASSERT_TRUE(pending.contains(answer.cookie));
    const Pending request = pending[answer.cookie];
    pending.erase(answer.cookie);
    if (request.is_read) {
      ASSERT_TRUE(answer.Data() == model.substr(request.offset, request.length))
          << request.length << " bytes at " << request.offset;
    }
  }
}

class ChunkedSessionTest : public SessionTest {};

INSTANTIATE_TEST_SUITE_P(
    All, ChunkedSessionTest,
    ::testing::Combine(::testing::Values(Style::kStructured, Style::kExtended),
                       ::testing::Bool()));

TEST_P(ChunkedSessionTest, ReadsTellHoles) {
  Write(kBlock, std::string(kBlock, 'x'));
  const Answer answer = Ask(Command::kRead, 100, 3 * kBlock);
  ASSERT_EQ(answer.pieces.size(), 3);
  EXPECT_TRUE(answer.pieces[0].hole);
  EXPECT_EQ(answer.pieces[0].data.size(), kBlock - 100);
  EXPECT_EQ(answer.pieces[1].offset, kBlock);
  EXPECT_EQ(answer.pieces[1].data, std::string(kBlock, 'x'));
  EXPECT_TRUE(answer.pieces[2].hole);
  EXPECT_EQ(answer.pieces[2].data.size(), kBlock + 100);
}

TEST_P(ChunkedSessionTest, DfMeansOnePiece) {
  Write(kBlock, std::string(kBlock, 'x'));
  const Answer answer = Ask(Command::kRead, 0, 3 * kBlock, nbd::kCmdDf);
  ASSERT_EQ(answer.pieces.size(), 1);
  EXPECT_FALSE(answer.pieces[0].hole);
  EXPECT_EQ(Ask(Command::kRead, 10 << 20, 1 << 20, nbd::kCmdDf).pieces.size(),
            1);
}

TEST_P(ChunkedSessionTest, AReadOfNothingStoredIsOneHole) {
  const Answer answer = Ask(Command::kRead, 0, nbd::kMaxPayloadBytes);
  ASSERT_EQ(answer.pieces.size(), 1);
  EXPECT_TRUE(answer.pieces[0].hole);
}

TEST_P(ChunkedSessionTest, BlockStatusTellsHolesAndData) {
  Write(kBlock, std::string(2 * kBlock, 'x'));
  const uint32_t hole = nbd::kStateHole | nbd::kStateZero;
  EXPECT_THAT(Ask(Command::kBlockStatus, 0, 10 * kBlock).statuses,
              ElementsAre(Status{kBlock, hole}, Status{2 * kBlock, 0},
                          Status{7 * kBlock, hole}));
  EXPECT_THAT(
      Ask(Command::kBlockStatus, 5, 10 * kBlock, nbd::kCmdReqOne).statuses,
      ElementsAre(Status{kBlock - 5, hole}));
  EXPECT_THAT(Ask(Command::kBlockStatus, kBlock + 1, 2).statuses,
              ElementsAre(Status{2, 0}));
}

// Each has thousands of extents: a client that reads none of them is not let
// have more than its bound.
TEST_P(ChunkedSessionTest, ExtentsThatNobodyReadsAreBounded) {
  const std::string data(kBlock, 'x');
  const uint64_t length = 2 * nbd::kMaxStatusExtents * kBlock;
  for (uint64_t at = 0; at < length; at += 2 * kBlock) {
    ASSERT_TRUE(volume_->Write(at, data).ok());
  }
  std::string requests;  // In one piece, which the socket has room for.
  for (uint64_t cookie = 0; cookie < 2000; ++cookie) {
    requests += RawClient::Encode(
        style(),
        {0, static_cast<uint16_t>(Command::kBlockStatus), cookie, 0, length});
  }
  ASSERT_TRUE(
      client_->socket().SendAll(requests, absl::Now() + absl::Seconds(60)));
  auto other = harness_.NewClient();
  other->Enter("v", style());
  for (int i = 0; i < 400; ++i) {
    other->Send(Command::kBlockStatus, 1, 0, length);
    EXPECT_EQ(other->Read().statuses.size(), nbd::kMaxStatusExtents);
  }
  constexpr auto kKind = static_cast<size_t>(nbd::CommandKind::kBlockStatus);
  EXPECT_LE(harness_.stats().Get().requests[kKind][0], 400 + 500);
}

TEST_P(ChunkedSessionTest, BlockStatusNeedsAContext) {
  client_ = harness_.NewClient();
  client_->Enter("v", style(), /*block_status=*/false);
  ExpectError(Ask(Command::kBlockStatus, 0, 1), Error::kInval,
              "no metadata context");
}

class ExtendedSessionTest : public ::testing::TestWithParam<bool> {
 protected:
  ExtendedSessionTest() {
    harness_.exports().Add("huge",
                           std::make_shared<MemoryVolume>(kHugeBytes, 1 << 20));
    client_ = harness_.NewClient();
    client_->Enter("huge", Style::kExtended);
  }

  static constexpr uint64_t kHugeBytes = (uint64_t{1} << 63) - 1;
  NbdHarness harness_{GetParam()};
  std::unique_ptr<RawClient> client_;
};

INSTANTIATE_TEST_SUITE_P(All, ExtendedSessionTest, ::testing::Bool());

TEST_P(ExtendedSessionTest, LengthsHave64Bits) {
  client_->SendWrite(1, 0, "x");
  client_->Read();
  client_->Send(Command::kBlockStatus, 2, 0, kHugeBytes);
  const uint32_t hole = nbd::kStateHole | nbd::kStateZero;
  EXPECT_THAT(
      client_->Read().statuses,
      ElementsAre(Status{kBlock, 0}, Status{kHugeBytes - kBlock, hole}));
  client_->Send(Command::kTrim, 3, 0, kHugeBytes);
  EXPECT_EQ(client_->Read().error, Error::kNone);
  client_->Send(Command::kWriteZeroes, 4, 0, kHugeBytes);
  EXPECT_EQ(client_->Read().error, Error::kNone);
  client_->Send(Command::kBlockStatus, 5, 0, kHugeBytes);
  EXPECT_THAT(client_->Read().statuses, ElementsAre(Status{kHugeBytes, hole}));
  client_->Send(Command::kRead, 6, 0, kHugeBytes);
  EXPECT_EQ(client_->Read().error, Error::kInval);
}

// As QEMU writes.
TEST_P(ExtendedSessionTest, WritesHaveAPayloadWithoutItsFlag) {
  client_->Send(Command::kWrite, 1, 0, 4096);
  ASSERT_TRUE(client_->socket().SendAll(std::string(4096, 'x'),
                                        absl::Now() + absl::Seconds(60)));
  EXPECT_EQ(client_->Read().error, Error::kNone);
  client_->Send(Command::kRead, 2, 0, 4096);
  EXPECT_EQ(client_->Read().Data(), std::string(4096, 'x'));
}

TEST_P(ExtendedSessionTest, PayloadsOfOtherCommandsAreSkipped) {
  for (const Command command : {Command::kRead, Command::kTrim, Command::kFlush,
                                Command::kBlockStatus}) {
    client_->Send({0, static_cast<uint16_t>(command), 1, 0, 8}, "12345678");
    EXPECT_EQ(client_->Read().error, Error::kInval);
  }
  client_->Send(Command::kRead, 2, 0, 1);
  EXPECT_EQ(client_->Read().Data(), std::string(1, '\0'));
}

// The document: "a server SHOULD initiate hard disconnect".
TEST_P(ExtendedSessionTest, PayloadsThatAreTooLargeEndIt) {
  client_->Send({nbd::kCmdPayloadLen, static_cast<uint16_t>(Command::kWrite), 1,
                 0, nbd::kMaxPayloadBytes + uint64_t{1}});
  EXPECT_TRUE(client_->SeesEnd());
}

TEST(ReadOnlySessionTest, ChangesAreRefused) {
  NbdHarness harness(/*synchronous=*/true);
  harness.exports().Add("v", kVolumeBytes, /*read_only=*/true);
  auto client = harness.NewClient();
  client->Enter("v", Style::kStructured);
  client->SendWrite(1, 0, "x");
  const Answer answer = client->Read();
  EXPECT_EQ(answer.error, Error::kPerm);
  EXPECT_THAT(answer.message, HasSubstr("read-only"));
  client->Send(Command::kTrim, 2, 0, 1);
  EXPECT_EQ(client->Read().error, Error::kPerm);
  client->Send(Command::kWriteZeroes, 3, 0, kBlock);
  EXPECT_EQ(client->Read().error, Error::kPerm);
  client->Send(Command::kRead, 4, 0, 1);
  EXPECT_EQ(client->Read().error, Error::kNone);
}

TEST(ReadOnlySessionTest, TheServerMaySayItForAll) {
  nbd::NbdServerOptions options;
  options.read_only = true;
  NbdHarness harness(/*synchronous=*/true, options);
  harness.exports().Add("v", kVolumeBytes);
  auto client = harness.NewClient();
  client->Enter("v", Style::kStructured);
  client->SendWrite(1, 0, "x");
  EXPECT_EQ(client->Read().error, Error::kPerm);
}

}  // namespace
}  // namespace ramvol::testing
