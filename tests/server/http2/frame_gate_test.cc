#include "server/http2/frame_gate.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/client_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/http2/inflow.h"

namespace ramvol::http2 {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

enum : uint8_t {
  kData,
  kHeaders,
  kPriority,
  kReset,
  kSettings,
  kPush,
  kPing,
  kGoAway,
  kUpdate,
  kContinuation
};
constexpr uint8_t kEndStream = 1;
constexpr uint8_t kEndHeaders = 4;

std::string Frame(uint8_t type, uint8_t flags, uint32_t stream,
                  const std::string& payload) {
  std::string frame;
  for (const int shift : {16, 8, 0}) {
    frame += static_cast<char>(payload.size() >> shift);
  }
  frame += static_cast<char>(type);
  frame += static_cast<char>(flags);
  for (const int shift : {24, 16, 8, 0}) {
    frame += static_cast<char>(stream >> shift);
  }
  return frame + payload;
}

// A payload looks like heads, and as headers like a field for each five bytes.
std::string Frame(uint8_t type, uint8_t flags, uint32_t stream,
                  size_t length = 0) {
  return Frame(type, flags, stream, std::string(length, '\x03'));
}

std::string Open(uint32_t stream) {
  return Frame(kHeaders, kEndHeaders, stream, 30);
}

// A field of 4 + `length` bytes, of less than 2^14.
std::string Field(size_t length) {
  std::string field = {'\x03', '\x7f'};
  field += static_cast<char>((length - 0x7f) % 0x80 | 0x80);
  field += static_cast<char>((length - 0x7f) / 0x80);
  return field + std::string(length, 'x');
}

std::string Reset(uint32_t stream) { return Frame(kReset, 0, stream, 4); }

class FrameGateTest : public ::testing::Test, public ClientMemory::Client {
 protected:
  FrameGateTest() { Receive(std::string(FrameGate::kPreface)); }

  Flood Receive(const std::string& bytes) {
    return gate_->Received(bytes, now_ns_);
  }
  void Answer(uint32_t stream) {
    gate_->Sent(Frame(kHeaders, kEndHeaders, stream, 10) +
                    Frame(kData, 0, stream, 100) +
                    Frame(kHeaders, kEndHeaders | kEndStream, stream, 10),
                now_ns_);
  }
  // How many of them get through.
  template <typename Make>
  int CountUntilFlood(Flood expected, Make make, int most = 100'000) {
    for (int i = 0; i < most; ++i) {
      const Flood flood = Receive(make(i));
      if (flood == Flood::kNone) continue;
      EXPECT_EQ(flood, expected);
      EXPECT_EQ(Receive(Frame(kData, 0, 1, 5)), expected);
      return i;
    }
    return most;
  }
  uint32_t NextStream() { return stream_ += 2; }
  // How many of `wanted` rapid resets another connection gets through.
  int CountRapidResets(int wanted) {
    FrameGate gate(&common_, peer_, &inflow_);
    gate.Received(FrameGate::kPreface, now_ns_);
    for (int i = 0; i < wanted; ++i) {
      const auto stream = static_cast<uint32_t>(2 * i + 1);
      if (gate.Received(Open(stream) + Reset(stream), now_ns_) !=
          Flood::kNone) {
        return i;
      }
    }
    return wanted;
  }

  std::function<void()> SendAway() override { return nullptr; }

