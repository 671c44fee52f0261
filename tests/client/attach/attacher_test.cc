#include "client/attach/attacher.h"

#include <linux/nbd-netlink.h>
#include <linux/nbd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/file_error.h"
#include "base/reason.h"
#include "client/attach/kernel_nbd.h"
#include "client/attach/nbd_connection.h"
#include "client/attach/nbd_netlink.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/attach/fake_kernel.h"
#include "tests/support/status_matchers.h"

namespace ramvol {
namespace {

using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Optional;
using ::testing::SizeIs;

constexpr uint16_t kFlags =
    NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_TRIM | NBD_FLAG_CAN_MULTI_CONN;

class AttacherTest : public ::testing::Test {
 protected:
  AttacherTest() {
    export_.size_bytes = 1 << 20;
    export_.flags = kFlags;
    request_.name = "disk";
  }
  ~AttacherTest() override {
    for (const int fd : server_ends_) close(fd);
  }

  absl::StatusOr<NbdConnection> Connect() {
    ++connects_;
    if (!connect_error_.ok()) return connect_error_;
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    server_ends_.push_back(fds[1]);
    if (restart_on_connect_) uid_ = "uid-2";
    return NbdConnection(fds[0], export_);
  }

  std::unique_ptr<Attacher> MakeAttacher() {
    AttachWorld world;
    world.kernel = &nbd_;
    world.sys = sys_;
    world.cpus = cpus_;
    world.connect = [this] { return Connect(); };
    world.find_uid = [this]() -> absl::StatusOr<std::string> {
      if (!uid_error_.ok()) return uid_error_;
      return uid_;
    };
    world.remark = [this](const std::string& text) {
      remarks_.push_back(text);
    };
    world.now = [this] { return now_; };
    world.interrupted = &interrupted_;
    return std::make_unique<Attacher>(world, request_);
  }
  absl::StatusOr<int> Attach() { return MakeAttacher()->Attach(); }
  const ParsedMessage& call() const { return kernel_.calls.back(); }
  std::string remarks() const { return absl::StrJoin(remarks_, "; "); }

  // Connections whose client said good-bye.
  int Goodbyes() {
    int count = 0;
    for (const int fd : server_ends_) {
      char text[28];
      if (recv(fd, text, sizeof(text), MSG_DONTWAIT) == sizeof(text)) ++count;
    }
    return count;
  }

