// Saves and what comes back of them. save_kill_test kills the process
// meanwhile.
#include "server/saves/save_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "tests/server/engine/support/expect_allocated.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/server/saves/save_fixture.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

// A save holds locks of all volumes for an instant; ThreadSanitizer's search
// for deadlocks ends a thread with more than 64.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "detect_deadlocks=0"; }
// NOLINTEND(bugprone-reserved-identifier)

namespace ramvol::saves {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::Noise;
using ::ramvol::testing::RandomData;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TempDir;
using ::ramvol::testing::TestSeed;
using ::ramvol::testing::TestSteps;
using ::ramvol::testing::Text;
using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kSize = 4 << 20;

std::vector<std::string> FilesIn(const std::string& path) {
  std::vector<std::string> names;
  DIR* dir = opendir(path.c_str());
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != '.') names.push_back(entry->d_name);
  }
  closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

uint64_t DiskBytes(const std::string& path) {
  uint64_t bytes = 0;
  for (const std::string& name : FilesIn(path)) {
    struct stat info;
    EXPECT_EQ(stat(absl::StrCat(path, "/", name).c_str(), &info), 0);
    bytes += static_cast<uint64_t>(info.st_blocks) * 512;
  }
  return bytes;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}
void WriteFile(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class SaveDirTest : public ::testing::Test {
 protected:
  std::unique_ptr<SaveDir> OpenDir(DiskHook hook = nullptr) {
    auto opened = SaveDir::Open(path(), std::move(hook));
    EXPECT_THAT(opened.status(), IsOk());
    return *std::move(opened);
  }
  std::string path() const { return dir_.path() + "/saves"; }

  SaveDir::Saved Save(TestVolumes& volumes, bool quiet = false) {
    auto saved = OpenDir()->Save(&volumes.engine(), quiet, nullptr);
    EXPECT_THAT(saved.status(), IsOk());
    return saved.ok() ? *saved : SaveDir::Saved();
  }
  SaveDir::Restored Restore(TestVolumes& volumes) {
    const auto dir = OpenDir();
    auto restored = dir->Begin(&volumes.engine(), nullptr);
    EXPECT_THAT(restored.status(), IsOk());
    EXPECT_THAT(dir->AwaitRestored(nullptr), IsOk());
    return restored.ok() ? *restored : SaveDir::Restored();
  }
  absl::Status WhyNotRestored(uint64_t memory_limit_bytes = uint64_t{256}
                                                            << 20) {
    TestVolumes volumes(memory_limit_bytes);
    const auto before = volumes.engine().Stats().memory_allocated_bytes;
    absl::Status status = OpenDir()->Begin(&volumes.engine(), nullptr).status();
    if (!status.ok()) {
      EXPECT_THAT(volumes.Everything(), IsEmpty());
      engine::ExpectAllocated(volumes.engine(), before);
    }
    return status;
  }

  TempDir dir_;
};

TEST_F(SaveDirTest, WithoutASaveThereIsNothing) {
  TestVolumes volumes;
  const SaveDir::Restored restored = Restore(volumes);
  EXPECT_EQ(restored.path, "");
  EXPECT_THAT(volumes.Everything(), IsEmpty());
}

TEST_F(SaveDirTest, EverythingComesBackAsItWas) {
  for (const bool quiet : {false, true}) {
    TestVolumes before;
    Fill(before, 7);
    const auto wanted = before.Everything();
    const SaveDir::Saved saved = Save(before, quiet);
    EXPECT_EQ(saved.volumes, 7u);
    EXPECT_EQ(saved.snapshots, 9u);
    EXPECT_THAT(saved.left_out, IsEmpty());
    EXPECT_EQ(saved.path, path() + (quiet ? "/save-2" : "/save-1"));

    TestVolumes after;
    const SaveDir::Restored restored = Restore(after);
    EXPECT_EQ(restored.volumes, 7u);
    EXPECT_EQ(restored.snapshots, 9u);
    EXPECT_THAT(restored.damaged, IsEmpty());
    EXPECT_EQ(after.Everything(), wanted);
    // Its volumes are as good as others.
    EXPECT_THAT(after.Find("disk0")->Write(0, "text"), IsOk());
    EXPECT_THAT(after.Find("@disk0-early")->Write(0, "text"),
                StatusIs(absl::StatusCode::kFailedPrecondition, _));
    EXPECT_NE(after.engine().FindUid(after.Find("disk0")->uid()), nullptr);
  }
  // Only the last one stays.
  EXPECT_THAT(FilesIn(path()), ElementsAre("save-2"));
}

TEST_F(SaveDirTest, NothingStaysInMemoryWhenAllIsDeletedAfterwards) {
  {
    TestVolumes before;
    Fill(before, 8);
    Save(before);
  }
  TestVolumes after;
  const uint64_t empty = after.engine().Stats().memory_allocated_bytes;
  Restore(after);
  for (const char* const list : {"", "@"}) {
    for (const auto& [name, volume] : after.engine().List(list, 1000)) {
      EXPECT_THAT(after.engine().DeleteVolume(volume, false), IsOk()) << name;
    }
  }
  engine::ExpectAllocated(after.engine(), empty);
}

// A golden image of half noise, half text; 50 clones with changes of their own.
TEST_F(SaveDirTest, WhatClonesShareIsWrittenOnceAndSharedAgain) {
  constexpr int kClones = 20;
  constexpr uint64_t kGolden = 8 << 20;
  std::mt19937_64 random(5);
  TestVolumes before(uint64_t{512} << 20);
  auto golden = before.Create("golden", kGolden);
  for (uint64_t at = 0; at < kGolden; at += 1 << 20) {
    const bool noise = at / (1 << 20) % 2 == 0;
    ASSERT_THAT(golden->Write(
                    at, noise ? Noise(random, 1 << 20) : Text(random, 1 << 20)),
                IsOk());
  }
  before.Snapshot("golden", "gold");
  for (int i = 0; i < kClones; ++i) {
    auto clone = before.Clone("@gold", absl::StrCat("clone", i));
    for (int j = 0; j < 4; ++j) {
      ASSERT_THAT(
          clone->Write(random() % (kGolden >> 16) << 16, Noise(random, 65536)),
          IsOk());
    }
    if (i % 5 == 0) {
      before.Snapshot(clone->name(), absl::StrCat("of", i));
      ASSERT_THAT(clone->Write(random() % (kGolden - 70000), "a change"),
                  IsOk());
    }
  }
  before.engine().QuiesceForTest(/*merge=*/true);
  const uint64_t bytes_before = before.engine().Stats().memory_allocated_bytes;
  const auto wanted = before.Everything();
  const SaveDir::Saved saved = Save(before);
  const uint64_t disk_bytes = DiskBytes(saved.path);

  TestVolumes after(uint64_t{512} << 20);
  Restore(after);
  EXPECT_EQ(after.Everything(), wanted);
  after.engine().QuiesceForTest(/*merge=*/true);
  const uint64_t bytes_after = after.engine().Stats().memory_allocated_bytes;
  std::printf("memory %lu, after the restore %lu, disk %lu\n", bytes_before,
              bytes_after, disk_bytes);
  EXPECT_LT(bytes_after, bytes_before * 105 / 100);
  EXPECT_LT(disk_bytes, bytes_before * 5 / 4);
}

// Chains of snapshots, a volume that was cloned itself, one that was reverted.
TEST_F(SaveDirTest, OtherFamiliesAreSharedToo) {
  std::mt19937_64 random(6);
  TestVolumes before;
  auto disk = before.Create("disk", 8 << 20);
  ASSERT_THAT(disk->Write(0, Noise(random, 8 << 20)), IsOk());
  for (int i = 0; i < 10; ++i) {
    before.Snapshot("disk", absl::StrCat("day", i));
    ASSERT_THAT(
        disk->Write(static_cast<uint64_t>(i) << 19, Noise(random, 200000)),
        IsOk());
  }
  auto reverted = before.Clone("disk", "reverted");
  before.Snapshot("reverted", "before-revert");
  ASSERT_THAT(reverted->Write(0, Noise(random, 4 << 20)), IsOk());
  ASSERT_THAT(before.engine().RevertVolume(
                  reverted, before.Find("@before-revert"), false),
              IsOk());
  before.engine().QuiesceForTest(/*merge=*/true);
  const uint64_t bytes_before = before.engine().Stats().memory_allocated_bytes;
  const auto wanted = before.Everything();
  const uint64_t disk_bytes = DiskBytes(Save(before).path);

  TestVolumes after;
  Restore(after);
  EXPECT_EQ(after.Everything(), wanted);
  after.engine().QuiesceForTest(/*merge=*/true);
  const uint64_t bytes_after = after.engine().Stats().memory_allocated_bytes;
  std::printf("memory %lu, after the restore %lu, disk %lu\n", bytes_before,
              bytes_after, disk_bytes);
  EXPECT_LT(bytes_after, bytes_before * 105 / 100);
  // Chunks of which a part changed are in both images as a whole.
  EXPECT_LT(disk_bytes, bytes_before * 3 / 2);
}

// Writes a number to one volume and then to another: a save never has a larger
// one in the second.
TEST_F(SaveDirTest, IsOfOneInstantWhileAllIsInUse) {
  TestVolumes before;
  auto first = before.Create("first", kSize);
  auto second = before.Create("second", kSize);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (uint64_t i = 1; !stop.load(); ++i) {
      const std::string number(reinterpret_cast<const char*>(&i), sizeof(i));
      EXPECT_THAT(first->Write(0, number), IsOk());
      EXPECT_THAT(second->Write(0, number), IsOk());
    }
  });
  // And volumes and snapshots come and go.
  std::thread maker([&] {
    while (!stop.load()) {
      const auto clone = before.Clone("first", "clone");
      const auto snapshot = before.Snapshot("second", "snapshot");
      EXPECT_THAT(before.engine().DeleteVolume(clone, true), IsOk());
      EXPECT_THAT(before.engine().DeleteVolume(snapshot, true), IsOk());
    }
  });
  for (int i = 0; i < 10; ++i) {
    const SaveDir::Saved saved = Save(before);
    EXPECT_THAT(saved.left_out, IsEmpty());
    TestVolumes after;
    Restore(after);
    uint64_t numbers[2];
    const char* const names[] = {"first", "second"};
    for (int j = 0; j < 2; ++j) {
      char* const to = reinterpret_cast<char*>(&numbers[j]);
      EXPECT_THAT(after.Find(names[j])->Read(0, {to, 8}), IsOk());
    }
    EXPECT_TRUE(numbers[0] == numbers[1] || numbers[0] == numbers[1] + 1)
        << numbers[0] << " " << numbers[1];
  }
  stop.store(true);
  writer.join();
  maker.join();
}

