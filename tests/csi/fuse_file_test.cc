#include "csi/fuse_file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "base/file_descriptor.h"
#include "base/reason.h"
#include "client/mocks/mock_volume_connection.h"
#include "client/remote_volume.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::_;
using ::testing::NiceMock;
using ::testing::Return;
using ::testing::SizeIs;

constexpr int64_t kSize = 1 << 20;

// A reply of the file, as the kernel gets it.
struct Reply {
  int error = 0;
  std::string data;
};

template <typename T>
T As(const Reply& reply) {
  T out = {};
  EXPECT_GE(reply.data.size(), sizeof(T));
  std::memcpy(&out, reply.data.data(), std::min(sizeof(T), reply.data.size()));
  return out;
}

// The kernel's end of a socket that keeps messages apart, as /dev/fuse does.
class FuseFileTest : public ::testing::Test {
 protected:
  FuseFileTest() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
    kernel_ = FileDescriptor(fds[0]);
    EXPECT_EQ(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    ON_CALL(*connection_, size_bytes).WillByDefault(Return(kSize));
    file_ = std::make_unique<FuseFile>(FileDescriptor(fds[1]),
                                       RemoteVolume(connection_), "disk");
    thread_ = std::thread([this] { ended_ = file_->Serve(); });
  }
  ~FuseFileTest() override { End().IgnoreError(); }

  // Unmounts, and returns what Serve did.
  absl::Status End() {
    kernel_ = FileDescriptor();
    if (thread_.joinable()) thread_.join();
    return ended_;
  }

  void Send(uint32_t opcode, const std::string& body) {
    fuse_in_header in = {};
    in.len = static_cast<uint32_t>(sizeof(in) + body.size());
    in.opcode = opcode;
    in.unique = ++unique_;
    in.nodeid = FUSE_ROOT_ID;
    const std::string message =
        std::string(reinterpret_cast<const char*>(&in), sizeof(in)) + body;
    EXPECT_EQ(send(kernel_.get(), message.data(), message.size(), 0),
              static_cast<ssize_t>(message.size()));
  }
  Reply Receive() {
    std::string message(2 << 20, '\0');
    const ssize_t n = recv(kernel_.get(), message.data(), message.size(), 0);
    fuse_out_header out = {};
    EXPECT_GE(n, static_cast<ssize_t>(sizeof(out)));
    std::memcpy(&out, message.data(), sizeof(out));
    EXPECT_EQ(out.len, n);
    EXPECT_EQ(out.unique, unique_);
    return {-out.error, message.substr(sizeof(out), n - sizeof(out))};
  }
  template <typename T>
  Reply Ask(uint32_t opcode, const T& asked, const std::string& data = "") {
    Send(opcode,
         std::string(reinterpret_cast<const char*>(&asked), sizeof(asked)) +
             data);
    return Receive();
  }
  Reply Read(uint64_t offset, uint32_t size) {
    fuse_read_in asked = {};
    asked.offset = offset;
    asked.size = size;
    return Ask(FUSE_READ, asked);
  }
  Reply Write(uint64_t offset, const std::string& data) {
    fuse_write_in asked = {};
    asked.offset = offset;
    asked.size = static_cast<uint32_t>(data.size());
    return Ask(FUSE_WRITE, asked, data);
  }
  Reply Truncate(uint64_t size) {
    fuse_setattr_in asked = {};
    asked.valid = FATTR_SIZE;
    asked.size = size;
    return Ask(FUSE_SETATTR, asked);
  }
  Reply Allocate(uint32_t mode) {
    fuse_fallocate_in asked = {};
    asked.offset = 8192;
    asked.length = 4096;
    asked.mode = mode;
    return Ask(FUSE_FALLOCATE, asked);
  }

  std::shared_ptr<NiceMock<MockVolumeConnection>> connection_ =
      std::make_shared<NiceMock<MockVolumeConnection>>();

 private:
  FileDescriptor kernel_;
  std::unique_ptr<FuseFile> file_;
  std::thread thread_;
  absl::Status ended_;
  uint64_t unique_ = 0;
};

TEST_F(FuseFileTest, AgreesOnLargeAsynchronousRequests) {
  fuse_init_in asked = {};
  asked.major = 7;
  asked.minor = 45;
  asked.flags = FUSE_ASYNC_DIO | FUSE_MAX_PAGES | FUSE_POSIX_LOCKS;
  const auto answer = As<fuse_init_out>(Ask(FUSE_INIT, asked));
  EXPECT_EQ(answer.major, 7u);
  EXPECT_EQ(answer.minor, uint32_t{FUSE_KERNEL_MINOR_VERSION});
  EXPECT_EQ(answer.flags, uint32_t{FUSE_ASYNC_DIO | FUSE_MAX_PAGES});
  EXPECT_EQ(answer.max_write, 1u << 20);
  EXPECT_EQ(answer.max_pages, 256u);
  EXPECT_GE(answer.max_background, 64u);
}

TEST_F(FuseFileTest, RefusesKernelsThatSendLess) {
  fuse_init_in asked = {};
  asked.major = 7;
  asked.minor = 20;
  EXPECT_EQ(Ask(FUSE_INIT, asked).error, EPROTO);
}

