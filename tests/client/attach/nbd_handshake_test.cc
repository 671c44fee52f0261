#include "client/attach/nbd_handshake.h"

#include <linux/nbd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

// `value` in `bytes` bytes, the highest first.
std::string Big(uint64_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) {
    text += static_cast<char>(value >> (8 * i));
  }
  return text;
}

std::string Greeting(uint16_t flags) {
  return "NBDMAGICIHAVEOPT" + Big(flags, 2);
}

std::string Reply(uint32_t type, const std::string& data) {
  return Big(0x0003e889045565a9, 8) + Big(7, 4) + Big(type, 4) +
         Big(data.size(), 4) + data;
}

std::string ExportInfo(uint64_t size, uint16_t flags) {
  return Reply(3, Big(0, 2) + Big(size, 8) + Big(flags, 2));
}

std::string BlockInfo(uint32_t min) {
  return Reply(3, Big(3, 2) + Big(min, 4) + Big(4096, 4) + Big(1 << 25, 4));
}

const std::string& Ack() {
  static const std::string* const ack = new std::string(Reply(1, ""));
  return *ack;
}

// A server that says all it has to say beforehand.
class NbdHandshakeTest : public ::testing::Test {
 protected:
  NbdHandshakeTest() {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds_), 0);
  }
  ~NbdHandshakeTest() override {
    close(fds_[0]);
    close(fds_[1]);
  }

  void ServerSays(const std::string& text) {
    EXPECT_EQ(write(fds_[1], text.data(), text.size()),
              static_cast<ssize_t>(text.size()));
  }
  void ServerIsDone() { shutdown(fds_[1], SHUT_WR); }

  absl::StatusOr<NbdExport> Negotiate(const std::string& name = "disk") {
    return NegotiateNbd(fds_[0], name);
  }
  // All that the client said.
  std::string ClientSaid() {
    shutdown(fds_[0], SHUT_WR);
    std::string text(1 << 16, '\0');
    ssize_t length = 0;
    size_t total = 0;
    while ((length = read(fds_[1], text.data() + total, text.size() - total)) >
           0) {
      total += static_cast<size_t>(length);
    }
    return text.substr(0, total);
  }

  int fds_[2] = {-1, -1};
};

const char kGo[] = "IHAVEOPT";

TEST_F(NbdHandshakeTest, AsksForTheExportAndItsBlockSize) {
  ServerSays(Greeting(3) + BlockInfo(512) + ExportInfo(1 << 20, 0x16d) + Ack());
  absl::StatusOr<NbdExport> result = Negotiate();
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->size_bytes, 1 << 20);
  EXPECT_EQ(result->flags, 0x16d);
  EXPECT_EQ(result->min_block_bytes, 512);
  EXPECT_TRUE(result->multi_conn());
  EXPECT_FALSE(result->read_only());
  EXPECT_EQ(ClientSaid(), Big(3, 4) + kGo + Big(7, 4) + Big(12, 4) + Big(4, 4) +
                              "disk" + Big(1, 2) + Big(3, 2));
}

TEST_F(NbdHandshakeTest, TakesOnlyThoseFlagsThatTheServerOffers) {
  ServerSays(Greeting(1) + ExportInfo(4096, 3) + Ack());
  absl::StatusOr<NbdExport> result = Negotiate();
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->min_block_bytes, 1);
  EXPECT_TRUE(result->read_only());
  EXPECT_EQ(ClientSaid().substr(0, 4), Big(1, 4));
}

TEST_F(NbdHandshakeTest, SkipsInformationThatItDoesNotKnow) {
  ServerSays(Greeting(3) + Reply(3, Big(1, 2) + "a name") +
             Reply(3, Big(77, 2)) + ExportInfo(1, 1) + Ack());
  EXPECT_THAT(Negotiate(), IsOk());
}

