#include "vhost_user/vhost_server.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/client_memory.h"
#include "gtest/gtest.h"
#include "tests/nbd_bridge/memory_device.h"
#include "tests/support/eventually.h"
#include "tests/support/temp_dir.h"
#include "tests/vhost_user/front_end.h"
#include "vhost_user/protocol/descriptor.h"
#include "vhost_user/stats.h"

namespace ramvol::testing {
namespace {

namespace fs = std::filesystem;
using vhost::Request;
using vhost::VhostServer;

ClientMemory::Options Memory() {
  ClientMemory::Options options;
  options.limit_bytes = size_t{64} << 20;
  return options;
}

class VhostServerTest : public ::testing::Test {
 protected:
  VhostServerTest() : memory_(Memory()) {
    exports_.Add("a", 1 << 20);
    exports_.Add("@s", 1 << 20, /*read_only=*/true);
  }

  void Start() {
    auto server = VhostServer::Start(dir_, &exports_, &memory_, &stats_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ASSERT_TRUE(server_->AddAll().ok());
  }
  std::string PathOf(const std::string& name) const {
    return absl::StrCat(dir_, "/", name, ".sock");
  }
  int Connect(const std::string& name) const {
    return FrontEnd::Connect(PathOf(name));
  }
  // Whether somebody answers.
  static bool Answers(FrontEnd& front) {
    return front.AskNumber(Request::kGetFeatures) != 0;
  }

  ClientMemory memory_;
  MemoryExports exports_{/*synchronous=*/true};
  vhost::VhostStats stats_;
  const TempDir parent_ = TempDir::ForSockets();
  const std::string dir_ = parent_.path() + "/v";
  std::unique_ptr<VhostServer> server_;
};

TEST_F(VhostServerTest, HasASocketForEachVolumeAndSnapshot) {
  Start();
  for (const char* name : {"a", "@s"}) {
    FrontEnd front(Connect(name));
    EXPECT_TRUE(Answers(front)) << name;
  }
  EXPECT_EQ(stats_.Get().sockets, 2U);
}

TEST_F(VhostServerTest, ServesRequests) {
  Start();
  TestMemory memory(1 << 20);
  TestRing ring(&memory, 16, true);
  TestDisk disk(&memory, &ring, 1, 4096);
  FrontEnd front(Connect("a"));
  ASSERT_TRUE(front.Negotiate());
  ASSERT_TRUE(front.ShareMemory(memory));
  ASSERT_TRUE(front.StartRing(0, ring));
  EXPECT_EQ(disk.Do(VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
  EXPECT_EQ(stats_.Get().connections, 1U);
  // Counted after the guest has its answer.
  EXPECT_TRUE(Eventually([&] { return stats_.Get().requests[1][0] == 1U; }));
}

TEST_F(VhostServerTest, LetsOnlyTheOwnerConnect) {
  Start();
  struct stat file{};
  ASSERT_EQ(stat(PathOf("a").c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600U);
  ASSERT_EQ(stat(dir_.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0700U);
}

TEST_F(VhostServerTest, LetsTheGroupOfASharedFolderConnect) {
  ASSERT_EQ(mkdir(dir_.c_str(), 0750), 0);
  ASSERT_EQ(chmod(dir_.c_str(), 02750), 0);
  Start();
  struct stat file{};
  ASSERT_EQ(stat(PathOf("a").c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0660U);
}

TEST_F(VhostServerTest, FollowsVolumesThatComeAndGo) {
  Start();
  exports_.Add("b", 1 << 20);
  server_->Added("b");
  FrontEnd b(Connect("b"));
  EXPECT_TRUE(Answers(b));
  server_->Removed("b");
  EXPECT_FALSE(fs::exists(PathOf("b")));
  // Its connection ends.
  EXPECT_FALSE(b.Receive().has_value());
  FrontEnd a(Connect("a"));
  EXPECT_TRUE(Answers(a));
  server_->Renamed("a", "c");
  EXPECT_FALSE(fs::exists(PathOf("a")));
  EXPECT_TRUE(fs::exists(PathOf("c")));
  // Its connection goes on.
  EXPECT_TRUE(Answers(a));
}

TEST_F(VhostServerTest, LetsASecondConnectionWaitForTheFirst) {
  Start();
  // It waits for some seconds, which may be over when the machine is busy.
  EXPECT_TRUE(Eventually([&] {
    auto first = std::make_unique<FrontEnd>(Connect("a"));
    EXPECT_TRUE(Answers(*first));
    FrontEnd second(Connect("a"));
    const bool sent = second.Send(Request::kGetFeatures, "");
    first.reset();
    return sent && second.Receive().has_value();
  }));
}

TEST_F(VhostServerTest, ClosesASecondConnectionThatWaitedForLong) {
  Start();
  FrontEnd first(Connect("a"));
  ASSERT_TRUE(Answers(first));
  FrontEnd second(Connect("a"));
  EXPECT_FALSE(second.Receive().has_value());
  EXPECT_TRUE(Answers(first));
}

TEST_F(VhostServerTest, ServesReadersOfASnapshotTogether) {
  Start();
  FrontEnd first(Connect("@s"));
  FrontEnd second(Connect("@s"));
  EXPECT_TRUE(Answers(first));
  EXPECT_TRUE(Answers(second));
  EXPECT_EQ(stats_.Get().connections, 2U);
}

TEST_F(VhostServerTest, TakesThePlaceOfSocketsWhoseServerIsGone) {
  ASSERT_EQ(mkdir(dir_.c_str(), 0700), 0);
  for (const char* name : {"a", "gone"}) {
    const vhost::Descriptor old(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    PathOf(name).copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(
        bind(old.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)),
        0);
  }
  Start();
  FrontEnd front(Connect("a"));
  EXPECT_TRUE(Answers(front));
  EXPECT_FALSE(fs::exists(PathOf("gone")));
}

TEST_F(VhostServerTest, LeavesWhatIsNoSocket) {
  ASSERT_EQ(mkdir(dir_.c_str(), 0700), 0);
  close(open(PathOf("a").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  Start();
  EXPECT_TRUE(fs::is_regular_file(PathOf("a")));
  FrontEnd front(Connect("@s"));
  EXPECT_TRUE(Answers(front));
}

TEST_F(VhostServerTest, GoesWithoutSocketsForPathsThatAreTooLong) {
  exports_.Add(std::string(100, 'x'), 1 << 20);
  Start();
  EXPECT_EQ(stats_.Get().sockets, 2U);
}

TEST_F(VhostServerTest, RemovesItsSocketsAndEndsConnections) {
  Start();
  FrontEnd front(Connect("a"));
  ASSERT_TRUE(Answers(front));
  server_->Shutdown();
  EXPECT_FALSE(front.Receive().has_value());
  EXPECT_FALSE(fs::exists(PathOf("a")));
  EXPECT_EQ(exports_.open_devices(), 0);
}

TEST_F(VhostServerTest, CarriesThousandsOfVolumes) {
  for (int i = 0; i < 2000; ++i) {
    exports_.Add(absl::StrCat("v", i), 1 << 20);
  }
  Start();
  FrontEnd front(Connect("v1999"));
  EXPECT_TRUE(Answers(front));
}

}  // namespace
}  // namespace ramvol::testing
