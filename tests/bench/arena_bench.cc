// The arena beside the C library's malloc: time of one allocation and free in
// a heap that is at rest in size, and what the heap takes beyond what was asked
// for (counter "overhead", 0.02 = 2 %). With --state_dir=DIR, on a tmpfs, the
// arena lies in a memory file there.
#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "server/engine/memory/arena.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/state_file.h"

namespace ramvol::engine {
namespace {

constexpr uint64_t kLimit = uint64_t{4} << 30;
constexpr size_t kLiveBytes = 128 << 20;  // For each thread.
constexpr size_t kSizes = 1 << 16;

// Sizes of frames of 4 KiB: all from 300 to 4300 alike, or as a file system
// compresses.
enum Mix { kUniform, kLognormal };

std::vector<uint32_t> MakeSizes(int mix, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<uint32_t> uniform(300, 4300);
  std::lognormal_distribution<double> lognormal(std::log(1000), 0.6);
  std::vector<uint32_t> sizes(kSizes);
  for (uint32_t& size : sizes) {
    size = mix == kUniform ? uniform(random)
                           : static_cast<uint32_t>(
                                 std::clamp(lognormal(random), 300.0, 4300.0));
  }
  return sizes;
}

std::string& StateDir() {
  static std::string& dir = *new std::string;
  return dir;
}

std::unique_ptr<Arena> MakeArena() {
  if (StateDir().empty()) return *Arena::Create(kLimit);
  static int made = 0;
  const std::string dir = StateDir() + "/" + std::to_string(made++);
  auto arena = *Arena::Create(*StateFile::Open(dir, kLimit, /*format=*/1));
  // It is mapped: it lasts as long as the arena, and no longer.
  std::filesystem::remove_all(dir);
  arena->FinishRecovery();
  return arena;
}

struct Malloc {
  void* Allocate(size_t bytes) { return std::malloc(bytes); }
  void Free(void* object, size_t) { std::free(object); }
  // Resident bytes of the process, for want of a better number.
  uint64_t used_bytes() const {
    malloc_trim(0);
    uint64_t size_pages = 0, resident_pages = 0;
    std::ifstream("/proc/self/statm") >> size_pages >> resident_pages;
    return resident_pages * kPageBytes;
  }
};

struct OurArena {
  void* Allocate(size_t bytes) {
    return arena->Allocate(bytes, Priority::kNormal);
  }
  void Free(void* object, size_t bytes) { arena->Free(object, bytes); }
  uint64_t used_bytes() const { return arena->used_bytes(); }

  std::unique_ptr<Arena> arena = MakeArena();
};

// kLiveBytes of objects, of which any may be replaced.
template <typename Heap>
class Live {
 public:
  Live(Heap* heap, int mix, uint64_t seed)
      : heap_(*heap), sizes_(MakeSizes(mix, seed)), random_(seed) {
    while (bytes_ < kLiveBytes) {
      objects_.emplace_back();
      Fill(objects_.back());
    }
  }
  ~Live() {
    for (const auto& [object, bytes] : objects_) heap_.Free(object, bytes);
  }

  void ReplaceOne() {
    auto& entry = objects_[random_() % objects_.size()];
    heap_.Free(entry.first, entry.second);
    bytes_ -= entry.second;
    Fill(entry);
  }
  void ReplaceAll() {
    for (size_t i = 0; i < objects_.size(); ++i) ReplaceOne();
  }
  uint64_t bytes() const { return bytes_; }

 private:
  void Fill(std::pair<void*, uint32_t>& entry) {
    const uint32_t bytes = sizes_[next_++ % kSizes];
    char* const object = static_cast<char*>(heap_.Allocate(bytes));
    object[0] = object[bytes - 1] = 1;  // Makes it resident.
    entry = {object, bytes};
    bytes_ += bytes;
  }

