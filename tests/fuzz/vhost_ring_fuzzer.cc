// A guest whose rings and buffers hold the input: whatever it says, the device
// stays within the guest's memory, ends, and goes on with the next input.
//
// Layout of the guest's memory, which the input fills from the front:
//   0       flags of the features, then 15 bytes that nobody reads
//   16      available ring of 16 entries
//   0x100   descriptors
//   0x200   used ring
//   0x400   in-flight region
//   0x600   requests, tables and data
#include <linux/virtio_blk.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/check.h"
#include "tests/nbd_bridge/memory_device.h"
#include "vhost_user/block_request.h"
#include "vhost_user/guest_memory.h"
#include "vhost_user/inflight.h"
#include "vhost_user/protocol/descriptor.h"
#include "vhost_user/protocol/message.h"
#include "vhost_user/virtqueue.h"

namespace {

using ramvol::testing::MemoryExports;
using namespace ramvol::vhost;  // NOLINT(google-build-using-namespace)

constexpr size_t kGuestBytes = size_t{64} << 10;
constexpr uint64_t kUserBase = uint64_t{1} << 40;
constexpr uint16_t kQueueSize = 16;
constexpr uint64_t kDiskBytes = size_t{256} << 10;
constexpr int kMaxRequests = 64;

// One of each, for all inputs.
struct Guest {
  Guest() : fd(memfd_create("guest", MFD_CLOEXEC)) {
    RAMVOL_CHECK(ftruncate(fd.get(), kGuestBytes) == 0);
    data = static_cast<char*>(mmap(nullptr, kGuestBytes, PROT_READ | PROT_WRITE,
                                   MAP_SHARED, fd.get(), 0));
    // In two regions, so that ranges cross from one to the other.
    constexpr uint64_t kHalf = kGuestBytes / 2;
    RAMVOL_CHECK(memory.Add({0, kHalf, kUserBase, 0}, fd).ok());
    RAMVOL_CHECK(memory.Add({kHalf, kHalf, 2 * kUserBase, kHalf}, fd).ok());
    exports.Add("disk", kDiskBytes);
    auto opened = exports.Open("disk", "fuzzer");
    RAMVOL_CHECK(opened.ok());
    device = *std::move(opened);
  }

  BrokenFlag broken{false};
  Descriptor fd;
  char* data;
  GuestMemory memory{&broken};
  MemoryExports exports{/*synchronous=*/true};
  std::unique_ptr<ramvol::block::BlockDevice> device;
  const std::string id = "fuzzer";
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Guest& guest = *new Guest;
  std::memset(guest.data, 0, kGuestBytes);
  if (size > 0) std::memcpy(guest.data, data, std::min(size, kGuestBytes));
  const auto flags = static_cast<uint8_t>(guest.data[0]);

  Virtqueue queue;
  RAMVOL_CHECK(queue.SetSize(kQueueSize).ok());
  queue.SetAddress(
      {0, 0, kUserBase + 0x100, kUserBase + 0x200, kUserBase + 16, 0});
  queue.SetBase(0);
  if ((flags & 1) != 0) {
    queue.SetInflight(Inflight(guest.data + 0x400, kQueueSize));
  }
  const Virtqueue::Options options = {.event_index = (flags & 2) != 0,
                                      .indirect = (flags & 4) != 0,
                                      .log = nullptr};
  RAMVOL_CHECK(queue.Start(guest.memory, options).ok());
  const RequestTarget target = {*guest.device, kDiskBytes / kSectorBytes,
                                (flags & 8) != 0, guest.id};
  Chain chain;
  for (int i = 0; i < kMaxRequests; ++i) {
    const auto taken = queue.Take(&chain);
    if (!taken.ok() || !*taken) break;
    const auto result = Execute(target, chain);
    if (!result.ok()) break;
    queue.Answer(chain.head, result->written + 1);
    (void)queue.MustNotify();
    (void)queue.StartKicks();
    queue.StopKicks();
  }
  return 0;
}
