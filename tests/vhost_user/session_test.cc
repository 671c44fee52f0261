#include "vhost_user/session.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/vhost_user/device_harness.h"
#include "tests/vhost_user/front_end.h"
#include "vhost_user/config_space.h"
#include "vhost_user/inflight.h"

namespace ramvol::testing {
namespace {

using ::testing::HasSubstr;
using vhost::Bit;
using vhost::Bytes;
using vhost::Request;
using vhost::VringState;

constexpr uint64_t kDiskBytes = 1 << 20;
constexpr uint32_t kSector = 512;

class SessionTest : public ::testing::Test {
 protected:
  SessionTest()
      : memory_(size_t{16} << 20),
        ring_(&memory_, 64, /*event_index=*/true),
        disk_(&memory_, &ring_, 4, 64 << 10),
        harness_(kDiskBytes) {}

  void Connect() { front_ = harness_.Connect(); }
  void Attach() {
    Connect();
    ASSERT_TRUE(front_->Negotiate());
    ASSERT_TRUE(front_->ShareMemory(memory_));
    ASSERT_TRUE(front_->StartRing(0, ring_, ring_.used_index()));
  }
  std::string WhyEnded() { return std::string(harness_.Join().message()); }

  TestMemory memory_;
  TestRing ring_;
  TestDisk disk_;
  DeviceHarness harness_;
  std::unique_ptr<FrontEnd> front_;
};

TEST_F(SessionTest, WritesAndReadsBack) {
  Attach();
  std::memset(disk_.data(0), 'x', 8192);
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_OUT, 8, 8192), VIRTIO_BLK_S_OK);
  std::memset(disk_.data(0), 0, 8192);
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_IN, 8, 8192, /*indirect=*/true, 3),
            VIRTIO_BLK_S_OK);
  EXPECT_EQ(std::string(disk_.data(0), 8192), std::string(8192, 'x'));
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
}

TEST_F(SessionTest, TellsItsId) {
  Attach();
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES),
            VIRTIO_BLK_S_OK);
  EXPECT_STREQ(disk_.data(0), "0123456789abcdef");
}

TEST_F(SessionTest, RefusesWhatIsPastTheEnd) {
  Attach();
  const uint64_t end = kDiskBytes / kSector;
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_IN, end - 1, kSector), VIRTIO_BLK_S_OK);
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_IN, end, kSector), VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_OUT, ~uint64_t{0}, kSector),
            VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_IN, 0, 511), VIRTIO_BLK_S_IOERR);
  EXPECT_EQ(disk_.Do(99, 0, 0), VIRTIO_BLK_S_UNSUPP);
}

