#include "nbd_bridge/nbd_server.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "base/nbd_constants.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/nbd_bridge/nbd_harness.h"
#include "tests/support/eventually.h"
#include "tests/support/status_matchers.h"

namespace ramvol::testing {
namespace {

using nbd::Command;
using nbd::NbdAddress;
using nbd::NbdServer;
using nbd::NbdServerOptions;
using nbd::ParseNbdAddresses;
using nbd::Style;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

TEST(NbdAddressTest, ReadsAllKinds) {
  const auto addresses =
      ParseNbdAddresses("unix:/a,h:1,[::1]:2,vsock:3,systemd");
  ASSERT_THAT(addresses, IsOk());
  ASSERT_EQ(addresses->size(), 5);
  EXPECT_EQ((*addresses)[0].stream.unix_path, "/a");
  EXPECT_EQ((*addresses)[2].stream.host, "::1");
  EXPECT_EQ((*addresses)[3].kind, NbdAddress::Kind::kVsock);
  EXPECT_EQ((*addresses)[3].vsock_port, 3);
  EXPECT_EQ((*addresses)[4].kind, NbdAddress::Kind::kSystemd);
}

TEST(NbdAddressTest, RefusesOthersByName) {
  for (const char* text : {"", "vsock:", "vsock:x", "vsock:-1", "nowhere"}) {
    EXPECT_THAT(ParseNbdAddresses(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)));
  }
}

class NbdServerTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<NbdServer>> Start(
      const NbdServerOptions& options) {
    return NbdServer::Start(options, &exports_, &memory_, &stats_);
  }

  static NbdServerOptions ListenOn(const std::string& text) {
    NbdServerOptions options;
    options.listen = *ParseNbdAddresses(text);
    return options;
  }

  MemoryExports exports_{/*synchronous=*/true};
  ClientMemory memory_{ClientMemory::Options()};
  nbd::NbdStats stats_;
};

constexpr ClientMemory::Options kSmallMemory = {.limit_bytes = size_t{96}
                                                               << 20};
constexpr ClientMemory::Options kNoPatience = {
    .limit_bytes = size_t{96} << 20,
    .max_stall = absl::ZeroDuration(),
    .sweep_interval = absl::Milliseconds(100)};

int ConnectTcp(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in addr{};
  addr.sin_family = AF_INET;
  addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  addr.sin_port = htons(static_cast<uint16_t>(port));
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&addr), sizeof(addr)), 0);
  return fd;
}

TEST_F(NbdServerTest, NamesThePortsThatItGot) {
  exports_.Add("v", 4096);
  const auto server = Start(ListenOn("127.0.0.1:0,unix:named.sock"));
  ASSERT_THAT(server, IsOk());
  const auto& addresses = (*server)->addresses();
  ASSERT_EQ(addresses.size(), 2);
  EXPECT_THAT(addresses[0], MatchesRegex("127\\.0\\.0\\.1:[1-9][0-9]*"));
  EXPECT_EQ(addresses[1], "unix:named.sock");
  RawClient client(ConnectTcp(std::stoi(addresses[0].substr(10))));
  client.Enter("v", Style::kStructured);
  client.Send(Command::kRead, 1, 0, 4096);
  EXPECT_EQ(client.Read().Data().size(), 4096);
}

TEST_F(NbdServerTest, SaysWhyItCannotListen) {
  const auto first = Start(ListenOn("127.0.0.1:0"));
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(Start(ListenOn((*first)->addresses()[0])),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("Address already in use")));
  EXPECT_THAT(Start(ListenOn("unix:/nowhere/n.sock")),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("/nowhere")));
  EXPECT_THAT(
      Start(ListenOn("systemd")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("LISTEN_FDS")));
}

TEST_F(NbdServerTest, TakesSocketsThatListenAlready) {
  exports_.Add("v", 4096);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in addr{};
  addr.sin_family = AF_INET;
  addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&addr), sizeof(addr)), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  socklen_t bytes = sizeof(addr);
  getsockname(fd, reinterpret_cast<sockaddr*>(&addr), &bytes);
  NbdServerOptions options = ListenOn("systemd");
  options.systemd_sockets = {fd};
  const auto server = Start(options);
  ASSERT_THAT(server, IsOk());
  EXPECT_EQ((*server)->addresses(),
            std::vector<std::string>{"127.0.0.1:" +
                                     std::to_string(ntohs(addr.sin_port))});
  RawClient client(ConnectTcp(ntohs(addr.sin_port)));
  client.Enter("v", Style::kSimple);
}

