// The calls of a volume over real data: bytes a second, and what the data takes
// (counters "ratio", logical over stored bytes, and "overhead", memory over
// stored bytes, less 1).
//
//   bazel run //tests/bench:volume_bench
//   bazel run //tests/bench:volume_bench -- --benchmark_filter=Read/4KiB
//
// Names: what/size/frames/sharing/threads. Frames are "adaptive" or fixed at a
// size. With "apart" each thread has chunks of its own, with "same" all share
// one. Without a filter the sizes of frames are compared with one thread and
// the threads with adaptive frames; names that begin with "cross/" are the rest
// of the product.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "benchmark/benchmark.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "tests/bench/bench_image.h"

namespace ramvol::bench {
namespace {

using engine::Engine;
using engine::kBlockBytes;
using engine::kChunkBytes;
using engine::Volume;
using engine::VolumeOptions;
using engine::VolumeStats;

constexpr size_t kDataBytes = 96 << 20;
constexpr size_t kLargeBytes = 1 << 20;
// What is written and read again and again, well within kLargeCacheBytes.
constexpr size_t kWorkingSetBytes = 8 << 20;
constexpr uint64_t kLargeCacheBytes = 64 << 20;
constexpr size_t kTrimmedBytes = 4 << 20;
constexpr int kThreadCounts[] = {1, 2, 4};

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}

const std::string& Data() {
  static const std::string& data = *new std::string(ImageChunks(kDataBytes));
  return data;
}

enum class Sharing { kApart, kSame };

// How a benchmark's volume is made and used.
struct Case {
  uint32_t frame_bytes = 0;  // 0: adaptive.
  uint64_t cache_bytes = engine::kMinHotCacheBytes;
  size_t io_bytes = kBlockBytes;
  Sharing sharing = Sharing::kApart;
  bool filled = true;
};

// An engine and its volume, which one run of a benchmark uses.
class Bench {
 public:
  explicit Bench(const Case& use) {
    engine::EngineOptions options;
    options.memory_limit_bytes = uint64_t{2} << 30;
    options.hot_cache_bytes = use.cache_bytes;
    options.merge_interval_ms = 1000000000;  // Measures requests alone.
    auto engine = Engine::Create(options);
    Require(engine.status());
    engine_ = *std::move(engine);
    VolumeOptions volume;
    volume.name = "bench";
    volume.size_bytes = engine::kMaxVolumeBytes;
    if (use.frame_bytes != 0) {
      volume.min_frame_bytes = volume.max_frame_bytes = use.frame_bytes;
    }
    auto made = engine_->CreateVolume(volume);
    Require(made.status());
    volume_ = *std::move(made);
    if (use.filled) Fill(0, Data().size());
  }

  Volume& volume() { return *volume_; }

  void Fill(uint64_t begin, size_t bytes) {
    for (uint64_t at = begin; at < begin + bytes; at += kLargeBytes) {
      Require(volume_->Write(at, DataAt(at, kLargeBytes)));
    }
  }
  // The data that belongs at `at`, or that much from elsewhere.
  static absl::Span<const char> DataAt(uint64_t at, size_t bytes) {
    at = std::min<uint64_t>(at % Data().size(), Data().size() - bytes);
    return {Data().data() + at, bytes};
  }

  void Report(benchmark::State& state) {
    engine_->QuiesceForTest(/*merge=*/false);
    const VolumeStats stats = volume_->Stats();
    if (stats.stored_bytes == 0) return;
    const double stored = static_cast<double>(stats.stored_bytes);
    // Each thread's counters are added up; only one thread reports.
    state.counters["ratio"] = stats.logical_bytes / stored;
    state.counters["overhead"] = stats.memory_bytes / stored - 1;
  }

 private:
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<Volume> volume_;
};

// Made by thread 0 before the loop, which all threads enter together.
std::unique_ptr<Bench> current;

// Deletes the volume at the end of a run, after all threads have left the loop.
class Run {
 public:
  Run(benchmark::State& state, const Case& use)
      : state_(state), first_(state.thread_index() == 0) {
    if (first_) current = std::make_unique<Bench>(use);
  }
  ~Run() {
    if (!first_) return;
    current->Report(state_);
    current.reset();
  }

