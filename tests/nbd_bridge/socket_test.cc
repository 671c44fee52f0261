#include "nbd_bridge/socket.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::nbd {
namespace {

using ::testing::Optional;

// Long enough for any machine; no test waits for it when all is well.
constexpr absl::Duration kPatience = absl::Seconds(60);
constexpr absl::Duration kMoment = absl::Milliseconds(20);

absl::Time Soon() { return absl::Now() + kMoment; }
absl::Time Later() { return absl::Now() + kPatience; }

iovec Part(std::string& text) { return {text.data(), text.size()}; }

// Two ends of a Unix connection.
class SocketTest : public ::testing::Test {
 protected:
  SocketTest() {
    std::array<int, 2> ends{};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()),
              0);
    near_ = std::make_unique<Socket>(ends[0]);
    far_ = std::make_unique<Socket>(ends[1]);
  }

  // Sends until there is no room. Returns how many bytes that were.
  size_t FillUp() {
    std::string piece(size_t{64} << 10, 'x');
    size_t all = 0;
    for (;;) {
      iovec part = Part(piece);
      const ssize_t sent = near_->Send({&part, 1}, /*wait=*/false);
      EXPECT_GE(sent, 0);
      if (sent <= 0) return all;
      all += static_cast<size_t>(sent);
    }
  }

  // Receives and forgets `bytes` bytes.
  void Drain(size_t bytes) {
    std::vector<char> out(bytes);
    EXPECT_TRUE(far_->ReceiveAll(absl::MakeSpan(out), Later()));
  }

  std::unique_ptr<Socket> near_;
  std::unique_ptr<Socket> far_;
};

TEST_F(SocketTest, MovesWholeMessages) {
  ASSERT_TRUE(near_->SendAll("hello, world", Later()));
  std::string out(12, '\0');
  ASSERT_TRUE(far_->ReceiveAll(absl::MakeSpan(out), Later()));
  EXPECT_EQ(out, "hello, world");
}

TEST_F(SocketTest, ReceiveAllFailsAtTheDeadlineAndAtTheEnd) {
  std::string out(4, '\0');
  ASSERT_TRUE(near_->SendAll("he", Later()));
  EXPECT_FALSE(far_->ReceiveAll(absl::MakeSpan(out), Soon()));
  ASSERT_TRUE(near_->SendAll("he", Later()));
  near_->ShutdownSending();
  EXPECT_FALSE(far_->ReceiveAll(absl::MakeSpan(out), Later()));
}

TEST_F(SocketTest, SendAllFailsAtTheDeadlineAndWithoutAPeer) {
  FillUp();
  EXPECT_FALSE(near_->SendAll("x", Soon()));
  far_.reset();
  EXPECT_FALSE(near_->SendAll("x", Later()));
}

TEST_F(SocketTest, ReceiveTakesWhatIsThereIntoItsParts) {
  ASSERT_TRUE(near_->SendAll("abcde", Later()));
  std::string first(2, '\0');
  std::string second(8, '\0');
  std::array<iovec, 2> parts = {Part(first), Part(second)};
  EXPECT_THAT(far_->Receive(absl::MakeSpan(parts), /*wait_for_all=*/false),
              Optional(5));
  EXPECT_EQ(first, "ab");
  EXPECT_EQ(second.substr(0, 3), "cde");
}

TEST_F(SocketTest, ReceiveCanWaitForAll) {
  std::string out(4, '\0');
  iovec part = Part(out);
  ASSERT_TRUE(near_->SendAll("ab", Later()));
  std::optional<size_t> got;
  std::thread receiver(
      [&] { got = far_->Receive({&part, 1}, /*wait_for_all=*/true); });
  // Until the receiver has taken the first part, and waits for the rest.
  while (near_->unsent_bytes() != 0) std::this_thread::yield();
  ASSERT_TRUE(near_->SendAll("cd", Later()));
  receiver.join();
  EXPECT_THAT(got, Optional(4));
  EXPECT_EQ(out, "abcd");
}

TEST_F(SocketTest, ReceiveTellsTheEndFromSilence) {
  std::string out(4, '\0');
  iovec part = Part(out);
  far_->SetIdleTime(kMoment);
  EXPECT_EQ(far_->Receive({&part, 1}, /*wait_for_all=*/false), std::nullopt);
  near_->ShutdownSending();
  EXPECT_THAT(far_->Receive({&part, 1}, /*wait_for_all=*/false), Optional(0));
}

TEST_F(SocketTest, SendsPartsInOrder) {
  std::string first = "ab";
  std::string second = "cde";
  std::array<iovec, 2> parts = {Part(first), Part(second)};
  EXPECT_EQ(near_->Send(absl::MakeSpan(parts), /*wait=*/true), 5);
  std::string out(5, '\0');
  ASSERT_TRUE(far_->ReceiveAll(absl::MakeSpan(out), Later()));
  EXPECT_EQ(out, "abcde");
}

TEST_F(SocketTest, SendWithoutRoomWaitsOnlyIfTold) {
  const size_t filled = FillUp();
  EXPECT_GT(filled, 0u);
  std::string text = "x";
  iovec part = Part(text);
  EXPECT_EQ(near_->Send({&part, 1}, /*wait=*/false), 0);
  std::thread receiver([&] { Drain(filled); });
  EXPECT_EQ(near_->Send({&part, 1}, /*wait=*/true), 1);
  receiver.join();
}