TEST_F(SaveDirTest, ADiskThatFailsAtAnyStepLeavesTheLastSaveAndTheVolumes) {
  TestVolumes volumes(64 << 20);
  FillALittle(volumes, 9);
  const auto old = volumes.Everything();
  Save(volumes);
  EXPECT_THAT(volumes.Find("disk")->Write(5000, "something newer"), IsOk());
  const auto wanted = volumes.Everything();
  const uint64_t bytes = volumes.engine().Stats().memory_allocated_bytes;
  int fail_at = 0;
  for (bool failed = true; failed; fail_at += 1 + fail_at / 8) {
    int step = 0;
    bool committed = false;
    failed = false;
    {
      auto dir = OpenDir([&] {
        if (step++ != fail_at) return 0;
        failed = true;
        return ENOSPC;
      });
      const auto saved = dir->Save(&volumes.engine(), false, nullptr);
      committed = saved.ok();
      if (!saved.ok()) {
        EXPECT_THAT(saved,
                    StatusIs(absl::StatusCode::kFailedPrecondition,
                             AllOf(HasSubstr("No space left on device"),
                                   HasSubstr("save before is still there"))));
        EXPECT_TRUE(HasReason(saved.status(), reason::kSaveFailed));
        EXPECT_TRUE(dir->stats().last_failed);
      }
    }
    EXPECT_EQ(volumes.Everything(), wanted);
    TestVolumes after(64 << 20);
    EXPECT_THAT(Restore(after).damaged, IsEmpty());
    // The last step is the sync after the rename: then it is there already.
    const auto found = after.Everything();
    EXPECT_TRUE(found == wanted || (!committed && found == old)) << fail_at;
    if (committed) break;
  }
  std::printf("failed at up to %d steps\n", fail_at);
  volumes.engine().QuiesceForTest(false);
  EXPECT_LT(volumes.engine().Stats().memory_allocated_bytes, bytes + (1 << 20));
  Save(volumes);
  EXPECT_THAT(FilesIn(path()), SizeIs(1));
}

