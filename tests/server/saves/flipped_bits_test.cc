// Images of a save of which single bits are wrong, and images of earlier
// versions, which cannot tell.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "qcow2/format.h"
#include "qcow2/image_digest.h"
#include "qcow2/trailer.h"
#include "server/engine/engine.h"
#include "server/saves/manifest.h"
#include "server/saves/save_dir.h"
#include "tests/server/saves/save_fixture.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace ramvol::saves {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::Noise;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TempDir;
using ::ramvol::testing::TestSeed;
using ::ramvol::testing::TestSteps;
using ::ramvol::testing::Text;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kFlips = 150;
constexpr uint64_t kChunk = 65536;
constexpr uint64_t kSize = 20 * kChunk + 5000;

std::string Load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void Store(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class FlippedBitsTest : public ::testing::Test {
 protected:
  // Chunks that do not compress, that do, both, none.
  void MakeSave() {
    TestVolumes before;
    std::mt19937_64 random(3);
    content_ = Noise(random, 6 * kChunk) + Text(random, 6 * kChunk) +
               Noise(random, 20000) + Text(random, 50000);
    content_.resize(kSize);
    auto disk = before.Create("disk", kSize);
    ASSERT_THAT(disk->Write(0, content_.substr(0, 14 * kChunk)), IsOk());
    const std::string end = Text(random, 3000);
    content_.replace(kSize - 3000, 3000, end);
    ASSERT_THAT(disk->Write(kSize - 3000, end), IsOk());
    before.engine().QuiesceForTest(/*merge=*/true);
    ASSERT_THAT(OpenDir()->Save(&before.engine(), true, nullptr).status(),
                IsOk());
    image_ = Load(path());
  }
  std::unique_ptr<SaveDir> OpenDir() const {
    auto opened = SaveDir::Open(dir_.path() + "/saves");
    EXPECT_THAT(opened.status(), IsOk());
    return *std::move(opened);
  }
  std::string path() const { return dir_.path() + "/saves/save-1/disk.qcow2"; }

  // Reads all chunks: they are right, or DATA_LOSS. Returns how many are lost.
  int CountLost(engine::Volume& volume) const {
    int lost = 0;
    for (uint64_t at = 0; at < kSize; at += kChunk) {
      std::string got(std::min(kChunk, kSize - at), '?');
      const absl::Status status = volume.Read(at, absl::MakeSpan(got));
      if (status.ok()) {
        EXPECT_TRUE(got == content_.substr(at, got.size())) << at;
        continue;
      }
      ++lost;
      EXPECT_THAT(status,
                  StatusIs(absl::StatusCode::kDataLoss,
                           AllOf(HasSubstr("volume \"disk\""),
                                 HasSubstr(absl::StrCat("at offset ", at)))));
    }
    return lost;
  }
  // Of a server that reads the save as it is now, when clients come first, or
  // come last. -1: the volume is not served at all.
  int LostOf(bool on_demand) const {
    TestVolumes after(uint64_t{64} << 20);
    const auto saves = OpenDir();
    if (on_demand) saves->ReadNothingAheadForTest();
    const auto begun = saves->Begin(&after.engine(), nullptr);
    // There is no other volume.
    if (!begun.ok()) return -1;
    if (!on_demand) {
      EXPECT_THAT(saves->AwaitRestored(nullptr), IsOk());
    }
    const int lost = CountLost(*after.Find("disk"));
    if (!on_demand) {
      EXPECT_TRUE(lost == 0 || saves->stats().damaged_images == 1);
    }
    return lost;
  }

  TempDir dir_;
  std::string content_;
  std::string image_;
};

TEST_F(FlippedBitsTest, NoWrongByteIsServed) {
  MakeSave();
  EXPECT_EQ(LostOf(true), 0);
  EXPECT_EQ(LostOf(false), 0);
  std::mt19937_64 random(TestSeed(std::random_device()()));
  int unserved = 0;
  int lost = 0;
  const int flips = TestSteps(kFlips);
  for (int i = 0; i < flips; ++i) {
    // Where something is: tables have few bytes that are not 0.
    size_t at = random() % image_.size();
    const bool table = i % 3 == 0;
    if (table) at = random() % (6 * kChunk) / kChunk * kChunk + random() % 256;
    std::string flipped = image_;
    flipped[at] = static_cast<char>(flipped[at] ^ 1 << random() % 8);
    Store(path(), flipped);
    SCOPED_TRACE(absl::StrCat("at ", at));
    for (const bool on_demand : {true, false}) {
      const int found = LostOf(on_demand);
      unserved += found < 0 ? 1 : 0;
      lost += found > 0 ? 1 : 0;
      EXPECT_LE(found, 2) << "only what has the bit";
    }
    if (HasFailure()) return;
  }
  std::printf("%d flips, twice each: %d times not served, %d times lost\n",
              flips, unserved, lost);
  EXPECT_GT(unserved, 0);
  EXPECT_GT(lost, 0);
}

// The chunk that has it is the one that is named, and no other.
TEST_F(FlippedBitsTest, ABitOfABlockThatDoesNotCompressIsFound) {
  MakeSave();
  const size_t at = image_.find(content_.substr(3 * kChunk, kChunk));
  ASSERT_NE(at, std::string::npos) << "it is there as it is";
  image_[at + 777] = static_cast<char>(image_[at + 777] ^ 1);
  Store(path(), image_);
  TestVolumes after;
  const auto saves = OpenDir();
  saves->ReadNothingAheadForTest();
  ASSERT_THAT(saves->Begin(&after.engine(), nullptr).status(), IsOk());
  std::string got(kChunk, '?');
  EXPECT_THAT(after.Find("disk")->Read(3 * kChunk, absl::MakeSpan(got)),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("volume \"disk\" at offset 196608"),
                             HasSubstr("cannot be read from its save"))));
  EXPECT_EQ(CountLost(*after.Find("disk")), 1);
}

// As the versions before the sums wrote it.
TEST_F(FlippedBitsTest, AnImageWithoutSumsIsReadAsBefore) {
  MakeSave();
  const size_t extension = image_.find("RAMV");
  ASSERT_LT(extension, 4096u);
  image_[extension + 15] = 0;
  const size_t end = image_.size() - qcow2::kTrailerBytes;
  qcow2::ImageDigest digest;
  digest.Add(std::string_view(image_).substr(0, end));
  image_.replace(end, qcow2::kTrailerBytes,
                 qcow2::EncodeTrailer({.has_digest = true,
                                       .digest = digest.Get(),
                                       .has_front = false,
                                       .front = 0}));
  Store(path(), image_);
  const std::string manifest_path =
      dir_.path() + "/saves/save-1/" + kManifestFile;
  auto manifest = ParseManifest(Load(manifest_path));
  ASSERT_THAT(manifest.status(), IsOk());
  manifest->mutable_roots(0)->set_digest(digest.Get());
  Store(manifest_path, EncodeManifest(*manifest));
  EXPECT_EQ(LostOf(true), 0);
  EXPECT_EQ(LostOf(false), 0);
}

}  // namespace
}  // namespace ramvol::saves
