// An upgrade: a memory file that an earlier build has left, which is kept here,
// and one of another format.
//
// The file is tests/server/engine/state_image.zst, made by this test:
//
//   export RAMVOL_WRITE_STATE=$PWD/tests/server/engine/state_image.zst
//   bazel-bin/tests/server/engine/state_upgrade_test
//
// Make it anew when the format changes, and only then: that a later build still
// reads what an earlier one wrote is what is tested.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/memory/state_header.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/server/engine/support/state_image.h"
#include "tests/support/status_matchers.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kImage[] = "tests/server/engine/state_image.zst";
constexpr uint64_t kSize = 3 << 20;

absl::StatusOr<std::unique_ptr<Engine>> Open(const std::string& dir) {
  EngineOptions options;
  options.memory_limit_bytes = 64 << 20;
  options.hot_cache_bytes = 1 << 20;
  options.state_dir = dir;
  return Engine::Create(options);
}

StateImage KeptImage() {
  std::ifstream file(kImage, std::ios::binary);
  EXPECT_TRUE(file) << kImage;
  return StateImage::FromCompressed({std::istreambuf_iterator<char>(file), {}});
}

// Text, a pattern, noise and holes, which do not depend on any library.
std::string Text(int seed, size_t bytes) {
  std::string text;
  for (int i = seed; text.size() < bytes; ++i) absl::StrAppend(&text, i, ", ");
  text.resize(bytes);
  return text;
}
std::string Noise(uint64_t seed, size_t bytes) {
  std::string noise(bytes, '\0');
  for (char& byte : noise) {
    seed = seed * 6364136223846793005 + 1442695040888963407;
    byte = static_cast<char>(seed >> 56);
  }
  return noise;
}

struct Part {
  uint64_t offset;
  std::string bytes;
};

std::vector<Part> FirstParts() {
  return {{0, Text(1, 200000)},
          {300000, Noise(1, 20000)},
          {1 << 20, std::string(70000, 'p')},
          {(1 << 20) + 5000, Text(5, 3000)},
          {kSize - 9000, Text(9, 9000)}};
}
std::vector<Part> LaterParts() {
  return {
      {4096, Noise(2, 4096)}, {150000, Text(3, 100)}, {2 << 20, Text(4, 9)}};
}

std::string Applied(std::string content, const std::vector<Part>& parts) {
  for (const Part& part : parts) {
    content.replace(part.offset, part.bytes.size(), part.bytes);
  }
  return content;
}
std::string First() { return Applied(std::string(kSize, '\0'), FirstParts()); }
std::string Later() { return Applied(First(), LaterParts()); }

void Write(Volume& volume, const std::vector<Part>& parts) {
  for (const Part& part : parts) {
    ASSERT_THAT(volume.Write(part.offset, part.bytes), IsOk());
  }
}

std::string Content(Engine& engine, const std::string& name) {
  auto volume = engine.Find(name);
  EXPECT_THAT(volume.status(), IsOk()) << name;
  if (!volume.ok()) return "";
  std::string content((*volume)->size_bytes(), '?');
  EXPECT_THAT((*volume)->Read(0, absl::MakeSpan(content)), IsOk());
  return content;
}

// As an earlier build has done it.
void MakeVolumes(Engine& engine) {
  for (const Allocator allocator :
       {Allocator::kZstd, Allocator::kSparse, Allocator::kMalloc}) {
    VolumeOptions options;
    options.name = absl::StrCat("disk", static_cast<int>(allocator));
    options.size_bytes = kSize;
    options.allocator = allocator;
    options.write_level = 3;
    const auto volume = engine.CreateVolume(options, [](const Volume& made) {
      return absl::StrCat("attributes of ", made.name(), Text(7, 5000));
    });
    ASSERT_THAT(volume.status(), IsOk());
    Write(**volume, FirstParts());
  }
  const auto disk = *engine.Find("disk0");
  engine.QuiesceForTest(/*merge=*/true);
  ASSERT_THAT(engine.CreateSnapshots({{disk, "kept"}}).status(), IsOk());
  VolumeOptions options;
  options.name = "clone";
  ASSERT_THAT(engine.CloneVolume(options, disk).status(), IsOk());
  Write(*disk, LaterParts());  // Stays hot, and dirty.
  VolumeUpdate update;
  update.memory_limit_bytes = 40 << 20;
  ASSERT_THAT(disk->Update(update), IsOk());
}

void ExpectVolumes(Engine& engine) {
  EXPECT_TRUE(Content(engine, "disk0") == Later());
  for (const std::string name : {"disk1", "disk2", "clone", "@kept"}) {
    EXPECT_TRUE(Content(engine, name) == First()) << name;
  }
  const auto disk = *engine.Find("disk0");
  EXPECT_EQ(disk->options().memory_limit_bytes, 40u << 20);
  EXPECT_EQ(disk->options().write_level, 3);
  EXPECT_EQ(disk->attributes(),
            absl::StrCat("attributes of disk0", Text(7, 5000)));
}

TEST(StateUpgradeTest, GoesOnWithWhatAnEarlierBuildLeft) {
  if (const char* path = std::getenv("RAMVOL_WRITE_STATE")) {
    const ShmDir dir;
    MakeVolumes(**Open(dir.path()));
    std::ofstream(path, std::ios::binary)
        << StateImage::Of(dir.path()).Compressed();
  }
  const ShmDir dir;
  KeptImage().PutInto(dir.path());
  for (int start = 0; start < 3; ++start) {
    auto engine = Open(dir.path());
    ASSERT_THAT(engine.status(), IsOk())
        << "if the format has changed on purpose, make the file anew, as the "
           "top of this test says";
    EXPECT_EQ((*engine)->recovered().volumes, 5u);
    EXPECT_THAT((*engine)->recovered().damaged, IsEmpty());
    ExpectVolumes(**engine);
    (*engine)->QuiesceForTest(/*merge=*/true);
    ExpectVolumes(**engine);
  }
}

// Both ways: an older build finds a newer format, a newer one an older.
TEST(StateUpgradeTest, AnotherFormatIsRefusedAndStays) {
  StateImage image = KeptImage();
  StateHeader header;
  std::string& page = image.pages.front().bytes;
  std::memcpy(&header, page.data(), sizeof(header));
  for (const uint64_t format : {header.format + 1, header.format - 1}) {
    const StateHeader other = StateHeader::Make(
        format, header.address, header.file_bytes, header.limit_bytes);
    std::memcpy(page.data(), &other, sizeof(other));
    const ShmDir dir;
    image.PutInto(dir.path());
    EXPECT_THAT(
        Open(dir.path()).status(),
        StatusIs(
            absl::StatusCode::kFailedPrecondition,
            AllOf(HasSubstr(absl::StrCat("the format of volumes is ", format,
                                         ", expected ", header.format)),
                  HasSubstr("Start that version and save them, or move"),
                  HasSubstr(dir.path()))));
    EXPECT_TRUE(StateImage::Of(dir.path()) == image);
  }
}

}  // namespace
}  // namespace ramvol::engine
