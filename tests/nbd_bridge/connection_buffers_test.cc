#include "nbd_bridge/connection_buffers.h"

#include <sys/socket.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/client_memory.h"
#include "gtest/gtest.h"
#include "nbd_bridge/socket.h"

namespace ramvol::testing {
namespace {

using nbd::ConnectionBuffers;
using nbd::Socket;

class ConnectionBuffersTest : public ::testing::Test,
                              public ClientMemory::Client {
 protected:
  ConnectionBuffersTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    server_ = std::make_unique<Socket>(ends[0]);
    client_ = std::make_unique<Socket>(ends[1]);
    server_->Narrow();
    holder_.Open();
    buffers_ = std::make_unique<ConnectionBuffers>(*server_, holder_);
  }

  static ClientMemory::Options NoSweeps() {
    ClientMemory::Options options;
    options.limit_bytes = size_t{64} << 20;
    options.sweep_interval = absl::InfiniteDuration();
    return options;
  }
  std::function<void()> SendAway() override {
    sent_away_ = true;
    return nullptr;
  }
  size_t used() { return memory_.GetStats().used_bytes; }
  // Leaves less than half of the memory free.
  void Hog(ClientMemory::Holder& holder) {
    const size_t bytes = size_t{40} << 20;
    ASSERT_TRUE(holder.Reserve(bytes));
    holder.SetHeld(bytes);
  }
  // Whether a client that does not move now is sent away when others need
  // memory.
  bool WaitsForClient() {
    ClientMemory::Holder other(&memory_, this);
    other.Ask(size_t{64} << 20, [] {});
    memory_.Sweep(now_);
    now_ += absl::Hours(1);
    memory_.Sweep(now_);
    return sent_away_;
  }

  ClientMemory memory_{NoSweeps()};
  ClientMemory::Holder holder_{&memory_, this};
  std::unique_ptr<Socket> server_;
  std::unique_ptr<Socket> client_;
  std::unique_ptr<ConnectionBuffers> buffers_;
  absl::Time now_ = absl::UnixEpoch();
  bool sent_away_ = false;
};

TEST_F(ConnectionBuffersTest, WideOnesAreChargedUntilTheyAreNarrow) {
  const size_t narrow_bytes = used();
  EXPECT_FALSE(buffers_->wide());
  EXPECT_TRUE(buffers_->Widen());
  EXPECT_TRUE(buffers_->wide());
  EXPECT_GE(used(), narrow_bytes + server_->wide_bytes());
  EXPECT_FALSE(buffers_->Widen());  // They are already.
  EXPECT_TRUE(buffers_->Narrow());
  EXPECT_FALSE(buffers_->wide());
  EXPECT_EQ(used(), narrow_bytes);
  EXPECT_TRUE(buffers_->Narrow());
}

// With narrow ones, loopback takes 1.6 MB/s: a reply of 32 MiB would not be
// there before its client counts as slow.
TEST_F(ConnectionBuffersTest, LargeRepliesMakeThemWideThoughMemoryIsShort) {
  ClientMemory::Holder other(&memory_, this);
  Hog(other);
  const size_t narrow_bytes = used();
  ASSERT_TRUE(holder_.Reserve(ClientMemory::kMuchBytes));
  holder_.SetHeld(ClientMemory::kMuchBytes - 1);
  EXPECT_FALSE(buffers_->Widen());
  holder_.SetHeld(ClientMemory::kMuchBytes);
  EXPECT_TRUE(buffers_->Widen());
  holder_.SetHeld(0);
  EXPECT_GE(used(), narrow_bytes + server_->wide_bytes());
  EXPECT_TRUE(buffers_->Narrow());
  EXPECT_EQ(used(), narrow_bytes);
}

TEST_F(ConnectionBuffersTest, TheyStayNarrowWhileMemoryIsShort) {
  {
    ClientMemory::Holder other(&memory_, this);
    Hog(other);
    EXPECT_FALSE(buffers_->Widen());
    EXPECT_FALSE(buffers_->wide());
  }
  EXPECT_TRUE(buffers_->Widen());
}

TEST_F(ConnectionBuffersTest, TheyStayWideUntilTheClientTookWhatWasSent) {
  ASSERT_TRUE(buffers_->Widen());
  std::string sent(3 * Socket::kNarrowBytes, 'x');
  const absl::Time deadline = absl::Now() + absl::Seconds(60);
  ASSERT_TRUE(server_->SendAll(sent, deadline));
  EXPECT_FALSE(buffers_->Narrow());
  EXPECT_TRUE(buffers_->wide());
  EXPECT_TRUE(WaitsForClient());
  ASSERT_TRUE(
      client_->ReceiveAll(absl::MakeSpan(sent.data(), sent.size()), deadline));
  EXPECT_TRUE(buffers_->Narrow());
}

TEST_F(ConnectionBuffersTest, AClientThatMovesIsNotWaitedFor) {
  ASSERT_TRUE(buffers_->Widen());
  ASSERT_TRUE(server_->SendAll(std::string(3 * Socket::kNarrowBytes, 'x'),
                               absl::Now() + absl::Seconds(60)));
  EXPECT_FALSE(WaitsForClient());
  EXPECT_FALSE(buffers_->Narrow());
  buffers_->NoteProgress();
  EXPECT_FALSE(WaitsForClient());
}

}  // namespace
}  // namespace ramvol::testing