  ClientMemory memory_{ClientMemory::Options()};
  Inflow inflow_{&memory_, this, "", [] {}};
  FloodBudget common_;
  std::shared_ptr<PeerStreams> peer_ = std::make_shared<PeerStreams>();
  std::unique_ptr<FrameGate> gate_ =
      std::make_unique<FrameGate>(&common_, peer_, &inflow_);
  int64_t now_ns_ = 5 * kSecond;
  uint32_t stream_ = 1;
};

TEST_F(FrameGateTest, SeesTheSameHoweverBytesAreCut) {
  std::string all;
  for (uint32_t i = 3; i < 43; i += 2) {
    all += Open(i) + Frame(kData, 0, i, 1000) + Frame(kSettings, 0, 0, 6);
    if (i % 4 == 1) all += Reset(i);
  }
  for (size_t piece = 1; piece < 50; ++piece) {
    FrameGate gate(&common_, peer_, &inflow_);
    gate.Received(FrameGate::kPreface.substr(0, 5), now_ns_);
    gate.Received(FrameGate::kPreface.substr(5), now_ns_);
    for (size_t at = 0; at < all.size(); at += piece) {
      EXPECT_EQ(gate.Received(all.substr(at, piece), now_ns_), Flood::kNone);
    }
    EXPECT_EQ(gate.open_streams(), 10);
    EXPECT_EQ(gate.rapid_resets(), 10);
  }
  EXPECT_EQ(common_.places_taken(), 0);
  EXPECT_EQ(peer_->open, 0);
}

TEST_F(FrameGateTest, CallsEndWithTheirAnswersOrResets) {
  Receive(Open(3) + Open(5) + Open(7));
  EXPECT_EQ(gate_->open_streams(), 3);
  Answer(3);
  gate_->Sent(Reset(3), now_ns_);
  EXPECT_EQ(gate_->open_streams(), 2);
  now_ns_ += 2 * kSecond;
  Receive(Reset(5));
  EXPECT_EQ(gate_->open_streams(), 1);
  EXPECT_EQ(gate_->rapid_resets(), 0);
  EXPECT_EQ(common_.places_taken(), 1);
}

TEST_F(FrameGateTest, BoundsRapidResets) {
  const auto make = [this](int) {
    const uint32_t stream = NextStream();
    return Open(stream) + Reset(stream);
  };
  EXPECT_EQ(CountUntilFlood(Flood::kResets, make), kResetBurst);
}

TEST_F(FrameGateTest, BoundsRapidResetsOfTheServer) {
  int count = 0;
  while (Receive(Open(NextStream())) == Flood::kNone) {
    gate_->Sent(Reset(stream_), now_ns_);
    ASSERT_LT(++count, 2 * kResetBurst);
  }
  EXPECT_EQ(count, kResetBurst + 1);
}

TEST_F(FrameGateTest, LetsClientsCancelAtASteadyPace) {
  for (int i = 0; i < 10'000; ++i) {
    now_ns_ += kSecond / 90;
    const uint32_t stream = NextStream();
    ASSERT_EQ(Receive(Open(stream) + Reset(stream)), Flood::kNone);
  }
}

TEST_F(FrameGateTest, LetsClientsCloseLongStreamsAtOnce) {
  std::string resets;
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(Receive(Open(NextStream())), Flood::kNone);
    resets += Reset(stream_);
  }
  now_ns_ += kSecond;
  EXPECT_EQ(Receive(resets), Flood::kNone);
  EXPECT_EQ(gate_->open_streams(), 0);
}

TEST_F(FrameGateTest, BoundsRapidResetsOfAllTogether) {
  int passed = 0;
  for (int i = 0; i < 8; ++i) passed += CountRapidResets(900);
  // Those of the last connections were few.
  EXPECT_EQ(passed, kCommonResetBurst + 3 * kFewResets);
}

TEST_F(FrameGateTest, WhoResetsFewStaysWhateverOthersDid) {
  Receive(Open(NextStream()) + Reset(stream_));
  for (int i = 0; i < 8; ++i) CountRapidResets(900);
  for (int i = 1; i < kFewResets; ++i) {
    ASSERT_EQ(Receive(Open(NextStream()) + Reset(stream_)), Flood::kNone);
  }
  for (int i = 0; i < 100; ++i) {
    // Others go on at the pace that all share.
    CountRapidResets(900);
    now_ns_ += kSecond;
    ASSERT_EQ(Receive(Open(NextStream()) + Reset(stream_)), Flood::kNone);
  }
}

TEST_F(FrameGateTest, BoundsOpenCallsOfAPeer) {
  const auto open = [this](int) { return Open(NextStream()); };
  EXPECT_EQ(CountUntilFlood(Flood::kStreams, open), kMaxStreams / 2);
  // Another one has room.
  gate_ = std::make_unique<FrameGate>(&common_, std::make_shared<PeerStreams>(),
                                      &inflow_);
  EXPECT_EQ(Receive(std::string(FrameGate::kPreface) + Open(1)), Flood::kNone);
}

TEST_F(FrameGateTest, BoundsFramesThatCarryNothing) {
  for (const std::string& frame :
       {Frame(kPing, 0, 0, 8), Frame(kSettings, 0, 0), Frame(kSettings, 1, 0),
        Frame(kPriority, 0, 1, 5), Frame(kData, 0, 1), Frame(77, 0, 0, 3),
        Reset(99), Frame(kGoAway, 0, 0, 8)}) {
    gate_ = std::make_unique<FrameGate>(&common_, peer_, &inflow_);
    Receive(std::string(FrameGate::kPreface));
    EXPECT_EQ(CountUntilFlood(Flood::kControl, [&](int) { return frame; }),
              kControlBurst);
  }
}

TEST_F(FrameGateTest, AnswersAllowForPings) {
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_EQ(Receive(Frame(kPing, 0, 0, 8) + Frame(kPing, 1, 0, 8) +
                      Frame(kUpdate, 0, 0, 4)),
              Flood::kNone);
    gate_->Sent(Frame(kData, 0, 1, 16384), now_ns_);
  }
}

TEST_F(FrameGateTest, BoundsBlocksOfHeaders) {
  Receive(Frame(kHeaders, 0, 3, 10));
  EXPECT_EQ(CountUntilFlood(Flood::kHeaders,
                            [](int) { return Frame(kContinuation, 0, 3); }),
            kMaxContinuations);
  FrameGate gate(&common_, peer_, &inflow_);
  gate.Received(FrameGate::kPreface, now_ns_);
  const std::string quarter = Field(kMaxHeaderBlockBytes / 4 - 4);
  EXPECT_EQ(gate.Received(
                Frame(kHeaders, 0, 3, quarter + quarter + quarter + quarter),
                now_ns_),
            Flood::kNone);
  EXPECT_EQ(gate.Received(Frame(kContinuation, 0, 3, 1), now_ns_),
            Flood::kHeaders);
}

