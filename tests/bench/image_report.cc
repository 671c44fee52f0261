// How well a real image compresses, and what it costs: for fixed frames of 4,
// 16, 32 and 64 KiB and for adaptive ones, beside what zstd alone makes of it.
//
//   bazel run //tests/bench:image_report -- [--rest=60s] /path/to/image
//
// Megabytes are of 10^6 bytes. Each row is a new engine, into which the image
// is written in pieces of 1 MiB; all is then read back and compared.
#include <fcntl.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "tests/bench/bench_image.h"

ABSL_FLAG(absl::Duration, rest, absl::ZeroDuration(),
          "when not zero, one more row, in which merging goes on by itself and "
          "the volume is left at rest so long; in the others all is merged at "
          "once as if it were cold");
ABSL_FLAG(int, overwrites, 5000,
          "blocks that are written again, each alone, with what they hold");

ABSL_FLAG(std::string, only, "",
          "measure only the rows whose name begins so, as \"16 KiB\"");

namespace ramvol::bench {
namespace {

using engine::Engine;
using engine::kBlockBytes;
using engine::Volume;
using engine::VolumeOptions;
using engine::VolumeStats;

constexpr size_t kPieceBytes = 1 << 20;
constexpr uint64_t kMemoryLimitBytes = uint64_t{8} << 30;
constexpr int kWriteLevel = 1;
constexpr int kMergeLevel = 3;
constexpr uint64_t kPageBytes = 4096;

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}
void Require(const absl::Status& status) {
  if (!status.ok()) Fail(status.ToString());
}

double Seconds() {
  return std::chrono::duration<double>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Of all threads: what repeats on a machine that does other things, too.
double CpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec + now.tv_nsec * 1e-9;
}

// Adds up the time of what is done while one of its Spans lives.
class Timer {
 public:
  class Span {
   public:
    explicit Span(Timer* timer) : timer_(*timer) {
      timer_.seconds_ -= Seconds();
      timer_.cpu_seconds_ -= CpuSeconds();
    }
    ~Span() {
      timer_.seconds_ += Seconds();
      timer_.cpu_seconds_ += CpuSeconds();
    }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    Timer& timer_;
  };

  double seconds() const { return seconds_; }
  double cpu_seconds() const { return cpu_seconds_; }

 private:
  double seconds_ = 0;
  double cpu_seconds_ = 0;
};

struct Speed {
  double mb_per_second = 0;
  double mb_per_cpu_second = 0;
};
Speed SpeedOf(uint64_t bytes, const Timer& timer) {
  return {bytes / 1e6 / timer.seconds(), bytes / 1e6 / timer.cpu_seconds()};
}

double ResidentMb() {
  uint64_t size_pages = 0, resident_pages = 0;
  std::ifstream("/proc/self/statm") >> size_pages >> resident_pages;
  return resident_pages * kPageBytes / 1e6;
}

// The image; its holes are skipped where the file system knows them.
class ImageFile {
 public:
  explicit ImageFile(const std::string& path)
      : file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (file_ < 0) Fail("cannot open " + path);
    size_bytes_ = static_cast<uint64_t>(lseek(file_, 0, SEEK_END));
    if (size_bytes_ == 0) Fail(path + " is empty");
  }
  ~ImageFile() { close(file_); }

  uint64_t size_bytes() const { return size_bytes_; }

  // Calls `visit` for each aligned piece that is not a hole.
  void ForEachPiece(
      const std::function<void(uint64_t, absl::Span<const char>)>& visit) {
    for (uint64_t at = 0; at < size_bytes_;) {
      const off_t data = lseek(file_, static_cast<off_t>(at), SEEK_DATA);
      if (data < 0) return;
      at = static_cast<uint64_t>(data) / kPieceBytes * kPieceBytes;
      piece_.resize(std::min<uint64_t>(kPieceBytes, size_bytes_ - at));
      Read(at, absl::MakeSpan(piece_));
      visit(at, piece_);
      at += piece_.size();
    }
  }
  void Read(uint64_t at, absl::Span<char> out) const {
    if (pread(file_, out.data(), out.size(), static_cast<off_t>(at)) !=
        static_cast<ssize_t>(out.size())) {
      Fail("the image cannot be read");
    }
  }

 private:
  const int file_;
  uint64_t size_bytes_;
  std::string piece_;
};

bool IsZero(absl::Span<const char> data) {
  return data[0] == 0 &&
         std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0;
}

// What zstd makes of all units of the image, as `zstd -b` adds them up, and of
// those that are not all zeroes.
struct ZstdBytes {
  uint64_t all = 0;
  uint64_t data = 0;
};

