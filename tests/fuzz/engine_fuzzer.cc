// libFuzzer over the engine: an input is a sequence of calls on one small
// volume, whose content is compared with a byte array.
//
//   bazel build --config=fuzz //tests/fuzz:engine_fuzzer
//   bazel-bin/tests/fuzz/engine_fuzzer tests/fuzz/corpus/engine
//
// Two bytes choose the volume; then each call is one byte, and its arguments.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/check.h"
#include "server/engine/content/codec.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "tests/fuzz/input.h"

namespace ramvol::testing {
namespace {

using engine::Allocator;
using engine::Engine;
using engine::EngineOptions;
using engine::kBlockBytes;
using engine::kChunkBytes;
using engine::kMaxVolumeBytes;
using engine::Volume;
using engine::VolumeOptions;
using engine::VolumeStats;
using engine::VolumeUpdate;

// All that an input touches: four chunks and a bit.
constexpr size_t kWindowBytes = 4 * kChunkBytes + 5000;
constexpr int kMaxCalls = 200;
constexpr int kMaxWaits = 1000000;

// One engine for all inputs: making one takes longer than an input. Its merging
// thread sleeps, so that merging happens where the input says.
Engine& SharedEngine() {
  static Engine* const engine = [] {
    EngineOptions options;
    options.memory_limit_bytes = 64 << 20;
    options.hot_cache_bytes = engine::kMinHotCacheBytes;
    options.background_threads = 1;
    options.merge_interval_ms = 1000000000;
    auto created = Engine::Create(options);
    RAMVOL_CHECK(created.ok());
    return created->release();
  }();
  return *engine;
}

VolumeOptions ChooseOptions(Input& input, uint64_t* base) {
  static constexpr struct {
    Allocator allocator;
    uint32_t min_frame_bytes;
    uint32_t max_frame_bytes;
  } kShapes[] = {
      {Allocator::kZstd, 4096, 65536},   {Allocator::kZstd, 4096, 4096},
      {Allocator::kZstd, 16384, 16384},  {Allocator::kZstd, 65536, 65536},
      {Allocator::kZstd, 8192, 32768},   {Allocator::kSparse, 4096, 65536},
      {Allocator::kMalloc, 4096, 65536},
  };
  const auto& shape = kShapes[input.Choice(std::size(kShapes))];
  const uint64_t flags = input.Number(1);
  VolumeOptions options;
  options.name = "v";
  options.allocator = shape.allocator;
  options.min_frame_bytes = shape.min_frame_bytes;
  options.max_frame_bytes = shape.max_frame_bytes;
  if ((flags & 1) != 0) options.write_level = -5;
  const bool reserved = shape.allocator == Allocator::kMalloc;
  if ((flags & 2) != 0 && !reserved) options.memory_limit_bytes = 100 << 10;
  const bool far = (flags & 4) != 0 && !reserved;
  options.size_bytes = far ? kMaxVolumeBytes : kWindowBytes;
  *base = far ? kMaxVolumeBytes - kWindowBytes : 0;
  return options;
}

// What is written is cut from one long string of each kind: zeroes, noise, text
// and repeated patterns. Generating it each time would be most of the work.
constexpr int kKinds = 4;
const std::string& SourceOf(int kind) {
  static const auto* const sources = [] {
    constexpr size_t kBytes = kWindowBytes + 65536;
    std::mt19937 random(1);
    auto* made = new std::array<std::string, kKinds>;
    (*made)[0].assign(kBytes, '\0');
    for (size_t i = 0; i < kBytes; ++i) {
      (*made)[1] += static_cast<char>(random());
      (*made)[2] += static_cast<char>('a' + (random() & random() & 15));
      (*made)[3] += static_cast<char>(i % 8 * (i / (3 * kBlockBytes)));
    }
    return made;
  }();
  return (*sources)[kind];
}

class Driver {
 public:
  explicit Driver(Input& input) : input_(input), expected_(kWindowBytes, '\0') {
    const VolumeOptions options = ChooseOptions(input, &base_);
    auto created = SharedEngine().CreateVolume(options);
    RAMVOL_CHECK(created.ok());
    volume_ = *std::move(created);
  }