TEST_F(FrameGateTest, BoundsFieldsOfABlock) {
  // Of the table of the client, so each takes a byte.
  const std::string field = "\xbe";
  std::string fields;
  for (size_t i = 0; i < kMaxHeaderFields; ++i) fields += field;
  EXPECT_EQ(Receive(Frame(kHeaders, kEndHeaders, 3, fields)), Flood::kNone);
  EXPECT_EQ(Receive(Frame(kHeaders, 0, 5, fields)), Flood::kNone);
  EXPECT_EQ(Receive(Frame(kContinuation, kEndHeaders, 5, field)),
            Flood::kHeaders);
}

TEST_F(FrameGateTest, LargeHeadersTakeMorePlaces) {
  const std::string fields(kMaxHeaderFields, '\xbe');
  const size_t places = 1 + fields.size() * kHeaderFieldBytes / kStreamBytes;
  ASSERT_GT(places, 4);
  Receive(Open(3) + Frame(kHeaders, kEndHeaders, 5, fields));
  EXPECT_EQ(gate_->places_taken(), 1 + places);
  // The trailers of a call are held, too.
  Receive(Frame(kHeaders, kEndHeaders | kEndStream, 3, fields));
  EXPECT_EQ(gate_->places_taken(), 2 * places);
  EXPECT_EQ(common_.places_taken(), 2 * places);
  Answer(3);
  EXPECT_EQ(common_.places_taken(), places);
  const auto open = [&](int) {
    return Frame(kHeaders, kEndHeaders, NextStream() + 4, fields);
  };
  CountUntilFlood(Flood::kStreams, open);
  // The half that is left, but for what is less than a call.
  EXPECT_LE(common_.places_taken(), kMaxStreams / 2 + places);
  EXPECT_GE(common_.places_taken(), kMaxStreams / 2 - places);
}

TEST_F(FrameGateTest, ResetsOfLargeHeadersWeighMore) {
  const std::string fields(kMaxHeaderFields, '\xbe');
  const size_t places = 1 + fields.size() * kHeaderFieldBytes / kStreamBytes;
  const auto make = [&](int) {
    const uint32_t stream = NextStream();
    return Frame(kHeaders, kEndHeaders, stream, fields) + Reset(stream);
  };
  EXPECT_EQ(CountUntilFlood(Flood::kResets, make),
            static_cast<int>(kResetBurst) / (2 * static_cast<int>(places) - 1));
}

TEST_F(FrameGateTest, ABlockEndsWithAField) {
  EXPECT_EQ(Receive(Frame(kHeaders, 0, 3, 12)), Flood::kNone);
  EXPECT_EQ(Receive(Frame(kContinuation, kEndHeaders, 3, 3)), Flood::kNone);
  EXPECT_EQ(Receive(Frame(kHeaders, kEndHeaders, 5, 12)), Flood::kHeaders);
}

TEST_F(FrameGateTest, APriorityIsNoField) {
  const std::string priority(5, '\xff');
  EXPECT_EQ(Receive(Frame(kHeaders, kEndHeaders | 0x20, 3,
                          priority + std::string(10, '\x03'))),
            Flood::kNone);
}

TEST_F(FrameGateTest, RefusesPaddedHeaders) {
  EXPECT_EQ(Receive(Frame(kHeaders, kEndHeaders | 0x8, 3, 10)),
            Flood::kHeaders);
}

TEST_F(FrameGateTest, NothingComesBetweenPartsOfABlock) {
  EXPECT_EQ(Receive(Frame(kHeaders, 0, 3, 10) + Frame(kPing, 0, 0, 8)),
            Flood::kHeaders);
}

TEST_F(FrameGateTest, ABlockHasToArriveInTime) {
  const std::string block =
      Frame(kHeaders, 0, 3, 10) + Frame(kContinuation, kEndHeaders, 3, 10);
  for (size_t sent = 1; sent <= block.size(); ++sent) {
    FrameGate gate(&common_, peer_, &inflow_);
    gate.Received(FrameGate::kPreface, now_ns_);
    gate.Received(block.substr(0, sent), now_ns_);
    EXPECT_FALSE(gate.headers_late(now_ns_ + kHeaderBlockTimeoutNs));
    // Before the head is there, nothing is known of a block.
    EXPECT_EQ(gate.headers_late(now_ns_ + kHeaderBlockTimeoutNs + 1),
              sent >= 9 && sent < block.size());
  }
}

TEST_F(FrameGateTest, DataThatFollowsDoesNotMakeABlockLate) {
  Receive(Open(3) + Frame(kData, 0, 3, 100).substr(0, 50));
  EXPECT_FALSE(gate_->headers_late(now_ns_ + 2 * kHeaderBlockTimeoutNs));
}

}  // namespace
}  // namespace ramvol::http2
