#include <linux/nbd-netlink.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/attach/fake_kernel.h"
#include "tests/client/cli/cli_harness.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Optional;
using ::testing::SizeIs;

// Says to every client that it has an export of 1 MiB, and listens to nothing.
class SimpleNbdServer {
 public:
  explicit SimpleNbdServer(const std::string& path)
      : fd_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    EXPECT_LT(path.size(), sizeof(address.sun_path));
    memcpy(address.sun_path, path.data(), path.size());
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
              0);
    EXPECT_EQ(listen(fd_, 16), 0);
    thread_ = std::thread([this] { Loop(); });
  }
  ~SimpleNbdServer() {
    shutdown(fd_, SHUT_RDWR);
    thread_.join();
    for (const int client : clients_) close(client);
    close(fd_);
  }

 private:
  void Loop() {
    static const char kSaid[] =
        "NBDMAGICIHAVEOPT\x00\x03"
        "\x00\x03\xe8\x89\x04\x55\x65\xa9\x00\x00\x00\x07\x00\x00\x00\x03"
        "\x00\x00\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x01\x2d"
        "\x00\x03\xe8\x89\x04\x55\x65\xa9\x00\x00\x00\x07\x00\x00\x00\x01"
        "\x00\x00\x00\x00";
    while (true) {
      const int client = accept(fd_, nullptr, nullptr);
      if (client < 0) return;
      EXPECT_EQ(write(client, kSaid, sizeof(kSaid) - 1), sizeof(kSaid) - 1);
      clients_.push_back(client);
    }
  }

  const int fd_;
  std::vector<int> clients_;
  std::thread thread_;
};

class AttachCommandsTest : public ::testing::Test {
 protected:
  AttachCommandsTest() {
    cli_.context().open_nbd_netlink = [this] { return kernel_.Open(); };
    cli_.context().sys = sys_;
    cli_.context().dev = dev_;
    cli_.context().cpus = 2;
    cli_.AddVolume("disk", 1 << 20);
    cli_.server().nbd_addresses = {"unix:" + socket_};
    WriteFile(dev_ + "/nbd0", "");
  }
  ~AttachCommandsTest() override { unlink(socket_.c_str()); }