// One call moves at most kMaxBytesAtOnce: whole parts up to that, or a piece of
// the first. The caller's parts stay as they were.
TEST_F(SocketTest, SendMovesAtMostSoMuchAtOnce) {
  std::string large(3 * Socket::kMaxBytesAtOnce, 'x');
  std::string small = "y";
  for (const bool small_first : {false, true}) {
    std::array<iovec, 2> parts = {Part(large), Part(large)};
    if (small_first) parts[0] = Part(small);
    const std::array<iovec, 2> before = parts;
    const size_t most = small_first ? 1 : Socket::kMaxBytesAtOnce;
    std::thread receiver([&] { Drain(most); });
    EXPECT_EQ(near_->Send(absl::MakeSpan(parts), /*wait=*/true), most);
    receiver.join();
    for (size_t i = 0; i < parts.size(); ++i) {
      EXPECT_EQ(parts[i].iov_base, before[i].iov_base);
      EXPECT_EQ(parts[i].iov_len, before[i].iov_len);
    }
  }
}

TEST_F(SocketTest, SendFailsWithoutAPeer) {
  far_.reset();
  std::string text = "x";
  iovec part = Part(text);
  EXPECT_LT(near_->Send({&part, 1}, /*wait=*/false), 0);
  EXPECT_LT(near_->Send({&part, 1}, /*wait=*/true), 0);
}

TEST_F(SocketTest, ANarrowSocketHoldsLessThanAWideOne) {
  near_->Widen();
  const size_t wide = FillUp();
  EXPECT_LE(wide, near_->wide_bytes());
  Drain(wide);
  near_->Narrow();
  const size_t narrow = FillUp();
  EXPECT_LT(narrow, wide);
  // Twice, for the kernel's overhead.
  EXPECT_LE(narrow, 2 * Socket::kNarrowBytes);
}

TEST_F(SocketTest, CountsWhatThePeerHasNotTaken) {
  EXPECT_EQ(near_->unsent_bytes(), 0u);
  const size_t filled = FillUp();
  EXPECT_GT(near_->unsent_bytes(), 0u);
  Drain(filled);
  EXPECT_EQ(near_->unsent_bytes(), 0u);
}

TEST_F(SocketTest, NoticesThatItIsBroken) {
  EXPECT_FALSE(near_->IsBroken());
  ASSERT_TRUE(far_->SendAll("x", Later()));
  EXPECT_FALSE(near_->IsBroken()) << "bytes that wait are no break";
  far_.reset();
  EXPECT_TRUE(near_->IsBroken());
}

TEST_F(SocketTest, ShutdownBreaksBothDirections) {
  EXPECT_FALSE(near_->IsBroken());
  near_->Shutdown();
  EXPECT_TRUE(near_->IsBroken());
  EXPECT_FALSE(near_->SendAll("x", Later()));
}

TEST_F(SocketTest, ShutdownReceivingKeepsWhatHasArrived) {
  ASSERT_TRUE(far_->SendAll("ab", Later()));
  near_->ShutdownReceiving();
  std::string out(4, '\0');
  iovec part = Part(out);
  EXPECT_THAT(near_->Receive({&part, 1}, /*wait_for_all=*/false), Optional(2));
  EXPECT_THAT(near_->Receive({&part, 1}, /*wait_for_all=*/false), Optional(0));
  EXPECT_TRUE(near_->SendAll("still sends", Later()));
}

TEST_F(SocketTest, UnixSocketsKeepNothingAfterNarrow) {
  EXPECT_EQ(near_->kept_bytes(), 0u);
  EXPECT_GT(near_->wide_bytes(), 2 * Socket::kNarrowBytes);
  const Socket tcp(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_GT(tcp.kept_bytes(), 0u) << "the window that TCP has promised";
  EXPECT_GT(tcp.wide_bytes(), tcp.kept_bytes());
}

TEST(AdvanceTest, RemovesFromTheFront) {
  std::string text = "abcdef";
  const auto parts = [&text] {
    return std::array<iovec, 3>{
        {{text.data(), 2}, {text.data() + 2, 0}, {text.data() + 2, 4}}};
  };
  auto from = parts();
  EXPECT_EQ(Advance(absl::MakeSpan(from), 0).size(), 3u);
  from = parts();
  absl::Span<iovec> left = Advance(absl::MakeSpan(from), 1);
  ASSERT_EQ(left.size(), 3u);
  EXPECT_EQ(left[0].iov_base, text.data() + 1);
  EXPECT_EQ(left[0].iov_len, 1u);
  from = parts();
  left = Advance(absl::MakeSpan(from), 2);
  ASSERT_EQ(left.size(), 1u) << "empty parts go, too";
  EXPECT_EQ(left[0].iov_len, 4u);
  from = parts();
  left = Advance(absl::MakeSpan(from), 5);
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].iov_base, text.data() + 5);
  EXPECT_EQ(left[0].iov_len, 1u);
  from = parts();
  EXPECT_TRUE(Advance(absl::MakeSpan(from), 6).empty());
}

}  // namespace
}  // namespace ramvol::nbd