  const std::string sys_ =
      ::testing::TempDir() + "/" +
      ::testing::UnitTest::GetInstance()->current_test_info()->name();
  FakeKernel kernel_{sys_};
  std::unique_ptr<NbdNetlink> netlink_ = kernel_.Open();
  KernelNbd nbd_{netlink_.get()};
  NbdExport export_;
  AttachRequest request_;
  int cpus_ = 2;
  std::string uid_ = "uid-1";
  absl::Status uid_error_;
  absl::Status connect_error_;
  bool restart_on_connect_ = false;
  int connects_ = 0;
  absl::Time now_ = absl::UnixEpoch();
  std::atomic<bool> interrupted_{false};
  std::vector<std::string> remarks_;
  std::vector<int> server_ends_;
};

TEST_F(AttacherTest, TakesAFreeDevice) {
  kernel_.AddDevice(0, "", 1);
  absl::StatusOr<int> index = Attach();
  ASSERT_THAT(index, IsOk());
  EXPECT_EQ(*index, 1);
  EXPECT_EQ(call().command, NBD_CMD_CONNECT);
  EXPECT_FALSE(call().Number(NBD_ATTR_INDEX).has_value());
  EXPECT_THAT(call().Number(NBD_ATTR_SIZE_BYTES), Optional(1 << 20));
  EXPECT_THAT(call().Number(NBD_ATTR_BLOCK_SIZE_BYTES), Optional(512));
  EXPECT_THAT(call().Number(NBD_ATTR_SERVER_FLAGS), Optional(kFlags));
  EXPECT_THAT(call().Number(NBD_ATTR_TIMEOUT), Optional(30));
  EXPECT_THAT(call().Number(NBD_ATTR_DEAD_CONN_TIMEOUT), Optional(60));
  EXPECT_EQ(call().Text(NBD_ATTR_BACKEND_IDENTIFIER), "ramvol:disk:uid-1");
  EXPECT_THAT(call().sockets, SizeIs(2));
}

TEST_F(AttacherTest, TheDriverForPodsTakesItsOwnDevicesAlone) {
  kernel_.AddDevice(0, "ramvol:disk:uid-1", 1);
  request_.by_csi = true;
  for (int i = 0; i < 2; ++i) {
    absl::StatusOr<int> index = Attach();
    ASSERT_THAT(index, IsOk());
    EXPECT_EQ(*index, 1);
  }
  EXPECT_EQ(call().command, NBD_CMD_RECONFIGURE);
  EXPECT_EQ(call().Text(NBD_ATTR_BACKEND_IDENTIFIER), "ramvol-csi:disk:uid-1");
}

// A second cache over what they have, and theirs to detach.
TEST_F(AttacherTest, DevicesForPodsAreNotForPeople) {
  kernel_.AddDevice(0, "ramvol-csi:disk:uid-1", 1);
  for (const std::optional<int> index : {std::optional<int>(), {0}, {4}}) {
    request_.index = index;
    EXPECT_THAT(Attach(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                   AllOf(HasSubstr("for pods, as /dev/nbd0"),
                                         HasSubstr("the driver is gone, "
                                                   "detach /dev/nbd0"))));
  }
  // Of an earlier volume of the name.
  uid_ = "uid-2";
  request_.index = 0;
  const absl::StatusOr<int> busy = Attach();
  EXPECT_THAT(busy,
              HasReason(absl::StatusCode::kFailedPrecondition, "DEVICE_BUSY"));
  EXPECT_THAT(busy, StatusIs(absl::StatusCode::kFailedPrecondition,
                             AllOf(HasSubstr("for pods; choose another"),
                                   Not(HasSubstr("detach")))));
  EXPECT_TRUE(kernel_.calls.empty());
  request_.index.reset();
  absl::StatusOr<int> index = Attach();
  ASSERT_THAT(index, IsOk());
  EXPECT_EQ(*index, 1);
}

TEST_F(AttacherTest, AttachesNothingAnewIfItMustBeAttached) {
  request_.must_be_attached = true;
  EXPECT_THAT(Attach().status(),
              HasReason(absl::StatusCode::kFailedPrecondition, "NOT_ATTACHED"));
  EXPECT_FALSE(kernel_.Has(0));
  kernel_.AddDevice(0, "ramvol:disk:uid-1", 2);
  EXPECT_THAT(Attach(), IsOk());
}

TEST_F(AttacherTest, TakesTheDeviceAndSettingsThatAreAskedFor) {
  request_.index = 5;
  request_.connections = 3;
  request_.request_timeout = absl::Seconds(7);
  request_.dead_connection_timeout = absl::Seconds(8);
  request_.block_bytes = 4096;
  request_.read_only = true;
  ASSERT_THAT(Attach(), IsOk());
  EXPECT_TRUE(kernel_.Has(5));
  EXPECT_THAT(call().Number(NBD_ATTR_INDEX), Optional(5));
  EXPECT_THAT(call().Number(NBD_ATTR_BLOCK_SIZE_BYTES), Optional(4096));
  EXPECT_THAT(call().Number(NBD_ATTR_SERVER_FLAGS),
              Optional(kFlags | NBD_FLAG_READ_ONLY));
  EXPECT_THAT(call().Number(NBD_ATTR_TIMEOUT), Optional(7));
  EXPECT_THAT(call().Number(NBD_ATTR_DEAD_CONN_TIMEOUT), Optional(8));
  EXPECT_THAT(call().sockets, SizeIs(3));
}

TEST_F(AttacherTest, SeveralConnectionsOnlyWhereTheServerCan) {
  cpus_ = 64;
  ASSERT_THAT(Attach(), IsOk());
  EXPECT_THAT(call().sockets, SizeIs(kDefaultNbdConnections));
  kernel_.RemoveDevice(0);
  export_.flags = NBD_FLAG_HAS_FLAGS;
  ASSERT_THAT(Attach(), IsOk());
  EXPECT_THAT(call().sockets, SizeIs(1));
}

TEST_F(AttacherTest, BlockSizesThatDoNotGoAreRefusedWithAGoodbye) {
  request_.block_bytes = 1000;
  EXPECT_THAT(Attach(), StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("not 1000")));
  EXPECT_EQ(Goodbyes(), 2);
  request_.block_bytes = 512;
  export_.min_block_bytes = 4096;
  EXPECT_THAT(Attach(), StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("no less than 4096")));
  request_.block_bytes.reset();
  EXPECT_THAT(Attach(), IsOk());
  EXPECT_THAT(call().Number(NBD_ATTR_BLOCK_SIZE_BYTES), Optional(4096));
  kernel_.RemoveDevice(0);
  export_ = {.size_bytes = 511, .flags = kFlags, .min_block_bytes = 1};
  EXPECT_THAT(Attach(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("511 bytes is smaller")));
}