TEST_F(SaveDirTest, StopsWhenProgressSaysSo) {
  TestVolumes volumes;
  Fill(volumes, 10);
  auto dir = OpenDir();
  const auto saved = dir->Save(&volumes.engine(), false, [](uint64_t) {
    return absl::CancelledError("enough");
  });
  EXPECT_THAT(saved, StatusIs(absl::StatusCode::kCancelled, "enough"));
  EXPECT_THAT(FilesIn(path()), IsEmpty());
  // And a restore makes nothing.
  ASSERT_THAT(dir->Save(&volumes.engine(), false, nullptr).status(), IsOk());
  TestVolumes after;
  EXPECT_THAT(dir->Begin(&after.engine(),
                         [](uint64_t) { return absl::CancelledError("no"); }),
              StatusIs(absl::StatusCode::kCancelled, _));
  EXPECT_THAT(after.Everything(), IsEmpty());
}

// Else saves by a timer would keep volumes that have a time to live.
TEST_F(SaveDirTest, IsNoUseOfTheVolumes) {
  TestVolumes volumes;
  auto disk = volumes.Create("disk", kSize);
  volumes.Snapshot("disk", "snapshot");
  const engine::VolumeUse before = disk->Use();
  Save(volumes);
  EXPECT_EQ(disk->Use(), before);
}