ZstdBytes CompressAlone(ImageFile& image, int level, size_t unit) {
  ZstdBytes sum;
  const std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context(
      ZSTD_createCCtx(), ZSTD_freeCCtx);
  std::string out(ZSTD_compressBound(unit), '\0');
  const auto compress = [&](absl::Span<const char> source) {
    const size_t bytes =
        ZSTD_compressCCtx(context.get(), out.data(), out.size(), source.data(),
                          source.size(), level);
    if (ZSTD_isError(bytes)) Fail(ZSTD_getErrorName(bytes));
    return bytes;
  };
  const std::string zeroes(unit, '\0');
  const uint64_t zero_bytes = compress(zeroes);
  sum.all = (image.size_bytes() + unit - 1) / unit * zero_bytes;
  image.ForEachPiece([&](uint64_t, absl::Span<const char> piece) {
    for (size_t at = 0; at < piece.size(); at += unit) {
      const absl::Span<const char> source = piece.subspan(at, unit);
      if (IsZero(source)) continue;
      const size_t bytes = compress(source);
      sum.data += bytes;
      sum.all += bytes - zero_bytes;
    }
  });
  return sum;
}

struct Shape {
  const char* name;
  uint32_t min_frame_bytes;
  uint32_t max_frame_bytes;
  int write_level;
  bool rests = false;  // Left at rest, not merged at once.
};

void PrintHead() {
  std::printf("%-16s %-10s %9s %6s %9s %9s %9s %7s %9s %7s %8s %8s %8s %8s\n",
              "frames", "when", "stored MB", "ratio", "zstd -b", "of data",
              "memory MB", "/stored", "RSS MB", "/memory", "in MB/s", "/CPU s",
              "out MB/s", "/CPU s");
}

class Row {
 public:
  Row(ImageFile& image, const Shape& shape, ZstdBytes alone)
      : image_(image), shape_(shape), alone_(alone) {
    resident_before_mb_ = ResidentMb();
    engine::EngineOptions options;
    options.memory_limit_bytes = kMemoryLimitBytes;
    if (!shape.rests) options.merge_interval_ms = 1000000000;
    auto created = Engine::Create(options);
    Require(created.status());
    engine_ = *std::move(created);
    VolumeOptions volume;
    volume.name = "image";
    volume.size_bytes = image.size_bytes();
    volume.min_frame_bytes = shape.min_frame_bytes;
    volume.max_frame_bytes = shape.max_frame_bytes;
    volume.write_level = shape.write_level;
    volume.merge_level = kMergeLevel;
    auto made = engine_->CreateVolume(volume);
    Require(made.status());
    volume_ = *std::move(made);
  }

  void Run() {
    Import();
    engine_->QuiesceForTest(/*merge=*/false);
    Verify();
    Print("written");
    Overwrite();
    Rest();
    Verify();
    Print(shape_.rests ? "rested" : "merged");
  }

  uint64_t stored_bytes() const { return volume_->Stats().stored_bytes; }

 private:
  void Import() {
    uint64_t bytes = 0;
    Timer timer;
    image_.ForEachPiece([&](uint64_t at, absl::Span<const char> piece) {
      const Timer::Span span(&timer);
      Require(volume_->Write(at, piece));
      bytes += piece.size();
    });
    in_ = SpeedOf(bytes, timer);
  }

  void Verify() {
    uint64_t bytes = 0;
    Timer timer;
    std::string now(kPieceBytes, '\0');
    image_.ForEachPiece([&](uint64_t at, absl::Span<const char> piece) {
      const absl::Span<char> out(now.data(), piece.size());
      {
        const Timer::Span span(&timer);
        Require(volume_->Read(at, out));
      }
      bytes += piece.size();
      if (out != piece) Fail(absl::StrCat("another content near byte ", at));
    });
    out_ = SpeedOf(bytes, timer);
  }

  // Blocks that compress alone take nothing from their neighbours: counts what
  // had to be decompressed. The content stays as it is.
  void Overwrite() {
    const VolumeStats before = volume_->Stats();
    std::mt19937_64 random(1);
    std::string block(kBlockBytes, '\0');
    Timer timer;
    for (int i = 0; i < absl::GetFlag(FLAGS_overwrites);) {
      const uint64_t at =
          random() % (image_.size_bytes() / kBlockBytes) * kBlockBytes;
      image_.Read(at, absl::MakeSpan(block));
      if (IsZero(block)) continue;
      const Timer::Span span(&timer);
      Require(volume_->Write(at, block));
      ++i;
    }
    engine_->QuiesceForTest(/*merge=*/false);
    const VolumeStats after = volume_->Stats();
    overwrites_ = absl::StrCat(
        "  ", absl::GetFlag(FLAGS_overwrites), " overwrites of 4 KiB: ",
        static_cast<int>(timer.seconds() * 1e6 /
                         absl::GetFlag(FLAGS_overwrites)),
        " us each, ", after.decompressions - before.decompressions,
        " frames decompressed, ", after.compressions - before.compressions,
        " made");
  }

