#include "server/http2/inflow.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/client_memory.h"
#include "base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::http2 {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr size_t kMib = size_t{1} << 20;
constexpr size_t kWindow = 65535;

MATCHER_P2(UpdateOf, stream, increment, "") {
  return arg.stream == static_cast<uint32_t>(stream) &&
         arg.increment == static_cast<uint32_t>(increment);
}

// gRPC's prefix of a message of `length` bytes.
std::string Prefix(size_t length) {
  std::string prefix(1, '\0');
  for (const int shift : {24, 16, 8, 0}) {
    prefix += static_cast<char>(length >> shift);
  }
  return prefix;
}

ClientMemory::Options MemoryOptions() {
  ClientMemory::Options options;
  options.limit_bytes = 64 * kMib;
  options.sweep_interval = absl::InfiniteDuration();
  return options;
}

// A connection.
class Connection final : public ClientMemory::Client {
 public:
  explicit Connection(ClientMemory* memory)
      : inflow(memory, this, "", [this] {
          MutexLock lock(&mu_);
          ++granted_;
          changed_.SignalAll();
        }) {}

  std::function<void()> SendAway() override {
    sent_away = true;
    return nullptr;
  }
  // Waits for memory, as long as that takes.
  void AwaitGrant() {
    {
      MutexLock lock(&mu_);
      while (granted_ == 0) changed_.Wait(&mu_);
      --granted_;
    }
    inflow.TakeGrant();
  }
  // The beginning of a message, and gRPC's wish for the rest of it. Whether it
  // is granted at once.
  bool Begin(uint32_t stream, size_t length) {
    inflow.Open(stream);
    inflow.Received(stream, Prefix(length));
    inflow.Received(stream, std::string(kWindow - 5, 'x'));
    return Wish(stream, static_cast<uint32_t>(length + 5 - kWindow));
  }
  bool Wish(uint32_t stream, uint32_t increment) {
    if (!inflow.MayUpdate(stream)) {
      inflow.Hold({stream, increment});
      return false;
    }
    inflow.Updated({stream, increment});
    return true;
  }
  void Finish(uint32_t stream, size_t length) {
    inflow.Received(stream, std::string(length + 5 - kWindow, 'x'));
  }

  bool sent_away = false;

 private:
  Mutex mu_;
  CondVar changed_;
  int granted_ ABSL_GUARDED_BY(mu_) = 0;

 public:
  Inflow inflow;
};

class InflowTest : public ::testing::Test {
 protected:
  size_t used() { return memory_.GetStats().used_bytes; }

  ClientMemory memory_{MemoryOptions()};
  const size_t rest_ = memory_.GetStats().used_bytes;
};

TEST_F(InflowTest, LargeMessagesTakeTwiceTheirSizeUntilTheyAreThere) {
  Connection one(&memory_);
  const size_t rest = used();
  EXPECT_TRUE(one.Begin(1, 4 * kMib));
  EXPECT_EQ(one.inflow.room_bytes(), 8 * kMib);
  EXPECT_GE(used(), rest + 8 * kMib);
  one.Finish(1, 4 * kMib);
  EXPECT_EQ(one.inflow.room_bytes(), 0);
  // gRPC has not asked for another window.
  EXPECT_EQ(one.inflow.window_bytes(), kWindow);
  one.inflow.Close(1);
  EXPECT_EQ(used(), rest);
}

TEST_F(InflowTest, AWishWithoutRoomIsHeldUntilThereIs) {
  Connection one(&memory_);
  Connection other(&memory_);
  ASSERT_TRUE(one.Begin(1, 16 * kMib));
  EXPECT_FALSE(other.Begin(1, 16 * kMib));
  // gRPC asks again.
  EXPECT_FALSE(other.Wish(1, 7));
  EXPECT_THAT(other.inflow.TakeReady(), IsEmpty());
  // What is there of it is charged.
  EXPECT_EQ(other.inflow.window_bytes(), kWindow);
  one.Finish(1, 16 * kMib);
  other.AwaitGrant();
  EXPECT_THAT(other.inflow.TakeReady(),
              ElementsAre(UpdateOf(1, 16 * kMib + 5 - kWindow + 7)));
  EXPECT_TRUE(other.Wish(1, 1));
  EXPECT_EQ(other.inflow.room_bytes(), 32 * kMib);
  EXPECT_EQ(other.inflow.window_bytes(), 0);
}

TEST_F(InflowTest, CallsOfAConnectionComeOneAfterAnother) {
  Connection one(&memory_);
  ASSERT_TRUE(one.Begin(1, 12 * kMib));
  EXPECT_FALSE(one.Begin(3, 16 * kMib));
  EXPECT_FALSE(one.Begin(5, 80 << 10));  // Would fit.
  one.Finish(1, 12 * kMib);
  one.AwaitGrant();
  EXPECT_THAT(one.inflow.TakeReady(),
              ElementsAre(UpdateOf(3, 16 * kMib + 5 - kWindow)));
  one.Finish(3, 16 * kMib);
  one.AwaitGrant();
  EXPECT_THAT(one.inflow.TakeReady(),
              ElementsAre(UpdateOf(5, (80 << 10) + 5 - kWindow)));
}

