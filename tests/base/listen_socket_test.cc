#include "base/listen_socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/listen_address.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;
constexpr auto kUnavailable = absl::StatusCode::kUnavailable;

bool Exists(const std::string& path) {
  struct stat file{};
  return lstat(path.c_str(), &file) == 0;
}

// Leaves the file of a Unix socket behind, as a server does that crashed.
void LeaveSocketFile(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un addr{};
  addr.sun_family = AF_UNIX;
  std::memcpy(addr.sun_path, path.data(), path.size());
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&addr), sizeof(addr)), 0);
  close(fd);
}

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

// A TCP socket on a free port of the loopback address; `listens` or not.
int LoopbackSocket(bool listens) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in addr{};
  addr.sin_family = AF_INET;
  addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&addr), sizeof(addr)), 0);
  EXPECT_TRUE(!listens || listen(fd, 1) == 0);
  return fd;
}

// Connects to a Unix socket. False when nothing listens there.
bool CanConnect(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un addr{};
  addr.sun_family = AF_UNIX;
  std::memcpy(addr.sun_path, path.data(), path.size());
  const bool connected =
      connect(fd, reinterpret_cast<sockaddr*>(&addr), sizeof(addr)) == 0;
  close(fd);
  return connected;
}

class ListenSocketTest : public ::testing::Test {
 protected:
  // Paths are relative, because absolute ones may be too long for a socket.
  void SetUp() override {
    ASSERT_EQ(chdir(::testing::TempDir().c_str()), 0);
    unlink("s.sock");
  }
  static absl::StatusOr<std::vector<ListenSocket>> Listen(
      const std::string& text) {
    return ListenOn(*ParseListenAddress(text));
  }
};

TEST_F(ListenSocketTest, PortZeroTakesAFreePortAndTellsIt) {
  const auto sockets = Listen("127.0.0.1:0");
  ASSERT_THAT(sockets, IsOk());
  ASSERT_THAT(*sockets, SizeIs(1));
  sockaddr_in bound{};
  socklen_t bytes = sizeof(bound);
  ASSERT_EQ(getsockname((*sockets)[0].fd(), reinterpret_cast<sockaddr*>(&bound),
                        &bytes),
            0);
  EXPECT_NE(bound.sin_port, 0);
  EXPECT_EQ((*sockets)[0].name(),
            "127.0.0.1:" + std::to_string(ntohs(bound.sin_port)));
}

TEST_F(ListenSocketTest, AcceptsWithoutBlocking) {
  const auto sockets = Listen("127.0.0.1:0");
  ASSERT_THAT(sockets, IsOk());
  EXPECT_NE(fcntl((*sockets)[0].fd(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(ListenSocketTest, ABusyPortIsRefusedByName) {
  const auto first = Listen("127.0.0.1:0");
  ASSERT_THAT(first, IsOk());
  const std::string& name = (*first)[0].name();
  EXPECT_THAT(Listen(name),
              StatusIs(kUnavailable,
                       AllOf(HasSubstr(name), HasSubstr("already in use"))));
}

TEST_F(ListenSocketTest, AnUnknownHostIsRefusedByName) {
  EXPECT_THAT(Listen("no-such-host.invalid:1"),
              StatusIs(kUnavailable, HasSubstr("no-such-host.invalid:1")));
}

TEST_F(ListenSocketTest, AUnixSocketTakesItsFileWithIt) {
  {
    const auto sockets = Listen("unix:s.sock");
    ASSERT_THAT(sockets, IsOk());
    EXPECT_EQ((*sockets)[0].name(), "unix:s.sock");
    EXPECT_TRUE(CanConnect("s.sock"));
  }
  EXPECT_FALSE(Exists("s.sock"));
}

TEST_F(ListenSocketTest, OnlyTheLastOwnerRemovesTheFile) {
  auto sockets = Listen("unix:s.sock");
  ASSERT_THAT(sockets, IsOk());
  {
    ListenSocket moved = std::move((*sockets)[0]);
    sockets->clear();
    EXPECT_TRUE(Exists("s.sock"));
    EXPECT_TRUE(IsOpen(moved.fd()));
    EXPECT_TRUE(CanConnect("s.sock"));
  }
  EXPECT_FALSE(Exists("s.sock"));
}

TEST_F(ListenSocketTest, AFileWhoseServerIsGoneIsReplaced) {
  LeaveSocketFile("s.sock");
  ASSERT_TRUE(Exists("s.sock"));
  EXPECT_THAT(Listen("unix:s.sock"), IsOk());
}

TEST_F(ListenSocketTest, ARunningServerKeepsItsFile) {
  const auto first = Listen("unix:s.sock");
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(Listen("unix:s.sock"),
              StatusIs(kUnavailable, HasSubstr("unix:s.sock")));
  EXPECT_TRUE(CanConnect("s.sock"));
}

TEST(ListenOnVsockTest, TellsThePortOrTheReason) {
  const auto sockets = ListenOnVsock(0);
  if (sockets.ok()) {
    EXPECT_THAT((*sockets)[0].name(), ::testing::MatchesRegex("vsock:[0-9]+"));
    EXPECT_NE((*sockets)[0].name(), "vsock:0");
  } else {  // This kernel has no vsock.
    EXPECT_THAT(sockets, StatusIs(kUnavailable, HasSubstr("vsock:0")));
  }
}

TEST(TakeSystemdSocketsTest, OwnsSocketsThatListen) {
  const int fd = LoopbackSocket(/*listens=*/true);
  {
    const auto sockets = TakeSystemdSockets({fd});
    ASSERT_THAT(sockets, IsOk());
    ASSERT_THAT(*sockets, SizeIs(1));
    EXPECT_EQ((*sockets)[0].fd(), fd);
    EXPECT_THAT((*sockets)[0].name(), ::testing::StartsWith("127.0.0.1:"));
    EXPECT_NE(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  }
  EXPECT_FALSE(IsOpen(fd));
}

TEST(TakeSystemdSocketsTest, ClosesAllWhenOneDoesNotListen) {
  const int good = LoopbackSocket(/*listens=*/true);
  const int bad = LoopbackSocket(/*listens=*/false);
  const int last = LoopbackSocket(/*listens=*/true);
  EXPECT_THAT(TakeSystemdSockets({good, bad, last}),
              StatusIs(kUnavailable, HasSubstr("not a listening socket")));
  EXPECT_FALSE(IsOpen(good));
  EXPECT_FALSE(IsOpen(bad));
  EXPECT_FALSE(IsOpen(last));
}

}  // namespace
}  // namespace ramvol