  void Run() {
    for (int i = 0; i < kMaxCalls && !input_.empty(); ++i) Call();
    SharedEngine().FailAllocationsAfterForTest(-1);
    engine::codec::FailCompressionsAfterForTest(-1);
    CheckAll();
    SharedEngine().QuiesceForTest(/*merge=*/true);
    CheckAll();
    CheckStats();
    Delete();
  }

 private:
  // A part of the window.
  struct Range {
    size_t begin;
    size_t length;
    size_t end() const { return begin + length; }
  };

  void Call() {
    switch (input_.Choice(15)) {
      case 0:
      case 1:
        return Write(ChooseRange());
      case 2:
        return Read(ChooseRange());
      case 3:
        return Zero(ChooseRange(), /*trim=*/true, /*no_hole=*/false);
      case 4:
        return Zero(ChooseRange(), /*trim=*/false, input_.Choice(2) != 0);
      case 5:
        RAMVOL_CHECK(volume_->Flush().ok());
        return;
      case 6:
        return SharedEngine().QuiesceForTest(/*merge=*/false);
      case 7:
        return SharedEngine().QuiesceForTest(/*merge=*/true);
      case 8:
        return CheckExtents(ChooseRange());
      case 9:
        return Resize(input_.Number(3));
      case 10:
        return SharedEngine().FailAllocationsAfterForTest(
            static_cast<int8_t>(input_.Number(1)));
      case 11:
        return engine::codec::FailCompressionsAfterForTest(
            static_cast<int8_t>(input_.Number(1)));
      case 12:
        return ReadOften(ChooseRange());
      case 13:
        return Update(input_.Number(1));
      case 14:
        return Corrupt(input_.Number(3) % kWindowBytes);
    }
  }

  // Often whole blocks. May end past a volume that was made smaller.
  Range ChooseRange() {
    const uint64_t shape = input_.Number(1);
    size_t begin = input_.Number(2);
    size_t length = input_.Number(2);
    if ((shape & 1) != 0) {
      begin = begin % (kWindowBytes / kBlockBytes) * kBlockBytes;
      length = (1 + length % 40) * kBlockBytes;
    } else {
      begin = (begin | (shape & 0x0e) << 15) % kWindowBytes;
      length |= (shape & 0x30) << 12;
    }
    return {begin, std::min(length, kWindowBytes - begin)};
  }

  // Content of a kind, the same for all or another for each block.
  std::string MakeData(size_t bytes) {
    const int kind = input_.Choice(kKinds + 1);
    const size_t seed = input_.Number(2);
    if (kind < kKinds) return SourceOf(kind).substr(seed, bytes);
    std::string data;
    for (size_t i = 1; data.size() < bytes; ++i) {
      data += SourceOf((i * (seed | 1) >> 4) % kKinds)
                  .substr(seed, std::min(kBlockBytes, bytes - data.size()));
    }
    return data;
  }

  // True when a call on `range` that the volume answered with `status` is to be
  // compared; checks that a refusal has its reason.
  bool Succeeded(Range range, const absl::Status& status, bool writes,
                 bool may_lack_memory) {
    const bool outside = range.end() > size_;
    if (status.code() == absl::StatusCode::kOutOfRange) {
      RAMVOL_CHECK(outside);
      return false;
    }
    if (writes && read_only_) {
      RAMVOL_CHECK(outside ||
                   status.code() == absl::StatusCode::kFailedPrecondition);
      return false;
    }
    RAMVOL_CHECK(!outside);
    if (status.code() == absl::StatusCode::kDataLoss) {
      RAMVOL_CHECK(Damaged(range));
      return false;
    }
    if (status.code() == absl::StatusCode::kResourceExhausted) {
      RAMVOL_CHECK(may_lack_memory);
      return false;
    }
    RAMVOL_CHECK(status.ok());
    return true;
  }

