// A front-end that sends the input as messages, with descriptors of memory and
// events. Whatever it says, the session answers or ends, and its threads end.
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/block/thread_cache.h"
#include "base/check.h"
#include "tests/fuzz/input.h"
#include "tests/nbd_bridge/memory_device.h"
#include "vhost_user/protocol/descriptor.h"
#include "vhost_user/protocol/message.h"
#include "vhost_user/session.h"
#include "vhost_user/stats.h"

namespace {

using namespace ramvol::vhost;  // NOLINT(google-build-using-namespace)

constexpr off_t kMemoryBytes = 1 << 16;
constexpr int kMaxMessages = 100;

Descriptor MakeDescriptor(int kind, int memory) {
  switch (kind) {
    case 0:
      return Descriptor(dup(memory));
    case 1:
      return Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    default:
      return Descriptor(dup(STDERR_FILENO));
  }
}

// What all inputs share.
struct World {
  World() {
    exports.Add("disk", 1 << 20);
    RAMVOL_CHECK(ftruncate(memory.get(), kMemoryBytes) == 0);
  }
  Descriptor memory{memfd_create("guest", MFD_CLOEXEC)};
  ramvol::testing::MemoryExports exports{/*synchronous=*/true};
  ramvol::block::ThreadCache threads;
  VhostStats stats;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static World& world = *new World;
  auto device = world.exports.Open("disk", "fuzzer");
  RAMVOL_CHECK(device.ok());
  Session session(*std::move(device), {.id = "fuzzer",
                                       .failed = [](const absl::Status&) {},
                                       .threads = world.threads,
                                       .stats = world.stats});
  ramvol::testing::Input input(data, size);
  for (int i = 0; i < kMaxMessages && !input.empty(); ++i) {
    Message message;
    message.request = static_cast<Request>(input.Choice(42));
    const int shape = input.Choice(256);
    message.flags = kVersion | ((shape & 1) != 0 ? kFlagNeedReply : 0);
    const int descriptors = shape >> 1 & 3;
    for (int fd = 0; fd < descriptors; ++fd) {
      message.descriptors.push_back(
          MakeDescriptor(shape >> 3 & 3, world.memory.get()));
    }
    message.payload = std::string(input.Bytes(input.Number(1)));
    const Session::Outcome outcome = session.Handle(std::move(message));
    RAMVOL_CHECK(!outcome.reply.has_value() ||
                 outcome.reply->payload.size() <= kMaxPayloadBytes);
    if (!outcome.status.ok()) break;
  }
  session.Stop();
  return 0;
}