// As a unit with Accept=yes passes them.
TEST_F(NbdServerTest, RefusesSocketsThatDoNotListen) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  NbdServerOptions options = ListenOn("systemd");
  options.systemd_sockets = {ends[0]};
  EXPECT_THAT(Start(options).status(),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("not a listening socket")));
  close(ends[0]);
  close(ends[1]);
}

TEST_F(NbdServerTest, FurtherClientsWaitForAPlace) {
  exports_.Add("v", 4096);
  NbdServerOptions options = ListenOn("unix:full.sock");
  options.max_connections = 2;
  NbdHarness harness(/*synchronous=*/true, options);
  harness.exports().Add("v", 4096);
  auto first = harness.NewClient();
  auto second = harness.NewClient();
  first->Enter("v", Style::kStructured);
  second->Enter("v", Style::kStructured);
  auto third = harness.NewClient();
  EXPECT_EQ(harness.stats().Get().connections, 2);
  first.reset();
  third->Enter("v", Style::kStructured);
}

TEST_F(NbdServerTest, ShutdownEndsIdleClients) {
  NbdHarness harness(/*synchronous=*/true);
  harness.exports().Add("v", 4096);
  auto idle = harness.NewClient();
  idle->Enter("v", Style::kStructured);
  auto silent = harness.NewClient();
  silent->Greet();
  harness.server().Shutdown(absl::Seconds(60));
  EXPECT_TRUE(idle->SeesEnd());
  EXPECT_TRUE(silent->SeesEnd());
  EXPECT_EQ(harness.stats().Get().connections, 0);
  EXPECT_NE(access("nbd-0.sock", F_OK), 0);
}

// They ask for `count` times 1 MiB, and do not read it.
std::vector<std::unique_ptr<RawClient>> Hogs(NbdHarness& harness, int clients,
                                             int count) {
  std::vector<std::unique_ptr<RawClient>> hogs;
  for (int i = 0; i < clients; ++i) {
    hogs.push_back(harness.NewClient());
    hogs.back()->Enter("v", Style::kStructured);
    for (int j = 0; j < count; ++j) {
      hogs.back()->Send(Command::kRead, 1, 0, 1 << 20);
    }
  }
  return hogs;
}

TEST_F(NbdServerTest, ClientsThatNeverReadTakeNotAllMemory) {
  ClientMemory::Options options = kNoPatience;
  // For who reads, but does not run for a moment.
  options.max_stall = absl::Seconds(1);
  NbdHarness harness(/*synchronous=*/true, {}, options);
  MemoryVolume& volume = harness.exports().Add("v", 1 << 20);
  ASSERT_THAT(volume.Write(0, std::string(1 << 20, 'x')), IsOk());
  const auto hogs = Hogs(harness, 100, 4);
  auto client = harness.NewClient();
  client->Enter("v", Style::kStructured);
  for (int i = 0; i < 100; ++i) {
    client->Send(Command::kRead, 1, 0, 128 << 10);
    EXPECT_EQ(client->Read().Data().size(), 128 << 10);
  }
  EXPECT_LE(harness.memory().GetStats().used_bytes, kNoPatience.limit_bytes);
}

// A payload has its buffer from its first byte on.
TEST_F(NbdServerTest, WritesThatNeverArriveInFullAreBounded) {
  NbdHarness harness(/*synchronous=*/true, {}, kSmallMemory);
  harness.exports().Add("v", 64 << 20);
  const std::string data(20 << 20, 'x');
  std::vector<std::unique_ptr<RawClient>> taken;
  std::vector<std::unique_ptr<RawClient>> refused;
  for (int i = 0; i < 6; ++i) {
    auto client = harness.NewClient();
    client->Enter("v", Style::kStructured);
    client->Send(Command::kWrite, 1, 0, data.size());
    // The first one is taken, however long that takes.
    const absl::Duration patience =
        i == 0 ? absl::Minutes(2) : absl::Milliseconds(500);
    const bool sent = client->socket().SendAll({data.data(), data.size() - 1},
                                               absl::Now() + patience);
    (sent ? taken : refused).push_back(std::move(client));
  }
  EXPECT_GE(taken.size(), 1);
  EXPECT_LE(taken.size() * data.size(), kSmallMemory.limit_bytes);
  // One that is lost, and others that are complete, give theirs back.
  taken.pop_back();
  refused.clear();
  for (auto& client : taken) {
    ASSERT_TRUE(client->socket().SendAll("x", absl::Now() + absl::Seconds(60)));
    EXPECT_EQ(client->Read().error, nbd::Error::kNone);
  }
  auto client = harness.NewClient();
  client->Enter("v", Style::kStructured);
  client->SendWrite(1, 0, std::string(nbd::kMaxPayloadBytes, 'y'));
  EXPECT_EQ(client->Read().error, nbd::Error::kNone);
}

