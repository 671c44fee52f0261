#include "base/exposure.h"

#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "base/listen_address.h"
#include "base/listen_socket.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<ListenSocket> On(const std::string& address) {
  auto sockets = ListenOn(*ParseListenAddress(address));
  EXPECT_TRUE(sockets.ok()) << sockets.status();
  return *std::move(sockets);
}

std::string Refusal(const std::string& address) {
  return std::string(RefuseExposed(On(address), "give --tls_cert").message());
}

TEST(ExposureTest, LoopbackAndUnixSocketsAreNot) {
  // A socket's path may have 107 bytes at most.
  const std::string path =
      "/tmp/ramvol-exposure." + std::to_string(getpid()) + ".sock";
  for (const std::string& address :
       {std::string("127.0.0.1:0"), std::string("127.0.0.9:0"),
        std::string("localhost:0"), "unix:" + path}) {
    EXPECT_EQ(Refusal(address), "") << address;
  }
}

TEST(ExposureTest, OthersAre) {
  EXPECT_THAT(Refusal("0.0.0.0:0"),
              AllOf(StartsWith("anyone who reaches 0.0.0.0:"),
                    HasSubstr("give --tls_cert"), HasSubstr("--insecure")));
}

TEST(ExposureTest, TellsByTheSocket) {
  EXPECT_TRUE(IsExposed(-1));
  const int vsock = socket(AF_VSOCK, SOCK_STREAM, 0);
  EXPECT_TRUE(IsExposed(vsock));
  if (vsock >= 0) close(vsock);
}

}  // namespace
}  // namespace ramvol
