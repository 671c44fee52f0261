// blkio_load LIBRARY PATH: keeps a vhost-user-blk socket busy by libblkio and
// prints figures as JSON, or with --rw=verify writes all blocks in a random
// order and reads them back. LIBRARY is libblkio.so.1 (ramvol-libblkio prints
// where it is); it is loaded, not linked, because Debian has it since 13.
#include <dlfcn.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"

namespace ramvol::bench {
namespace {

// libblkio 1's interface, as far as it is used.
struct Blkio;
struct Queue;
struct MemoryRegion {
  char* addr;
  size_t len;
  uint64_t iova;
  int64_t fd_offset;
  int fd;
  uint32_t flags;
};
struct Completion {
  void* user_data;
  const char* error_msg;
  int ret;
  uint8_t reserved[12];
};

struct Library {
  explicit Library(const char* path) : handle(dlopen(path, RTLD_NOW)) {
    if (handle == nullptr) Fail(dlerror());
    Find(&error, "blkio_get_error_msg");
    Find(&create, "blkio_create");
    Find(&connect, "blkio_connect");
    Find(&start, "blkio_start");
    Find(&destroy, "blkio_destroy");
    Find(&get_uint64, "blkio_get_uint64");
    Find(&set_str, "blkio_set_str");
    Find(&alloc, "blkio_alloc_mem_region");
    Find(&map, "blkio_map_mem_region");
    Find(&queue, "blkio_get_queue");
    Find(&read, "blkioq_read");
    Find(&write, "blkioq_write");
    Find(&do_io, "blkioq_do_io");
  }

  template <typename Function>
  void Find(Function** function, const char* name) const {
    *function = reinterpret_cast<Function*>(dlsym(handle, name));
    if (*function == nullptr) Fail(dlerror());
  }

  [[noreturn]] static void Fail(const char* what) {
    std::fprintf(stderr, "blkio_load: %s\n", what);
    std::exit(1);
  }

  // libblkio's functions return 0, or -errno.
  void Check(int result) const {
    if (result < 0) Fail(error());
  }

  void* handle;
  const char* (*error)();
  int (*create)(const char*, Blkio**);
  int (*connect)(Blkio*);
  int (*start)(Blkio*);
  void (*destroy)(Blkio**);
  int (*get_uint64)(Blkio*, const char*, uint64_t*);
  int (*set_str)(Blkio*, const char*, const char*);
  int (*alloc)(Blkio*, MemoryRegion*, size_t);
  int (*map)(Blkio*, const MemoryRegion*);
  Queue* (*queue)(Blkio*, int);
  void (*read)(Queue*, uint64_t, void*, size_t, void*, uint32_t);
  void (*write)(Queue*, uint64_t, const void*, size_t, void*, uint32_t);
  int (*do_io)(Queue*, Completion*, int, int, timespec*);
};

struct Settings {
  std::string library;
  std::string path;
  std::string rw = "read";
  int depth = 1;
  double seconds = 1;
  size_t block = 4096;
  uint64_t range = 0;
};

double Now() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) +
           static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// A disk, and a buffer for each of the requests under way.
class Disk {
 public:
  Disk(const Library& library, const Settings& settings)
      : library_(library),
        block_(settings.block),
        depth_(settings.depth),
        completions_(settings.depth) {
    library_.Check(library_.create("virtio-blk-vhost-user", &blkio_));
    library_.Check(library_.set_str(blkio_, "path", settings.path.c_str()));
    library_.Check(library_.connect(blkio_));
    library_.Check(library_.start(blkio_));
    library_.Check(library_.get_uint64(blkio_, "capacity", &range_));
    if (settings.range != 0) range_ = std::min(range_, settings.range);
    library_.Check(library_.alloc(blkio_, &region_, block_ * depth_));
    library_.Check(library_.map(blkio_, &region_));
    queue_ = library_.queue(blkio_, 0);
  }
  ~Disk() { library_.destroy(&blkio_); }

  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  uint64_t blocks() const { return range_ / block_; }
  size_t block_bytes() const { return block_; }
  int depth() const { return depth_; }
  char* buffer(int slot) const { return region_.addr + slot * block_; }

  void Begin(int slot, uint64_t block, bool write) {
    auto* data = reinterpret_cast<void*>(static_cast<intptr_t>(slot));
    if (write) {
      library_.write(queue_, block * block_, buffer(slot), block_, data, 0);
    } else {
      library_.read(queue_, block * block_, buffer(slot), block_, data, 0);
    }
  }

  // Waits for at least one; calls `done` with each slot.
  template <typename Done>
  void Await(Done done) {
    const int count =
        library_.do_io(queue_, completions_.data(), 1, depth_, nullptr);
    library_.Check(count);
    for (int i = 0; i < count; ++i) {
      if (completions_[i].ret < 0) Library::Fail("a request failed");
      done(static_cast<int>(
          reinterpret_cast<intptr_t>(completions_[i].user_data)));
    }
  }

