#include "server/service/peer_text.h"

#include "gtest/gtest.h"

namespace ramvol::service {
namespace {

TEST(PeerTextTest, IsWhatPeopleWrite) {
  EXPECT_EQ(PeerText("ipv4:10.0.0.1:4711"), "10.0.0.1:4711");
  EXPECT_EQ(PeerText("ipv6:%5B::1%5D:4711"), "[::1]:4711");
  EXPECT_EQ(PeerText("ipv6:%5Bfe80::1%25eth0%5D:1"), "[fe80::1%eth0]:1");
  EXPECT_EQ(PeerText("unix:"), "unix");
  EXPECT_EQ(PeerText("unix:/run/r.sock"), "unix");
  EXPECT_EQ(PeerText("vsock:3:1"), "vsock:3:1");
  EXPECT_EQ(PeerText("unix:/17/10.0.0.1:4711"), "10.0.0.1:4711");
  EXPECT_EQ(PeerText("unix:/17/%5B::1%5D:4711"), "[::1]:4711");
  EXPECT_EQ(PeerText("unix:/17/unix"), "unix");
}

}  // namespace
}  // namespace ramvol::service