TEST_F(NbdServerTest, ClientsThatHoldUpOthersAreSentAway) {
  NbdHarness harness(/*synchronous=*/true, {}, kNoPatience);
  MemoryVolume& volume = harness.exports().Add("v", 64 << 20);
  ASSERT_THAT(volume.Write(0, std::string(64 << 20, 'x')), IsOk());
  auto idle = harness.NewClient();
  idle->Enter("v", Style::kStructured);
  const auto hogs = Hogs(harness, 50, 2);
  auto client = harness.NewClient();
  client->Enter("v", Style::kStructured);
  // The first reads may come before all hogs have asked.
  EXPECT_TRUE(Eventually([&] {
    for (int i = 0; i < 3; ++i) {
      client->Send(Command::kRead, 1, 0, 32 << 20);
      EXPECT_EQ(client->Read().Data().size(), 32 << 20);
    }
    return harness.memory().GetStats().sent_away > 0;
  }));
  // Who holds nothing is not to blame.
  idle->Send(Command::kRead, 1, 0, 4096);
  EXPECT_EQ(idle->Read().Data().size(), 4096);
}

TEST_F(NbdServerTest, NobodyIsSentAwayWhileNobodyWaits) {
  NbdHarness harness(/*synchronous=*/true, {}, kNoPatience);
  MemoryVolume& volume = harness.exports().Add("v", 1 << 20);
  ASSERT_THAT(volume.Write(0, std::string(1 << 20, 'x')), IsOk());
  const auto slow = Hogs(harness, 1, 8);
  auto client = harness.NewClient();
  client->Enter("v", Style::kStructured);
  for (int i = 0; i < 100; ++i) {
    client->Send(Command::kRead, 1, 0, 256 << 10);
    ASSERT_EQ(client->Read().Data().size(), 256 << 10);
  }
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(slow[0]->Read().Data().size(), 1 << 20);
  }
}

TEST_F(NbdServerTest, WhoSendsNoMoreOfAWriteIsSentAway) {
  NbdHarness harness(/*synchronous=*/true, {}, kNoPatience);
  harness.exports().Add("v", 64 << 20);
  std::vector<std::unique_ptr<RawClient>> stuck;
  for (int i = 0; i < 100; ++i) {
    stuck.push_back(harness.NewClient());
    stuck.back()->Enter("v", Style::kStructured);
    stuck.back()->Send(Command::kWrite, 1, 0, 1 << 20);
  }
  auto client = harness.NewClient();
  client->Enter("v", Style::kStructured);
  EXPECT_TRUE(Eventually([&] {
    client->SendWrite(1, 0, std::string(nbd::kMaxPayloadBytes, 'y'));
    EXPECT_EQ(client->Read().error, nbd::Error::kNone);
    return harness.memory().GetStats().sent_away > 0;
  }));
}

TEST_F(NbdServerTest, IdleConnectionsGiveBackWhatMadeThemFast) {
  NbdHarness harness(/*synchronous=*/true);
  MemoryVolume& volume = harness.exports().Add("v", 1 << 20);
  ASSERT_THAT(volume.Write(0, std::string(1 << 20, 'x')), IsOk());
  const auto client = std::move(Hogs(harness, 1, 1)[0]);
  const auto used = [&] { return harness.memory().GetStats().used_bytes; };
  EXPECT_TRUE(Eventually([&] { return used() > 1 << 20; }));
  EXPECT_EQ(client->Read().Data().size(), 1 << 20);
  // For a moment, which a busy machine may miss.
  EXPECT_TRUE(Eventually([&] {
    client->Send(Command::kRead, 1, 0, 1 << 20);
    EXPECT_EQ(client->Read().Data().size(), 1 << 20);
    return used() > ClientMemory::kBaseBytes;
  }));
  EXPECT_TRUE(Eventually([&] { return used() == ClientMemory::kBaseBytes; }));
  client->Send(Command::kRead, 1, 0, 1 << 20);
  EXPECT_EQ(client->Read().Data().size(), 1 << 20);
}

// The kernel holds for it what it has not taken.
TEST_F(NbdServerTest, WhoTakesNothingDoesNotCountAsIdle) {
  NbdHarness harness(/*synchronous=*/true, {}, kNoPatience);
  MemoryVolume& volume = harness.exports().Add("v", 32 << 20);
  ASSERT_THAT(volume.Write(0, std::string(32 << 20, 'x')), IsOk());
  auto lazy = harness.NewClient();
  lazy->Enter("v", Style::kStructured);
  lazy->Send(Command::kRead, 1, 0, 200 << 10);
  const auto requests = [&] { return harness.stats().Get().inflight_requests; };
  const auto reads = [&] { return harness.stats().Get().requests[0][0]; };
  EXPECT_TRUE(Eventually([&] { return reads() == 1 && requests() == 0; }));
  // While others wait, it is sent away.
  std::vector<std::unique_ptr<RawClient>> hogs;
  EXPECT_TRUE(Eventually([&] {
    if (harness.memory().GetStats().waiting == 0) hogs = Hogs(harness, 100, 1);
    return lazy->socket().IsBroken();
  }));
}