  Heap& heap_;
  const std::vector<uint32_t> sizes_;
  std::minstd_rand random_;
  std::vector<std::pair<void*, uint32_t>> objects_;
  size_t next_ = 0;
  uint64_t bytes_ = 0;
};

template <typename Heap>
Heap& SharedHeap() {
  static Heap& heap = *new Heap;
  return heap;
}

template <typename Heap>
void BM_Replace(benchmark::State& state) {
  Live<Heap> live(&SharedHeap<Heap>(), static_cast<int>(state.range(0)),
                  state.thread_index() + 1);
  for (auto _ : state) live.ReplaceOne();
}
#define MIXES Arg(kUniform)->Arg(kLognormal)->ArgName("lognormal")
BENCHMARK_TEMPLATE(BM_Replace, Malloc)->MIXES->ThreadRange(1, 2)->UseRealTime();
BENCHMARK_TEMPLATE(BM_Replace, OurArena)
    ->MIXES->ThreadRange(1, 2)
    ->UseRealTime();

// Overhead once filled, and after each object was replaced four times.
template <typename Heap>
void BM_Overhead(benchmark::State& state) {
  for (auto _ : state) {
    Heap heap;
    const uint64_t before = heap.used_bytes();
    Live<Heap> live(&heap, static_cast<int>(state.range(0)), 1);
    const auto overhead = [&] {
      return static_cast<double>(heap.used_bytes() - before) / live.bytes() - 1;
    };
    state.counters["overhead_filled"] = overhead();
    for (int round = 0; round < 4; ++round) live.ReplaceAll();
    state.counters["overhead"] = overhead();
  }
}
BENCHMARK_TEMPLATE(BM_Overhead, Malloc)->MIXES->Iterations(1);
BENCHMARK_TEMPLATE(BM_Overhead, OurArena)->MIXES->Iterations(1);

void BM_ReplacePage(benchmark::State& state) {
  Arena& arena = *SharedHeap<OurArena>().arena;
  std::vector<PageId> pages(kLiveBytes / kPageBytes);
  for (PageId& page : pages) page = arena.AllocatePage(Priority::kNormal);
  std::minstd_rand random;
  for (auto _ : state) {
    PageId& page = pages[random() % pages.size()];
    arena.UnrefPage(page);
    page = arena.AllocatePage(Priority::kNormal);
  }
  for (const PageId page : pages) arena.UnrefPage(page);
}
BENCHMARK(BM_ReplacePage)->ThreadRange(1, 2)->UseRealTime();

// Allocates and touches kLiveBytes of pages that are not resident yet, then
// frees them and gives them back to the kernel. Time and CPU time are for one
// page.
void BM_FillPages(benchmark::State& state) {
  const bool shuffled = state.range(0) != 0;
  std::unique_ptr<Arena> arena = MakeArena();
  std::vector<PageId> pages(kLiveBytes / kPageBytes);
  std::minstd_rand random;
  while (state.KeepRunningBatch(static_cast<int64_t>(pages.size()))) {
    for (PageId& page : pages) {
      page = arena->AllocatePage(Priority::kNormal);
      arena->PageData(page)[0] = 1;
    }
    if (shuffled) std::shuffle(pages.begin(), pages.end(), random);
    for (const PageId page : pages) arena->UnrefPage(page);
    arena->ReleaseFreeMemory();
  }
}
BENCHMARK(BM_FillPages)->Arg(0)->Arg(1)->ArgName("shuffled");

// The same with objects that fill kLiveBytes. Time is for one object.
void BM_FillObjects(benchmark::State& state) {
  const bool shuffled = state.range(0) != 0;
  std::unique_ptr<Arena> arena = MakeArena();
  const std::vector<uint32_t> sizes = MakeSizes(kLognormal, 1);
  std::vector<std::pair<void*, uint32_t>> objects(kLiveBytes / 1024);
  std::minstd_rand random;
  while (state.KeepRunningBatch(static_cast<int64_t>(objects.size()))) {
    for (size_t i = 0; i < objects.size(); ++i) {
      const uint32_t bytes = sizes[i % kSizes];
      objects[i] = {arena->Allocate(bytes, Priority::kNormal), bytes};
      static_cast<char*>(objects[i].first)[0] = 1;
      static_cast<char*>(objects[i].first)[bytes - 1] = 1;
    }
    if (shuffled) std::shuffle(objects.begin(), objects.end(), random);
    for (const auto& [object, bytes] : objects) arena->Free(object, bytes);
    arena->ReleaseFreeMemory();
  }
}
BENCHMARK(BM_FillObjects)->Arg(0)->Arg(1)->ArgName("shuffled");

}  // namespace
}  // namespace ramvol::engine

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const std::string_view flag = "--state_dir=";
  if (argc == 2 && std::string_view(argv[1]).substr(0, flag.size()) == flag) {
    ramvol::engine::StateDir() = argv[--argc] + flag.size();
  }
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
