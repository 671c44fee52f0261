// Volumes in a state_dir, of which a part is still in the save that they are
// read from when their server ends.
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/saves/save_dir.h"
#include "tests/server/engine/support/shm_dir.h"
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
using ::ramvol::testing::Text;
using ::testing::_;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kLimit = uint64_t{256} << 20;
constexpr uint64_t kBytes = 2 << 20;

class ReadBackStateTest : public ::testing::Test {
 protected:
  std::unique_ptr<SaveDir> OpenDir() const { return OpenDir(path()); }
  static std::unique_ptr<SaveDir> OpenDir(const std::string& path) {
    auto opened = SaveDir::Open(path);
    EXPECT_THAT(opened.status(), IsOk());
    return *std::move(opened);
  }
  std::unique_ptr<TestVolumes> OpenState(uint64_t limit = kLimit) const {
    return std::make_unique<TestVolumes>(limit, state_.path());
  }
  std::string path() const { return dir_.path() + "/saves"; }

  // A volume and a clone of a snapshot of it, saved and begun to be read: one
  // chunk of the volume was read, one of it was written.
  void BeginAndDie() {
    {
      TestVolumes before;
      std::mt19937_64 random(4);
      content_ = Text(random, kBytes / 2) + Noise(random, kBytes / 2);
      ASSERT_THAT(before.Create("disk", kBytes)->Write(0, content_), IsOk());
      before.Snapshot("disk", "snapshot");
      before.Clone("@snapshot", "clone");
      ASSERT_THAT(OpenDir()->Save(&before.engine(), true, nullptr).status(),
                  IsOk());
    }
    auto volumes = OpenState();
    const auto saves = OpenDir();
    saves->ReadNothingAheadForTest();
    ASSERT_THAT(saves->Begin(&volumes->engine(), nullptr).status(), IsOk());
    auto disk = volumes->Find("disk");
    std::string got(10, '?');
    ASSERT_THAT(disk->Read(100, absl::MakeSpan(got)), IsOk());
    EXPECT_EQ(got, content_.substr(100, 10));
    ASSERT_THAT(disk->Write(kBytes - 5000, std::string("written")), IsOk());
    written_ = content_;
    written_.replace(kBytes - 5000, 7, "written");
  }
  void ExpectAll(TestVolumes& volumes) const {
    EXPECT_TRUE(TestVolumes::Content(*volumes.Find("disk")) == written_);
    EXPECT_TRUE(TestVolumes::Content(*volumes.Find("clone")) == content_);
    EXPECT_TRUE(TestVolumes::Content(*volumes.Find("@snapshot")) == content_);
  }
  static void ExpectLost(engine::Volume& volume, uint64_t offset) {
    std::string got(10, '?');
    EXPECT_THAT(volume.Read(offset, absl::MakeSpan(got)),
                StatusIs(absl::StatusCode::kDataLoss, _));
    EXPECT_EQ(volume.completeness(), engine::Completeness::kIncomplete);
  }

  TempDir dir_;
  engine::ShmDir state_;
  std::string content_;
  std::string written_;
};

TEST_F(ReadBackStateTest, TheNextServerGoesOn) {
  BeginAndDie();
  for (const bool finishes : {false, true}) {
    auto volumes = OpenState();
    EXPECT_EQ(volumes->engine().recovered().volumes, 3u);
    EXPECT_THAT(volumes->engine().recovered().damaged, IsEmpty());
    EXPECT_NE(volumes->engine().recovered().outside, 0u);
    const auto saves = OpenDir();
    if (!finishes) {
      saves->ReadNothingAheadForTest();
      ASSERT_THAT(saves->Resume(&volumes->engine()).status(), IsOk());
      EXPECT_EQ(volumes->Find("clone")->completeness(),
                engine::Completeness::kRestoring);
      EXPECT_GT(saves->stats().restoring_bytes, 0u);
      std::string got(10, '?');
      ASSERT_THAT(volumes->Find("clone")->Read(70000, absl::MakeSpan(got)),
                  IsOk());
      EXPECT_EQ(got, content_.substr(70000, 10));
      continue;
    }
    const auto resumed = saves->Resume(&volumes->engine());
    ASSERT_THAT(resumed.status(), IsOk());
    EXPECT_EQ(resumed->volumes, 2u);
    EXPECT_EQ(resumed->snapshots, 1u);
    ExpectAll(*volumes);
    EXPECT_THAT(saves->AwaitRestored(nullptr), IsOk());
    EXPECT_EQ(saves->stats().damaged_images, 0u);
    EXPECT_EQ(volumes->Find("clone")->completeness(),
              engine::Completeness::kComplete);
    ExpectAll(*volumes);
  }
  // The save is not needed any more.
  std::filesystem::remove_all(path());
  auto volumes = OpenState();
  EXPECT_EQ(volumes->engine().recovered().outside, 0u);
  EXPECT_THAT(volumes->engine().recovered().outside_images, IsEmpty());
  ExpectAll(*volumes);
}