 private:
  const Library& library_;
  const size_t block_;
  const int depth_;
  std::vector<Completion> completions_;
  Blkio* blkio_ = nullptr;
  Queue* queue_ = nullptr;
  MemoryRegion region_{};
  uint64_t range_ = 0;
};

// Half of it compresses away, as of fio's data in the other benchmarks.
void FillHalf(char* data, size_t size, std::mt19937_64& random) {
  for (size_t at = 0; at + 8 <= size; at += 8) {
    const uint64_t word = at % 4096 < 2048 ? random() : 0;
    std::memcpy(data + at, &word, sizeof word);
  }
}

// What a block holds that was written by `Verify`.
void FillBlock(char* data, size_t size, uint64_t block) {
  std::mt19937_64 random(block);
  FillHalf(data, size, random);
}

// Runs each of `order` once; `ended` is told of slots and blocks.
template <typename Ended>
void RunAll(Disk& disk, const std::vector<uint64_t>& order, bool write,
            Ended ended) {
  std::vector<uint64_t> under_way(disk.depth());
  size_t next = 0;
  size_t left = order.size();
  const auto begin = [&](int slot) {
    if (next == order.size()) return;
    under_way[slot] = order[next++];
    if (write) {
      FillBlock(disk.buffer(slot), disk.block_bytes(), under_way[slot]);
    }
    disk.Begin(slot, under_way[slot], write);
  };
  for (int slot = 0; slot < disk.depth(); ++slot) begin(slot);
  while (left > 0) {
    disk.Await([&](int slot) {
      ended(slot, under_way[slot]);
      --left;
      begin(slot);
    });
  }
}

int Verify(Disk& disk) {
  std::mt19937_64 random(1);
  std::vector<uint64_t> order(disk.blocks());
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  RunAll(disk, order, true, [](int, uint64_t) {});
  std::shuffle(order.begin(), order.end(), random);
  uint64_t wrong = 0;
  std::vector<char> expected(disk.block_bytes());
  RunAll(disk, order, false, [&](int slot, uint64_t block) {
    FillBlock(expected.data(), expected.size(), block);
    if (std::memcmp(expected.data(), disk.buffer(slot), expected.size()) != 0) {
      ++wrong;
    }
  });
  std::printf("{\"blocks\": %zu, \"wrong\": %llu}\n", order.size(),
              static_cast<unsigned long long>(wrong));
  return wrong == 0 ? 0 : 1;
}

double Percentile(std::vector<float>& sorted, double part) {
  if (sorted.empty()) return 0;
  const double last = static_cast<double>(sorted.size() - 1);
  return sorted[static_cast<size_t>(last * part)] * 1e6;
}

// Random blocks for some seconds.
int Measure(Disk& disk, const Settings& settings) {
  const bool write = settings.rw == "write";
  std::mt19937_64 random(std::random_device{}());
  std::vector<double> begun(disk.depth());
  std::vector<float> latencies;
  latencies.reserve(static_cast<size_t>(settings.seconds * 1.5e6));
  const double start = Now();
  const double cpu = CpuSeconds();
  const double end = start + settings.seconds;
  double now = start;
  int under_way = 0;
  const auto begin = [&](int slot) {
    if (write) {
      const uint64_t word = random();
      std::memcpy(disk.buffer(slot), &word, sizeof word);
    }
    begun[slot] = now;
    disk.Begin(slot, random() % disk.blocks(), write);
    ++under_way;
  };
  for (int slot = 0; slot < disk.depth(); ++slot) {
    FillHalf(disk.buffer(slot), disk.block_bytes(), random);
    begin(slot);
  }
  while (under_way > 0) {
    disk.Await([&](int slot) {
      now = Now();
      latencies.push_back(static_cast<float>(now - begun[slot]));
      --under_way;
      if (now < end) begin(slot);
    });
  }
  const auto count = static_cast<double>(latencies.size());
  const double used = CpuSeconds() - cpu;
  std::sort(latencies.begin(), latencies.end());
  std::printf(
      "{\"operations\": %.0f, \"ops_per_s\": %.1f, \"mib_per_s\": %.2f, "
      "\"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, "
      "\"client_cpu_us_per_op\": %.3f}\n",
      count, count / (now - start),
      count * static_cast<double>(disk.block_bytes()) / (now - start) /
          (1 << 20),
      Percentile(latencies, 0.5), Percentile(latencies, 0.99),
      Percentile(latencies, 0.999), used / count * 1e6);
  return 0;
}

int Main(int argc, char** argv) {
  Settings settings;
  CLI::App app("Keeps a vhost-user-blk socket busy by libblkio.");
  app.add_option("LIBRARY", settings.library)->required();
  app.add_option("PATH", settings.path)->required();
  app.add_option("--rw", settings.rw)
      ->check(CLI::IsMember({"read", "write", "verify"}));
  app.add_option("--depth", settings.depth)->check(CLI::Range(1, 1024));
  app.add_option("--seconds", settings.seconds);
  app.add_option("--block", settings.block)->check(CLI::Range(512, 1 << 24));
  app.add_option("--range", settings.range, "Bytes from the disk's beginning");
  CLI11_PARSE(app, argc, argv);
  const Library library(settings.library.c_str());
  Disk disk(library, settings);
  return settings.rw == "verify" ? Verify(disk) : Measure(disk, settings);
}

}  // namespace
}  // namespace ramvol::bench

int main(int argc, char** argv) {
  try {
    return ramvol::bench::Main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "blkio_load: %s\n", error.what());
    return 1;
  }
}
