#include "tests/fuzz/nbd_session_driver.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "base/block/thread_cache.h"
#include "base/check.h"
#include "base/client_memory.h"
#include "nbd_bridge/protocol/wire.h"
#include "nbd_bridge/session.h"
#include "nbd_bridge/stats.h"
#include "tests/nbd_bridge/memory_device.h"

namespace ramvol::testing {
namespace {

using namespace std::string_literals;
using nbd::Option;
using nbd::WireWriter;

constexpr uint64_t kVolumeBytes = uint64_t{1} << 20;

}  // namespace

std::string OptionText(Option option, std::string_view data) {
  return WireWriter()
      .Number(nbd::kOptionMagic)
      .Number(static_cast<uint32_t>(option))
      .Number(static_cast<uint32_t>(data.size()))
      .Bytes({data.data(), data.size()})
      .text();
}

std::string NbdPrelude(int how) {
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

namespace {

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

}  // namespace

void ServeNbd(nbd::Socket& socket, nbd::NegotiationOptions options,
              bool synchronous) {
  MemoryExports exports(synchronous);
  exports.Add("v", kVolumeBytes);
  exports.Add("@s", kVolumeBytes, /*read_only=*/true);
  const std::atomic<bool> draining{false};
  options.draining = &draining;
  auto negotiated = nbd::Negotiate(socket, exports, options);
  if (!negotiated.has_value()) return;
  block::ThreadCache threads;
  nbd::NbdStats stats;
  Connection connection(socket);
  nbd::Session(socket, connection.holder, *std::move(negotiated),
               {threads, stats, draining, draining})
      .Run();
  RAMVOL_CHECK(connection.holder.held_bytes() == 0);
  // Whatever was sent, every request came to an end.
  RAMVOL_CHECK(stats.Get().inflight_requests == 0);
}

}  // namespace ramvol::testing