  std::string Out(const std::vector<std::string>& arguments) {
    const auto result = cli_.Run(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  }
  std::string Err(int exit_code, const std::vector<std::string>& arguments) {
    const auto result = cli_.Run(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    return result.err;
  }

  // Short, for a socket's path.
  const std::string socket_ =
      "/tmp/ramvol-attach-" + std::to_string(getpid()) + ".sock";
  const std::string name_ =
      ::testing::UnitTest::GetInstance()->current_test_info()->name();
  const std::string sys_ = TempPath(name_ + "-sys");
  const std::string dev_ = ::testing::TempDir();
  FakeKernel kernel_{sys_};
  SimpleNbdServer nbd_{socket_};
  CliHarness cli_;
};

TEST_F(AttachCommandsTest, AttachPrintsTheDevice) {
  EXPECT_EQ(Out({"attach", "disk"}), "/dev/nbd0\n");
  EXPECT_EQ(kernel_.calls.back().Text(NBD_ATTR_BACKEND_IDENTIFIER),
            "ramvol:disk:uid-1");
  EXPECT_THAT(kernel_.calls.back().sockets, SizeIs(2));
  EXPECT_THAT(Out({"attach", "disk", "--output=json"}),
              AllOf(HasSubstr("\"device\": \"/dev/nbd0\""),
                    HasSubstr("\"reattached\": true")));
}

TEST_F(AttachCommandsTest, AttachTakesItsFlags) {
  EXPECT_EQ(Out({"attach", "disk", "/dev/nbd7", "--connections=5",
                 "--request-timeout=11s", "--dead-connection-timeout=2m",
                 "--block-size=4K", "--read-only", "--nbd=unix:" + socket_}),
            "/dev/nbd7\n");
  const ParsedMessage& call = kernel_.calls.back();
  EXPECT_THAT(call.sockets, SizeIs(5));
  EXPECT_THAT(call.Number(NBD_ATTR_INDEX), Optional(7));
  EXPECT_THAT(call.Number(NBD_ATTR_TIMEOUT), Optional(11));
  EXPECT_THAT(call.Number(NBD_ATTR_DEAD_CONN_TIMEOUT), Optional(120));
  EXPECT_THAT(call.Number(NBD_ATTR_BLOCK_SIZE_BYTES), Optional(4096));
  EXPECT_THAT(call.Number(NBD_ATTR_SERVER_FLAGS), Optional(0x12f));
}

TEST_F(AttachCommandsTest, WrongUsageTouchesNothing) {
  for (const std::vector<std::string>& line :
       std::vector<std::vector<std::string>>{
           {"attach"},
           {"attach", "disk", "/dev/sda"},
           {"attach", "disk", "nbd0"},
           {"attach", "disk", "--connections=0"},
           {"attach", "disk", "--connections=65"},
           {"attach", "disk", "--request-timeout=0"},
           {"attach", "disk", "--dead-connection-timeout=soon"},
           {"attach", "disk", "--nbd=vsock:1"},
           {"detach"},
           {"detach", "/dev/nbd0p1"}}) {
    EXPECT_THAT(Err(2, line), HasSubstr("(USAGE)"));
  }
  EXPECT_TRUE(kernel_.calls.empty());
}

TEST_F(AttachCommandsTest, ErrorsSayWhatToDo) {
  EXPECT_THAT(Err(3, {"attach", "missing"}), HasSubstr("(VOLUME_NOT_FOUND)"));
  kernel_.fail_with = EPERM;
  EXPECT_THAT(Err(1, {"attach", "disk"}), HasSubstr("run it as root"));
  kernel_.fail_with = 0;
  EXPECT_THAT(Err(1, {"attach", "disk", "--nbd=unix:/nowhere"}),
              AllOf(HasSubstr("cannot connect to the NBD server at "
                              "unix:/nowhere"),
                    HasSubstr("(ENOENT)")));
  cli_.server().nbd_addresses.clear();
  EXPECT_THAT(Err(1, {"attach", "disk"}), HasSubstr("--nbd_listen"));
  cli_.context().open_nbd_netlink = [] {
    return WithReason(absl::FailedPreconditionError("modprobe nbd"),
                      "NO_NBD_DRIVER");
  };
  EXPECT_THAT(Err(1, {"detach", "disk"}), HasSubstr("(NOT_ATTACHED)"));
  EXPECT_THAT(Err(1, {"attach", "disk", "--nbd=unix:" + socket_}),
              HasSubstr("modprobe nbd (NO_NBD_DRIVER)"));
}

TEST_F(AttachCommandsTest, DetachTakesVolumesAndDevices) {
  Out({"attach", "disk"});
  EXPECT_EQ(Out({"detach", "disk"}), "");
  EXPECT_FALSE(kernel_.Has(0));
  EXPECT_THAT(Err(1, {"detach", "disk"}), HasSubstr("not attached"));
  Out({"attach", "disk"});
  EXPECT_EQ(Out({"detach", "/dev/nbd0"}), "");
  EXPECT_FALSE(kernel_.Has(0));
  EXPECT_THAT(Err(1, {"detach", "/dev/nbd0"}), HasSubstr("(NOT_ATTACHED)"));
}

TEST_F(AttachCommandsTest, WhatPodsHaveIsDetachedByItsPathOnly) {
  kernel_.AddDevice(0, "ramvol-csi:disk:uid-1", 1);
  EXPECT_THAT(Err(1, {"detach", "disk"}),
              AllOf(HasSubstr("for pods"), HasSubstr("(DEVICE_BUSY)")));
  EXPECT_THAT(Err(1, {"attach", "disk"}), HasSubstr("(DEVICE_BUSY)"));
  EXPECT_TRUE(kernel_.calls.empty());
  kernel_.AddDevice(1, "ramvol:disk:uid-1", 1);
  WriteFile(dev_ + "/nbd1", "");
  EXPECT_EQ(Out({"detach", "disk"}), "");
  EXPECT_TRUE(kernel_.Has(0));
  EXPECT_FALSE(kernel_.Has(1));
  EXPECT_EQ(Out({"detach", "/dev/nbd0"}), "");
  EXPECT_FALSE(kernel_.Has(0));
}

TEST_F(AttachCommandsTest, WhatCannotBeFlushedIsDetachedByForceOnly) {
  Out({"attach", "disk", "/dev/nbd3"});
  // Its file is missing here.
  EXPECT_THAT(Err(1, {"detach", "disk"}), HasSubstr("(ENOENT)"));
  EXPECT_TRUE(kernel_.Has(3));
  Out({"detach", "disk", "--force"});
  EXPECT_FALSE(kernel_.Has(3));
}

TEST_F(AttachCommandsTest, AttachedTwiceMustBeNamed) {
  Out({"attach", "disk", "/dev/nbd0"});
  Out({"attach", "disk", "/dev/nbd1"});
  EXPECT_THAT(Err(1, {"detach", "disk"}), HasSubstr("/dev/nbd0 and /dev/nbd1"));
}

TEST_F(AttachCommandsTest, MonitorReconnectsUntilItIsInterrupted) {
  int waits = 0;
  kernel_.on_wait = [this, &waits] {
    ++waits;
    if (waits == 1) kernel_.KillConnection(0);
    if (waits == 3) cli_.interrupted() = true;
  };
  const auto result = cli_.Run({"attach", "disk", "--monitor"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "/dev/nbd0\n");
  EXPECT_THAT(result.err, AllOf(HasSubstr("/dev/nbd0 is connected again"),
                                HasSubstr("/dev/nbd0 stays attached")));
  EXPECT_EQ(kernel_.dead(0), 0);
  EXPECT_TRUE(kernel_.Has(0));
}

}  // namespace
}  // namespace ramvol::cli
