// libFuzzer over the recovery of a memory file: an input is a list of changes
// to one that is sound. Whatever comes of them, the engine that opens it, and
// what uses its volumes, must not come to harm; nor a second one.
//
//   bazel build --config=fuzz //tests/fuzz:recovery_fuzzer
//   bazel-bin/tests/fuzz/recovery_fuzzer tests/fuzz/corpus/recovery
//
// A change is a kind, a place (a page of those with metadata, or of all, and a
// word in it), and what the kind needs.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "base/check.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "tests/fuzz/input.h"
#include "tests/server/engine/support/state_image.h"

namespace ramvol::testing {
namespace {

using engine::Engine;
using engine::EngineOptions;
using engine::NamedVolume;
using engine::StateImage;

constexpr char kImage[] = "tests/server/engine/state_image.zst";
constexpr int kMaxChanges = 12;
constexpr size_t kMaxReadBytes = 4 << 20;
constexpr size_t kWords = StateImage::kPageBytes / sizeof(uint64_t);

const StateImage& SoundImage() {
  static const StateImage* const image = [] {
    std::ifstream file(kImage, std::ios::binary);
    RAMVOL_CHECK(static_cast<bool>(file));
    return new StateImage(
        StateImage::FromCompressed({std::istreambuf_iterator<char>(file), {}}));
  }();
  return *image;
}

uint64_t WordAt(const StateImage::Page& page, size_t word) {
  uint64_t value;
  std::memcpy(&value, page.bytes.data() + word * sizeof(value), sizeof(value));
  return value;
}

// As the memory file maps them.
bool LooksLikePointer(uint64_t word) {
  return word >> 40 >= 0x11 && word >> 40 < 0x50;
}

// The words that are pointers, and some beside them: most of the rest is
// content, which has checksums.
struct Place {
  size_t page;
  size_t word;
};
const std::vector<Place>& Metadata() {
  static const auto* const places = [] {
    constexpr size_t kBeside = 4;
    auto* found = new std::vector<Place>;
    for (size_t page = 0; page < SoundImage().pages.size(); ++page) {
      size_t next = 0;
      for (size_t word = 0; word < kWords; ++word) {
        if (!LooksLikePointer(WordAt(SoundImage().pages[page], word))) continue;
        next = std::max(next, word - std::min(word, kBeside));
        for (; next < std::min(word + kBeside, kWords); ++next) {
          found->push_back({page, next});
        }
      }
    }
    return found;
  }();
  return *places;
}

Place TakePlace(Input* input, bool any) {
  const uint64_t number = input->Number(3);
  if (!any) return Metadata()[number % Metadata().size()];
  return {number / kWords % SoundImage().pages.size(), number % kWords};
}

uint64_t Changed(int kind, uint64_t word, Input* input) {
  switch (kind) {
    case 0:
      return word ^ uint64_t { 1 } << input->Number(1) % 64;
    case 1:
      return word + static_cast<int8_t>(input->Number(1)) * uint64_t{16};
    case 2:
      return input->Number(8);
    case 3:
      return 0;
    default: {
      // Another pointer, perhaps.
      const Place from = TakePlace(input, false);
      return WordAt(SoundImage().pages[from.page], from.word);
    }
  }
}

StateImage ChangedImage(Input* input) {
  StateImage image = SoundImage();
  for (int i = 0; i < kMaxChanges && !input->empty(); ++i) {
    const int choice = input->Choice(10);
    const Place at = TakePlace(input, choice >= 5);
    StateImage::Page& page = image.pages[at.page];
    const uint64_t word = Changed(choice % 5, WordAt(page, at.word), input);
    std::memcpy(page.bytes.data() + at.word * sizeof(word), &word,
                sizeof(word));
  }
  return image;
}

std::vector<NamedVolume> All(Engine& engine) {
  std::vector<NamedVolume> all = engine.List("", 100);
  for (NamedVolume& snapshot : engine.List("@", 100)) {
    all.push_back(std::move(snapshot));
  }
  return all;
}

// Reads, changes and deletes all that there is. Errors are fine.
void UseAll(Engine& engine) {
  engine.Stats();
  for (const NamedVolume& named : All(engine)) {
    engine::Volume& volume = *named.volume;
    volume.Stats();
    const uint64_t size = volume.size_bytes();
    std::string bytes(std::min<uint64_t>(size, kMaxReadBytes), '?');
    volume.Read(0, absl::MakeSpan(bytes)).IgnoreError();
    volume.Write(size / 3, std::string(std::min<size_t>(size / 2, 90000), 'w'))
        .IgnoreError();
    volume.Trim(size / 2, std::min<uint64_t>(size / 4, 200000)).IgnoreError();
  }
  engine.QuiesceForTest(/*merge=*/true);
  for (const NamedVolume& named : All(engine)) {
    const bool snapshot = named.volume->is_snapshot();
    if (!snapshot) {
      engine.CreateSnapshots({{named.volume, "of-" + named.name}})
          .status()
          .IgnoreError();
    }
    RAMVOL_CHECK(engine.DeleteVolume(named.volume, /*force=*/false).ok());
  }
}

// Removed when the process ends in order.
const std::string& Dir() {
  struct Made {
    Made() { RAMVOL_CHECK(mkdtemp(path.data()) != nullptr); }
    ~Made() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
    std::string path = "/dev/shm/ramvol-fuzz-XXXXXX";
  };
  static const Made made;
  return made.path;
}

std::unique_ptr<Engine> Open(const std::string& dir) {
  EngineOptions options;
  options.memory_limit_bytes = 64 << 20;
  options.hot_cache_bytes = 1 << 20;
  options.background_threads = 1;
  options.merge_interval_ms = 1000000000;
  options.state_dir = dir;
  auto engine = Engine::Create(options);
  return engine.ok() ? *std::move(engine) : nullptr;
}

void Run(Input input) {
  const bool twice = input.Choice(2) == 1;
  ChangedImage(&input).PutInto(Dir());
  for (int start = 0; start < (twice ? 3 : 2); ++start) {
    const std::unique_ptr<Engine> engine = Open(Dir());
    if (engine == nullptr) return;
    if (start > 0 || !twice) UseAll(*engine);
  }
}

}  // namespace
}  // namespace ramvol::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ramvol::testing::Run(ramvol::testing::Input(data, size));
  return 0;
}
