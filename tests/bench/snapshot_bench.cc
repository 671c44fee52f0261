// What snapshots and clones cost: time, and memory of the server.
//
//   bazel run --config=opt //tests/bench:snapshot_bench [-- GIB]
//
// Prints a table: each row says what was measured. GIB of image data (2 by
// default) are in the volume.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
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
using Clock = std::chrono::steady_clock;

constexpr size_t kImageBytes = 64 << 20;
constexpr uint64_t kLeafBytes = 64 * kChunkBytes;
constexpr int kClones = 1000;

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::abort();
}
template <typename T>
T Require(absl::StatusOr<T> value) {
  Require(value.status());
  return *std::move(value);
}

const std::string& Image() {
  static const std::string& image = *new std::string(ImageChunks(kImageBytes));
  return image;
}

double MicrosSince(Clock::time_point began) {
  return std::chrono::duration<double, std::micro>(Clock::now() - began)
      .count();
}

double Percentile(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(part *
                                    static_cast<double>(values.size() - 1))];
}

// A block of the image, so that it compresses like one.
absl::Span<const char> Block(std::mt19937_64& random) {
  const size_t at = random() % (kImageBytes / kBlockBytes) * kBlockBytes;
  return {Image().data() + at, kBlockBytes};
}

std::unique_ptr<Engine> NewEngine() {
  engine::EngineOptions options;
  options.memory_limit_bytes = uint64_t{8} << 30;
  options.hot_cache_bytes = uint64_t{256} << 20;
  return Require(Engine::Create(options));
}

std::shared_ptr<Volume> NewVolume(Engine& engine, const std::string& name,
                                  uint64_t data_bytes) {
  VolumeOptions options;
  options.name = name;
  options.size_bytes = uint64_t{1} << 40;
  auto volume = Require(engine.CreateVolume(options));
  for (uint64_t at = 0; at < data_bytes; at += kImageBytes) {
    for (uint64_t in = 0; in < kImageBytes && at + in < data_bytes;
         in += 1 << 20) {
      Require(volume->Write(at + in, {Image().data() + in, 1 << 20}));
    }
  }
  return volume;
}

