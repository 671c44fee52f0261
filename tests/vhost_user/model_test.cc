// Random requests over several queues, against a model of the disk: written
// bytes are read back, through connections that end at any point, with rings of
// different sizes, direct and indirect.
#include <linux/virtio_blk.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/vhost_user/device_harness.h"
#include "tests/vhost_user/front_end.h"

namespace ramvol::testing {
namespace {

constexpr uint64_t kSectors = 2048;
constexpr uint32_t kSector = 512;
constexpr int kDepth = 8;
constexpr size_t kSlotBytes = 64 << 10;

uint64_t Seed() {
  const char* const given = std::getenv("RAMVOL_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10)
                          : std::random_device()();
}

// One queue, which has a part of the disk of its own, so that the order of
// requests is known.
struct Lane {
  Lane(TestMemory* memory, uint16_t size, bool event_index)
      : ring(memory, size, event_index),
        disk(memory, &ring, kDepth, kSlotBytes) {}

  TestRing ring;
  TestDisk disk;
};

class Model {
 public:
  Model(uint64_t seed, bool event_index)
      : random_(seed),
        event_index_(event_index),
        memory_(size_t{64} << 20),
        bytes_(kSectors * kSector, 0),
        harness_(kSectors * kSector, /*read_only=*/false, /*max_threads=*/4) {
    for (int i = 0; i < 3; ++i) {
      const uint16_t size = static_cast<uint16_t>(64 << Below(3));
      lanes_.push_back(std::make_unique<Lane>(&memory_, size, event_index));
    }
  }

  void Run(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      Connect();
      const int steps = 20 + Below(100);
      for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) Step();
      Disconnect();
    }
  }

 private:
  int Below(int n) {
    return static_cast<int>(random_() % static_cast<uint64_t>(n));
  }

  // Sometimes all takes long, so that several threads serve a queue.
  void Connect() {
    harness_.volume().Delay(std::chrono::microseconds(50 * Below(3)));
    front_ = harness_.Connect();
    const uint64_t without =
        event_index_ ? 0 : vhost::Bit(VIRTIO_RING_F_EVENT_IDX);
    ASSERT_TRUE(front_->Negotiate(without));
    ASSERT_TRUE(front_->ShareMemory(memory_));
    for (size_t i = 0; i < lanes_.size(); ++i) {
      const auto& ring = lanes_[i]->ring;
      ASSERT_TRUE(front_->StartRing(i, ring, ring.used_index()));
    }
  }

  // Sometimes the queues are stopped before; all is answered.
  void Disconnect() {
    if (Below(2) == 0) {
      for (size_t i = 0; i < lanes_.size(); ++i) {
        EXPECT_EQ(front_->StopRing(i), lanes_[i]->ring.used_index());
      }
    }
    front_->Close();
    EXPECT_TRUE(harness_.Join().ok());
  }

  void Step() {
    const size_t lane = Below(static_cast<int>(lanes_.size()));
    switch (Below(9)) {
      case 8:
        return MixSome(lane);
      case 0:
      case 1:
      case 2:
        return WriteSome(lane);
      case 3:
        return Zero(lane);
      case 4:
        return BreakRule(lane);
      default:
        return ReadSome(lane);
    }
  }

  uint64_t FirstOf(size_t lane) const {
    return lane * (kSectors / lanes_.size());
  }

  // A range within the lane's part.
  void Choose(size_t lane, uint64_t* sector, uint32_t* sectors) {
    const auto all = static_cast<int>(kSectors / lanes_.size());
    *sectors = 1 + Below(Below(4) == 0 ? 100 : 16);
    *sector = FirstOf(lane) + Below(all - static_cast<int>(*sectors));
  }

  // Several at a time; their ranges may overlap, so that they are the same for
  // all.
  void WriteSome(size_t lane) {
    TestDisk& disk = lanes_[lane]->disk;
    uint64_t sector;
    uint32_t sectors;
    Choose(lane, &sector, &sectors);
    const int count = 1 + Below(kDepth);
    const char fill = static_cast<char>(Below(4));
    for (int slot = 0; slot < count; ++slot) {
      for (uint32_t i = 0; i < sectors * kSector; ++i) {
        disk.data(slot)[i] = static_cast<char>(fill == 0 ? 0 : i * fill + 1);
      }
      disk.Start(slot, VIRTIO_BLK_T_OUT, sector, sectors * kSector,
                 Below(2) == 0, 1 + Below(6), Below(2) == 0);
    }
    disk.Kick();
    std::memcpy(&bytes_[sector * kSector], disk.data(0), sectors * kSector);
    AwaitOk(disk, count);
  }