TEST_F(SaveDirTest, OneProcessUsesItAtATime) {
  auto dir = OpenDir();
  EXPECT_THAT(SaveDir::Open(path()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("another ramvold uses")));
}

TEST_F(SaveDirTest, OneSaveAtATime) {
  TestVolumes volumes;
  volumes.Create("disk", kSize);
  auto dir = OpenDir();
  const auto saved = dir->Save(&volumes.engine(), false, [&](uint64_t) {
    const auto second = dir->Save(&volumes.engine(), false, nullptr);
    EXPECT_TRUE(HasReason(second.status(), reason::kSaveUnderWay));
    return absl::OkStatus();
  });
  EXPECT_THAT(saved.status(), IsOk());
}

TEST_F(SaveDirTest, ASmallerMemoryLimitIsRefused) {
  TestVolumes volumes;
  std::mt19937_64 random(3);
  auto disk = volumes.Create("disk", 64 << 20);
  for (uint64_t at = 0; at < 64 << 20; at += 1 << 20) {
    ASSERT_THAT(disk->Write(at, Noise(random, 1 << 20)), IsOk());
  }
  Save(volumes);
  EXPECT_THAT(WhyNotRestored(32 << 20),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("does not fit"),
                             HasSubstr("--memory_limit is 32M"),
                             HasSubstr("move it away"))));
  EXPECT_THAT(WhyNotRestored(), IsOk());
}