 private:
  benchmark::State& state_;
  const bool first_;
};

// The aligned places that a thread uses, in [0, within).
class Places {
 public:
  Places(const benchmark::State& state, const Case& use, size_t within)
      : random_(state.thread_index() + 1), io_bytes_(use.io_bytes) {
    if (use.sharing == Sharing::kSame) {
      count_ = std::max(kChunkBytes, use.io_bytes) / use.io_bytes;
      return;
    }
    const size_t chunk_bytes = std::max(kChunkBytes, use.io_bytes);
    const size_t share = within / state.threads() / chunk_bytes * chunk_bytes;
    begin_ = state.thread_index() * share;
    count_ = share / use.io_bytes;
  }

  uint64_t Random() { return begin_ + random_() % count_ * io_bytes_; }
  uint64_t Next() { return begin_ + next_++ % count_ * io_bytes_; }

 private:
  std::minstd_rand random_;
  const size_t io_bytes_;
  uint64_t begin_ = 0;
  size_t count_;
  size_t next_ = 0;
};

void CountBytes(benchmark::State& state, size_t each) {
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(each));
}

// Reads at random: all of the data, of which the cache holds almost nothing.
void BM_Read(benchmark::State& state, const Case& use) {
  const Run run(state, use);
  Places places(state, use, Data().size());
  std::vector<char> out(use.io_bytes);
  for (auto _ : state) {
    Require(current->volume().Read(places.Random(), absl::MakeSpan(out)));
  }
  CountBytes(state, use.io_bytes);
}

// Reads at random what the cache holds, because it was written just before.
void BM_ReadHot(benchmark::State& state, const Case& use) {
  const Run run(state, use);
  if (state.thread_index() == 0) {
    for (uint64_t at = 0; at < kWorkingSetBytes; at += kBlockBytes) {
      Require(current->volume().Write(at, Bench::DataAt(at, kBlockBytes)));
    }
  }
  Places places(state, use, kWorkingSetBytes);
  std::vector<char> out(use.io_bytes);
  for (auto _ : state) {
    Require(current->volume().Read(places.Random(), absl::MakeSpan(out)));
  }
  CountBytes(state, use.io_bytes);
}

// Writes from begin to end, over what the last round left there.
void BM_WriteStream(benchmark::State& state, const Case& use) {
  const Run run(state, use);
  Places places(state, use, Data().size());
  for (auto _ : state) {
    const uint64_t at = places.Next();
    Require(current->volume().Write(at, Bench::DataAt(at, use.io_bytes)));
  }
  CountBytes(state, use.io_bytes);
}

// Writes blocks at random: few, again and again, so that the cache takes them,
// or all, so that each has to be compressed soon.
void WriteBlocks(benchmark::State& state, const Case& use, size_t within) {
  const Run run(state, use);
  Places places(state, use, within);
  Places sources(state, Case(), Data().size());
  for (auto _ : state) {
    Require(current->volume().Write(
        places.Random(), Bench::DataAt(sources.Random(), use.io_bytes)));
  }
  CountBytes(state, use.io_bytes);
}
void BM_WriteHot(benchmark::State& state, const Case& use) {
  WriteBlocks(state, use, kWorkingSetBytes);
}
void BM_WriteCold(benchmark::State& state, const Case& use) {
  WriteBlocks(state, use, Data().size());
}

// Trims what was streamed in: all of a part, in pieces of io_bytes.
void BM_Trim(benchmark::State& state, const Case& use) {
  const Run run(state, use);
  const uint64_t begin = state.thread_index() * kTrimmedBytes;
  for (auto _ : state) {
    current->Fill(begin, kTrimmedBytes);
    const auto start = std::chrono::steady_clock::now();
    for (size_t done = 0; done < kTrimmedBytes; done += use.io_bytes) {
      Require(current->volume().Trim(begin + done, use.io_bytes));
    }
    state.SetIterationTime(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count());
  }
  CountBytes(state, kTrimmedBytes);
  state.SetItemsProcessed(state.iterations() *
                          static_cast<int64_t>(kTrimmedBytes / use.io_bytes));
}

// Asks for all extents of the data, of which every second block is a hole or
// none is.
void BM_Extents(benchmark::State& state, const Case& use, bool holes) {
  const Run run(state, use);
  if (state.thread_index() == 0 && holes) {
    for (uint64_t at = 0; at < Data().size(); at += 2 * kBlockBytes) {
      Require(current->volume().Trim(at, kBlockBytes));
    }
  }
  for (auto _ : state) {
    auto extents = current->volume().GetExtents(0, Data().size(),
                                                Data().size() / kBlockBytes);
    Require(extents.status());
    benchmark::DoNotOptimize(extents->extents.data());
  }
  CountBytes(state, Data().size());
}

