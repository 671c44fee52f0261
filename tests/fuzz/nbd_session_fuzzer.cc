// libFuzzer over an NBD connection: the handshake and the transmission phase,
// over sockets as in the server.
//
//   bazel build --config=fuzz //tests/fuzz:nbd_session_fuzzer
//   bazel-bin/tests/fuzz/nbd_session_fuzzer tests/fuzz/corpus/nbd_session
//
// The first byte says how far the client has come already, the rest is what it
// sends from there on.
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "base/check.h"
#include "nbd_bridge/socket.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/nbd_session_driver.h"

namespace ramvol::testing {
namespace {

void FuzzSession(Input input) {
  const int how = input.Choice(2 * kNbdPreludes);
  int ends[2];
  RAMVOL_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  nbd::Socket client(ends[1]);
  std::thread drain([&client] {
    std::string dropped(1 << 16, '\0');
    iovec part{dropped.data(), dropped.size()};
    while (client.Receive({&part, 1}, /*wait_for_all=*/false) != 0) {
    }
  });
  const std::string text = NbdPrelude(how / 2) + std::string(input.Rest());
  std::thread send([&client, &text] {
    // Fails when the server ends the connection.
    (void)client.SendAll({text.data(), text.size()}, absl::InfiniteFuture());
    client.ShutdownSending();
  });
  {
    nbd::Socket server(ends[0]);
    ServeNbd(server, {}, /*synchronous=*/how % 2 == 0);
    server.Shutdown();
    send.join();
  }
  drain.join();
}

}  // namespace
}  // namespace ramvol::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ramvol::testing::FuzzSession(ramvol::testing::Input(data, size));
  return 0;
}
