#include "base/peer.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace ramvol {
namespace {

std::string Of(std::string_view grpc_peer) { return PeerOf(grpc_peer); }

TEST(PeerTest, PortsOfOneMachineAreOnePeer) {
  EXPECT_EQ(Of("ipv4:10.0.0.1:4711"), "10.0.0.1");
  EXPECT_EQ(Of("ipv4:10.0.0.1:1"), "10.0.0.1");
  EXPECT_EQ(Of("unix:/17/10.0.0.1:4711"), "10.0.0.1");
}

TEST(PeerTest, AnIpv6NetworkIsOnePeer) {
  EXPECT_EQ(Of("ipv6:%5B2001:db8::1%5D:4711"), "2001:db8::/64");
  EXPECT_EQ(Of("ipv6:[2001:db8::ffff:1]:1"), "2001:db8::/64");
  EXPECT_EQ(Of("unix:/17/%5B2001:db8::1%5D:4711"), "2001:db8::/64");
  EXPECT_NE(Of("ipv6:[2001:db8:0:1::1]:1"), "2001:db8::/64");
}

TEST(PeerTest, MappedAddressesAreIpv4) {
  EXPECT_EQ(Of("ipv6:[::ffff:10.0.0.1]:4711"), "10.0.0.1");
}

TEST(PeerTest, UnixSocketsAndWhatNobodyKnowsHaveNone) {
  EXPECT_EQ(Of("unix:"), "");
  EXPECT_EQ(Of("unix:/run/a.sock"), "");
  EXPECT_EQ(Of("unix:/17/unix"), "");
  EXPECT_EQ(Of(""), "");
  EXPECT_EQ(Of("nonsense"), "");
  EXPECT_EQ(PeerOf(-1), "");
}

}  // namespace
}  // namespace ramvol
