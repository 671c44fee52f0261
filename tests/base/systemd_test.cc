#include "base/systemd.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
constexpr auto kUnavailable = absl::StatusCode::kUnavailable;

TEST(SystemdSocketsTest, AreForOneProcess) {
  const std::string me = std::to_string(getpid());
  ASSERT_EQ(SystemdSockets(me.c_str(), "2", nullptr).size(), 2);
  EXPECT_TRUE(SystemdSockets("1", "2", nullptr).empty());
  EXPECT_TRUE(SystemdSockets(nullptr, "2", nullptr).empty());
  EXPECT_TRUE(SystemdSockets(me.c_str(), nullptr, nullptr).empty());
  EXPECT_TRUE(SystemdSockets(me.c_str(), "x", nullptr).empty());
  EXPECT_TRUE(SystemdSockets(me.c_str(), "-1", nullptr).empty());
  EXPECT_TRUE(SystemdSockets(me.c_str(), "65", nullptr).empty());
}

TEST(SystemdSocketsTest, HaveTheirNames) {
  const std::string me = std::to_string(getpid());
  const auto sockets = SystemdSockets(me.c_str(), "3", "grpc:nbd");
  ASSERT_EQ(sockets.size(), 3);
  EXPECT_EQ(sockets[0].fd, 3);
  EXPECT_EQ(sockets[0].name, "grpc");
  EXPECT_EQ(sockets[1].fd, 4);
  EXPECT_EQ(sockets[1].name, "nbd");
  EXPECT_EQ(sockets[2].fd, 5);
  EXPECT_EQ(sockets[2].name, "");
}

// A Unix socket of this type, bound to `name`; a leading '@' makes it abstract.
int Bound(int type, const std::string& name) {
  const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  if (name[0] == '@') address.sun_path[0] = '\0';
  unlink(name.c_str());
  EXPECT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address),
                 static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) +
                                        name.size())),
            0)
      << std::strerror(errno);
  return fd;
}

TEST(SocketAddressTest, IsWhatUsersWrite) {
  const int unix_fd = Bound(SOCK_STREAM, "address.sock");
  EXPECT_EQ(SocketAddress(unix_fd), "unix:address.sock");
  close(unix_fd);
  const int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in loopback{};
  loopback.sin_family = AF_INET;
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(
      bind(tcp, reinterpret_cast<const sockaddr*>(&loopback), sizeof(loopback)),
      0);
  EXPECT_THAT(SocketAddress(tcp), MatchesRegex("127\\.0\\.0\\.1:[1-9][0-9]*"));
  close(tcp);
  EXPECT_EQ(SocketAddress(-1), "systemd");
}

TEST(PrepareSystemdSocketTest, TakesOnlyWhatListens) {
  const int fd = Bound(SOCK_STREAM, "prepared.sock");
  EXPECT_THAT(PrepareSystemdSocket(fd),
              StatusIs(kUnavailable, HasSubstr("not a listening socket")));
  ASSERT_EQ(listen(fd, 1), 0);
  EXPECT_THAT(PrepareSystemdSocket(fd), IsOk());
  close(fd);
  EXPECT_THAT(PrepareSystemdSocket(-1),
              StatusIs(kUnavailable, HasSubstr("Bad file descriptor")));
}

TEST(NotifySystemdTest, SendsOneDatagram) {
  for (const std::string& name : {std::string("notify.sock"),
                                  "@ramvol-test-" + std::to_string(getpid())}) {
    const int fd = Bound(SOCK_DGRAM, name);
    EXPECT_THAT(NotifySystemd(name, "READY=1\nSTATUS=fine"), IsOk());
    char got[64];
    const ssize_t bytes = recv(fd, got, sizeof(got), MSG_DONTWAIT);
    ASSERT_GT(bytes, 0) << name;
    EXPECT_EQ(std::string(got, static_cast<size_t>(bytes)),
              "READY=1\nSTATUS=fine");
    close(fd);
  }
}

TEST(IsJournalTest, ComparesTheFile) {
  struct stat file{};
  ASSERT_EQ(fstat(STDIN_FILENO, &file), 0);
  const std::string name =
      std::to_string(file.st_dev) + ":" + std::to_string(file.st_ino);
  EXPECT_TRUE(IsJournal(name.c_str(), STDIN_FILENO));
  EXPECT_FALSE(IsJournal("1:2", STDIN_FILENO));
  EXPECT_FALSE(IsJournal("", STDIN_FILENO));
  EXPECT_FALSE(IsJournal(nullptr, STDIN_FILENO));
  EXPECT_FALSE(IsJournal(name.c_str(), -1));
}

TEST(NotifySystemdTest, SaysWhyNobodyGotIt) {
  EXPECT_THAT(NotifySystemd("", "READY=1"), IsOk());
  EXPECT_THAT(NotifySystemd("/nonexistent/notify", "READY=1"),
              StatusIs(kUnavailable, HasSubstr("NOTIFY_SOCKET")));
  EXPECT_THAT(NotifySystemd(std::string(200, 'x'), "READY=1"),
              StatusIs(kUnavailable, HasSubstr("too long")));
}

}  // namespace
}  // namespace ramvol
