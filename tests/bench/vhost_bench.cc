// Small reads and writes of one volume over vhost-user and over NBD, from one
// client thread, and what they cost the server:
//
//   ramvold --vhost_user_dir=/run/v --nbd_listen=unix:/run/n.sock ...
//   vhost_bench --socket=/run/v/disk.sock --nbd=/run/n.sock --export_name=disk
//       --pid=$(pidof ramvold)
#include <endian.h>
#include <linux/virtio_blk.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <sstream>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "base/clock.h"
#include "tests/vhost_user/front_end.h"

ABSL_FLAG(std::string, socket, "", "DIR/NAME.sock of the volume.");
ABSL_FLAG(std::string, nbd, "", "The Unix socket of NBD; empty: not measured.");
ABSL_FLAG(std::string, export_name, "", "The volume's name, for NBD.");
ABSL_FLAG(int, pid, 0, "The server's process.");
ABSL_FLAG(uint64_t, blocks, 4096, "How much is used, in blocks of 4 KiB.");
ABSL_FLAG(absl::Duration, time, absl::Seconds(2), "Of each measurement.");
ABSL_FLAG(bool, fill, true, "Whether all of it is written first.");
ABSL_FLAG(bool, poll, false,
          "Whether the client looks for answers instead of sleeping.");
ABSL_FLAG(bool, write, false, "Whether writes are measured, too.");