  void Rest() {
    if (shape_.rests) {
      std::this_thread::sleep_for(
          absl::ToChronoMilliseconds(absl::GetFlag(FLAGS_rest)));
    } else {
      engine_->QuiesceForTest(/*merge=*/true);
    }
  }

  void Print(const char* when) {
    if (!overwrites_.empty()) std::printf("%s\n", overwrites_.c_str());
    const VolumeStats stats = volume_->Stats();
    const double stored_mb = stats.stored_bytes / 1e6;
    const double memory_mb = stats.memory_bytes / 1e6;
    const double resident_mb = ResidentMb() - resident_before_mb_;
    const auto change = [&](uint64_t alone) {
      return 100 * (static_cast<double>(stats.stored_bytes) / alone - 1);
    };
    std::printf(
        "%-16s %-10s %9.1f %6.3f %+8.2f%% %+8.2f%% %9.1f %+6.2f%% %9.1f "
        "%+6.1f%% %8.0f %8.0f %8.0f %8.0f\n",
        shape_.name, when, stored_mb,
        static_cast<double>(stats.logical_bytes) / stats.stored_bytes,
        change(alone_.all), change(alone_.data), memory_mb,
        100 * (memory_mb / stored_mb - 1), resident_mb,
        100 * (resident_mb / memory_mb - 1), in_.mb_per_second,
        in_.mb_per_cpu_second, out_.mb_per_second, out_.mb_per_cpu_second);
    std::printf("  frames of 1, 2, 4, 8, 16 blocks:");
    for (uint64_t frames : stats.frames) std::printf(" %lu", frames);
    std::printf("; blocks raw %lu, same-filled %lu; %.1f MB hot\n",
                stats.raw_blocks, stats.same_filled_blocks,
                stats.hot_bytes / 1e6);
    std::fflush(stdout);
  }

  ImageFile& image_;
  const Shape shape_;
  const ZstdBytes alone_;
  double resident_before_mb_;
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<Volume> volume_;
  Speed in_;
  Speed out_;
  std::string overwrites_;
};

// Adaptive frames are held against the largest at the merging level.
constexpr Shape kShapes[] = {
    {"4 KiB", 4096, 4096, kWriteLevel},
    {"16 KiB", 16384, 16384, kWriteLevel},
    {"32 KiB", 32768, 32768, kWriteLevel},
    {"64 KiB", 65536, 65536, kWriteLevel},
    {"64 KiB, level 3", 65536, 65536, kMergeLevel},
    {"adaptive", 4096, 65536, kWriteLevel},
    {"adaptive, rests", 4096, 65536, kWriteLevel, /*rests=*/true},
};

void Report(const std::string& path) {
  ImageFile image(path);
  std::printf("%s: %.1f MB; written at level %d, merged at level %d\n",
              path.c_str(), image.size_bytes() / 1e6, kWriteLevel, kMergeLevel);
  PrintHead();
  uint64_t largest_bytes = 0;
  for (const Shape& shape : kShapes) {
    if (shape.rests && absl::GetFlag(FLAGS_rest) == absl::ZeroDuration()) break;
    if (!absl::StartsWith(shape.name, absl::GetFlag(FLAGS_only))) continue;
    const ZstdBytes alone =
        CompressAlone(image, shape.write_level, shape.max_frame_bytes);
    Row row(image, shape, alone);
    row.Run();
    if (shape.min_frame_bytes == shape.max_frame_bytes) {
      largest_bytes = row.stored_bytes();
    } else if (largest_bytes != 0) {
      std::printf("  then, against 64 KiB at level 3: %+.2f%%\n",
                  100 * (static_cast<double>(row.stored_bytes()) /
                             static_cast<double>(largest_bytes) -
                         1));
    }
  }
}

}  // namespace
}  // namespace ramvol::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "Compresses an image with frames of several sizes and prints a table.\n"
      "image_report [--rest=60s] [IMAGE]; without one, it makes one.");
  const std::vector<char*> words = absl::ParseCommandLine(argc, argv);
  ramvol::bench::Report(words.size() > 1 ? words[1]
                                         : ramvol::bench::ImagePath());
  return 0;
}
