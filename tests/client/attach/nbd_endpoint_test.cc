#include "client/attach/nbd_endpoint.h"

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol {
namespace {

using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

NbdEndpoint Unix(const std::string& path) {
  NbdEndpoint endpoint;
  endpoint.unix_path = path;
  return endpoint;
}

NbdEndpoint Tcp(const std::string& host, int port) {
  NbdEndpoint endpoint;
  endpoint.host = host;
  endpoint.port = port;
  return endpoint;
}

std::string Chosen(const std::vector<std::string>& addresses,
                   const std::string& grpc) {
  absl::StatusOr<NbdEndpoint> endpoint = ChooseNbdEndpoint(addresses, grpc);
  return endpoint.ok() ? endpoint->ToString() : GetReason(endpoint.status());
}

TEST(NbdEndpointTest, ParsesWhatCanBeConnectedTo) {
  EXPECT_EQ(ParseNbdEndpoint("unix:/run/n.sock")->ToString(),
            "unix:/run/n.sock");
  EXPECT_EQ(ParseNbdEndpoint("[fe80::1]:10809")->ToString(), "[fe80::1]:10809");
  for (const char* bad : {"", "host", "host:0", ":10809", "host:x", "vsock:1",
                          "systemd", "unix:", "host:70000"}) {
    EXPECT_EQ(ParseNbdEndpoint(bad).status().code(),
              absl::StatusCode::kInvalidArgument)
        << bad;
  }
}

TEST(NbdEndpointTest, PrefersTheUnixSocketOnTheSameHost) {
  const std::vector<std::string> both = {"0.0.0.0:10809", "unix:/run/n"};
  EXPECT_EQ(Chosen(both, "unix:/run/grpc"), "unix:/run/n");
  EXPECT_EQ(Chosen(both, "localhost:7420"), "unix:/run/n");
  EXPECT_EQ(Chosen(both, "[::1]:7420"), "unix:/run/n");
  EXPECT_EQ(Chosen(both, "db7.example:7420"), "db7.example:10809");
}

TEST(NbdEndpointTest, AnyAddressBecomesTheHostThatServedGrpc) {
  for (const char* any : {"0.0.0.0:9", "[::]:9"}) {
    EXPECT_EQ(Chosen({any}, "10.0.2.2:7420"), "10.0.2.2:9") << any;
    EXPECT_EQ(Chosen({any}, "dns:///db7:7420"), "db7:9") << any;
    EXPECT_EQ(Chosen({any}, "dns://8.8.8.8/db7:7420"), "db7:9") << any;
    EXPECT_EQ(Chosen({any}, "ipv6:[fe80::1]:7420"), "[fe80::1]:9") << any;
    EXPECT_EQ(Chosen({any}, "db7"), "db7:9") << any;
  }
  EXPECT_EQ(Chosen({"0.0.0.0:9"}, "unix:/run/grpc"), "127.0.0.1:9");
  EXPECT_EQ(Chosen({"[::]:9"}, "127.0.0.1:7420"), "[::1]:9");
}

TEST(NbdEndpointTest, LeavesOutWhatCannotBeReached) {
  EXPECT_EQ(
      Chosen({"unix:/n", "127.0.0.1:9", "vsock:9", "10.1.2.3:9"}, "db7:1"),
      "10.1.2.3:9");
  EXPECT_EQ(Chosen({"vsock:9", "systemd", "127.0.0.1:9"}, "unix:/g"),
            "127.0.0.1:9");
  EXPECT_THAT(
      ChooseNbdEndpoint({"unix:/n", "127.0.0.1:9"}, "db7:1"),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("unix:/n, 127.0.0.1:9"), HasSubstr("--nbd"))));
  EXPECT_EQ(Chosen({"unix:/n"}, "db7:1"), "NO_NBD_LISTENER");
}

TEST(NbdEndpointTest, WithoutListenerSaysHowToStartOne) {
  EXPECT_THAT(ChooseNbdEndpoint({}, "unix:/g"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("--nbd_listen"), HasSubstr("--nbd"))));
}

TEST(NbdEndpointTest, UrisEncodeWhatNeedsIt) {
  EXPECT_EQ(NbdUri(Unix("/run/n.sock"), "scratch"),
            "nbd+unix:///scratch?socket=/run/n.sock");
  EXPECT_EQ(NbdUri(Unix("/a b/&?#%+n"), "a._-z"),
            "nbd+unix:///a._-z?socket=/a%20b/%26%3F%23%25%2Bn");
  EXPECT_EQ(NbdUri(Tcp("db7", 10809), "x"), "nbd://db7:10809/x");
  EXPECT_EQ(NbdUri(Tcp("fe80::1%eth0", 9), "x"), "nbd://[fe80::1%25eth0]:9/x");
}

TEST(NbdEndpointTest, QemuLinesAreReadyForAShell) {
  EXPECT_EQ(
      QemuBlockdev(Unix("/run/n.sock"), "disk", false),
      "-blockdev driver=nbd,node-name=ramvol-disk,server.type=unix,"
      "server.path=/run/n.sock,export=disk,discard=unmap,detect-zeroes=unmap,"
      "reconnect-delay=60 -device virtio-blk-pci,drive=ramvol-disk");
  EXPECT_EQ(QemuBlockdev(Tcp("::1", 9), "disk", true),
            "-blockdev driver=nbd,node-name=ramvol-disk,server.type=inet,"
            "server.host=::1,server.port=9,export=disk,discard=unmap,"
            "detect-zeroes=unmap,reconnect-delay=60,read-only=on "
            "-device virtio-blk-pci,drive=ramvol-disk");
  EXPECT_THAT(QemuBlockdev(Unix("/it's, here"), "disk", false),
              HasSubstr("server.path=/it'\\''s,, here,export"));
  EXPECT_EQ(QemuDrive(Unix("/run/n,1"), "disk", true),
            "-drive file.driver=nbd,file.server.type=unix,"
            "file.server.path=/run/n,,1,file.export=disk,"
            "file.reconnect-delay=60,format=raw,if=virtio,discard=unmap,"
            "detect-zeroes=unmap,read-only=on");
  EXPECT_EQ(QemuDrive(Tcp("db7", 10809), "disk", false),
            "-drive file.driver=nbd,file.server.type=inet,"
            "file.server.host=db7,file.server.port=10809,file.export=disk,"
            "file.reconnect-delay=60,format=raw,if=virtio,discard=unmap,"
            "detect-zeroes=unmap");
}

}  // namespace
}  // namespace ramvol
