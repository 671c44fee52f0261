#include "client/server_address.h"

#include "gtest/gtest.h"

namespace ramvol {
namespace {

TEST(ServerAddressTest, AHostAloneGetsTheDefaultPort) {
  EXPECT_EQ(WithDefaultPort("box"), "box:7420");
  EXPECT_EQ(WithDefaultPort("box:"), "box:7420");
  EXPECT_EQ(WithDefaultPort("10.0.0.7"), "10.0.0.7:7420");
  EXPECT_EQ(WithDefaultPort("::1"), "[::1]:7420");
  EXPECT_EQ(WithDefaultPort("[fe80::1]"), "[fe80::1]:7420");
}

TEST(ServerAddressTest, OthersStay) {
  for (const char* address :
       {"", "box:1", "[::1]:1", "unix:/run/ramvol.sock", "unix:s",
        "unix:/a:b/c", "dns:///box:7420", "ipv4:10.0.0.7:1"}) {
    EXPECT_EQ(WithDefaultPort(address), address);
  }
}

}  // namespace
}  // namespace ramvol
