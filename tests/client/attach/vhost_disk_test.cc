#include "client/attach/vhost_disk.h"

#include <string>

#include "absl/status/statusor.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

using ::testing::HasSubstr;

TEST(VhostDiskTest, SocketIsNamedAfterTheVolume) {
  EXPECT_EQ(*VhostSocket("/run/v", "unix:/run/g", "disk"), "/run/v/disk.sock");
  EXPECT_EQ(*VhostSocket("/run/v", "127.0.0.1:7420", "@gold"),
            "/run/v/@gold.sock");
}

TEST(VhostDiskTest, NeedsAServerOnThisHostThatOffersIt) {
  absl::StatusOr<std::string> socket = VhostSocket("", "unix:/run/g", "disk");
  EXPECT_EQ(GetReason(socket.status()), "NO_VHOST_USER");
  EXPECT_THAT(std::string(socket.status().message()),
              HasSubstr("--vhost_user_dir"));
  socket = VhostSocket("/run/v", "db7:7420", "disk");
  EXPECT_EQ(GetReason(socket.status()), "NO_VHOST_USER");
  EXPECT_THAT(std::string(socket.status().message()), HasSubstr("db7:7420"));
}

TEST(VhostDiskTest, LinesAreReadyForAShell) {
  const VhostDisk disk{.volume = "disk",
                       .socket = "/run/v/disk.sock",
                       .memory_bytes = int64_t{2} << 30};
  EXPECT_EQ(QemuVhostDisk(disk),
            "-m 2048M -object memory-backend-memfd,id=ramvol-memory,size=2048M,"
            "share=on -machine memory-backend=ramvol-memory "
            "-chardev socket,id=ramvol-disk,path=/run/v/disk.sock,reconnect=1 "
            "-device vhost-user-blk-pci,chardev=ramvol-disk");
  EXPECT_EQ(CloudHypervisorVhostDisk(disk),
            "--memory size=2048M,shared=on "
            "--disk vhost_user=on,socket=/run/v/disk.sock");
}

TEST(VhostDiskTest, SecondDiskSaysNothingOfMemory) {
  const VhostDisk disk{.volume = "@gold", .socket = "/a b,c"};
  EXPECT_EQ(QemuVhostDisk(disk),
            "-chardev 'socket,id=ramvol-gold,path=/a b,,c,reconnect=1' "
            "-device vhost-user-blk-pci,chardev=ramvol-gold");
  EXPECT_EQ(CloudHypervisorVhostDisk(disk),
            "--disk 'vhost_user=on,socket=/a b,c'");
}

}  // namespace
}  // namespace ramvol