TEST_F(InflowTest, ClosedCallsNeitherHoldNorWait) {
  Connection one(&memory_);
  Connection other(&memory_);
  const size_t rest = used();
  ASSERT_TRUE(one.Begin(1, 16 * kMib));
  EXPECT_FALSE(other.Begin(1, 16 * kMib));
  EXPECT_FALSE(other.Begin(3, kMib));
  other.inflow.Close(1);
  EXPECT_EQ(memory_.GetStats().waiting, 0);
  EXPECT_THAT(other.inflow.TakeReady(),
              ElementsAre(UpdateOf(3, kMib + 5 - kWindow)));
  other.inflow.Close(3);
  one.inflow.Close(1);
  one.inflow.Close(1);
  EXPECT_EQ(used(), rest);
  // Nobody knows it any more.
  EXPECT_TRUE(one.Wish(1, 5));
  one.inflow.Received(1, "xxx");
  EXPECT_EQ(used(), rest);
}

TEST_F(InflowTest, AMessageMayEndWhileItsWishIsHeld) {
  Connection one(&memory_);
  Connection other(&memory_);
  ASSERT_TRUE(one.Begin(1, 27 * kMib + (850 << 10)));  // Hardly any is left.
  const size_t length = kWindow + 100;
  ASSERT_FALSE(other.Begin(1, length));
  other.Finish(1, length);
  EXPECT_THAT(other.inflow.TakeReady(), ElementsAre(UpdateOf(1, 105)));
  EXPECT_EQ(memory_.GetStats().waiting, 0);
  EXPECT_EQ(other.inflow.room_bytes(), 0);
  EXPECT_EQ(other.inflow.window_bytes(), kWindow);  // gRPC asked for 105 of it.
}

// gRPC asks for more once a message was read.
TEST_F(InflowTest, UnreadMessagesAreCharged) {
  Connection one(&memory_);
  one.inflow.Open(1);
  for (int i = 0; i < 10; ++i) {
    one.inflow.Received(1, Prefix(1000));
    one.inflow.Received(1, std::string(1000, 'x'));
  }
  EXPECT_EQ(one.inflow.window_bytes(), 10050);
  EXPECT_TRUE(one.Wish(1, 9000));
  EXPECT_EQ(one.inflow.window_bytes(), 1050);
  // More than that: it asks for a message whose prefix has not come.
  EXPECT_TRUE(one.Wish(1, 30000));
  EXPECT_EQ(one.inflow.window_bytes(), 0);
  one.inflow.Received(1, Prefix(20000) + std::string(15000, 'x'));
  EXPECT_EQ(one.inflow.window_bytes(), 15005);
}

TEST_F(InflowTest, MessagesMayBeCutAnywhere) {
  const std::string bytes = Prefix(0) + Prefix(3) + "abc" + Prefix(70 << 10) +
                            std::string(70 << 10, '\xff') + Prefix(2) + "de";
  for (const size_t piece : {1, 2, 3, 4, 5, 6, 7, 1000, 65536, 100000}) {
    Connection one(&memory_);
    one.inflow.Open(1);
    for (size_t at = 0; at < bytes.size(); at += piece) {
      const std::string_view part = std::string_view(bytes).substr(at, piece);
      one.inflow.Received(1, part);
      ASSERT_TRUE(one.Wish(1, static_cast<uint32_t>(part.size())));
    }
    EXPECT_EQ(one.inflow.window_bytes(), 0) << piece;
  }
}

TEST_F(InflowTest, WhoDoesNotSendTheRestIsSentAway) {
  Connection one(&memory_);
  Connection other(&memory_);
  ASSERT_TRUE(one.Begin(1, 16 * kMib));
  const absl::Time began = absl::Now();
  memory_.Sweep(began);
  EXPECT_FALSE(other.Begin(1, 16 * kMib));
  memory_.Sweep(began);
  memory_.Sweep(began + absl::Seconds(17));
  EXPECT_FALSE(one.sent_away);
  memory_.Sweep(began + absl::Seconds(19));
  EXPECT_TRUE(one.sent_away);
  EXPECT_FALSE(other.sent_away);
}

// Whatever comes in whatever order, no byte stays charged.
TEST_F(InflowTest, NothingStaysCharged) {
  const uint32_t seed = ::testing::UnitTest::GetInstance()->random_seed();
  RecordProperty("seed", static_cast<int>(seed));
  uint64_t state = seed + 1;
  const auto next = [&state](uint64_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % below;
  };
  std::vector<std::unique_ptr<Connection>> all;
  for (int i = 0; i < 4; ++i) {
    all.push_back(std::make_unique<Connection>(&memory_));
  }
  const size_t rest = used();
  for (int i = 0; i < 20'000; ++i) {
    Connection& one = *all[next(all.size())];
    const auto stream = static_cast<uint32_t>(next(8));
    switch (next(5)) {
      case 0:
        one.inflow.Open(stream);
        break;
      case 1:
        one.inflow.Close(stream);
        break;
      case 2:
        one.inflow.Received(stream, Prefix(next(8) == 0 ? 20 * kMib : 90000));
        break;
      case 3:
        one.inflow.Received(stream, std::string(next(3 * kWindow), '\0'));
        break;
      default:
        one.Wish(stream, static_cast<uint32_t>(next(kWindow)));
    }
    one.inflow.TakeGrant();
    one.inflow.TakeReady();
  }
  for (const auto& one : all) {
    for (uint32_t stream = 0; stream < 8; ++stream) one->inflow.Close(stream);
    EXPECT_EQ(one->inflow.room_bytes(), 0);
    EXPECT_EQ(one->inflow.window_bytes(), 0);
  }
  EXPECT_EQ(memory_.GetStats().waiting, 0);
  EXPECT_EQ(used(), rest);
}

}  // namespace
}  // namespace ramvol::http2