TEST_F(FuseFileTest, ReadsAndWrites) {
  EXPECT_CALL(*connection_, ReadAsync(4096, SizeIs(5), _))
      .WillOnce(ReadGives("hello"));
  EXPECT_EQ(Read(4096, 5).data, "hello");
  EXPECT_CALL(*connection_, WriteAsync(512, std::string_view("data"), _))
      .WillOnce(OperationGives(absl::OkStatus()));
  EXPECT_EQ(As<fuse_write_out>(Write(512, "data")).size, 4u);
  EXPECT_CALL(*connection_, FlushAsync(_))
      .WillOnce(OperationGives(absl::OkStatus()));
  EXPECT_EQ(Ask(FUSE_FSYNC, fuse_fsync_in{}).error, 0);
  EXPECT_THAT(End(), IsOk());
}

TEST_F(FuseFileTest, ReadsEndWhereTheFileDoes) {
  EXPECT_CALL(*connection_, ReadAsync(kSize - 2, SizeIs(2), _))
      .WillOnce(ReadGives("ab"));
  EXPECT_EQ(Read(kSize - 2, 4096).data, "ab");
  EXPECT_CALL(*connection_, ReadAsync).Times(0);
  for (const uint64_t offset : {uint64_t{kSize}, UINT64_MAX}) {
    const Reply reply = Read(offset, 4096);
    EXPECT_EQ(reply.error, 0);
    EXPECT_EQ(reply.data, "");
  }
}

TEST_F(FuseFileTest, GrowsAndNeverShrinks) {
  EXPECT_EQ(As<fuse_attr_out>(Ask(FUSE_GETATTR, fuse_getattr_in{})).attr.size,
            uint64_t{kSize});
  EXPECT_EQ(As<fuse_attr_out>(Truncate(3 * kSize)).attr.size,
            uint64_t{3 * kSize});
  EXPECT_EQ(Truncate(2 * kSize).error, EINVAL);
  EXPECT_EQ(As<fuse_attr_out>(Ask(FUSE_GETATTR, fuse_getattr_in{})).attr.size,
            uint64_t{3 * kSize});
  EXPECT_CALL(*connection_, ReadAsync(2 * kSize, SizeIs(1), _))
      .WillOnce(ReadGives("x"));
  EXPECT_EQ(Read(2 * kSize, 1).data, "x");
}

TEST_F(FuseFileTest, MakesHolesWhereTheyArePunched) {
  EXPECT_CALL(*connection_, WriteZeroesAsync(8192, 4096, false, _))
      .WillOnce(OperationGives(absl::OkStatus()));
  EXPECT_EQ(Allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE).error, 0);
  EXPECT_CALL(*connection_, WriteZeroesAsync(8192, 4096, true, _))
      .WillOnce(OperationGives(absl::OkStatus()));
  EXPECT_EQ(Allocate(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE).error, 0);
  EXPECT_EQ(Allocate(0).error, EOPNOTSUPP);
}

// With a bsize of 0, the loop devices of Linux 5.18 to 6.8 discard nothing.
TEST_F(FuseFileTest, SaysInWhichUnitsToDiscard) {
  const auto answer = As<fuse_statfs_out>(Ask(FUSE_STATFS, '\0'));
  EXPECT_EQ(answer.st.bsize, 4096u);
  EXPECT_EQ(answer.st.frsize, 4096u);
  EXPECT_EQ(answer.st.blocks, uint64_t{kSize / 4096});
  EXPECT_EQ(answer.st.namelen, 255u);
}

TEST_F(FuseFileTest, SaysWhyAndGoesOn) {
  const auto fails = [this](absl::Status status) {
    EXPECT_CALL(*connection_, WriteAsync)
        .WillOnce(OperationGives(std::move(status)));
    return Write(0, "x").error;
  };
  EXPECT_EQ(fails(WithReason(absl::ResourceExhaustedError("full"),
                             reason::kVolumeMemoryLimit)),
            ENOSPC);
  EXPECT_EQ(fails(WithReason(absl::FailedPreconditionError("ro"),
                             reason::kVolumeReadOnly)),
            EROFS);
  EXPECT_EQ(fails(absl::UnavailableError("away")), EIO);
  EXPECT_EQ(fails(absl::DataLossError("bits")), EIO);
  EXPECT_EQ(fails(absl::OkStatus()), 0);
  EXPECT_CALL(*connection_, ReadAsync)
      .WillOnce(OperationGives(absl::UnavailableError("away")));
  const Reply read = Read(0, 10);
  EXPECT_EQ(read.error, EIO);
  EXPECT_EQ(read.data, "");
  EXPECT_THAT(End(), IsOk());
}

TEST_F(FuseFileTest, EndsWithTheVolume) {
  EXPECT_CALL(*connection_, FlushAsync)
      .WillOnce(OperationGives(absl::AbortedError("replaced")));
  EXPECT_EQ(Ask(FUSE_FSYNC, fuse_fsync_in{}).error, EIO);
  EXPECT_THAT(End(), StatusIs(absl::StatusCode::kAborted, _));
}

TEST_F(FuseFileTest, AnswersWhatItDoesNotKnow) {
  EXPECT_EQ(Ask(FUSE_IOCTL, fuse_ioctl_in{}).error, ENOSYS);
  EXPECT_EQ(Ask(FUSE_RELEASE, fuse_release_in{}).error, 0);
  for (const uint32_t opcode :
       {FUSE_READ, FUSE_WRITE, FUSE_FALLOCATE, FUSE_SETATTR}) {
    EXPECT_EQ(Ask(opcode, '\0').error, EINVAL);
  }
  fuse_write_in asked = {};
  asked.size = 100;
  EXPECT_EQ(Ask(FUSE_WRITE, asked, "short").error, EINVAL);
}

}  // namespace
}  // namespace ramvol::csi_driver