TEST_F(SaveDirTest, AManifestThatIsDamagedOrOfAnotherVersionIsRefused) {
  TestVolumes volumes;
  Fill(volumes, 11);
  const std::string file = Save(volumes).path + "/manifest";
  const std::string good = ReadFile(file);
  std::mt19937_64 random(TestSeed(1));
  for (int i = 0; i < 40; ++i) {
    std::string bad = good;
    if (i % 4 == 0) {
      bad.resize(random() % good.size());
    } else {
      bad[random() % bad.size()] ^= static_cast<char>(1 << random() % 8);
    }
    WriteFile(file, bad);
    EXPECT_THAT(
        WhyNotRestored(),
        StatusIs(absl::StatusCode::kFailedPrecondition,
                 AllOf(HasSubstr(file), HasSubstr("move it away: mv "))));
  }
  std::string other = good;
  other[23] = 7;
  WriteFile(file, other);
  EXPECT_THAT(WhyNotRestored(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                         HasSubstr("is of version 7")));
  unlink(file.c_str());
  EXPECT_THAT(WhyNotRestored(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                         HasSubstr("No such file")));
  WriteFile(file, good);
  EXPECT_THAT(WhyNotRestored(), IsOk());
}

// Each chunk has what it should have, or DATA_LOSS.
void ExpectRightOrLost(engine::Volume& found, engine::Volume& wanted) {
  const std::string content = TestVolumes::Content(wanted);
  for (uint64_t at = 0; at < content.size(); at += 65536) {
    std::string got(std::min<size_t>(65536, content.size() - at), '?');
    const absl::Status status = found.Read(at, absl::MakeSpan(got));
    if (status.ok()) {
      EXPECT_TRUE(got == content.substr(at, got.size())) << at;
    } else {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, _));
    }
  }
}

// Whatever happens to an image: what comes back is right, and the others do.
TEST_F(SaveDirTest, ADamagedImageTakesOnlyThoseWithItThatLieOnIt) {
  TestVolumes volumes(64 << 20);
  FillALittle(volumes, 12);
  const auto wanted = volumes.Everything();
  const std::string save = Save(volumes).path;
  std::mt19937_64 random(TestSeed(2));
  int noticed = 0;
  const int steps = TestSteps(60);
  for (int i = 0; i < steps; ++i) {
    const auto files = FilesIn(save);
    std::string file = "manifest";
    while (file == "manifest") file = files[random() % files.size()];
    const std::string path = absl::StrCat(save, "/", file);
    const std::string good = ReadFile(path);
    std::string bad = good;
    switch (random() % 6) {
      case 0:
        bad.resize(random() % good.size());
        break;
      case 1:
        bad = ReadFile(absl::StrCat(save, "/", files[random() % 3]));
        break;
      case 2:
        bad += good;
        break;
      default:
        for (uint64_t flips = random() % 3; flips < 3; ++flips) {
          bad[random() % bad.size()] ^= static_cast<char>(1 << random() % 8);
        }
    }
    WriteFile(path, bad);
    SCOPED_TRACE(path);
    TestVolumes after(64 << 20);
    const auto dir = OpenDir();
    const auto begun = dir->Begin(&after.engine(), nullptr);
    ASSERT_THAT(begun.status(), IsOk());
    EXPECT_THAT(dir->AwaitRestored(nullptr), IsOk());
    if (!begun->damaged.empty()) {
      EXPECT_THAT(begun->damaged[0].why, HasSubstr(file));
    }
    int incomplete = 0;
    for (const auto& [name, all] : wanted) {
      auto volume = after.Find(name);
      if (volume->completeness() == engine::Completeness::kComplete) {
        EXPECT_EQ(TestVolumes::All(*volume), all) << name;
        continue;
      }
      ++incomplete;
      EXPECT_EQ(file == "other.qcow2", name == "other");
      ExpectRightOrLost(*volume, *volumes.Find(name));
    }
    EXPECT_EQ(dir->stats().damaged_images > 0, incomplete > 0);
    noticed += incomplete > 0 ? 1 : 0;
    WriteFile(path, good);
  }
  std::printf("%d of %d damages were noticed\n", noticed, steps);
  EXPECT_GT(noticed, 0);
}