  // What a refused write was to change is checked by later reads.
  void Write(Range range) {
    const std::string data = MakeData(range.length);
    const absl::Status status =
        volume_->Write(base_ + range.begin, absl::MakeConstSpan(data));
    if (!Succeeded(range, status, true, true)) return;
    std::copy(data.begin(), data.end(), expected_.begin() + range.begin);
  }

  void Zero(Range range, bool trim, bool no_hole) {
    const absl::Status status =
        trim ? volume_->Trim(base_ + range.begin, range.length)
             : volume_->WriteZeroes(base_ + range.begin, range.length, no_hole);
    if (Succeeded(range, status, true, no_hole)) {
      std::fill_n(expected_.begin() + range.begin, range.length, '\0');
    } else if (range.end() <= size_ && !read_only_) {
      LearnWhatIsZero(range);
    }
  }

  // A zeroing that failed may have done a part of its work. Asks for each block
  // alone: those in damaged frames do not answer.
  void LearnWhatIsZero(Range range) {
    for (size_t at = range.begin; at < range.end();) {
      const size_t length = std::min<size_t>(
          range.end() - at, kBlockBytes - (base_ + at) % kBlockBytes);
      std::string now(length, 'x');
      const absl::Status status =
          volume_->Read(base_ + at, absl::MakeSpan(now));
      if (Succeeded({at, length}, status, false, false)) {
        for (size_t i = 0; i < length; ++i) {
          RAMVOL_CHECK(now[i] == 0 || now[i] == expected_[at + i]);
        }
        std::copy(now.begin(), now.end(), expected_.begin() + at);
      }
      at += length;
    }
  }

  void Read(Range range) {
    std::string now(range.length, 'x');
    const absl::Status status =
        volume_->Read(base_ + range.begin, absl::MakeSpan(now));
    if (!Succeeded(range, status, false, false)) return;
    RAMVOL_CHECK(now ==
                 std::string_view(expected_).substr(range.begin, range.length));
  }

  // So often that frames are split.
  void ReadOften(Range range) {
    range.length = std::min<size_t>(range.length, 3000);
    for (int i = 0; i < 12; ++i) {
      Read(range);
      range.begin = (range.begin + 2 * kBlockBytes) % (kWindowBytes - 3000);
    }
  }

  void CheckAll() {
    for (size_t at = 0; at < size_; at += kChunkBytes) {
      Read({at, std::min(kChunkBytes, size_ - at)});
    }
  }

  void CheckExtents(Range range) {
    const auto extents = volume_->GetExtents(base_ + range.begin, range.length,
                                             1 + input_.Choice(20));
    if (!Succeeded(range, extents.status(), false, false)) return;
    size_t position = range.begin;
    const engine::Extent* previous = nullptr;
    for (const engine::Extent& extent : extents->extents) {
      RAMVOL_CHECK(extent.offset_bytes == base_ + position);
      RAMVOL_CHECK(extent.length_bytes > 0);
      RAMVOL_CHECK(previous == nullptr || previous->hole != extent.hole);
      previous = &extent;
      const std::string_view content =
          std::string_view(expected_).substr(position, extent.length_bytes);
      RAMVOL_CHECK(content.size() == extent.length_bytes);
      RAMVOL_CHECK(!extent.hole ||
                   content.find_first_not_of('\0') == std::string_view::npos);
      position += extent.length_bytes;
    }
    RAMVOL_CHECK(base_ + position == extents->next_offset_bytes);
    RAMVOL_CHECK(position <= range.end());
    RAMVOL_CHECK(range.length == 0 || position > range.begin);
  }

  void Resize(uint64_t bytes) {
    VolumeUpdate update;
    const size_t size = 1 + bytes % kWindowBytes;
    update.size_bytes = base_ + size;
    const absl::Status status = volume_->Update(update);
    if (status.code() == absl::StatusCode::kResourceExhausted) {
      RAMVOL_CHECK(size > size_);  // A kMalloc volume that grows.
      return;
    }
    RAMVOL_CHECK(status.ok());
    SetSize(size);
  }