TEST_F(AttacherTest, ARefusedDeviceLeavesTheServerWithAGoodbye) {
  kernel_.fail_with = EBUSY;
  EXPECT_EQ(GetReason(Attach().status()), "EBUSY");
  EXPECT_EQ(Goodbyes(), 2);
}

TEST_F(AttacherTest, AttachingAgainReplacesDeadConnections) {
  ASSERT_THAT(Attach(), IsOk());
  kernel_.KillConnection(0);
  kernel_.KillConnection(0);
  auto attacher = MakeAttacher();
  absl::StatusOr<int> index = attacher->Attach();
  ASSERT_THAT(index, IsOk());
  EXPECT_EQ(*index, 0);
  EXPECT_TRUE(attacher->reattached());
  EXPECT_EQ(kernel_.dead(0), 0);
  EXPECT_EQ(call().command, NBD_CMD_RECONFIGURE);
  EXPECT_EQ(call().Text(NBD_ATTR_BACKEND_IDENTIFIER), "ramvol:disk:uid-1");
  EXPECT_FALSE(call().Number(NBD_ATTR_TIMEOUT).has_value());
  // Connections that live have the old size.
  EXPECT_FALSE(call().Number(NBD_ATTR_SIZE_BYTES).has_value());
  EXPECT_EQ(remarks(), "");
}

TEST_F(AttacherTest, ANewSizeIsRemarkedUpon) {
  ASSERT_THAT(Attach(), IsOk());
  export_.size_bytes = 2 << 20;
  ASSERT_THAT(Attach(), IsOk());
  EXPECT_THAT(remarks(), AllOf(HasSubstr("2097152"), HasSubstr("detach")));
}

TEST_F(AttacherTest, ALaterVolumeOfTheNameIsNeverMixedIn) {
  ASSERT_THAT(Attach(), IsOk());
  uid_ = "uid-2";
  connects_ = 0;
  EXPECT_THAT(Attach(),
              HasReason(absl::StatusCode::kAborted, reason::kVolumeReplaced));
  request_.index = 0;
  EXPECT_THAT(Attach(), StatusIs(absl::StatusCode::kAborted,
                                 HasSubstr("ramvol detach --force /dev/nbd0")));
  EXPECT_EQ(connects_, 0);
  EXPECT_EQ(call().command, NBD_CMD_CONNECT);
}

TEST_F(AttacherTest, AServerThatRestartsBetweenIsNoticed) {
  restart_on_connect_ = true;
  EXPECT_THAT(Attach(),
              HasReason(absl::StatusCode::kAborted, reason::kVolumeReplaced));
  EXPECT_TRUE(kernel_.calls.empty());
  EXPECT_EQ(Goodbyes(), 2);
}

TEST_F(AttacherTest, DevicesOfOthersAreLeftAlone) {
  kernel_.AddDevice(1, "", 1);
  kernel_.AddDevice(2, "ramvol:other:uid-9", 1);
  request_.index = 1;
  EXPECT_THAT(Attach(),
              HasReason(absl::StatusCode::kFailedPrecondition, "DEVICE_BUSY"));
  request_.index = 2;
  EXPECT_THAT(Attach(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("volume \"other\"")));
  EXPECT_TRUE(kernel_.calls.empty());
}

TEST_F(AttacherTest, AttachedTwiceMustBeNamed) {
  ASSERT_THAT(Attach(), IsOk());
  request_.index = 4;
  ASSERT_THAT(Attach(), IsOk());
  EXPECT_TRUE(kernel_.Has(4));
  request_.index.reset();
  EXPECT_THAT(Attach(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                 HasSubstr("/dev/nbd0 and /dev/nbd4")));
}