TEST_F(SaveDirTest, ADamagedSaveIsKeptWhenTheNextOneComes) {
  TestVolumes volumes;
  Fill(volumes, 13);
  const std::string save = Save(volumes).path;
  const std::string file = save + "/disk1.qcow2";
  WriteFile(file, ReadFile(file).substr(0, 5000));
  TestVolumes after;
  auto dir = OpenDir();
  const auto restored = dir->Begin(&after.engine(), nullptr);
  ASSERT_THAT(restored.status(), IsOk());
  ASSERT_THAT(restored->damaged, SizeIs(1));
  EXPECT_EQ(restored->damaged[0].name, "disk1");
  EXPECT_THAT(restored->damaged[0].why, HasSubstr(file));
  EXPECT_EQ(dir->stats().damaged_images, 1u);
  // It is there to be seen, and to be deleted.
  auto disk = after.Find("disk1");
  EXPECT_TRUE(disk->damaged());
  EXPECT_EQ(disk->uid(), volumes.Find("disk1")->uid());
  std::string byte(1, '?');
  EXPECT_THAT(disk->Read(0, absl::MakeSpan(byte)),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("damaged")));
  ASSERT_THAT(dir->Save(&after.engine(), true, nullptr).status(), IsOk());
  EXPECT_THAT(FilesIn(path()), ElementsAre("kept-1", "save-2"));
  EXPECT_THAT(after.engine().DeleteVolume(disk, false), IsOk());
  EXPECT_FALSE(after.engine().Find("disk1").ok());
  ASSERT_THAT(dir->Save(&after.engine(), true, nullptr).status(), IsOk());
  EXPECT_THAT(FilesIn(path()), ElementsAre("kept-1", "save-3"));
}

TEST_F(SaveDirTest, ASaveOfWhichNothingCanBeReadIsRefused) {
  TestVolumes volumes;
  volumes.Create("disk", kSize);
  const std::string file = Save(volumes).path + "/disk.qcow2";
  WriteFile(file, "");
  EXPECT_THAT(WhyNotRestored(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                         AllOf(HasSubstr("nothing of the save"),
                                               HasSubstr(file))));
}

TEST_F(SaveDirTest, WhatNoImageCanHoldIsNamedAndTheRestIsSaved) {
  TestVolumes volumes;
  volumes.Create("small", kSize);
  volumes.Create("huge", uint64_t{3} << 50);
  Save(volumes);
  const SaveDir::Saved saved = Save(volumes);
  EXPECT_EQ(saved.volumes, 1u);
  ASSERT_THAT(saved.left_out, SizeIs(1));
  EXPECT_EQ(saved.left_out[0].name, "huge");
  EXPECT_THAT(saved.left_out[0].why, HasSubstr("too large for a qcow2 image"));
  EXPECT_THAT(FilesIn(path()), ElementsAre("kept-1", "save-2"));
}

TEST_F(SaveDirTest, ARestoreIntoAStateDirStaysThere) {
  TestVolumes before;
  Fill(before, 14);
  const auto wanted = before.Everything();
  Save(before);
  engine::ShmDir state;
  {
    TestVolumes after(uint64_t{256} << 20, state.path());
    Restore(after);
    EXPECT_EQ(after.Everything(), wanted);
  }
  TestVolumes again(uint64_t{256} << 20, state.path());
  EXPECT_THAT(again.engine().recovered().damaged, IsEmpty());
  EXPECT_EQ(again.Everything(), wanted);
}

}  // namespace
}  // namespace ramvol::saves
