#include "csi/driver.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "client/attach/nbd_netlink.h"
#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "csi/choose_attacher.h"
#include "csi/volume_handle.h"
#include "csi/wait_until.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_server.h"

namespace ramvol::csi_driver {
namespace {

using ::absl::StatusCode;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TempDir;
using ::ramvol::testing::TestServer;
using ::testing::_;

// A node without devices, of whose ramvold the driver knows the socket.
class DriverTest : public ::testing::Test {
 protected:
  DriverTest() {
    for (const char* each : {"/sys", "/proc", "/state"}) {
      mkdir((folder_ + each).c_str(), 0700);
    }
    options_.client.server = "unix:" + folder_ + "/ramvold";
    options_.client.reconnect_timeout = absl::Milliseconds(10);
    options_.client.max_backoff = absl::Milliseconds(20);
    options_.volumes.node_id = "node-1";
    options_.attach.way = AttachWay::kFuse;
    options_.attach.state_dir = folder_ + "/state";
    options_.endpoint = "unix:" + folder_ + "/csi";
    options_.log = [this](const std::string& line) {
      const MutexLock lock(&mu_);
      lines_.push_back(line);
    };
    options_.watch_interval = absl::Milliseconds(1);
    options_.trim_interval = absl::Milliseconds(1);
    options_.node.open_netlink =
        []() -> absl::StatusOr<std::unique_ptr<NbdNetlink>> {
      return absl::FailedPreconditionError("no driver");
    };
    options_.node.sys = folder_ + "/sys";
    options_.node.proc = folder_ + "/proc";
  }

  absl::Status Probe() {
    const auto stub = ::csi::v1::Identity::NewStub(grpc::CreateChannel(
        options_.endpoint, grpc::InsecureChannelCredentials()));
    return TestServer::Call(&::csi::v1::Identity::Stub::Probe, *stub,
                            ::csi::v1::ProbeRequest())
        .status();
  }
  // A ramvold at another socket, with an inline volume of a pod that is gone.
  std::unique_ptr<TestServer> StartElsewhere() {
    auto options = testing::TestServerOptions();
    options.listen = {
        {.host = "", .port = 0, .unix_path = folder_ + "/elsewhere"}};
    auto server = std::make_unique<TestServer>(options);
    v1::CreateVolumeRequest request;
    request.set_name("csi-pod");
    request.set_size_bytes(1 << 20);
    (*request.mutable_labels())[label::kHandle] = "csi-pod";
    (*request.mutable_labels())[label::kEphemeral] = folder_ + "/target";
    (*request.mutable_labels())[label::kNode] = "node-1";
    EXPECT_THAT(TestServer::Call(&v1::VolumeService::Stub::CreateVolume,
                                 server->volumes(), request),
                IsOk());
    return server;
  }
  bool HasSaid(const std::string& text) {
    const MutexLock lock(&mu_);
    return std::any_of(
        lines_.begin(), lines_.end(),
        [&](const std::string& line) { return absl::StrContains(line, text); });
  }

  const TempDir temp_ = TempDir::ForSockets();
  const std::string folder_ = temp_.path();
  DriverOptions options_;
  Mutex mu_;
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mu_);
};

TEST_F(DriverTest, ServesBeforeThereIsARamvoldAndCleansUpThen) {
  const auto server = StartElsewhere();
  auto driver = Driver::Start(options_);
  ASSERT_THAT(driver, IsOk());
  EXPECT_THAT(Probe(), IsOk());
  EXPECT_TRUE(HasSaid("nothing, until ramvold says"));
  // All at once, so that it is seen with its volume or not at all.
  ASSERT_EQ(
      rename((folder_ + "/elsewhere").c_str(), (folder_ + "/ramvold").c_str()),
      0);
  EXPECT_TRUE(WaitUntil(absl::Now() + absl::Minutes(2),
                        [this] { return HasSaid("deleted inline volume"); }));
  (*driver)->Shutdown(absl::Seconds(1));
  EXPECT_FALSE(Probe().ok());
}

TEST_F(DriverTest, ThreadsEndWithItWhateverTheyDo) {
  for (int i = 0; i < 20; ++i) {
    auto driver = Driver::Start(options_);
    ASSERT_THAT(driver, IsOk());
    if (i % 2 == 0) (*driver)->Shutdown(absl::ZeroDuration());
  }
}

TEST_F(DriverTest, AnAddressThatCannotBeServedIsAnError) {
  options_.endpoint = "unix:" + folder_ + "/none/csi";
  EXPECT_THAT(Driver::Start(options_), StatusIs(StatusCode::kUnavailable, _));
  options_.metrics_listen = "nowhere";
  EXPECT_THAT(Driver::Start(options_),
              StatusIs(StatusCode::kInvalidArgument, _));
}

}  // namespace
}  // namespace ramvol::csi_driver