namespace {

using ramvol::SteadyNowNs;
using ramvol::testing::FrontEnd;
using ramvol::testing::TestDisk;
using ramvol::testing::TestMemory;
using ramvol::testing::TestRing;

constexpr uint32_t kBlock = 4096;
constexpr int kMaxDepth = 64;

// What the process has used of the processors, in ns.
int64_t CpuNs(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::stringstream all;
  all << file.rdbuf();
  const std::string text = all.str();
  std::istringstream rest(text.substr(text.rfind(')') + 2));
  std::string skipped;
  for (int i = 0; i < 11; ++i) rest >> skipped;
  int64_t user = 0;
  int64_t system = 0;
  rest >> user >> system;
  return (user + system) * (1'000'000'000 / sysconf(_SC_CLK_TCK));
}

class Client {
 public:
  virtual ~Client() = default;
  virtual void Start(int slot, bool write, uint64_t block) = 0;
  // A slot that is done.
  virtual int Wait() = 0;
};

class VhostClient final : public Client {
 public:
  explicit VhostClient(const std::string& path)
      : memory_(size_t{64} << 20),
        ring_(&memory_, 256, /*event_index=*/true),
        disk_(&memory_, &ring_, kMaxDepth, kBlock),
        front_(FrontEnd::Connect(path)) {
    RAMVOL_CHECK(front_.Negotiate());
    RAMVOL_CHECK(front_.ShareMemory(memory_));
    RAMVOL_CHECK(front_.StartRing(0, ring_));
    std::mt19937_64 random(1);
    for (int slot = 0; slot < kMaxDepth; ++slot) {
      for (uint32_t i = 0; i < kBlock; ++i) {
        disk_.data(slot)[i] = static_cast<char>(random() % 16);
      }
    }
  }
  void Start(int slot, bool write, uint64_t block) override {
    disk_.Start(slot, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
                block * (kBlock / 512), kBlock, /*indirect=*/true);
  }
  int Wait() override {
    int slot = -1;
    while (polls_ && slot < 0) slot = disk_.Poll();
    if (!polls_) slot = disk_.Wait();
    RAMVOL_CHECK(slot >= 0 && disk_.status(slot) == VIRTIO_BLK_S_OK);
    return slot;
  }

 private:
  const bool polls_ = absl::GetFlag(FLAGS_poll);
  TestMemory memory_;
  TestRing ring_;
  TestDisk disk_;
  FrontEnd front_;
};

class NbdClient final : public Client {
 public:
  NbdClient(const std::string& path, const std::string& name)
      : fd_(FrontEnd::Connect(path)), data_(kBlock, 'x') {
    char greeting[18];
    Receive(greeting, sizeof(greeting));
    constexpr uint32_t kFixedAndNoZeroes = 3;
    constexpr uint32_t kExportName = 1;
    const uint32_t flags = htobe32(kFixedAndNoZeroes);
    std::string hello(reinterpret_cast<const char*>(&flags), 4);
    hello += "IHAVEOPT";
    const uint32_t option[2] = {htobe32(kExportName),
                                htobe32(static_cast<uint32_t>(name.size()))};
    hello.append(reinterpret_cast<const char*>(option), sizeof(option));
    hello += name;
    Send(hello);
    char answer[10];
    Receive(answer, sizeof(answer));
  }
  ~NbdClient() override { close(fd_); }

  void Start(int slot, bool write, uint64_t block) override {
    struct [[gnu::packed]] {
      uint32_t magic = htobe32(0x25609513);
      uint16_t flags = 0;
      uint16_t command;
      uint64_t cookie;
      uint64_t offset;
      uint32_t bytes = htobe32(kBlock);
    } request;
    request.command = htobe16(write ? 1 : 0);
    request.cookie = static_cast<uint64_t>(slot) << 1 | (write ? 1 : 0);
    request.offset = htobe64(block * kBlock);
    std::string all(reinterpret_cast<const char*>(&request), sizeof(request));
    if (write) all += data_;
    Send(all);
  }
  int Wait() override {
    struct [[gnu::packed]] {
      uint32_t magic;
      uint32_t error;
      uint64_t cookie;
    } reply;
    Receive(reinterpret_cast<char*>(&reply), sizeof(reply));
    RAMVOL_CHECK(reply.error == 0);
    if ((reply.cookie & 1) == 0) Receive(data_.data(), kBlock);
    return static_cast<int>(reply.cookie >> 1);
  }

 private:
  // From a buffer, so that many replies cost one call.
  void Receive(char* to, size_t bytes) {
    while (bytes > 0) {
      if (begin_ == end_) {
        const ssize_t got =
            recv(fd_, buffer_, sizeof(buffer_), polls_ ? MSG_DONTWAIT : 0);
        if (polls_ && got < 0 && errno == EAGAIN) continue;
        RAMVOL_CHECK(got > 0);
        begin_ = 0;
        end_ = static_cast<size_t>(got);
      }
      const size_t some = std::min(bytes, end_ - begin_);
      std::memcpy(to, buffer_ + begin_, some);
      begin_ += some;
      to += some;
      bytes -= some;
    }
  }
  void Send(const std::string& all) {
    RAMVOL_CHECK(send(fd_, all.data(), all.size(), 0) ==
                 static_cast<ssize_t>(all.size()));
  }

  const bool polls_ = absl::GetFlag(FLAGS_poll);
  const int fd_;
  std::string data_;
  char buffer_[256 << 10];
  size_t begin_ = 0;
  size_t end_ = 0;
};

void Measure(const char* name, Client& client, bool write, int depth) {
  std::mt19937_64 random(depth);
  const uint64_t blocks = absl::GetFlag(FLAGS_blocks);
  const int pid = absl::GetFlag(FLAGS_pid);
  const int64_t cpu = CpuNs(pid);
  const int64_t begin = SteadyNowNs();
  const int64_t end =
      begin + absl::ToInt64Nanoseconds(absl::GetFlag(FLAGS_time));
  int64_t done = 0;
  for (int slot = 0; slot < depth; ++slot) {
    client.Start(slot, write, random() % blocks);
  }
  int64_t now = begin;
  while (now < end) {
    client.Start(client.Wait(), write, random() % blocks);
    ++done;
    if (done % 16 == 0) now = SteadyNowNs();
  }
  for (int slot = 0; slot < depth; ++slot) client.Wait();
  done += depth;
  const double seconds = static_cast<double>(SteadyNowNs() - begin) / 1e9;
  const double used_us =
      static_cast<double>(CpuNs(pid) - cpu) / 1e3 / static_cast<double>(done);
  std::printf("%-10s %-5s depth %2d: %8.0f/s, %5.2f us of server CPU each\n",
              name, write ? "write" : "read", depth,
              static_cast<double>(done) / seconds, used_us);
  std::fflush(stdout);
}

void MeasureAll(const char* name, Client& client) {
  for (const int depth : {1, 16, 64}) {
    Measure(name, client, /*write=*/false, depth);
    if (absl::GetFlag(FLAGS_write)) Measure(name, client, true, depth);
  }
}

void Fill(Client& client) {
  for (uint64_t block = 0; block < absl::GetFlag(FLAGS_blocks); ++block) {
    client.Start(static_cast<int>(block % kMaxDepth), /*write=*/true, block);
    client.Wait();
  }
}

}  // namespace

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  {
    VhostClient client(absl::GetFlag(FLAGS_socket));
    if (absl::GetFlag(FLAGS_fill)) Fill(client);
    MeasureAll("vhost-user", client);
  }
  if (absl::GetFlag(FLAGS_nbd).empty()) return EXIT_SUCCESS;
  NbdClient client(absl::GetFlag(FLAGS_nbd), absl::GetFlag(FLAGS_export_name));
  MeasureAll("nbd", client);
  return EXIT_SUCCESS;
}