TEST_F(ReadBackStateTest, WithoutItsSaveNothingIsServedThatIsNotThere) {
  BeginAndDie();
  {
    // Nobody looks for it.
    auto volumes = OpenState();
    auto disk = volumes->Find("disk");
    ExpectLost(*disk, 200000);
    ExpectLost(*volumes->Find("@snapshot"), 200000);
    std::string got(7, '?');
    EXPECT_THAT(disk->Read(kBytes - 5000, absl::MakeSpan(got)), IsOk());
    EXPECT_EQ(got, "written");
    // What replaces it is as good as ever, and stays.
    EXPECT_THAT(disk->Write(65536, std::string(65536, 'n')), IsOk());
    written_.replace(65536, 65536, 65536, 'n');
    EXPECT_THAT(disk->Write(65536 * 2 + 1, std::string("part")),
                StatusIs(absl::StatusCode::kDataLoss, _));
    // Else a later server would find what was cut off.
    engine::VolumeUpdate update;
    update.size_bytes = 65536 * 5 + 100;
    EXPECT_THAT(disk->Update(update), StatusIs(absl::StatusCode::kDataLoss, _));
  }
  {
    // Another save is there.
    auto volumes = OpenState();
    TestVolumes others;
    others.Create("disk", kBytes);
    const auto saves = OpenDir(dir_.path() + "/others");
    ASSERT_THAT(saves->Save(&others.engine(), true, nullptr).status(), IsOk());
    EXPECT_THAT(saves->Resume(&volumes->engine()).status(),
                StatusIs(absl::StatusCode::kNotFound, _));
    ExpectLost(*volumes->Find("clone"), 200000);
    // It lacks what is not there, and says so.
    const auto saved = saves->Save(&volumes->engine(), true, nullptr);
    ASSERT_THAT(saved.status(), IsOk());
    EXPECT_THAT(saved->left_out, SizeIs(3));
    EXPECT_TRUE(std::filesystem::exists(dir_.path() + "/others/kept-1"));
  }
  // It is found again, whatever it is called.
  std::filesystem::rename(path() + "/save-1", path() + "/kept-1");
  auto volumes = OpenState();
  const auto saves = OpenDir();
  ASSERT_THAT(saves->Resume(&volumes->engine()).status(), IsOk());
  ExpectAll(*volumes);
}

TEST_F(ReadBackStateTest, ADamagedImageIsLookedForAgain) {
  BeginAndDie();
  const std::string image = path() + "/save-1/@snapshot.qcow2";
  std::filesystem::rename(image, image + ".away");
  for (int start = 0; start < 2; ++start) {
    auto volumes = OpenState();
    const auto saves = OpenDir();
    const auto resumed = saves->Resume(&volumes->engine());
    ASSERT_THAT(resumed.status(), IsOk());
    EXPECT_THAT(resumed->damaged, SizeIs(1));
    EXPECT_THAT(saves->AwaitRestored(nullptr), IsOk());
    ExpectLost(*volumes->Find("clone"), 200000);
  }
  std::filesystem::rename(image + ".away", image);
  {
    auto volumes = OpenState();
    const auto saves = OpenDir();
    ASSERT_THAT(saves->Resume(&volumes->engine()).status(), IsOk());
    EXPECT_THAT(saves->AwaitRestored(nullptr), IsOk());
    ExpectAll(*volumes);
  }
  EXPECT_EQ(OpenState()->engine().recovered().outside, 0u);
}