TEST_F(NbdHandshakeTest, UnknownExportIsNotFoundAndTheServerIsLetGo) {
  ServerSays(Greeting(3) + Reply(0x80000006, "no volume \"disk\""));
  EXPECT_THAT(Negotiate(), StatusIs(absl::StatusCode::kNotFound,
                                    AllOf(HasSubstr("export \"disk\""),
                                          HasSubstr("no volume \"disk\""))));
  const std::string said = ClientSaid();
  EXPECT_EQ(said.substr(said.size() - 16), kGo + Big(2, 4) + Big(0, 4));
}

TEST_F(NbdHandshakeTest, OtherRefusalsSayWhy) {
  ServerSays(Greeting(3) + Reply(0x80000005, "TLS please"));
  EXPECT_THAT(Negotiate(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                    HasSubstr("TLS")));
}

TEST_F(NbdHandshakeTest, RefusalNamesTheError) {
  ServerSays(Greeting(3) + Reply(0x80000002, "not you"));
  EXPECT_THAT(Negotiate(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("error 2"), HasSubstr("not you"))));
}

TEST_F(NbdHandshakeTest, OldServersAreRefused) {
  ServerSays(Greeting(2));
  EXPECT_THAT(Negotiate(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                    HasSubstr("newstyle")));
}

TEST_F(NbdHandshakeTest, WhatIsNotNbdIsSaidSo) {
  ServerSays("HTTP/1.1 400 Bad Request\r\n");
  EXPECT_THAT(Negotiate(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("no NBD")));
}

TEST_F(NbdHandshakeTest, NonsenseIsRefusedWithoutReadingOn) {
  const std::string wrong[] = {
      Big(1, 8) + Big(7, 4) + Big(1, 4) + Big(0, 4),        // Magic.
      Big(0x0003e889045565a9, 8) + Big(6, 4) + Big(1, 8),   // Option.
      Big(0x0003e889045565a9, 8) + Big(7, 4) + Big(3, 4) +  // Length.
          Big(1 << 20, 4),
      Reply(3, ""),                   // No kind.
      Reply(3, Big(0, 2) + "short"),  // Export.
      Reply(3, Big(3, 2) + "short"),  // Block size.
      Ack(),                          // No export.
      Reply(2, ""),                   // NBD_REP_SERVER.
  };
  for (const std::string& reply : wrong) {
    int fds[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    const std::string text = Greeting(3) + reply;
    ASSERT_EQ(write(fds[1], text.data(), text.size()),
              static_cast<ssize_t>(text.size()));
    EXPECT_EQ(NegotiateNbd(fds[0], "disk").status().code(),
              absl::StatusCode::kDataLoss)
        << ::testing::PrintToString(reply);
    close(fds[0]);
    close(fds[1]);
  }
}

TEST_F(NbdHandshakeTest, EndlessRepliesEnd) {
  std::string text = Greeting(3);
  for (int i = 0; i < 100; ++i) text += ExportInfo(1, 1);
  ServerSays(text);
  EXPECT_THAT(Negotiate(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("without end")));
}

TEST_F(NbdHandshakeTest, EveryEarlyEndIsAnError) {
  const std::string whole = Greeting(3) + ExportInfo(1, 1) + Ack();
  for (size_t length = 0; length < whole.size(); ++length) {
    int fds[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    ASSERT_EQ(write(fds[1], whole.data(), length),
              static_cast<ssize_t>(length));
    shutdown(fds[1], SHUT_WR);
    EXPECT_EQ(GetReason(NegotiateNbd(fds[0], "disk").status()), "ECONNRESET")
        << length;
    close(fds[0]);
    close(fds[1]);
  }
}

TEST_F(NbdHandshakeTest, SlowServersRunIntoTheSocketsTimeout) {
  const timeval timeout = {.tv_sec = 0, .tv_usec = 10'000};
  setsockopt(fds_[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  ServerSays("NBDM");
  EXPECT_EQ(GetReason(Negotiate().status()), "ETIMEDOUT");
}

TEST_F(NbdHandshakeTest, GoodbyeIsADisconnectRequest) {
  DisconnectNbd(fds_[0]);
  EXPECT_EQ(ClientSaid(),
            Big(NBD_REQUEST_MAGIC, 4) + Big(2, 4) + std::string(20, '\0'));
}

}  // namespace
}  // namespace ramvol
