// libFuzzer over NBD_OPT_STARTTLS: what comes before it, TLS's handshake, and
// what follows inside of TLS, over sockets as in the server.
//
//   bazel build --config=fuzz //tests/fuzz:nbd_tls_fuzzer
//   bazel-bin/tests/fuzz/nbd_tls_fuzzer tests/fuzz/corpus/nbd_tls
//
// The first byte says how far the client has come already and whether the
// server requires TLS. The rest is what the client sends from there on: plain,
// as the handshake's bytes, inside of TLS (whose bytes differ each time), or,
// with some bytes inside of it first, as what should be TLS's records.
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/tls/tls_server.h"
#include "nbd_bridge/nbd_tls.h"
#include "nbd_bridge/negotiation.h"
#include "nbd_bridge/socket.h"
#include "tests/base/tls/tls_client.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/nbd_session_driver.h"

namespace ramvol::testing {
namespace {

using namespace std::string_literals;
using nbd::NbdTls;

constexpr char kUser[] = "u";
constexpr std::string_view kKey = "0123456789abcdef";

// With a key and no certificate, which takes no file of this machine.
TlsServer& Server() {
  static TlsServer& server = [&]() -> TlsServer& {
    const int file = memfd_create("keys", MFD_CLOEXEC);
    const std::string line = absl::StrCat(
        kUser, ":", absl::BytesToHexString({kKey.data(), kKey.size()}), "\n");
    RAMVOL_CHECK(write(file, line.data(), line.size()) ==
                 static_cast<ssize_t>(line.size()));
    auto made = TlsServer::Make({.psk = absl::StrCat("/proc/self/fd/", file)});
    RAMVOL_CHECK(made.ok());
    return *made->release();
  }();
  return server;
}

// The client's end: sends as well as it can, and drops what it gets until the
// server ends. Closes nothing.
class Client {
 public:
  explicit Client(int fd) : fd_(fd) {
    RAMVOL_CHECK(fcntl(fd_, F_SETFL, O_NONBLOCK) == 0);
  }

  void SendPlain(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent > 0) text.remove_prefix(static_cast<size_t>(sent));
      // The server may have no room for more answers.
      if (sent <= 0 && (!DropPlain() || !Wait(POLLOUT))) return;
    }
  }
  void SendSecure(TlsClient& tls, std::string_view text) {
    while (!text.empty()) {
      const int sent =
          SSL_write(tls.ssl(), text.data(), static_cast<int>(text.size()));
      if (sent > 0) text.remove_prefix(static_cast<size_t>(sent));
      if (sent <= 0 && (!IsHealthy(tls, sent) || !Wait(POLLOUT))) return;
      if (!DropSecure(tls)) return;
    }
  }
  void EndAndDrain() {
    shutdown(fd_, SHUT_WR);
    while (DropPlain() && Wait(0)) {
    }
  }
  // What the server says in plain, so that TLS begins behind it.
  bool Skip(size_t bytes) {
    char byte = 0;
    while (bytes > 0) {
      const ssize_t got = recv(fd_, &byte, 1, 0);
      if (got == 1) --bytes;
      if (got == 0 || (got < 0 && !Wait(0))) return false;
    }
    return true;
  }
  bool Connect(TlsClient& tls) {
    int done = 0;
    while ((done = SSL_connect(tls.ssl())) != 1) {
      if (!IsHealthy(tls, done) || !Wait(0)) return false;
    }
    return true;
  }

 private:
  // Until there are bytes, or what `events` asks for beside that.
  bool Wait(short events) const {
    pollfd wait{fd_, static_cast<short>(events | POLLIN), 0};
    return poll(&wait, 1, /*timeout=*/-1) == 1 &&
           (wait.revents & (POLLERR | POLLNVAL)) == 0;
  }
  static bool IsHealthy(TlsClient& tls, int result) {
    const int why = SSL_get_error(tls.ssl(), result);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
  }
  bool DropPlain() const {
    char dropped[1 << 14];
    ssize_t got = 0;
    while ((got = recv(fd_, dropped, sizeof(dropped), 0)) > 0) {
    }
    return got < 0 && errno == EAGAIN;
  }
  static bool DropSecure(TlsClient& tls) {
    char dropped[1 << 14];
    int got = 0;
    while ((got = SSL_read(tls.ssl(), dropped, sizeof(dropped))) > 0) {
    }
    return IsHealthy(tls, got);
  }

  const int fd_;
};

// How far the client has come.
enum class Come { kNowhere, kStartTls, kInside, kInTransmission, kRecords };
constexpr int kComes = 5;
// NBDMAGIC, IHAVEOPT and flags; and the answer to STARTTLS.
constexpr size_t kGreetingBytes = 18;
constexpr size_t kAckBytes = 20;

void Play(int fd, Come come, bool tls_1_2, Input input) {
  Client client(fd);
  const std::string flags = NbdPrelude(1);
  if (come == Come::kNowhere) {
    client.SendPlain(input.Rest());
    return client.EndAndDrain();
  }
  client.SendPlain(flags + OptionText(nbd::Option::kStartTls, ""));
  if (come == Come::kStartTls) {
    client.SendPlain(input.Rest());
    return client.EndAndDrain();
  }
  TlsClient tls(dup(fd), {.version = tls_1_2 ? TLS1_2_VERSION : 0,
                          .psk_user = kUser,
                          .psk = std::string(kKey)});
  RAMVOL_CHECK(client.Skip(kGreetingBytes + kAckBytes) && client.Connect(tls));
  if (come == Come::kInTransmission) {
    const int how = input.Choice(kNbdPreludes);
    client.SendSecure(tls, NbdPrelude(how).substr(how == 0 ? 0 : flags.size()));
  }
  if (come == Come::kRecords) {
    client.SendSecure(tls, input.Bytes(input.Number(1)));
    client.SendPlain(input.Rest());
    return client.EndAndDrain();
  }
  // In records of several sizes.
  while (!input.empty()) {
    client.SendSecure(tls, input.Bytes(1 + input.Number(1)));
  }
  client.EndAndDrain();
}

void Fuzz(Input input) {
  const int how = input.Choice(4 * kComes);
  int ends[2];
  RAMVOL_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  nbd::NegotiationOptions options;
  options.tls.mode =
      how % 2 == 0 ? NbdTls::Mode::kRequire : NbdTls::Mode::kAllow;
  options.tls.begin = [](int fd) { return Server().Begin(fd, {.psk = true}); };
  std::thread client([&] {
    Play(ends[1], static_cast<Come>(how / 4), (how & 2) != 0, input);
  });
  {
    nbd::Socket server(ends[0]);
    ServeNbd(server, options, /*synchronous=*/true);
    server.Finish();
    client.join();
  }
  close(ends[1]);
}

}  // namespace
}  // namespace ramvol::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ramvol::testing::Fuzz(ramvol::testing::Input(data, size));
  return 0;
}
