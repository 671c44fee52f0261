#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/cli_harness.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class NbdCommandsTest : public ::testing::Test {
 protected:
  NbdCommandsTest() { cli_.AddVolume("disk", 4096); }

  std::string Out(const std::vector<std::string>& arguments) {
    const auto result = cli_.Run(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out;
  }

  CliHarness cli_;
};

TEST_F(NbdCommandsTest, UriComesFromTheServer) {
  cli_.server().nbd_addresses = {"0.0.0.0:10809", "unix:/run/n.sock"};
  EXPECT_EQ(Out({"uri", "disk"}), "nbd+unix:///disk?socket=/run/n.sock\n");
  EXPECT_EQ(Out({"uri", "disk", "--server=db7:1"}), "nbd://db7:10809/disk\n");
  EXPECT_THAT(Out({"uri", "disk", "--output=json"}),
              HasSubstr("\"uri\": \"nbd+unix:///disk?socket=/run/n.sock\""));
}

TEST_F(NbdCommandsTest, SaysWhereTlsIsRequired) {
  cli_.server().nbd_addresses = {"0.0.0.0:10809", "unix:/run/n.sock"};
  cli_.server().nbd_tls = true;
  EXPECT_EQ(Out({"uri", "disk"}), "nbds+unix:///disk?socket=/run/n.sock\n");
  EXPECT_EQ(Out({"uri", "disk", "--server=db7:1"}), "nbds://db7:10809/disk\n");
  EXPECT_THAT(Out({"qemu", "disk"}), HasSubstr(",tls-creds=ramvol-tls,"));
  EXPECT_THAT(Out({"qemu", "disk", "--drive"}),
              HasSubstr(",file.tls-creds=ramvol-tls,"));
}

TEST_F(NbdCommandsTest, FlagGoesBeforeEnvironmentBeforeServer) {
  cli_.server().nbd_addresses = {"unix:/run/n.sock"};
  cli_.env()["RAMVOL_NBD"] = "env:1";
  EXPECT_EQ(Out({"uri", "disk"}), "nbd://env:1/disk\n");
  EXPECT_EQ(Out({"uri", "disk", "--nbd", "flag:2"}), "nbd://flag:2/disk\n");
  EXPECT_THAT(Out({"uri", "disk", "--nbd=unix:here"}), EndsWith("/here\n"));
}

TEST_F(NbdCommandsTest, QemuKnowsWhatIsReadOnly) {
  cli_.server().nbd_addresses = {"unix:/run/n.sock"};
  EXPECT_THAT(Out({"qemu", "disk"}),
              AllOf(StartsWith("-blockdev driver=nbd,"),
                    HasSubstr("discard=unmap"), Not(HasSubstr("read-only"))));
  cli_.server().settings("disk").set_read_only(true);
  EXPECT_THAT(Out({"qemu", "disk"}), HasSubstr("read-only=on"));
  EXPECT_THAT(Out({"qemu", "disk", "--drive"}),
              StartsWith("-drive file.driver=nbd,"));
}

TEST_F(NbdCommandsTest, VhostUserComesFromTheServer) {
  cli_.server().vhost_user_dir = "/run/v";
  EXPECT_THAT(Out({"qemu", "--vhost-user", "disk"}),
              AllOf(StartsWith("-m 1024M -object memory-backend-memfd,"),
                    HasSubstr(",path=/run/v/disk.sock,reconnect=1 ")));
  EXPECT_THAT(Out({"qemu", "--vhost-user", "disk", "--memory=0"}),
              StartsWith("-chardev "));
  EXPECT_EQ(Out({"qemu", "--vhost-user", "disk", "--memory=2G",
                 "--for=cloud-hypervisor"}),
            "--memory size=2048M,shared=on "
            "--disk vhost_user=on,socket=/run/v/disk.sock\n");
}

TEST_F(NbdCommandsTest, VhostUserErrorsSayWhatToDo) {
  auto result = cli_.Run({"qemu", "--vhost-user", "disk"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("--vhost_user_dir"),
                                HasSubstr("(NO_VHOST_USER)")));
  cli_.server().vhost_user_dir = "/run/v";
  EXPECT_EQ(cli_.Run({"qemu", "--vhost-user", "missing"}).exit_code, 3);
  EXPECT_EQ(cli_.Run({"qemu", "--vhost-user", "--drive", "disk"}).exit_code, 2);
  EXPECT_EQ(cli_.Run({"qemu", "--memory=1G", "disk"}).exit_code, 2);
  result = cli_.Run({"qemu", "--vhost-user", "disk", "--memory=1000"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("1 MiB"));
}

TEST_F(NbdCommandsTest, ErrorsSayWhatToDo) {
  auto result = cli_.Run({"uri", "disk"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("--nbd_listen"), HasSubstr("(NO_NBD_LISTENER)")));
  cli_.server().nbd_addresses = {"unix:/run/n.sock"};
  result = cli_.Run({"qemu", "missing"});
  EXPECT_EQ(result.exit_code, 3);
  result = cli_.Run({"uri", "disk", "--nbd=nonsense"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("--nbd: "));
}

}  // namespace
}  // namespace ramvol::cli