  void SetSize(size_t size) {
    RAMVOL_CHECK(volume_->size_bytes() == base_ + size);
    if (size < size_) {
      std::fill(expected_.begin() + size, expected_.end(), '\0');
    }
    size_ = size;
  }

  void Update(uint64_t what) {
    VolumeUpdate update;
    if ((what & 1) != 0) update.read_only = (what & 2) != 0;
    if ((what & 4) != 0) update.write_level = (what & 8) != 0 ? 3 : -1;
    if ((what & 16) != 0) update.merge_level = (what & 32) != 0 ? 9 : 1;
    RAMVOL_CHECK(volume_->Update(update).ok());
    read_only_ = update.read_only.value_or(read_only_);
  }

  // Once for each chunk: a second flip of the same bit would mend it.
  void Corrupt(size_t at) {
    if (Damaged({at, 1})) return;
    if (volume_->CorruptForTest(base_ + at)) {
      damaged_chunks_.insert((base_ + at) / kChunkBytes);
    }
  }

  bool Damaged(Range range) const {
    const auto first =
        damaged_chunks_.lower_bound((base_ + range.begin) / kChunkBytes);
    return first != damaged_chunks_.end() &&
           *first * kChunkBytes < base_ + range.end();
  }

  void CheckStats() {
    const VolumeStats stats = volume_->Stats();
    RAMVOL_CHECK(stats.logical_bytes ==
                 kBlockBytes * (stats.compressed_blocks + stats.raw_blocks +
                                stats.same_filled_blocks + stats.dirty_blocks));
    uint64_t frame_bytes = 0;
    for (const uint64_t bytes : stats.frame_bytes) frame_bytes += bytes;
    RAMVOL_CHECK(stats.stored_bytes ==
                 frame_bytes +
                     kBlockBytes * (stats.raw_blocks + stats.dirty_blocks));
    RAMVOL_CHECK(stats.dead_bytes <= frame_bytes);
    RAMVOL_CHECK(stats.hot_bytes >= stats.dirty_bytes);
    RAMVOL_CHECK(stats.memory_bytes >= stats.stored_bytes);
    RAMVOL_CHECK(stats.logical_bytes <= size_ + 2 * kBlockBytes);
    RAMVOL_CHECK(!damaged_chunks_.empty() || stats.corrupt_frames == 0);
  }

  // With the volume goes all of its memory.
  void Delete() {
    RAMVOL_CHECK(SharedEngine().DeleteVolume(volume_, /*force=*/false).ok());
    const VolumeStats stats = volume_->Stats();
    RAMVOL_CHECK(stats.logical_bytes == 0 && stats.stored_bytes == 0);
    RAMVOL_CHECK(stats.hot_bytes == 0 && stats.dead_bytes == 0);
    volume_.reset();
    // A background thread may still hold something for a moment.
    static const uint64_t empty_bytes = [] {
      auto engine = Engine::Create(SharedEngine().options());
      RAMVOL_CHECK(engine.ok());
      return (*engine)->Stats().memory_allocated_bytes;
    }();
    for (int i = 0; i < kMaxWaits; ++i) {
      if (SharedEngine().Stats().memory_allocated_bytes == empty_bytes) return;
      std::this_thread::yield();
    }
    RAMVOL_CHECK(!"memory is left behind");
  }

  Input& input_;
  uint64_t base_ = 0;  // Where in the volume the window lies.
  std::shared_ptr<Volume> volume_;
  std::string expected_;
  size_t size_ = kWindowBytes;  // Of the window.
  bool read_only_ = false;
  std::set<uint64_t> damaged_chunks_;  // By number; some are so no more.
};

}  // namespace
}  // namespace ramvol::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ramvol::testing::Input input(data, size);
  ramvol::testing::Driver(input).Run();
  return 0;
}
