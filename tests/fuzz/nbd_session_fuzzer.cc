// libFuzzer over an NBD connection: the handshake and the transmission phase,
// over sockets as in the server.
//
//   bazel build --config=fuzz //tests/fuzz:nbd_session_fuzzer
//   bazel-bin/tests/fuzz/nbd_session_fuzzer tests/fuzz/corpus/nbd_session
//
// The first byte says how far the client has come already, the rest is what it
// sends from there on.
#include <sys/socket.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "base/block/thread_cache.h"
#include "base/check.h"
#include "base/client_memory.h"
#include "base/nbd_constants.h"
#include "nbd_bridge/negotiation.h"
#include "nbd_bridge/protocol/wire.h"
#include "nbd_bridge/session.h"
#include "nbd_bridge/socket.h"
#include "nbd_bridge/stats.h"
#include "tests/fuzz/input.h"
#include "tests/nbd_bridge/memory_device.h"

namespace ramvol::testing {
namespace {

using namespace std::string_literals;
using nbd::Option;
using nbd::WireWriter;

constexpr uint64_t kVolumeBytes = uint64_t{1} << 20;

std::string OptionText(Option option, std::string_view data) {
  return WireWriter()
      .Number(nbd::kOptionMagic)
      .Number(static_cast<uint32_t>(option))
      .Number(static_cast<uint32_t>(data.size()))
      .Bytes({data.data(), data.size()})
      .text();
}

// What a client says to come into the transmission phase.
std::string Prelude(int how) {
  const std::string flags = WireWriter().Number(uint32_t{3}).text();
  const std::string name("\0\0\0\1v", 5);
  const std::string context("\0\0\0\1\0\0\0\17base:allocation", 23);
  const std::string changes("\0\0\0\1\0\0\0\23qemu:dirty-bitmap:s", 27);
  const std::string both = "\0\0\0\2"s + context.substr(4) + changes.substr(4);
  const std::string go = OptionText(Option::kGo, name + std::string(2, '\0'));
  switch (how) {
    case 0:
      return "";
    case 1:
      return flags;
    case 2:
      return flags + go;
    case 3:
      return flags + OptionText(Option::kStructuredReply, "") +
             OptionText(Option::kSetMetaContext, name + context) + go;
    case 4:
      return flags + OptionText(Option::kExtendedHeaders, "") +
             OptionText(Option::kSetMetaContext, name + context) + go;
    case 5:
      return flags + OptionText(Option::kStructuredReply, "") +
             OptionText(Option::kSetMetaContext, name + changes) + go;
    default:
      return flags + OptionText(Option::kExtendedHeaders, "") +
             OptionText(Option::kSetMetaContext, name + both) + go;
  }
}

class Connection final : public ClientMemory::Client {
 public:
  explicit Connection(nbd::Socket& socket)
      : holder(&Memory(), this), socket_(socket) {
    holder.Open();
  }
  virtual ~Connection() = default;

  std::function<void()> SendAway() override {
    socket_.Shutdown();
    return nullptr;
  }

  ClientMemory::Holder holder;

 private:
  // Of all inputs; it has a thread.
  static ClientMemory& Memory() {
    static ClientMemory& memory =
        *new ClientMemory({.limit_bytes = size_t{8} << 20});
    return memory;
  }

  nbd::Socket& socket_;
};

void Serve(nbd::Socket& socket, bool synchronous) {
  MemoryExports exports(synchronous);
  exports.Add("v", kVolumeBytes);
  exports.Add("@s", kVolumeBytes, /*read_only=*/true);
  const std::atomic<bool> draining{false};
  nbd::NegotiationOptions options;
  options.draining = &draining;
  auto negotiated = nbd::Negotiate(socket, exports, options);
  if (!negotiated.has_value()) return;
  block::ThreadCache threads;
  nbd::NbdStats stats;
  Connection connection(socket);
  nbd::Session(socket, connection.holder, *std::move(negotiated),
               {threads, stats, draining})
      .Run();
  RAMVOL_CHECK(connection.holder.held_bytes() == 0);
  // Whatever was sent, every request came to an end.
  RAMVOL_CHECK(stats.Get().inflight_requests == 0);
}

void FuzzSession(Input input) {
  const int how = input.Choice(14);
  int ends[2];
  RAMVOL_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  nbd::Socket client(ends[1]);
  std::thread drain([&client] {
    std::string dropped(1 << 16, '\0');
    iovec part{dropped.data(), dropped.size()};
    while (client.Receive({&part, 1}, /*wait_for_all=*/false) != 0) {
    }
  });
  const std::string text = Prelude(how / 2) + std::string(input.Rest());
  std::thread send([&client, &text] {
    // Fails when the server ends the connection.
    (void)client.SendAll({text.data(), text.size()}, absl::InfiniteFuture());
    client.ShutdownSending();
  });
  {
    nbd::Socket server(ends[0]);
    Serve(server, /*synchronous=*/how % 2 == 0);
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
