// Several threads that serve one queue.
#include <linux/virtio_blk.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/eventually.h"
#include "tests/vhost_user/device_harness.h"
#include "tests/vhost_user/front_end.h"

namespace ramvol::testing {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr uint64_t kDiskBytes = 1 << 20;
constexpr uint32_t kBlock = 4096;
constexpr int kDepth = 16;
constexpr int kThreads = 4;

class HelpTest : public ::testing::Test {
 protected:
  HelpTest()
      : memory_(size_t{16} << 20),
        ring_(&memory_, 64, /*event_index=*/true),
        disk_(&memory_, &ring_, kDepth, kBlock),
        harness_(kDiskBytes, /*read_only=*/false, kThreads) {
    front_ = harness_.Connect();
  }

  void Attach() {
    ASSERT_TRUE(front_->Negotiate());
    ASSERT_TRUE(front_->ShareMemory(memory_));
    ASSERT_TRUE(front_->StartRing(0, ring_, ring_.used_index()));
  }
  void StartReads(int count) {
    for (int slot = 0; slot < count; ++slot) {
      disk_.Start(slot, VIRTIO_BLK_T_IN, 0, kBlock);
    }
  }
  void AwaitReads(int count) {
    std::set<int> slots;
    for (int i = 0; i < count; ++i) {
      const int slot = disk_.Wait();
      ASSERT_GE(slot, 0);
      ASSERT_TRUE(slots.insert(slot).second);
      ASSERT_EQ(disk_.status(slot), VIRTIO_BLK_S_OK);
    }
  }
  // Until the device knows how long requests take.
  void Learn(microseconds each) {
    harness_.volume().Delay(each);
    for (int i = 0; i < 20; ++i) {
      StartReads(kDepth);
      AwaitReads(kDepth);
    }
    harness_.volume().Delay(microseconds(0));
  }
  // Reads of which so many are under way at a time, until they are released.
  void HoldReads(int under_way, int count = kDepth) {
    ASSERT_TRUE(Eventually([&] { return TryHoldReads(under_way, count); }));
  }
  // A device that has begun with the first one before the others were there may
  // not know that it needs help.
  bool TryHoldReads(int under_way, int count) {
    harness_.volume().HoldReads();
    StartReads(count);
    for (int i = 0; i < 1000; ++i) {
      if (harness_.volume().held_reads() >= under_way) return true;
      usleep(1000);
    }
    harness_.volume().ReleaseReads();
    AwaitReads(count);
    return false;
  }
  // Whether one thread does reads that are so short that they are not worth to
  // wake anybody. On a busy machine they may take long.
  bool AreDoneByOne() {
    for (int i = 0; i < 40; ++i) {
      StartReads(4);
      AwaitReads(4);
    }
    usleep(20'000);
    HoldReads(1, /*count=*/4);
    usleep(20'000);
    const int held = harness_.volume().held_reads();
    harness_.volume().ReleaseReads();
    AwaitReads(4);
    return held == 1;
  }

  TestMemory memory_;
  TestRing ring_;
  TestDisk disk_;
  DeviceHarness harness_;
  std::unique_ptr<FrontEnd> front_;
};

TEST_F(HelpTest, ThreadsShareWhatTakesLong) {
  Attach();
  Learn(microseconds(100));
  HoldReads(kThreads);
  // And no more of them, but for the thread that sleeps on the kick.
  usleep(20'000);
  EXPECT_LE(harness_.volume().held_reads(), kThreads + 1);
  harness_.volume().ReleaseReads();
  AwaitReads(kDepth);
}

TEST_F(HelpTest, OneThreadDoesWhatIsShort) {
  Attach();
  EXPECT_TRUE(Eventually([&] { return AreDoneByOne(); }));
}

TEST_F(HelpTest, HelpersLeave) {
  Attach();
  Learn(microseconds(100));
  EXPECT_TRUE(Eventually([&] { return AreDoneByOne(); }));
}

TEST_F(HelpTest, AQueueStopsAfterAllThatIsUnderWay) {
  Attach();
  Learn(microseconds(100));
  HoldReads(kThreads);
  const uint16_t before = ring_.used_index();
  auto base =
      std::async(std::launch::async, [this] { return front_->StopRing(0); });
  EXPECT_EQ(base.wait_for(milliseconds(50)), std::future_status::timeout);
  EXPECT_EQ(ring_.used_index(), before);
  harness_.volume().ReleaseReads();
  const auto stopped = base.get();
  ASSERT_TRUE(stopped.has_value());
  EXPECT_EQ(*stopped, ring_.used_index());
  EXPECT_GE(static_cast<uint16_t>(*stopped - before), kThreads);
  // The rest is done when it starts again.
  ASSERT_TRUE(front_->StartRing(0, ring_, *stopped));
  AwaitReads(kDepth);
}

TEST_F(HelpTest, EndsAfterAllThatIsUnderWay) {
  Attach();
  Learn(microseconds(100));
  HoldReads(kThreads);
  front_->Close();
  auto end = std::async(std::launch::async, [this] { return harness_.Join(); });
  EXPECT_EQ(end.wait_for(milliseconds(50)), std::future_status::timeout);
  harness_.volume().ReleaseReads();
  EXPECT_TRUE(end.get().ok());
}

TEST_F(HelpTest, EndsWhenMemoryOfSeveralRequestsIsTakenAway) {
  Attach();
  Learn(microseconds(100));
  HoldReads(kThreads);
  ASSERT_EQ(ftruncate(memory_.fd(), 0), 0);
  harness_.volume().ReleaseReads();
  EXPECT_THAT(std::string(harness_.Join().message()), HasSubstr("taken away"));
}

TEST_F(HelpTest, EndsOnceWhenSeveralThreadsFindTheVolumeDeleted) {
  Attach();
  Learn(microseconds(100));
  HoldReads(kThreads);
  harness_.volume().FailWith(absl::NotFoundError("the volume was deleted"));
  harness_.volume().ReleaseReads();
  EXPECT_THAT(std::string(harness_.Join().message()), HasSubstr("deleted"));
}

}  // namespace
}  // namespace ramvol::testing
