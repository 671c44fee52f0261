#include "server/http2/watched_connection.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/client_memory.h"
#include "base/door_stats.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/http2/flood_budget.h"
#include "server/http2/frame_gate.h"

namespace ramvol::http2 {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr size_t kMib = size_t{1} << 20;

// What the socket took, and how much it still takes.
std::string* sent_to;
size_t room;

ssize_t FakeSend(int, const msghdr* message, int) {
  ssize_t sent = 0;
  for (size_t i = 0; i < message->msg_iovlen; ++i) {
    const iovec& part = message->msg_iov[i];
    const size_t taken = std::min(room, part.iov_len);
    sent_to->append(static_cast<const char*>(part.iov_base), taken);
    room -= taken;
    sent += static_cast<ssize_t>(taken);
  }
  if (sent > 0) return sent;
  errno = EAGAIN;
  return -1;
}

std::string BigEndian(size_t number, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) {
    out += static_cast<char>(number >> (8 * i));
  }
  return out;
}

std::string Frame(uint8_t type, uint8_t flags, uint32_t stream,
                  const std::string& payload) {
  return BigEndian(payload.size(), 3) + BigEndian(type, 1) +
         BigEndian(flags, 1) + BigEndian(stream, 4) + payload;
}

std::string Update(uint32_t stream, uint32_t increment) {
  return Frame(8, 0, stream, BigEndian(increment, 4));
}

const std::string& Ping() {
  static const std::string& ping = *new std::string(Frame(6, 1, 0, "12345678"));
  return ping;
}

// The beginning of a call with a message of `length` bytes.
std::string Call(uint32_t stream, size_t length) {
  return Frame(1, 4, stream, "\x82\x86\x84") +
         Frame(0, 0, stream, BigEndian(0, 1) + BigEndian(length, 4) + "data");
}

class WatchedConnectionTest : public ::testing::Test,
                              public ClientMemory::Client {
 protected:
  WatchedConnectionTest() {
    sent_to = &sent_;
    room = 1000;
    WatchedConnection::Options options;
    options.peer_streams = std::make_shared<PeerStreams>();
    options.memory = memory_;
    options.stats = std::make_shared<DoorStats>();
    options.send = &FakeSend;
    options.granted = [] {};
    connection_ =
        std::make_shared<WatchedConnection>(&common_, std::move(options));
    Receive(std::string(FrameGate::kPreface));
  }
  ~WatchedConnectionTest() override { connection_->Close(); }

  std::function<void()> SendAway() override { return nullptr; }

  static ClientMemory::Options MemoryOptions() {
    ClientMemory::Options options;
    options.limit_bytes = 64 * kMib;
    options.sweep_interval = absl::InfiniteDuration();
    return options;
  }

  void Receive(std::string bytes) {
    iovec part = {bytes.data(), bytes.size()};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    EXPECT_TRUE(connection_->Received(message, bytes.size()));
  }
  // As gRPC does: until all was taken, or the socket takes no more. Cut into
  // `parts`. What was not taken.
  std::string Send(std::string bytes, size_t parts = 1) {
    while (!bytes.empty()) {
      std::vector<iovec> iov;
      const size_t size = bytes.size() / parts + 1;
      for (size_t at = 0; at < bytes.size(); at += size) {
        iov.push_back({&bytes[at], std::min(size, bytes.size() - at)});
      }
      msghdr message = {};
      message.msg_iov = iov.data();
      message.msg_iovlen = iov.size();
      const ssize_t sent = connection_->Send(message, 0);
      if (sent < 0) {
        EXPECT_EQ(errno, EAGAIN);
        return bytes;
      }
      bytes.erase(0, static_cast<size_t>(sent));
    }
    return bytes;
  }
  std::string TakeSent() { return std::exchange(sent_, ""); }
  void Hog(size_t bytes) { hog_.SetHeld(bytes); }

  const std::shared_ptr<ClientMemory> memory_ =
      std::make_shared<ClientMemory>(MemoryOptions());
  ClientMemory::Holder hog_{memory_.get(), this};
  FloodBudget common_;
  std::string sent_;
  std::shared_ptr<WatchedConnection> connection_;
};

TEST_F(WatchedConnectionTest, LetsUpdatesPassWhileThereIsRoom) {
  Receive(Call(1, kMib));
  const std::string all = Ping() + Update(1, 1000) + Update(0, 5) + Ping();
  for (size_t parts = 1; parts < all.size(); ++parts) {
    EXPECT_EQ(Send(all, parts), "");
    EXPECT_EQ(TakeSent(), all);
    room = 1000;
  }
}

TEST_F(WatchedConnectionTest, HoldsUpdatesBackUntilThereIsRoom) {
  Hog(60 * kMib);
  Receive(Call(1, kMib) + Call(3, 100) + Call(5, kMib));
  for (size_t parts = 1; parts < 40; ++parts) {
    EXPECT_EQ(Send(Ping() + Update(1, 1000) + Update(3, 20) + Update(1, 1) +
                       Update(0, 7) + Update(5, 6) + Ping(),
                   parts),
              "");
    EXPECT_EQ(TakeSent(), Ping() + Update(3, 20) + Update(0, 7) + Ping());
    room = 1000;
  }
  connection_->Resume();
  EXPECT_EQ(TakeSent(), "");
  Hog(0);
  connection_->Resume();
  EXPECT_EQ(TakeSent(), Update(1, 39 * 1001) + Update(5, 39 * 6));
}

TEST_F(WatchedConnectionTest, PutsUpdatesBetweenFrames) {
  Hog(60 * kMib);
  Receive(Call(1, kMib));
  room = 9;
  EXPECT_EQ(Send(Update(1, 1000) + Ping()), Ping().substr(9));
  Hog(0);
  room = 1000;
  connection_->Resume();
  EXPECT_EQ(TakeSent(), Ping().substr(0, 9));
  EXPECT_EQ(Send(Ping().substr(9)), "");
  EXPECT_EQ(TakeSent(), Ping().substr(9) + Update(1, 1000));
}

TEST_F(WatchedConnectionTest, FinishesItsOwnFramesFirst) {
  Hog(60 * kMib);
  Receive(Call(1, kMib));
  EXPECT_EQ(Send(Update(1, 1000)), "");
  Hog(0);
  room = 5;
  connection_->Resume();
  EXPECT_EQ(Send(Ping()), Ping());
  room = 1000;
  EXPECT_EQ(Send(Ping()), "");
  EXPECT_EQ(TakeSent(), Update(1, 1000) + Ping());
}

TEST_F(WatchedConnectionTest, AnswersMessagesThatAreTooLong) {
  Receive(Call(3, ClientMemory::kMaxMessageBytes + 1));
  const std::string sent = TakeSent();
  EXPECT_THAT(sent.substr(3), StartsWith(std::string("\1\5\0\0\0\3\x88", 7)));
  EXPECT_THAT(sent, HasSubstr("larger than max (34603009 vs. 34603008)"));
  EXPECT_EQ(Send(Update(3, 1000)), "");
  EXPECT_EQ(TakeSent(), "");
}

}  // namespace
}  // namespace ramvol::http2