class MonitorTest : public AttacherTest {
 protected:
  MonitorTest() {
    attacher_ = MakeAttacher();
    EXPECT_THAT(attacher_->Attach(), IsOk());
    EXPECT_THAT(nbd_.Listen(), IsOk());
  }
  // `step` runs each time that the monitor waits, with the number of the wait.
  absl::Status Monitor(std::function<void(int)> step) {
    int waits = 0;
    kernel_.on_wait = [this, step, &waits] {
      now_ += absl::Seconds(1);
      step(++waits);
      if (waits > 1000) interrupted_ = true;
    };
    return attacher_->Monitor();
  }

  std::unique_ptr<Attacher> attacher_;
};

TEST_F(MonitorTest, ReplacesAsManyAsDie) {
  EXPECT_THAT(Monitor([this](int wait) {
                if (wait == 2) kernel_.KillConnection(0);
                if (wait == 4) {
                  EXPECT_EQ(kernel_.dead(0), 0);
                  EXPECT_THAT(call().sockets, SizeIs(1));
                  kernel_.KillConnection(0);
                  kernel_.KillConnection(0);
                }
                if (wait == 6) interrupted_ = true;
              }),
              IsOk());
  EXPECT_EQ(kernel_.dead(0), 0);
  EXPECT_THAT(call().sockets, SizeIs(2));
  EXPECT_THAT(remarks(),
              AllOf(HasSubstr("/dev/nbd0 lost a connection"),
                    HasSubstr("connected again"), HasSubstr("stays attached")));
}

TEST_F(MonitorTest, ReplacesAllWhenItMissedEvents) {
  EXPECT_THAT(Monitor([this](int wait) {
                if (wait == 2) kernel_.lose_events = true;
                if (wait == 4) interrupted_ = true;
              }),
              IsOk());
  EXPECT_EQ(call().command, NBD_CMD_RECONFIGURE);
  EXPECT_THAT(call().sockets, SizeIs(2));
}

TEST_F(MonitorTest, TriesAgainUntilTheServerIsBack) {
  EXPECT_THAT(Monitor([this](int wait) {
                if (wait == 2) {
                  kernel_.KillConnection(0);
                  connect_error_ = FileError(ECONNREFUSED, "no");
                }
                if (wait == 20) connect_error_ = absl::OkStatus();
                if (wait == 30) interrupted_ = true;
              }),
              IsOk());
  EXPECT_EQ(kernel_.dead(0), 0);
}

TEST_F(MonitorTest, GivesUpWithTheKernel) {
  absl::Time died;
  EXPECT_THAT(
      Monitor([&](int wait) {
        if (wait != 2) return;
        kernel_.KillConnection(0);
        kernel_.KillConnection(0);
        uid_error_ = absl::UnavailableError("gone");
        died = now_;
      }),
      HasReason(absl::StatusCode::kDeadlineExceeded, "CONNECTION_LOST"));
  EXPECT_NEAR(absl::ToDoubleSeconds(now_ - died), 60, 3);
}

TEST_F(MonitorTest, AsLongAsOneLivesThereIsNoHurry) {
  EXPECT_THAT(Monitor([this](int wait) {
                if (wait == 2) kernel_.KillConnection(0);
                uid_error_ = absl::UnavailableError("gone");
                if (wait == 200) interrupted_ = true;
              }),
              IsOk());
}

TEST_F(MonitorTest, EndsWhenTheDeviceIsDetachedOrTakenByAnother) {
  EXPECT_THAT(Monitor([this](int wait) {
                if (wait == 2) kernel_.RemoveDevice(0);
              }),
              IsOk());
  EXPECT_EQ(remarks(), "/dev/nbd0 was detached");
  kernel_.AddDevice(0, "ramvol:disk:uid-8", 1);
  EXPECT_THAT(Monitor([](int) {}), IsOk());
}

TEST_F(MonitorTest, EndsWhenTheVolumeIsGoneForGood) {
  EXPECT_THAT(Monitor([this](int wait) {
                if (wait != 2) return;
                kernel_.KillConnection(0);
                uid_ = "uid-2";
              }),
              HasReason(absl::StatusCode::kAborted, reason::kVolumeReplaced));
  uid_ = "uid-1";
  EXPECT_THAT(Monitor([this](int wait) {
                if (wait != 2) return;
                kernel_.KillConnection(0);
                uid_error_ = absl::NotFoundError("no such volume");
              }),
              StatusIs(absl::StatusCode::kNotFound, "no such volume"));
}

}  // namespace
}  // namespace ramvol