// Asks for all extents of 8 EiB, of which 64 blocks are data.
void BM_ExtentsOfAlmostNothing(benchmark::State& state, const Case& use) {
  const Run run(state, use);
  if (state.thread_index() == 0) {
    for (uint64_t i = 0; i < 64; ++i) {
      Require(current->volume().Write(i << 56,
                                      Bench::DataAt(i << 20, kBlockBytes)));
    }
  }
  for (auto _ : state) {
    auto extents =
        current->volume().GetExtents(0, engine::kMaxVolumeBytes, 1000);
    Require(extents.status());
    benchmark::DoNotOptimize(extents->extents.data());
  }
}

using Function = void (*)(benchmark::State&, const Case&);

benchmark::internal::Benchmark* Register(const std::string& name,
                                         Function function, const Case& use) {
  return benchmark::RegisterBenchmark(
      name.c_str(),
      [function, use](benchmark::State& state) { function(state, use); });
}

std::string SizeName(size_t bytes) {
  return bytes < kLargeBytes ? absl::StrCat(bytes >> 10, "KiB")
                             : absl::StrCat(bytes >> 20, "MiB");
}

// A benchmark with all sizes of frames, sharings and numbers of threads; those
// off the two axes under "cross/".
void RegisterProduct(const std::string& what, Function function, Case use) {
  for (const uint32_t frame_kib : {0, 4, 16, 32, 64}) {
    use.frame_bytes = frame_kib << 10;
    for (const Sharing sharing : {Sharing::kApart, Sharing::kSame}) {
      use.sharing = sharing;
      for (const int threads : kThreadCounts) {
        const bool shared = sharing == Sharing::kSame;
        const bool on_axis =
            frame_kib == 0 ? !shared || threads > 1 : !shared && threads == 1;
        const std::string name = absl::StrCat(
            on_axis ? "" : "cross/", what, "/", SizeName(use.io_bytes), "/",
            frame_kib == 0 ? "adaptive" : SizeName(use.frame_bytes), "/",
            shared ? "same" : "apart");
        Register(name, function, use)->Threads(threads)->UseRealTime();
      }
    }
  }
}

void RegisterAll() {
  Case use;
  for (const size_t bytes : {kBlockBytes, kChunkBytes, kLargeBytes}) {
    use.io_bytes = bytes;
    RegisterProduct("Read", BM_Read, use);
  }
  for (const size_t bytes : {kChunkBytes, kLargeBytes}) {
    use.io_bytes = bytes;
    RegisterProduct("WriteStream", BM_WriteStream, use);
  }
  use = Case();
  RegisterProduct("WriteCold", BM_WriteCold, use);
  use.cache_bytes = kLargeCacheBytes;
  RegisterProduct("WriteHot", BM_WriteHot, use);
  RegisterProduct("ReadHot", BM_ReadHot, use);
  use.filled = false;
  for (const int threads : kThreadCounts) {
    for (const size_t bytes : {kBlockBytes, kChunkBytes, kTrimmedBytes}) {
      use.io_bytes = bytes;
      Register("Trim/" + SizeName(bytes), BM_Trim, use)
          ->Threads(threads)
          ->UseManualTime()
          ->MinTime(0.03);  // Filling takes much longer than measuring.
    }
    Case filled;
    Register(
        "Extents/dense",
        [](benchmark::State& s, const Case& c) { BM_Extents(s, c, false); },
        filled)
        ->Threads(threads)
        ->UseRealTime();
    Register(
        "Extents/every_second_block",
        [](benchmark::State& s, const Case& c) { BM_Extents(s, c, true); },
        filled)
        ->Threads(threads)
        ->UseRealTime();
    Register("Extents/almost_nothing", BM_ExtentsOfAlmostNothing, use)
        ->Threads(threads)
        ->UseRealTime();
  }
}

}  // namespace
}  // namespace ramvol::bench

int main(int argc, char** argv) {
  // Of a flag that is given twice, the last counts.
  std::string no_cross = "--benchmark_filter=-^cross/";
  std::string brief = "--benchmark_min_time=0.3";
  std::vector<char*> arguments = {argv[0], no_cross.data(), brief.data()};
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 1;
  ramvol::bench::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