  void ReadSome(size_t lane) {
    TestDisk& disk = lanes_[lane]->disk;
    const int count = 1 + Below(kDepth);
    std::vector<std::pair<uint64_t, uint32_t>> ranges(count);
    for (int slot = 0; slot < count; ++slot) {
      auto& [sector, sectors] = ranges[slot];
      Choose(lane, &sector, &sectors);
      disk.Start(slot, VIRTIO_BLK_T_IN, sector, sectors * kSector,
                 Below(2) == 0, 1 + Below(6), Below(2) == 0);
    }
    disk.Kick();
    AwaitOk(disk, count);
    for (int slot = 0; slot < count; ++slot) {
      const auto [sector, sectors] = ranges[slot];
      ASSERT_EQ(std::memcmp(disk.data(slot), &bytes_[sector * kSector],
                            sectors * kSector),
                0)
          << "sectors " << sector << " to " << sector + sectors;
    }
  }

  // Reads and writes of ranges that do not overlap, which may end in any order,
  // and then a flush.
  void MixSome(size_t lane) {
    TestDisk& disk = lanes_[lane]->disk;
    const uint64_t each = kSectors / lanes_.size() / kDepth;
    std::array<uint64_t, kDepth> sectors;
    std::array<uint32_t, kDepth> lengths;
    for (int slot = 0; slot < kDepth; ++slot) {
      const uint64_t sector = FirstOf(lane) + each * slot + Below(8);
      const bool writes = Below(2) == 0;
      sectors[slot] = sector;
      const uint32_t bytes = kSector * (1 + Below(16));
      if (writes) {
        std::memset(disk.data(slot), Below(256), bytes);
        std::memcpy(&bytes_[sector * kSector], disk.data(slot), bytes);
      } else {
        // What was there before must go.
        std::memset(disk.data(slot), 0x55, bytes);
      }
      lengths[slot] = bytes;
      disk.Start(slot, writes ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, sector,
                 bytes, Below(2) == 0, 1 + Below(6), Below(2) == 0);
    }
    disk.Kick();
    AwaitOk(disk, kDepth);
    for (int slot = 0; slot < kDepth; ++slot) {
      ASSERT_EQ(std::memcmp(disk.data(slot), &bytes_[sectors[slot] * kSector],
                            lengths[slot]),
                0)
          << "slot " << slot;
    }
    ASSERT_EQ(disk.Do(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
  }

  void Zero(size_t lane) {
    TestDisk& disk = lanes_[lane]->disk;
    uint64_t sector;
    uint32_t sectors;
    Choose(lane, &sector, &sectors);
    const bool discard = Below(2) == 0;
    const virtio_blk_discard_write_zeroes range = {
        sector, sectors, discard ? 0U : static_cast<uint32_t>(Below(2))};
    std::memcpy(disk.data(0), &range, sizeof(range));
    const int status =
        disk.Do(discard ? VIRTIO_BLK_T_DISCARD : VIRTIO_BLK_T_WRITE_ZEROES, 0,
                sizeof(range), Below(2) == 0);
    ASSERT_EQ(status, VIRTIO_BLK_S_OK);
    std::memset(&bytes_[sector * kSector], 0, sectors * kSector);
  }

  // What is refused changes nothing.
  void BreakRule(size_t lane) {
    TestDisk& disk = lanes_[lane]->disk;
    const bool indirect = Below(2) == 0;
    switch (Below(4)) {
      case 0:
        EXPECT_EQ(disk.Do(VIRTIO_BLK_T_OUT, kSectors, kSector, indirect),
                  VIRTIO_BLK_S_IOERR);
        return;
      case 1:
        EXPECT_EQ(disk.Do(VIRTIO_BLK_T_IN, ~uint64_t{0}, kSector, indirect),
                  VIRTIO_BLK_S_IOERR);
        return;
      case 2:
        EXPECT_EQ(disk.Do(VIRTIO_BLK_T_OUT, FirstOf(lane), 100, indirect),
                  VIRTIO_BLK_S_IOERR);
        return;
      default:
        EXPECT_EQ(disk.Do(77, 0, 0, indirect), VIRTIO_BLK_S_UNSUPP);
        return;
    }
  }

  void AwaitOk(TestDisk& disk, int count) {
    for (int i = 0; i < count; ++i) {
      const int slot = disk.Wait();
      ASSERT_GE(slot, 0) << "no answer";
      ASSERT_EQ(disk.status(slot), VIRTIO_BLK_S_OK);
    }
  }

  std::mt19937_64 random_;
  const bool event_index_;
  TestMemory memory_;
  std::string bytes_;
  DeviceHarness harness_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::unique_ptr<FrontEnd> front_;
};

TEST(ModelTest, ReadsBackWhatWasWritten) {
  for (const bool event_index : {true, false}) {
    const uint64_t seed = Seed();
    SCOPED_TRACE(absl::StrCat("RAMVOL_TEST_SEED=", seed));
    Model(seed, event_index).Run(10);
  }
}

}  // namespace
}  // namespace ramvol::testing