// The time of a snapshot, and the slowest write meanwhile, under random writes
// that keep the hot cache full of dirty blocks.
void Pause(uint64_t data_bytes) {
  const auto engine = NewEngine();
  const auto volume = NewVolume(*engine, "disk", data_bytes);
  std::atomic<bool> over{false};
  std::thread writer([&] {
    std::mt19937_64 random(1);
    while (!over) {
      const uint64_t block = random() % (data_bytes / kBlockBytes);
      Require(volume->Write(block * kBlockBytes, Block(random)));
    }
  });
  std::this_thread::sleep_for(std::chrono::seconds(2));
  std::vector<double> took;
  for (int i = 0; i < 200; ++i) {
    const auto began = Clock::now();
    const auto made =
        Require(engine->CreateSnapshots({{volume, absl::StrCat("s", i)}}));
    took.push_back(MicrosSince(began));
    Require(engine->DeleteVolume(made.front(), false));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  over = true;
  writer.join();
  std::printf(
      "snapshot of %5.0f MiB under 4 KiB writes: p50 %.0f us, "
      "p99 %.0f us, most %.0f us\n",
      static_cast<double>(data_bytes) / (1 << 20), Percentile(took, 0.5),
      Percentile(took, 0.99), Percentile(took, 1));
}

void Clones(Engine& engine, const std::shared_ptr<Volume>& golden) {
  const auto used = [&] {
    return static_cast<double>(engine.Stats().memory_used_bytes);
  };
  const double before = used();
  std::vector<std::shared_ptr<Volume>> clones;
  auto began = Clock::now();
  for (int i = 0; i < kClones; ++i) {
    VolumeOptions options;
    options.name = absl::StrCat("clone", i);
    clones.push_back(Require(engine.CloneVolume(options, golden)));
  }
  std::printf("%d clones: %.0f ms, %.0f bytes each\n", kClones,
              MicrosSince(began) / 1000, (used() - before) / kClones);
  std::mt19937_64 random(2);
  for (const auto& clone : clones) {
    Require(clone->Write(512 << 20, Block(random)));
  }
  std::printf("each with a 4 KiB block of its own: %.0f bytes each\n",
              (used() - before) / kClones);
  began = Clock::now();
  for (const auto& clone : clones) Require(engine.DeleteVolume(clone, false));
  std::printf("deleting them: %.0f ms, %.0f bytes left\n",
              MicrosSince(began) / 1000, used() - before);
}

// Median ns of a 4 KiB read in turn through the leaves of `volumes`.
double ReadNs(const std::vector<std::shared_ptr<Volume>>& volumes,
              uint64_t bytes) {
  std::string data(kBlockBytes, '\0');
  std::vector<double> took;
  for (uint64_t at = 0; at < bytes; at += kBlockBytes) {
    const auto& volume = volumes[at / kBlockBytes % volumes.size()];
    const auto began = Clock::now();
    Require(volume->Read(at, absl::MakeSpan(data)));
    took.push_back(MicrosSince(began) * 1000);
  }
  return Percentile(took, 0.5);
}

void Reads(Engine& engine, const std::shared_ptr<Volume>& golden) {
  std::vector<std::shared_ptr<Volume>> clones;
  for (int i = 0; i < 64; ++i) {
    VolumeOptions options;
    options.name = absl::StrCat("reader", i);
    clones.push_back(Require(engine.CloneVolume(options, golden)));
  }
  constexpr uint64_t kBytes = 64 << 20;
  for (int round = 0; round < 3; ++round) {
    const uint64_t cold_at_first = engine.Stats().decompressions.count();
    const double cold = ReadNs(clones, kBytes);
    const uint64_t decompressions =
        engine.Stats().decompressions.count() - cold_at_first;
    const double of_source = ReadNs({golden}, kBytes);
    const double of_clone = ReadNs({clones[7]}, kBytes);
    const double of_all = ReadNs(clones, kBytes);
    std::printf(
        "4 KiB read: by 64 clones in turn %.0f ns with %zu "
        "decompressions of %zu blocks; hot: source %.0f ns, clone %.0f "
        "ns, 64 clones in turn %.0f ns\n",
        cold, static_cast<size_t>(decompressions),
        static_cast<size_t>(kBytes / kBlockBytes), of_source, of_clone, of_all);
  }
  for (const auto& clone : clones) Require(engine.DeleteVolume(clone, false));
}

// 4 KiB reads of what no cache holds, in random order, by the source and by a
// clone in turn: each chunk is read once, in a frame of its own.
void ColdReads(Engine& engine, const std::shared_ptr<Volume>& golden,
               uint64_t data_bytes) {
  VolumeOptions options;
  options.name = "cold-reader";
  const auto clone = Require(engine.CloneVolume(options, golden));
  std::vector<uint64_t> chunks(data_bytes / kChunkBytes);
  std::iota(chunks.begin(), chunks.end(), 0);
  std::mt19937_64 random(5);
  std::shuffle(chunks.begin(), chunks.end(), random);
  std::string data(kBlockBytes, '\0');
  // No frame of a stream of writes has more than 32 KiB.
  for (const uint64_t at : {uint64_t{0}, kChunkBytes / 2}) {
    std::array<std::vector<double>, 2> took;
    const uint64_t before = engine.Stats().decompressions.count();
    for (size_t i = 0; i < chunks.size(); ++i) {
      const auto& volume = i % 2 == 0 ? golden : clone;
      const auto began = Clock::now();
      Require(volume->Read(chunks[i] * kChunkBytes + at, absl::MakeSpan(data)));
      took[i % 2].push_back(MicrosSince(began) * 1000);
    }
    std::printf(
        "cold 4 KiB read: source %.0f ns, clone %.0f ns; %zu decompressions "
        "of %zu reads\n",
        Percentile(took[0], 0.5), Percentile(took[1], 0.5),
        static_cast<size_t>(engine.Stats().decompressions.count() - before),
        chunks.size());
  }
  Require(engine.DeleteVolume(clone, false));
}

// A 4 KiB write to each of some leaves: shared, and again.
void Writes(Engine& engine, const std::shared_ptr<Volume>& golden) {
  std::mt19937_64 random(3);
  const auto write_all = [&](const std::shared_ptr<Volume>& volume,
                             uint64_t offset) {
    std::vector<double> took;
    for (uint64_t leaf = 0; leaf < 200; ++leaf) {
      const auto block = Block(random);
      const auto began = Clock::now();
      Require(volume->Write(leaf * kLeafBytes + offset, block));
      took.push_back(MicrosSince(began) * 1000);
    }
    return Percentile(took, 0.5);
  };
  for (int round = 0; round < 3; ++round) {
    VolumeOptions options;
    options.name = absl::StrCat("writer", round);
    const double own = write_all(golden, (16 + round) * kChunkBytes);
    const auto clone = Require(engine.CloneVolume(options, golden));
    const double first = write_all(clone, 32 * kChunkBytes);
    const double second = write_all(clone, 32 * kChunkBytes + 8192);
    const double other = write_all(clone, 40 * kChunkBytes);
    std::printf(
        "4 KiB write: to an own leaf %.0f ns; to a leaf just shared "
        "%.0f ns, to the same chunk again %.0f ns, to another chunk of "
        "the leaf %.0f ns\n",
        own, first, second, other);
    Require(engine.DeleteVolume(clone, false));
  }
}

void Diff(Engine& engine, const std::shared_ptr<Volume>& volume,
          uint64_t data_bytes) {
  const auto first = Require(engine.CreateSnapshots({{volume, "first"}}))[0];
  std::mt19937_64 random(4);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t block = random() % (data_bytes / kBlockBytes);
    Require(volume->Write(block * kBlockBytes, Block(random)));
  }
  const auto second = Require(engine.CreateSnapshots({{volume, "second"}}))[0];
  const auto began = Clock::now();
  const auto changes =
      Require(second->GetChanges(*first, 0, second->size_bytes(), 1 << 20));
  const double took = MicrosSince(began);
  uint64_t bytes = 0;
  for (const auto& range : changes.ranges) bytes += range.length_bytes;
  std::printf(
      "diff of two snapshots, 1000 blocks written: %.2f ms, %zu ranges, "
      "%.0f blocks\n",
      took / 1000, changes.ranges.size(),
      static_cast<double>(bytes) / kBlockBytes);
}

void RunAll(uint64_t data_bytes) {
  Pause(1 << 20);
  Pause(data_bytes / 16);
  Pause(data_bytes);
  const auto engine = NewEngine();
  const auto golden = NewVolume(*engine, "golden", data_bytes);
  engine->QuiesceForTest(/*merge=*/false);
  ColdReads(*engine, golden, data_bytes);
  Clones(*engine, golden);
  Reads(*engine, golden);
  Writes(*engine, golden);
  Diff(*engine, golden, data_bytes);
}

}  // namespace
}  // namespace ramvol::bench

int main(int argc, char** argv) {
  const double gib = argc > 1 ? std::atof(argv[1]) : 2;
  ramvol::bench::RunAll(static_cast<uint64_t>(gib * (1 << 30)));
  return 0;
}