// Renamed, deleted, cloned, reverted and resized in the middle.
TEST_F(ReadBackStateTest, VolumesMayChangeInBetween) {
  BeginAndDie();
  std::string clone = content_;
  {
    auto volumes = OpenState();
    const auto saves = OpenDir();
    saves->ReadNothingAheadForTest();
    ASSERT_THAT(saves->Resume(&volumes->engine()).status(), IsOk());
    engine::Engine& engine = volumes->engine();
    auto disk = volumes->Find("disk");
    EXPECT_THAT(engine.RenameVolume(disk, "other"), IsOk());
    EXPECT_EQ(volumes->Clone("other", "copy")->completeness(),
              engine::Completeness::kRestoring);
    EXPECT_THAT(engine.RevertVolume(disk, volumes->Find("@snapshot"), false),
                IsOk());
    engine::VolumeUpdate update;
    update.size_bytes = 65536 * 5 + 100;
    EXPECT_THAT(volumes->Find("clone")->Update(update), IsOk());
    clone.resize(*update.size_bytes);
    update.size_bytes = kBytes;
    EXPECT_THAT(volumes->Find("clone")->Update(update), IsOk());
    clone.resize(kBytes);
    // Its image still has what all of these share.
    EXPECT_THAT(engine.DeleteVolume(volumes->Find("@snapshot"), false), IsOk());
  }
  for (int start = 0; start < 2; ++start) {
    auto volumes = OpenState();
    const auto saves = OpenDir();
    if (start == 0) {
      EXPECT_EQ(volumes->Find("copy")->completeness(),
                engine::Completeness::kIncomplete);
      ASSERT_THAT(saves->Resume(&volumes->engine()).status(), IsOk());
    }
    EXPECT_TRUE(TestVolumes::Content(*volumes->Find("other")) == content_);
    EXPECT_TRUE(TestVolumes::Content(*volumes->Find("copy")) == written_);
    EXPECT_TRUE(TestVolumes::Content(*volumes->Find("clone")) == clone);
    if (start == 0) {
      EXPECT_THAT(saves->AwaitRestored(nullptr), IsOk());
    }
    EXPECT_EQ(volumes->Find("copy")->completeness(),
              engine::Completeness::kComplete);
  }
}

// The room of what is to come is kept again, whatever was written meanwhile.
TEST_F(ReadBackStateTest, ItFitsAgain) {
  constexpr uint64_t kTight = 16 << 20;
  std::string content;
  {
    TestVolumes before(kTight);
    std::mt19937_64 random(8);
    content = Noise(random, 8 << 20);
    ASSERT_THAT(before.Create("disk", content.size())->Write(0, content),
                IsOk());
    ASSERT_THAT(OpenDir()->Save(&before.engine(), true, nullptr).status(),
                IsOk());
  }
  const auto fill = [](TestVolumes& volumes) {
    std::mt19937_64 random(9);
    auto greedy = volumes.Find("greedy");
    absl::Status status;
    for (uint64_t at = 0; status.ok() && at < greedy->size_bytes();
         at += 1 << 20) {
      status = greedy->Write(at, Noise(random, 1 << 20));
    }
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, _));
  };
  {
    auto volumes = OpenState(kTight);
    const auto saves = OpenDir();
    saves->ReadNothingAheadForTest();
    ASSERT_THAT(saves->Begin(&volumes->engine(), nullptr).status(), IsOk());
    volumes->Create("greedy", 64 << 20);
    fill(*volumes);
  }
  auto volumes = OpenState(kTight);
  const auto saves = OpenDir();
  saves->ReadNothingAheadForTest();
  ASSERT_THAT(saves->Resume(&volumes->engine()).status(), IsOk());
  fill(*volumes);
  EXPECT_TRUE(TestVolumes::Content(*volumes->Find("disk")) == content);
  EXPECT_LE(volumes->engine().Stats().memory_used_bytes, kTight);
}

}  // namespace
}  // namespace ramvol::saves
