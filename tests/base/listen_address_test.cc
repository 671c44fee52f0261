#include "base/listen_address.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ListenAddressTest, ReadsAddresses) {
  EXPECT_EQ(ParseListenAddress("127.0.0.1:7420")->ToString(), "127.0.0.1:7420");
  EXPECT_EQ(ParseListenAddress("localhost:0")->port, 0);
  EXPECT_EQ(ParseListenAddress("[::1]:80")->host, "::1");
  EXPECT_EQ(ParseListenAddress("[::1]:80")->ToString(), "[::1]:80");
  EXPECT_EQ(ParseListenAddress("unix:/run/x.sock")->unix_path, "/run/x.sock");
  EXPECT_EQ(ParseListenAddress("unix:///run/x.sock")->ToString(),
            "unix:/run/x.sock");
  EXPECT_EQ(ParseListenAddress("unix:x.sock")->unix_path, "x.sock");
  EXPECT_EQ(ParseListenAddresses("a:1,unix:/b,[::]:3")->size(), 3);
}

TEST(ListenAddressTest, RefusesOthersByName) {
  for (const char* text : {"", "localhost", ":80", "a:", "a:-1", "a:65536",
                           "a:1x", "::1:80", "[]:1", "unix:"}) {
    EXPECT_THAT(ParseListenAddress(text),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("\"" + std::string(text) + "\"")))
        << text;
  }
  EXPECT_THAT(ParseListenAddress("unix:/" + std::string(107, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("107")));
  EXPECT_THAT(ParseListenAddresses("a:1,,b:2"),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
}

// A socket that listens at a path, relative because absolute ones may be too
// long.
class UnixListener {
 public:
  explicit UnixListener(const std::string& path) {
    fd_ = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un addr{};
    addr.sun_family = AF_UNIX;
    std::memcpy(addr.sun_path, path.data(), path.size());
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&addr), sizeof(addr)), 0);
    EXPECT_EQ(listen(fd_, 1), 0);
  }
  ~UnixListener() { close(fd_); }

 private:
  int fd_;
};

class CheckListenableTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(chdir(::testing::TempDir().c_str()), 0);
    unlink("s.sock");
  }
  static bool Exists() {
    struct stat file{};
    return lstat("s.sock", &file) == 0;
  }
  static absl::Status Check(const std::string& text) {
    return CheckListenable(*ParseListenAddress(text));
  }
};

TEST_F(CheckListenableTest, AFreePathIsLeftFree) {
  EXPECT_THAT(Check("unix:s.sock"), IsOk());
  EXPECT_FALSE(Exists());
}

TEST_F(CheckListenableTest, AStaleSocketIsRemoved) {
  {
    UnixListener gone("s.sock");
  }
  ASSERT_TRUE(Exists());
  EXPECT_THAT(Check("unix:s.sock"), IsOk());
  EXPECT_FALSE(Exists());
}

TEST_F(CheckListenableTest, ALivingSocketIsLeftAlone) {
  UnixListener living("s.sock");
  EXPECT_THAT(
      Check("unix:s.sock"),
      StatusIs(absl::StatusCode::kUnavailable,
               AllOf(HasSubstr("unix:s.sock"), HasSubstr("another process"))));
  EXPECT_TRUE(Exists());
}

TEST_F(CheckListenableTest, AFileIsLeftAlone) {
  std::ofstream("s.sock") << "data";
  EXPECT_THAT(Check("unix:s.sock"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no socket")));
  EXPECT_TRUE(Exists());
}

TEST_F(CheckListenableTest, AMissingFolderIsNamed) {
  EXPECT_THAT(Check("unix:/nonexistent/s.sock"),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("/nonexistent/s.sock"),
                             HasSubstr("No such file"))));
}

TEST_F(CheckListenableTest, TcpPorts) {
  EXPECT_THAT(Check("127.0.0.1:0"), IsOk());
  // TEST-NET-1: no machine has this address.
  EXPECT_THAT(
      Check("192.0.2.1:7420"),
      StatusIs(absl::StatusCode::kUnavailable,
               AllOf(HasSubstr("192.0.2.1:7420"), HasSubstr("Cannot assign"))));
}

}  // namespace
}  // namespace ramvol
