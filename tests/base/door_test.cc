#include "base/door.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(60);

// A complete opening is "good".
Opening JudgeGood(std::string_view seen) {
  if (seen != std::string_view("good").substr(0, seen.size())) {
    return Opening::kWrong;
  }
  return seen.size() == 4 ? Opening::kComplete : Opening::kIncomplete;
}

// False when that takes longer than kPatience.
bool WaitUntil(absl::FunctionRef<bool()> is_so) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!is_so() && absl::Now() < deadline) std::this_thread::yield();
  return is_so();
}

// A client's end of a connection.
class Client {
 public:
  Client(const sockaddr_un& address, socklen_t bytes)
      : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&address), bytes),
              0);
    const timeval patience = absl::ToTimeval(kPatience);
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  }
  ~Client() { close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void Send(std::string_view text) const {
    EXPECT_EQ(send(fd_, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  // Waits for the server to close. It resets a connection whose bytes it has
  // not read.
  bool IsClosed() const {
    char byte;
    return recv(fd_, &byte, 1, 0) == 0 || errno == ECONNRESET;
  }

 private:
  const int fd_;
};

class DoorTest : public ::testing::Test {
 protected:
  struct Inside {
    int fd;
    Door::Place place;
  };

  DoorTest() {
    // An abstract address of the kernel's choice: the paths of TEST_TMPDIR are
    // too long for a socket.
    address_.sun_family = AF_UNIX;
    auto* const address = reinterpret_cast<sockaddr*>(&address_);
    EXPECT_EQ(bind(listener_, address, sizeof(address_.sun_family)), 0);
    EXPECT_EQ(getsockname(listener_, address, &address_bytes_), 0);
    EXPECT_EQ(listen(listener_, 16), 0);
    options_.listeners = {listener_};
  }
  ~DoorTest() override {
    if (door_ != nullptr) door_->Stop();
    door_.reset();
    for (const Inside& one : TakeInside()) close(one.fd);
    close(listener_);
  }

  void Start() {
    door_ = *Door::Make(
        std::move(options_),
        [this](int, int fd, Door::Place place, std::unique_ptr<SecureStream>) {
          MutexLock lock(&mu_);
          inside_.push_back({fd, std::move(place)});
          entered_.SignalAll();
        },
        &stats_);
    door_->Start();
  }
  // Waits until `count` connections are inside; false after kPatience.
  bool WaitForInside(size_t count) {
    const absl::Time deadline = absl::Now() + kPatience;
    MutexLock lock(&mu_);
    while (inside_.size() < count && absl::Now() < deadline) {
      entered_.WaitFor(&mu_, deadline - absl::Now());
    }
    return inside_.size() == count;
  }
  std::vector<Inside> TakeInside() {
    MutexLock lock(&mu_);
    return std::exchange(inside_, {});
  }

  sockaddr_un address_{};
  socklen_t address_bytes_ = sizeof(address_);
  const int listener_ =
      socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  DoorOptions options_;
  std::atomic<bool> has_room_{false};
  std::atomic<int> asked_{0};
  DoorStats stats_;
  std::unique_ptr<Door> door_;
  Mutex mu_;
  CondVar entered_;
  std::vector<Inside> inside_ ABSL_GUARDED_BY(mu_);
};

TEST_F(DoorTest, WithoutAJudgeConnectionsAreInsideAtOnce) {
  Start();
  const Client client(address_, address_bytes_);
  ASSERT_TRUE(WaitForInside(1));
  EXPECT_EQ(door_->inside(), 1u);
  close(TakeInside()[0].fd);
  // The door's thread may still hold its own copy of the place.
  EXPECT_TRUE(WaitUntil([&] { return door_->inside() == 0; }));
  EXPECT_EQ(door_->WhyShut(), "");
}

TEST_F(DoorTest, AnOpeningIsJudgedAsItArrivesAndStaysInTheSocket) {
  options_.judge = &JudgeGood;
  options_.opening_bytes = 4;
  Start();
  const Client client(address_, address_bytes_);
  client.Send("go");
  client.Send("od");
  ASSERT_TRUE(WaitForInside(1));
  char seen[5] = {};
  const std::vector<Inside> inside = TakeInside();
  EXPECT_EQ(recv(inside[0].fd, seen, 4, MSG_WAITALL), 4);
  EXPECT_STREQ(seen, "good");
  close(inside[0].fd);
}

TEST_F(DoorTest, AWrongOpeningIsTurnedAway) {
  options_.judge = &JudgeGood;
  options_.opening_bytes = 4;
  Start();
  const Client client(address_, address_bytes_);
  client.Send("gx");
  EXPECT_TRUE(client.IsClosed());
  EXPECT_EQ(stats_.Get(TurnedAway::kBadStart), 1u);
  EXPECT_EQ(door_->inside(), 0u);
}

TEST_F(DoorTest, TheOldestSilentConnectionMakesRoomForTheNext) {
  options_.judge = &JudgeGood;
  options_.opening_bytes = 4;
  options_.max_openings = 1;
  options_.opening_timeout = absl::InfiniteDuration();
  Start();
  const Client first(address_, address_bytes_);
  const Client second(address_, address_bytes_);
  EXPECT_TRUE(first.IsClosed());
  EXPECT_EQ(stats_.Get(TurnedAway::kSlowStart), 1u);
  second.Send("good");
  EXPECT_TRUE(WaitForInside(1));
}

TEST_F(DoorTest, SilentConnectionsAreClosedAfterTheTimeout) {
  options_.judge = &JudgeGood;
  options_.opening_bytes = 4;
  options_.opening_timeout = absl::Milliseconds(1);
  Start();
  const Client client(address_, address_bytes_);
  EXPECT_TRUE(client.IsClosed());
  EXPECT_EQ(stats_.Get(TurnedAway::kSlowStart), 1u);
}

TEST_F(DoorTest, FurtherConnectionsWaitUntilAPlaceIsGivenBack) {
  options_.max_connections = 1;
  Start();
  const Client first(address_, address_bytes_);
  ASSERT_TRUE(WaitForInside(1));
  std::vector<Inside> inside = TakeInside();
  const Client second(address_, address_bytes_);
  EXPECT_THAT(door_->WhyShut(), HasSubstr("all 1 connections are taken"));
  EXPECT_EQ(door_->inside(), 1u);
  close(inside[0].fd);
  inside.clear();
  EXPECT_TRUE(WaitForInside(1));
}

TEST_F(DoorTest, ConnectionsWaitWhileThereIsNoMemory) {
  options_.has_room = [this] {
    ++asked_;
    return has_room_.load();
  };
  Start();
  const Client client(address_, address_bytes_);
  ASSERT_TRUE(WaitUntil([&] { return asked_ > 0; }));
  EXPECT_EQ(door_->inside(), 0u);
  has_room_ = true;
  EXPECT_TRUE(WaitForInside(1));
}

TEST_F(DoorTest, APlaceOutlivesTheDoorAndSilentConnectionsDoNot) {
  options_.judge = &JudgeGood;
  options_.opening_bytes = 4;
  Start();
  const Client silent(address_, address_bytes_);
  const Client inside(address_, address_bytes_);
  inside.Send("good");
  ASSERT_TRUE(WaitForInside(1));
  door_->Stop();
  door_.reset();
  EXPECT_TRUE(silent.IsClosed());
  const std::vector<Inside> left = TakeInside();
  EXPECT_EQ(send(left[0].fd, "x", 1, MSG_NOSIGNAL), 1);
  close(left[0].fd);
}

}  // namespace
}  // namespace ramvol
