// Back-ends that are killed at any moment, one after the other, over one ring:
// each request is answered once, and what it wrote is there. Several requests
// are under way at a time and end in any order, so that only the record of what
// was in flight tells which ones are to be done again.
#include <linux/virtio_blk.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/block/block_device.h"
#include "base/block/thread_cache.h"
#include "gtest/gtest.h"
#include "tests/vhost_user/front_end.h"
#include "vhost_user/channel.h"
#include "vhost_user/protocol/descriptor.h"
#include "vhost_user/protocol/message.h"
#include "vhost_user/session.h"
#include "vhost_user/stats.h"

namespace ramvol::testing {
namespace {

using vhost::Bytes;
using vhost::Request;

constexpr size_t kDiskBytes = 1 << 20;
constexpr uint32_t kBlock = 4096;
constexpr int kDepth = 16;
// After so many requests a back-end knows that they take long.
constexpr uint64_t kEnough = 150;

// Bytes in memory that processes share.
class SharedDevice final : public block::BlockDevice {
 public:
  explicit SharedDevice(char* bytes) : bytes_(bytes) {}

  uint64_t size_bytes() const override { return kDiskBytes; }
  bool read_only() const override { return false; }
  bool synchronous() const override { return true; }
  void Read(uint64_t offset, absl::Span<char> out,
            block::Completion* done) override {
    std::memcpy(out.data(), bytes_ + offset, out.size());
    done->Done(absl::OkStatus());
  }
  // Slow enough for several threads, and of different lengths.
  void Write(uint64_t offset, absl::Span<const char> data,
             block::Completion* done) override {
    std::this_thread::sleep_for(std::chrono::microseconds(
        20 + 20 * (static_cast<unsigned char>(data[0]) % 8)));
    std::memcpy(bytes_ + offset, data.data(), data.size());
    done->Done(absl::OkStatus());
  }
  void Trim(uint64_t /*offset*/, uint64_t /*length*/,
            block::Completion* done) override {
    done->Done(absl::OkStatus());
  }
  void WriteZeroes(uint64_t /*offset*/, uint64_t /*length*/, bool /*no_hole*/,
                   block::Completion* done) override {
    done->Done(absl::OkStatus());
  }
  void Flush(block::Completion* done) override { done->Done(absl::OkStatus()); }
  void GetExtents(uint64_t /*offset*/, uint64_t /*length*/,
                  size_t /*max_extents*/,
                  std::vector<block::Extent>* /*extents*/,
                  block::Completion* done) override {
    done->Done(absl::UnimplementedError(""));
  }

 private:
  char* const bytes_;
};

// A back-end, until it is killed or the front-end leaves.
[[noreturn]] void Serve(int socket, char* bytes) {
  block::ThreadCache threads;
  vhost::VhostStats stats;
  vhost::Session session(std::make_unique<SharedDevice>(bytes),
                         {.id = "disk",
                          .failed = [](const absl::Status&) { std::abort(); },
                          .threads = threads,
                          .stats = stats,
                          .max_threads = 4});
  for (;;) {
    auto message = vhost::Receive(socket);
    if (!message.ok() || !message->has_value()) _exit(1);
    const auto outcome = session.Handle(**std::move(message));
    if (!outcome.status.ok()) _exit(1);
    if (outcome.reply.has_value()) {
      (void)vhost::Send(socket, *outcome.reply, /*wait=*/true);
    }
  }
}

class KillTest : public ::testing::Test {
 protected:
  KillTest()
      : memory_(size_t{16} << 20),
        ring_(&memory_, 64, /*event_index=*/true),
        disk_(&memory_, &ring_, kDepth, kBlock),
        bytes_(
            static_cast<char*>(mmap(nullptr, kDiskBytes, PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0))),
        model_(kDiskBytes, '\0') {
    for (int slot = 0; slot < kDepth; ++slot) free_.insert(slot);
  }
  ~KillTest() override {
    Kill();
    munmap(bytes_, kDiskBytes);
  }

  void Start() {
    int sockets[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    child_ = fork();
    ASSERT_GE(child_, 0);
    if (child_ == 0) Serve(sockets[0], bytes_);
    close(sockets[0]);
    front_ = std::make_unique<FrontEnd>(sockets[1]);
    ASSERT_TRUE(front_->Negotiate());
    if (!region_.is_open()) GetRegion();
    ASSERT_TRUE(
        front_->Tell(Request::kSetInflightFd, Bytes(area_), {region_.get()}));
    ASSERT_TRUE(front_->ShareMemory(memory_));
    ASSERT_TRUE(front_->StartRing(0, ring_, ring_.used_index()));
  }

  void GetRegion() {
    auto reply = front_->Ask(Request::kGetInflightFd, Bytes(area_));
    ASSERT_TRUE(reply.has_value());
    ASSERT_EQ(reply->payload.size(), sizeof(area_));
    std::memcpy(&area_, reply->payload.data(), sizeof(area_));
    ASSERT_EQ(reply->descriptors.size(), 1U);
    region_ = std::move(reply->descriptors[0]);
  }

  void Kill() {
    if (child_ <= 0) return;
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    child_ = -1;
  }

  // Each slot writes to blocks of its own, so that any order is right.
  void StartWrites(std::mt19937_64& random, size_t count) {
    while (count-- > 0 && !free_.empty()) {
      const int slot = *free_.begin();
      free_.erase(free_.begin());
      const uint64_t block =
          random() % (kDiskBytes / kBlock / kDepth) * kDepth + slot;
      const char fill = static_cast<char>(random());
      std::memset(disk_.data(slot), fill, kBlock);
      std::memset(&model_[block * kBlock], fill, kBlock);
      disk_.Start(slot, VIRTIO_BLK_T_OUT, block * kBlock / 512, kBlock,
                  (random() & 1) != 0);
    }
  }

  void TakeAnswer(int slot) {
    ASSERT_GE(slot, 0) << "no answer";
    ASSERT_TRUE(free_.insert(slot).second) << "a second answer";
    ASSERT_EQ(disk_.status(slot), VIRTIO_BLK_S_OK);
    ++answered_;
  }
  void AwaitAll() {
    while (free_.size() < kDepth && !HasFatalFailure()) {
      TakeAnswer(disk_.Wait());
    }
  }

  TestMemory memory_;
  TestRing ring_;
  TestDisk disk_;
  char* const bytes_;
  std::string model_;
  std::set<int> free_;
  uint64_t answered_ = 0;
  vhost::InflightArea area_ = {0, 0, 1, 64, 0};
  vhost::Descriptor region_;
  pid_t child_ = -1;
  std::unique_ptr<FrontEnd> front_;
};

TEST_F(KillTest, AnswersEachRequestOnce) {
  const char* const given = std::getenv("RAMVOL_TEST_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10)
                                         : std::random_device()();
  SCOPED_TRACE(absl::StrCat("RAMVOL_TEST_SEED=", seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 40; ++round) {
    Start();
    ASSERT_FALSE(HasFatalFailure());
    // Some are done, and some are under way when it is killed.
    const uint64_t enough = answered_ + kEnough + random() % 100;
    while (answered_ < enough) {
      StartWrites(random, 1 + random() % kDepth);
      TakeAnswer(disk_.Wait());
      ASSERT_FALSE(HasFatalFailure());
    }
    Kill();
  }
  Start();
  AwaitAll();
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_EQ(disk_.Poll(), -1);
  EXPECT_EQ(std::memcmp(bytes_, model_.data(), kDiskBytes), 0);
}

}  // namespace
}  // namespace ramvol::testing