TEST_F(SessionTest, DiscardsAndWritesZeroes) {
  Attach();
  std::memset(disk_.data(0), 'x', 4096);
  for (const uint32_t type :
       {VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES}) {
    std::memset(disk_.data(0), 'x', 4096);
    ASSERT_EQ(disk_.Do(VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
    virtio_blk_discard_write_zeroes range = {0, 8, 0};
    std::memcpy(disk_.data(0), &range, sizeof(range));
    EXPECT_EQ(disk_.Do(type, 0, sizeof(range)), VIRTIO_BLK_S_OK);
    EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
    EXPECT_EQ(std::string(disk_.data(0), 4096), std::string(4096, '\0'));
    range.flags = 2;
    std::memcpy(disk_.data(0), &range, sizeof(range));
    EXPECT_EQ(disk_.Do(type, 0, sizeof(range)), VIRTIO_BLK_S_UNSUPP);
    range = {0, vhost::kMaxQueues << 20, 0};
    std::memcpy(disk_.data(0), &range, sizeof(range));
    EXPECT_EQ(disk_.Do(type, 0, sizeof(range)), VIRTIO_BLK_S_IOERR);
  }
}

TEST(ReadOnlySessionTest, OffersAndAllowsNoWrites) {
  TestMemory memory(1 << 20);
  TestRing ring(&memory, 16, true);
  TestDisk disk(&memory, &ring, 1, 4096);
  DeviceHarness harness(kDiskBytes, /*read_only=*/true);
  const auto front = harness.Connect();
  ASSERT_TRUE(front->Negotiate());
  EXPECT_NE(front->features() & Bit(VIRTIO_BLK_F_RO), 0U);
  EXPECT_EQ(front->features() & Bit(VIRTIO_BLK_F_DISCARD), 0U);
  ASSERT_TRUE(front->ShareMemory(memory));
  ASSERT_TRUE(front->StartRing(0, ring));
  EXPECT_EQ(disk.Do(VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
  EXPECT_EQ(disk.Do(VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_IOERR);
  front->Close();
}

TEST_F(SessionTest, SetsUpInAnyOrder) {
  Connect();
  ASSERT_TRUE(front_->Negotiate());
  disk_.Start(0, VIRTIO_BLK_T_IN, 0, 4096);
  ASSERT_TRUE(front_->Tell(Request::kSetVringEnable, Bytes(VringState{0, 1})));
  ASSERT_TRUE(front_->Tell(Request::kSetVringAddr, Bytes(ring_.Address(0))));
  ASSERT_TRUE(front_->TellNumber(Request::kSetVringCall, 0, {ring_.call()}));
  ASSERT_TRUE(front_->Tell(Request::kSetVringBase, Bytes(VringState{0, 0})));
  ASSERT_TRUE(front_->ShareMemory(memory_));
  ASSERT_TRUE(front_->Tell(Request::kSetVringNum, Bytes(VringState{0, 64})));
  ASSERT_TRUE(front_->TellNumber(Request::kSetVringKick, 0, {ring_.kick()}));
  EXPECT_EQ(disk_.Wait(), 0);
}

TEST_F(SessionTest, GoesOnAfterItWasStopped) {
  Attach();
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(disk_.Do(VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
    const auto base = front_->StopRing(0);
    ASSERT_EQ(base, ring_.used_index());
    ASSERT_TRUE(front_->ShareMemory(memory_));
    ASSERT_TRUE(front_->StartRing(0, ring_, *base));
  }
}

TEST_F(SessionTest, DoesNotServeDisabledQueues) {
  Attach();
  ASSERT_TRUE(front_->Tell(Request::kSetVringEnable, Bytes(VringState{0, 0})));
  disk_.Start(0, VIRTIO_BLK_T_IN, 0, 4096);
  // The acknowledgement came after the queue had stopped.
  EXPECT_EQ(disk_.Poll(), -1);
  ASSERT_TRUE(front_->Tell(Request::kSetVringEnable, Bytes(VringState{0, 1})));
  EXPECT_EQ(disk_.Wait(), 0);
}

TEST_F(SessionTest, LooksAtQueuesWithoutKick) {
  Attach();
  ASSERT_TRUE(front_->TellNumber(Request::kSetVringKick,
                                 0 | vhost::kVringNoDescriptor));
  for (int i = 0; i < 3; ++i) {
    disk_.Start(0, VIRTIO_BLK_T_IN, 0, 4096, false, 1, /*kick=*/false);
    EXPECT_EQ(disk_.Wait(), 0);
  }
}

TEST_F(SessionTest, TakesMemoryBySlots) {
  Connect();
  ASSERT_TRUE(front_->Negotiate());
  EXPECT_GE(front_->AskNumber(Request::kGetMaxMemSlots), 32U);
  const vhost::OneRegion region = {0, memory_.region()};
  ASSERT_TRUE(front_->Tell(Request::kAddMemReg, Bytes(region), {memory_.fd()}));
  TestMemory more(4096);
  vhost::OneRegion other = {0, more.region()};
  other.region.guest_address = uint64_t{1} << 40;
  ASSERT_TRUE(front_->Tell(Request::kAddMemReg, Bytes(other), {more.fd()}));
  ASSERT_TRUE(front_->StartRing(0, ring_));
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
  ASSERT_TRUE(front_->Tell(Request::kRemMemReg, Bytes(other)));
  EXPECT_EQ(disk_.Do(VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
  EXPECT_FALSE(front_->Tell(Request::kRemMemReg, Bytes(other)));
}

TEST_F(SessionTest, TellsOfANewSize) {
  Attach();
  int channel[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, channel), 0);
  ASSERT_TRUE(front_->Tell(Request::kSetBackendReqFd, "", {channel[1]}));
  close(channel[1]);
  harness_.SetSize(2 * kDiskBytes);
  vhost::Header header{};
  ASSERT_EQ(recv(channel[0], &header, sizeof(header), MSG_WAITALL),
            static_cast<ssize_t>(sizeof(header)));
  EXPECT_EQ(header.request, vhost::kConfigChange);
  const vhost::ConfigHeader ask = {0, sizeof(virtio_blk_config), 0};
  const auto config =
      front_->Ask(Request::kGetConfig,
                  Bytes(ask) + std::string(sizeof(virtio_blk_config), '\0'));
  ASSERT_TRUE(config.has_value());
  uint64_t capacity = 0;
  std::memcpy(&capacity, config->payload.data() + sizeof(ask),
              sizeof(capacity));
  EXPECT_EQ(capacity, 2 * kDiskBytes / kSector);
  close(channel[0]);
}

TEST_F(SessionTest, AnswersWithoutPayloadPastTheConfigSpace) {
  Connect();
  ASSERT_TRUE(front_->Negotiate());
  const vhost::ConfigHeader ask = {250, 8, 0};
  const auto reply =
      front_->Ask(Request::kGetConfig, Bytes(ask) + std::string(8, '\0'));
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->payload, "");
}

// --- What was in flight ---

struct Entry {
  uint8_t inflight;
  uint8_t padding[5];
  uint16_t next;
  uint64_t counter;
};
struct Region {
  uint64_t features;
  uint16_t version;
  uint16_t entries;
  uint16_t last_batch_head;
  uint16_t used_index;
  Entry entry[64];
};

class InflightTest : public SessionTest {
 protected:
  // Gets the region, which the front-end keeps.
  void GetRegion() {
    Connect();
    ASSERT_TRUE(front_->Negotiate());
    area_ = {0, 0, 1, 64, 0};
    auto reply = front_->Ask(Request::kGetInflightFd, Bytes(area_));
    ASSERT_TRUE(reply.has_value());
    ASSERT_EQ(reply->payload.size(), sizeof(area_));
    std::memcpy(&area_, reply->payload.data(), sizeof(area_));
    ASSERT_EQ(reply->descriptors.size(), 1U);
    fd_ = std::move(reply->descriptors[0]);
    region_ =
        static_cast<Region*>(mmap(nullptr, area_.bytes, PROT_READ | PROT_WRITE,
                                  MAP_SHARED, fd_.get(), 0));
    ASSERT_NE(region_, MAP_FAILED);
  }
  void Start(uint16_t base) {
    ASSERT_TRUE(
        front_->Tell(Request::kSetInflightFd, Bytes(area_), {fd_.get()}));
    ASSERT_TRUE(front_->ShareMemory(memory_));
    ASSERT_TRUE(front_->StartRing(0, ring_, base));
  }

  vhost::InflightArea area_{};
  vhost::Descriptor fd_;
  Region* region_ = nullptr;
};

TEST_F(InflightTest, NotesWhatIsUnderWay) {
  GetRegion();
  Start(0);
  harness_.volume().HoldReads();
  disk_.Start(0, VIRTIO_BLK_T_IN, 0, 4096);
  while (harness_.volume().held_reads() == 0) sched_yield();
  const uint16_t head = ring_.available()->ring[0];
  EXPECT_EQ(region_->version, 1);
  EXPECT_EQ(region_->entries, 64);
  EXPECT_EQ(region_->entry[head].inflight, 1);
  harness_.volume().ReleaseReads();
  EXPECT_EQ(disk_.Wait(), 0);
  ASSERT_TRUE(front_->StopRing(0).has_value());
  EXPECT_EQ(region_->entry[head].inflight, 0);
  EXPECT_EQ(region_->used_index, 1);
}

TEST_F(InflightTest, AnswersWhatAnotherTook) {
  GetRegion();
  // Another back-end took both in the other order, and was killed.
  for (int slot = 0; slot < 3; ++slot) {
    disk_.Start(slot, VIRTIO_BLK_T_IN, 0, 4096);
  }
  const uint16_t first = ring_.available()->ring[0];
  const uint16_t second = ring_.available()->ring[1];
  region_->version = 1;
  region_->entries = 64;
  region_->entry[first] = {1, {}, 0, 8};
  region_->entry[second] = {1, {}, 0, 7};
  Start(0);
  EXPECT_EQ(disk_.Wait(), 1);
  EXPECT_EQ(disk_.Wait(), 0);
  EXPECT_EQ(disk_.Wait(), 2);
  EXPECT_EQ(disk_.Poll(), -1);
  EXPECT_EQ(ring_.used_index(), 3);
}

TEST_F(InflightTest, DoesNotAnswerTwice) {
  GetRegion();
  disk_.Start(0, VIRTIO_BLK_T_IN, 0, 4096);
  disk_.Start(1, VIRTIO_BLK_T_IN, 0, 4096);
  const uint16_t first = ring_.available()->ring[0];
  // It was killed between the answer and the note of it.
  region_->version = 1;
  region_->entries = 64;
  region_->entry[first] = {1, {}, 0, 0};
  region_->last_batch_head = first;
  region_->used_index = 0;
  ring_.used()->ring[0] = {first, 4097};
  ring_.used()->idx = 1;
  Start(1);
  EXPECT_EQ(disk_.Wait(), 0);
  EXPECT_EQ(disk_.Wait(), 1);
  EXPECT_EQ(ring_.used_index(), 2);
}

TEST_F(InflightTest, IgnoresNonsense) {
  GetRegion();
  std::memset(region_, 0xff, area_.bytes);
  region_->version = 1;
  region_->entries = 64;
  for (Entry& entry : region_->entry) entry.inflight = 3;
  disk_.Start(0, VIRTIO_BLK_T_IN, 0, 4096);
  Start(0);
  EXPECT_EQ(disk_.Wait(), 0);
}

// --- The dirty log ---

TEST_F(SessionTest, MarksWhatItWrote) {
  Attach();
  const vhost::Descriptor log(memfd_create("log", MFD_CLOEXEC));
  const uint64_t pages = (TestMemory::kGuestBase + memory_.size()) / 4096;
  const vhost::LogArea area = {pages / 8, 0};
  ASSERT_EQ(ftruncate(log.get(), static_cast<off_t>(area.bytes)), 0);
  const auto* bits = static_cast<const uint8_t*>(
      mmap(nullptr, area.bytes, PROT_READ, MAP_SHARED, log.get(), 0));
  ASSERT_TRUE(
      front_->Ask(Request::kSetLogBase, Bytes(area), {log.get()}).has_value());
  const auto marked = [&](const void* place) {
    const uint64_t page = memory_.GuestAddress(place) / 4096;
    return (bits[page / 8] >> page % 8 & 1) != 0;
  };
  ASSERT_EQ(disk_.Do(VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
  EXPECT_FALSE(marked(disk_.data(0)));
  ASSERT_TRUE(front_->TellNumber(
      Request::kSetFeatures, front_->features() | Bit(vhost::kFeatureLogAll)));
  vhost::VringAddress address = ring_.Address(0);
  address.flags = vhost::kVringLog;
  address.log = memory_.GuestAddress(ring_.used());
  ASSERT_TRUE(front_->Tell(Request::kSetVringAddr, Bytes(address)));
  ASSERT_EQ(disk_.Do(VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
  ASSERT_TRUE(front_->StopRing(0).has_value());
  EXPECT_TRUE(marked(disk_.data(0)));
  EXPECT_TRUE(marked(ring_.used()));
  EXPECT_FALSE(marked(disk_.data(1)));
  munmap(const_cast<uint8_t*>(bits), area.bytes);
}

// --- Guests and front-ends that break rules ---

TEST_F(SessionTest, EndsWhenMemoryIsTakenAway) {
  Attach();
  ASSERT_EQ(ftruncate(memory_.fd(), 0), 0);
  const uint64_t one = 1;
  ASSERT_EQ(write(ring_.kick(), &one, sizeof(one)), 8);
  EXPECT_THAT(WhyEnded(), HasSubstr("taken away"));
  // And others go on.
  TestMemory memory(1 << 20);
  TestRing ring(&memory, 16, true);
  TestDisk disk(&memory, &ring, 1, 4096);
  Connect();
  ASSERT_TRUE(front_->Negotiate());
  ASSERT_TRUE(front_->ShareMemory(memory));
  ASSERT_TRUE(front_->StartRing(0, ring));
  EXPECT_EQ(disk.Do(VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
}

TEST_F(SessionTest, EndsWithABrokenRing) {
  struct Case {
    const char* what;
    void (*breaks)(TestRing& ring, uint16_t head);
  };
  const Case cases[] = {
      {"available",
       [](TestRing& ring, uint16_t) {
         ring.available()->idx = ring.used_index() + 1000;
       }},
      {"no descriptor",
       [](TestRing& ring, uint16_t) {
         ring.available()->ring[ring.used_index() % 64] = 64;
       }},
      {"does not end",
       [](TestRing& ring, uint16_t head) {
         ring.descriptors()[head].flags = VRING_DESC_F_NEXT;
         ring.descriptors()[head].next = head;
       }},
      {"without memory",
       [](TestRing& ring, uint16_t head) {
         ring.descriptors()[head].len = 0xffffffff;
       }},
      {"without memory",
       [](TestRing& ring, uint16_t head) {
         ring.descriptors()[head].addr = ~uint64_t{0} - 7;
       }},
      {"indirect",
       [](TestRing& ring, uint16_t head) {
         ring.descriptors()[head].flags =
             VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT;
       }},
      {"indirect",
       [](TestRing& ring, uint16_t head) {
         ring.descriptors()[head].flags = VRING_DESC_F_INDIRECT;
         ring.descriptors()[head].len = 17;
       }},
      {"a request of",
       [](TestRing& ring, uint16_t head) {
         ring.descriptors()[head].flags = 0;
       }},
      {"there is no descriptor",
       [](TestRing& ring, uint16_t head) {
         ring.descriptors()[head].next = 6464;
       }},
  };
  for (const Case& broken : cases) {
    SCOPED_TRACE(broken.what);
    TestMemory memory(4 << 20);
    TestRing ring(&memory, 64, true);
    TestDisk disk(&memory, &ring, 1, 4096);
    Connect();
    ASSERT_TRUE(front_->Negotiate());
    disk.Start(0, VIRTIO_BLK_T_IN, 0, 4096, false, 1, /*kick=*/false);
    broken.breaks(ring, ring.available()->ring[0]);
    ASSERT_TRUE(front_->ShareMemory(memory));
    // The device may end before the last acknowledgement.
    (void)front_->StartRing(0, ring);
    EXPECT_THAT(WhyEnded(), HasSubstr(broken.what));
  }
}

TEST_F(SessionTest, RefusesMessages) {
  const uint32_t much[2] = {9, 0};
  const int pipe = open("/dev/null", O_RDWR | O_CLOEXEC);
  TestMemory small(4096);
  vhost::MemoryRegion wrong = small.region();
  wrong.bytes = 8192;
  vhost::MemoryRegion wraps = small.region();
  wraps.guest_address = ~uint64_t{0} - 100;
  const uint32_t one[2] = {1, 0};
  struct Case {
    Request request;
    std::string payload;
    std::vector<int> descriptors;
    const char* what;
  };
  const std::vector<Case> cases = {
      {Request::kSetFeatures, Bytes(~uint64_t{0}), {}, "offered"},
      {Request::kSetFeatures, "abc", {}, "payload"},
      {Request::kSetProtocolFeatures, Bytes(~uint64_t{0}), {}, "offered"},
      {Request::kSetVringNum, Bytes(VringState{64, 64}), {}, "no queue"},
      {Request::kSetVringNum, Bytes(VringState{0, 63}), {}, "power of two"},
      {Request::kSetVringNum, Bytes(VringState{0, 2048}), {}, "at most"},
      {Request::kSetVringKick, Bytes(uint64_t{0}), {}, "needs one"},
      {Request::kSetVringKick, Bytes(uint64_t{0}), {pipe}, "no eventfd"},
      {Request::kSetVringCall, Bytes(uint64_t{0}), {pipe}, "no eventfd"},
      {Request::kSetMemTable, Bytes(much), {}, "regions"},
      {Request::kSetMemTable, Bytes(one), {}, "payload"},
      {Request::kSetMemTable,
       Bytes(one) + Bytes(wrong),
       {small.fd()},
       "of a file of"},
      {Request::kSetMemTable, Bytes(one) + Bytes(wraps), {small.fd()}, "wraps"},
      {Request::kSetMemTable, Bytes(one) + Bytes(wrong), {pipe}, "memory in"},
      {Request::kSetMemTable, Bytes(one) + Bytes(wrong), {}, "descriptors"},
      {Request::kSetInflightFd,
       Bytes(vhost::InflightArea{4096, 0, 65, 64, 0}),
       {small.fd()},
       "in-flight"},
      {Request::kSetInflightFd,
       Bytes(vhost::InflightArea{64, 0, 1, 64, 0}),
       {small.fd()},
       "are needed"},
      {Request::kGetInflightFd, "", {}, "payload"},
      {Request::kSetLogBase,
       Bytes(vhost::LogArea{1 << 20, 0}),
       {small.fd()},
       "of a file of"},
      {static_cast<Request>(4711), "", {}, "4711 is not supported"},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.what);
    Connect();
    ASSERT_TRUE(front_->Negotiate());
    EXPECT_FALSE(front_->Tell(each.request, each.payload, each.descriptors));
    EXPECT_THAT(WhyEnded(), HasSubstr(each.what));
  }
  close(pipe);
}

TEST_F(SessionTest, RefusesHeaders) {
  const vhost::Header headers[] = {{1, 2, 0}, {1, 5, 0}, {1, 1, 1 << 30}};
  for (const vhost::Header& header : headers) {
    Connect();
    ASSERT_EQ(send(front_->socket(), &header, sizeof(header), 0),
              static_cast<ssize_t>(sizeof(header)));
    EXPECT_NE(WhyEnded(), "");
  }
}

TEST_F(SessionTest, ClosesDescriptorsThatAreTooMany) {
  Connect();
  ASSERT_TRUE(front_->Negotiate());
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  ASSERT_TRUE(
      front_->Send(Request::kSetOwner, "", std::vector<int>(9, ends[1])));
  EXPECT_THAT(WhyEnded(), HasSubstr("descriptors"));
  close(ends[1]);
  // End of file: nobody else has the other end any more.
  char byte;
  EXPECT_EQ(read(ends[0], &byte, 1), 0);
  close(ends[0]);
}

TEST_F(SessionTest, EndsThoughTheGuestBlocksItsEvents) {
  // Whoever adds to it waits.
  const uint64_t full = ~uint64_t{0} - 1;
  for (const bool changes : {false, true}) {
    const vhost::Descriptor call(eventfd(0, EFD_CLOEXEC));
    ASSERT_EQ(write(call.get(), &full, sizeof(full)), 8);
    Attach();
    ASSERT_TRUE(
        front_->Send(Request::kSetVringCall, Bytes(uint64_t{0}), {call.get()}));
    // A change, too, comes to its end.
    if (changes) {
      EXPECT_TRUE(
          front_->Tell(Request::kSetVringAddr, Bytes(ring_.Address(0))));
    }
    front_->Close();
    // Without anybody else's help.
    EXPECT_TRUE(harness_.Join().ok());
  }
}

}  // namespace
}  // namespace ramvol::testing