TEST_F(NbdServerTest, ConnectionsWaitForMemory) {
  NbdHarness harness(/*synchronous=*/true, {}, {.limit_bytes = 1 << 20});
  MemoryVolume& volume = harness.exports().Add("v", 8 << 20);
  ASSERT_THAT(volume.Write(0, std::string(8 << 20, 'x')), IsOk());
  auto hog = harness.NewClient();
  hog->Enter("v", Style::kStructured);
  hog->Send(Command::kRead, 1, 0, 8 << 20);  // Goes alone.
  const auto used = [&] { return harness.memory().GetStats().used_bytes; };
  ASSERT_TRUE(Eventually([&] { return used() > 8 << 20; }));
  auto client = harness.NewClient();
  EXPECT_TRUE(Eventually([&] {
    return harness.server().WhyShut().find("client memory") !=
           std::string::npos;
  }));
  EXPECT_EQ(hog->Read().Data().size(), 8 << 20);
  client->Enter("v", Style::kStructured);
  EXPECT_TRUE(Eventually([&] { return harness.server().WhyShut().empty(); }));
}

TEST_F(NbdServerTest, WhoWaitsForMemoryMayLeave) {
  NbdHarness harness(/*synchronous=*/true, {}, kSmallMemory);
  MemoryVolume& volume = harness.exports().Add("v", 1 << 20);
  ASSERT_THAT(volume.Write(0, std::string(1 << 20, 'x')), IsOk());
  auto hogs = Hogs(harness, 100, 1);
  const auto waiting = [&] { return harness.memory().GetStats().waiting; };
  EXPECT_TRUE(Eventually([&] { return waiting() > 0; }));
  hogs.resize(50);  // These have what they asked for.
  EXPECT_TRUE(Eventually([&] {
    return waiting() == 0 && harness.stats().Get().connections == 50;
  }));
  harness.StopServer();
  EXPECT_EQ(harness.memory().GetStats().used_bytes, 0);
}

TEST_F(NbdServerTest, ItShutsDownWhileClientsWaitForMemory) {
  NbdHarness harness(/*synchronous=*/true, {}, kSmallMemory);
  MemoryVolume& volume = harness.exports().Add("v", 1 << 20);
  ASSERT_THAT(volume.Write(0, std::string(1 << 20, 'x')), IsOk());
  const auto hogs = Hogs(harness, 100, 1);
  EXPECT_TRUE(
      Eventually([&] { return harness.memory().GetStats().waiting > 0; }));
  harness.server().Shutdown(absl::ZeroDuration());
  harness.StopServer();
  EXPECT_EQ(harness.memory().GetStats().used_bytes, 0);
}

TEST_F(NbdServerTest, CountsRequests) {
  NbdHarness harness(/*synchronous=*/true);
  harness.exports().Add("v", 4096);
  auto client = harness.NewClient();
  client->Enter("v", Style::kStructured);
  client->Send(Command::kRead, 1, 0, 4096);
  client->Read();
  client->Send(Command::kRead, 2, 1, 4096);
  client->Read();
  client->Send(static_cast<Command>(9), 3, 0, 1);
  client->Read();
  const auto stats = harness.stats().Get();
  EXPECT_EQ(stats.connections, 1);
  EXPECT_EQ(stats.inflight_requests, 0);
  EXPECT_EQ(stats.requests[0][0], 1);  // read, none
  EXPECT_EQ(stats.requests[0][3], 1);  // read, einval
  EXPECT_EQ(stats.requests[7][3], 1);  // unknown, einval
  uint64_t timed = 0;
  for (const uint64_t count : stats.durations[0].buckets) timed += count;
  EXPECT_EQ(timed, 2);
  EXPECT_GT(stats.durations[0].sum_ns, 0);
}

TEST_F(NbdServerTest, HundredsOfClientsAtOnce) {
  NbdHarness harness(/*synchronous=*/true);
  harness.exports().Add("v", 4096);
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 400; ++i) clients.push_back(harness.NewClient());
  for (auto& client : clients) client->Enter("v", Style::kStructured);
  for (auto& client : clients) client->Send(Command::kRead, 1, 0, 4096);
  for (auto& client : clients) {
    EXPECT_EQ(client->Read().Data().size(), 4096);
  }
}

}  // namespace
}  // namespace ramvol::testing
