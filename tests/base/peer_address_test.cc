#include "base/peer_address.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>

#include "gtest/gtest.h"

namespace ramvol {
namespace {

// The two ends of a connection over the loopback address of `family`.
struct Connection {
  int near = -1;
  int far = -1;
  std::string near_port;

  ~Connection() {
    close(near);
    close(far);
  }
};

// False when this machine has no such address.
template <typename Address>
bool Connect(const Address& loopback, in_port_t Address::* port,
             Connection* connection) {
  const int family = reinterpret_cast<const sockaddr&>(loopback).sa_family;
  Address address = loopback;
  socklen_t bytes = sizeof(address);
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  const int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool has_address = bind(listener, raw, bytes) == 0;
  if (has_address) {
    EXPECT_EQ(listen(listener, 1), 0);
    EXPECT_EQ(getsockname(listener, raw, &bytes), 0);
    connection->near = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(connection->near, raw, bytes), 0);
    connection->far = accept(listener, nullptr, nullptr);
    EXPECT_EQ(getsockname(connection->near, raw, &bytes), 0);
    connection->near_port = std::to_string(ntohs(address.*port));
  }
  close(listener);
  return has_address;
}

TEST(PeerAddressTest, OfIpv4HasHostAndPortOfTheOtherEnd) {
  sockaddr_in loopback{};
  loopback.sin_family = AF_INET;
  loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  Connection connection;
  ASSERT_TRUE(Connect(loopback, &sockaddr_in::sin_port, &connection));
  EXPECT_EQ(PeerAddress(connection.far), "127.0.0.1:" + connection.near_port);
}

TEST(PeerAddressTest, OfIpv6HasBrackets) {
  sockaddr_in6 loopback{};
  loopback.sin6_family = AF_INET6;
  loopback.sin6_addr = in6addr_loopback;
  Connection connection;
  // Containers often have no IPv6.
  if (!Connect(loopback, &sockaddr_in6::sin6_port, &connection)) return;
  EXPECT_EQ(PeerAddress(connection.far), "[::1]:" + connection.near_port);
}

TEST(PeerAddressTest, OfAUnixSocketIsItsProcess) {
  std::array<int, 2> ends{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  EXPECT_EQ(PeerAddress(ends[0]),
            "unix (process " + std::to_string(getpid()) + ")");
  close(ends[0]);
  close(ends[1]);
}

TEST(PeerAddressTest, IsUnknownWithoutAConnection) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(PeerAddress(fd), "unknown");
  close(fd);
  EXPECT_EQ(PeerAddress(-1), "unknown");
}

}  // namespace
}  // namespace ramvol
