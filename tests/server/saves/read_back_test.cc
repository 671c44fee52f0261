// Volumes that are used while their save is still being read.
#include "server/saves/read_back.h"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/saves/directory.h"
#include "server/saves/manifest.h"
#include "server/saves/save_dir.h"
#include "server/saves/save_reader.h"
#include "tests/server/engine/support/expect_allocated.h"
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
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

bool Always() { return true; }

class ReadBackTest : public ::testing::Test {
 protected:
  std::unique_ptr<SaveDir> OpenDir() {
    auto opened = SaveDir::Open(path());
    EXPECT_THAT(opened.status(), IsOk());
    return *std::move(opened);
  }
  std::string path() const { return dir_.path() + "/saves"; }
  std::string PathOf(const std::string& file) const {
    return absl::StrCat(path(), "/save-1/", file);
  }
  void Save(TestVolumes& volumes) {
    const auto saved = OpenDir()->Save(&volumes.engine(), true, nullptr);
    ASSERT_THAT(saved.status(), IsOk());
    for (const LeftOut& one : saved->left_out) {
      ADD_FAILURE() << one.name << ": " << one.why;
    }
  }
  // All volumes of save-1, of which nothing is read yet.
  std::shared_ptr<ReadBack> Begin(TestVolumes& volumes) {
    auto dir = Directory::Open(path() + "/save-1");
    EXPECT_THAT(dir.status(), IsOk());
    std::ifstream file(PathOf(kManifestFile), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    auto manifest = ParseManifest(bytes);
    EXPECT_THAT(manifest.status(), IsOk());
    const Progress none;
    SaveReader reader(*std::move(dir), *std::move(manifest), &volumes.engine(),
                      &none);
    EXPECT_THAT(reader.OpenImages(), IsOk());
    EXPECT_THAT(reader.damaged(), IsEmpty());
    auto reading = reader.BeginReadBack(4711);
    EXPECT_THAT(reading.status(), IsOk());
    EXPECT_THAT(reader.Publish(), IsOk());
    return *std::move(reading);
  }
  static void DeleteAll(TestVolumes& volumes) {
    for (const char* const list : {"", "@"}) {
      for (const auto& [name, volume] : volumes.engine().List(list, 1000)) {
        EXPECT_THAT(volumes.engine().DeleteVolume(volume, true), IsOk());
      }
    }
  }
  // Flips a bit in the middle of a file of the save.
  void Damage(const std::string& name) const {
    std::fstream file(PathOf(name),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(0, std::ios::end);
    const auto middle = static_cast<std::streamoff>(file.tellg()) / 2;
    file.seekg(middle);
    const auto byte = static_cast<char>(file.get() ^ 1);
    file.seekp(middle);
    file.put(byte);
  }

  TempDir dir_;
};

TEST_F(ReadBackTest, EverythingIsReadWhenSomebodyAsksForIt) {
  std::map<std::string, std::string> wanted;
  {
    TestVolumes before;
    Fill(before, 7);
    wanted = before.Everything();
    Save(before);
  }
  TestVolumes after;
  const uint64_t empty = after.engine().Stats().memory_allocated_bytes;
  const auto reading = Begin(after);
  EXPECT_EQ(reading->left_bytes(), reading->bytes());
  EXPECT_EQ(after.Everything(), wanted);
  EXPECT_EQ(reading->left_bytes(), reading->bytes());
  EXPECT_GT(reading->LeftOf(after.Find("disk1")->uid()), 0u);
  EXPECT_EQ(reading->LeftOf(4711), 0u);
  EXPECT_EQ(after.Find("disk1")->completeness(),
            engine::Completeness::kRestoring);
  EXPECT_THAT(reading->Run(&after.engine(), Always), IsEmpty());
  EXPECT_EQ(reading->left_bytes(), 0u);
  EXPECT_EQ(reading->LeftOf(after.Find("disk1")->uid()), 0u);
  EXPECT_EQ(after.Everything(), wanted);
  DeleteAll(after);
  engine::ExpectAllocated(after.engine(), empty);
}

TEST_F(ReadBackTest, EverythingIsReadWhenNobodyDoes) {
  TestVolumes before;
  Fill(before, 9);
  const auto wanted = before.Everything();
  Save(before);
  TestVolumes after;
  const auto saves = OpenDir();
  const auto begun = saves->Begin(&after.engine(), nullptr);
  ASSERT_THAT(begun.status(), IsOk());
  EXPECT_EQ(begun->volumes, 7u);
  EXPECT_EQ(begun->snapshots, 9u);
  EXPECT_THAT(saves->AwaitRestored(nullptr), IsOk());
  EXPECT_EQ(saves->stats().restoring_bytes, 0u);
  EXPECT_EQ(saves->RestoringBytes(after.Find("disk0")->uid()), 0u);
  EXPECT_EQ(after.Everything(), wanted);
}

// Whichever of them is read first.
TEST_F(ReadBackTest, WhatClonesShareIsHeldOnce) {
  constexpr uint64_t kGolden = 8 << 20;
  std::mt19937_64 random(5);
  TestVolumes before;
  auto golden = before.Create("golden", kGolden);
  for (uint64_t at = 0; at < kGolden; at += 1 << 20) {
    const bool noise = at / (1 << 20) % 2 == 0;
    ASSERT_THAT(golden->Write(
                    at, noise ? Noise(random, 1 << 20) : Text(random, 1 << 20)),
                IsOk());
  }
  before.Snapshot("golden", "gold");
  for (int i = 0; i < 8; ++i) {
    auto clone = before.Clone("@gold", absl::StrCat("clone", i));
    // Blocks of their own: the rest of these chunks is shared.
    for (int j = 0; j < 8; ++j) {
      ASSERT_THAT(
          clone->Write(random() % (kGolden >> 12) << 12, Noise(random, 4096)),
          IsOk());
    }
  }
  before.engine().QuiesceForTest(/*merge=*/true);
  const uint64_t bytes_before = before.engine().Stats().memory_used_bytes;
  const auto wanted = before.Everything();
  Save(before);
  uint64_t allocated_later = 0;
  for (const bool on_demand : {false, true}) {
    TestVolumes after;
    const auto reading = Begin(after);
    // In the order of names: clones before what they lie on.
    if (on_demand) {
      EXPECT_EQ(after.Everything(), wanted);
    }
    EXPECT_THAT(reading->Run(&after.engine(), Always), IsEmpty());
    EXPECT_EQ(after.Everything(), wanted);
    after.engine().QuiesceForTest(/*merge=*/true);
    const uint64_t bytes_after = after.engine().Stats().memory_used_bytes;
    std::printf("memory %lu, %s %lu\n", bytes_before,
                on_demand ? "on demand" : "read from end to end", bytes_after);
    EXPECT_LT(bytes_after, bytes_before * 110 / 100);
    // How well pages are filled depends on which thread came first.
    const uint64_t allocated = after.engine().Stats().memory_allocated_bytes;
    if (!on_demand) allocated_later = allocated;
    EXPECT_LT(allocated, allocated_later * 101 / 100);
  }
}

// A golden image is brought up to date by way of a clone. So it holds chunks of
// an image that lies on its own.
TEST_F(ReadBackTest, AVolumeMayBeRevertedToWhatLiesOnIt) {
  constexpr uint64_t kBytes = 1 << 20;
  TestVolumes before;
  std::mt19937_64 random(7);
  ASSERT_THAT(before.Create("golden", kBytes)->Write(0, Noise(random, kBytes)),
              IsOk());
  before.Clone("golden", "next");
  before.Clone("next", "later");
  ASSERT_THAT(before.Find("next")->Write(70000, "an update"), IsOk());
  ASSERT_THAT(before.Find("later")->Write(80000, "another"), IsOk());
  Save(before);
  for (const bool on_demand : {true, false}) {
    for (const char* const name : {"next", "later"}) {
      TestVolumes after;
      const auto reading = Begin(after);
      after.Snapshot(name, "new");
      ASSERT_THAT(after.engine().RevertVolume(after.Find("golden"),
                                              after.Find("@new"), false),
                  IsOk());
      const std::string content = TestVolumes::Content(*before.Find(name));
      if (on_demand) {
        EXPECT_TRUE(TestVolumes::Content(*after.Find("golden")) == content);
      }
      EXPECT_THAT(reading->Run(&after.engine(), Always), IsEmpty());
      EXPECT_TRUE(TestVolumes::Content(*after.Find("golden")) == content);
      EXPECT_TRUE(TestVolumes::Content(*after.Find("@new")) == content);
      for (const char* const other : {"next", "later"}) {
        EXPECT_TRUE(TestVolumes::Content(*after.Find(other)) ==
                    TestVolumes::Content(*before.Find(other)));
      }
    }
  }
}

TEST_F(ReadBackTest, AChangeOfAPartKeepsTheRest) {
  constexpr uint64_t kBytes = 1 << 20;
  TestVolumes before;
  std::mt19937_64 random(3);
  std::string content = Text(random, kBytes);
  ASSERT_THAT(before.Create("disk", kBytes)->Write(0, content), IsOk());
  before.Snapshot("disk", "old");
  Save(before);
  const std::string old = content;

  TestVolumes after;
  const auto reading = Begin(after);
  auto disk = after.Find("disk");
  const auto put = [&](uint64_t offset, const std::string& bytes) {
    content.replace(offset, bytes.size(), bytes);
    return disk->Write(offset, bytes);
  };
  EXPECT_THAT(put(70000, "unaligned"), IsOk());
  EXPECT_THAT(put(140000, std::string(70000, 'x')), IsOk());
  EXPECT_THAT(put(4096 * 100, Noise(random, 4096)), IsOk());
  EXPECT_THAT(disk->Trim(300000, 100), IsOk());
  content.replace(300000, 100, 100, '\0');
  EXPECT_THAT(disk->WriteZeroes(330000, 5000, /*no_hole=*/true), IsOk());
  content.replace(330000, 5000, 5000, '\0');
  engine::VolumeUpdate update;
  update.size_bytes = 900000;
  EXPECT_THAT(disk->Update(update), IsOk());
  update.size_bytes = kBytes;
  EXPECT_THAT(disk->Update(update), IsOk());
  content.resize(900000);
  content.resize(kBytes);
  EXPECT_EQ(TestVolumes::Content(*disk), content);
  EXPECT_EQ(TestVolumes::Content(*after.Find("@old")), old);
  EXPECT_THAT(reading->Run(&after.engine(), Always), IsEmpty());
  EXPECT_EQ(TestVolumes::Content(*disk), content);
  EXPECT_EQ(TestVolumes::Content(*after.Find("@old")), old);
}

TEST_F(ReadBackTest, ContentOutlivesTheVolumeThatItWasSavedFrom) {
  TestVolumes before;
  std::mt19937_64 random(4);
  const std::string content = Text(random, 1 << 20);
  ASSERT_THAT(before.Create("disk", 1 << 20)->Write(0, content), IsOk());
  Save(before);
  TestVolumes after;
  const auto reading = Begin(after);
  after.Snapshot("disk", "kept");
  EXPECT_THAT(after.engine().DeleteVolume(after.Find("disk"), false), IsOk());
  EXPECT_THAT(reading->Run(&after.engine(), Always), IsEmpty());
  // Nothing can be read from the save any more.
  std::filesystem::remove_all(path());
  EXPECT_EQ(TestVolumes::Content(*after.Find("@kept")), content);
}

// A model of contents and many threads' work, of which reading is one.
TEST_F(ReadBackTest, RandomWorkSeesWhatItWouldSeeWithoutReading) {
  const uint64_t seed = TestSeed(std::random_device()());
  const int rounds = TestSteps(6);
  for (int round = 0; round < rounds; ++round) {
    std::mt19937_64 random(seed + static_cast<uint64_t>(round));
    std::filesystem::remove_all(path());
    TestVolumes before;
    Fill(before, random());
    Save(before);
    std::map<std::string, std::string> model;
    for (const char* const list : {"", "@"}) {
      for (const auto& [name, volume] : before.engine().List(list, 1000)) {
        model[name] = TestVolumes::Content(*volume);
      }
    }
    TestVolumes after;
    const uint64_t empty = after.engine().Stats().memory_allocated_bytes;
    const auto reading = Begin(after);
    // How many steps reading may take.
    Mutex mu;
    CondVar granted;
    int64_t steps = 0;
    std::thread reader([&] {
      const auto damaged = reading->Run(&after.engine(), [&] {
        MutexLock lock(&mu);
        while (steps == 0) granted.Wait(&mu);
        if (steps > 0) --steps;
        return true;
      });
      EXPECT_THAT(damaged, IsEmpty());
    });
    const auto grant = [&](int64_t more) {
      MutexLock lock(&mu);
      steps = more < 0 ? more : steps + more;
      granted.SignalAll();
    };
    const auto pick = [&] {
      auto it = model.begin();
      std::advance(it, random() % model.size());
      return it;
    };
    for (int step = 0; step < 300; ++step) {
      if (random() % 4 == 0) grant(static_cast<int64_t>(random() % 3));
      const auto it = pick();
      const auto& name = it->first;
      std::string& content = it->second;
      auto volume = after.Find(name);
      const uint64_t size = content.size();
      const uint64_t offset = random() % size;
      const uint64_t length =
          1 + random() % std::min<uint64_t>(size - offset, 150000);
      const bool may_write = name[0] != '@' && !volume->read_only();
      switch (random() % 9) {
        case 0:
        case 1: {
          std::string got(length, '?');
          ASSERT_THAT(volume->Read(offset, absl::MakeSpan(got)), IsOk());
          ASSERT_TRUE(got == content.substr(offset, length))
              << name << " at " << offset << ", " << length;
          break;
        }
        case 2:
        case 3: {
          if (!may_write) break;
          const std::string data = RandomData(random, length);
          ASSERT_THAT(volume->Write(offset, data), IsOk());
          content.replace(offset, length, data);
          break;
        }
        case 4: {
          if (!may_write) break;
          ASSERT_THAT(random() % 2 == 0
                          ? volume->Trim(offset, length)
                          : volume->WriteZeroes(offset, length, true),
                      IsOk());
          content.replace(offset, length, length, '\0');
          break;
        }
        case 5: {
          auto extents = volume->GetExtents(offset, length, 1000);
          ASSERT_THAT(extents.status(), IsOk());
          for (const auto& extent : extents->extents) {
            const std::string part =
                content.substr(extent.offset_bytes, extent.length_bytes);
            ASSERT_TRUE(!extent.hole ||
                        part.find_first_not_of('\0') == std::string::npos)
                << name << " at " << extent.offset_bytes;
          }
          break;
        }
        case 6: {
          const std::string copy = absl::StrCat("new", round, "-", step);
          if (random() % 2 == 0) {
            after.Clone(name, copy);
            model[copy] = content;
          } else if (name[0] != '@') {
            after.Snapshot(name, copy);
            model["@" + copy] = content;
          }
          break;
        }
        case 7: {
          if (model.size() < 8) break;
          ASSERT_THAT(after.engine().DeleteVolume(volume, false), IsOk());
          model.erase(it);
          break;
        }
        case 8: {
          const auto other = pick();
          if (!may_write || other->first[0] != '@') break;
          if (volume->options().allocator == engine::Allocator::kMalloc) break;
          ASSERT_THAT(after.engine().RevertVolume(
                          volume, after.Find(other->first), false),
                      IsOk());
          content = other->second;
          break;
        }
        default:
          break;
      }
    }
    grant(-1);
    reader.join();
    for (const auto& [name, content] : model) {
      EXPECT_TRUE(TestVolumes::Content(*after.Find(name)) == content) << name;
    }
    DeleteAll(after);
    engine::ExpectAllocated(after.engine(), empty);
  }
}

TEST_F(ReadBackTest, DamageTakesTheChunksThatAreDamagedOnly) {
  TestVolumes before;
  std::mt19937_64 random(4);
  const std::string content = Text(random, 4 << 20);
  ASSERT_THAT(before.Create("disk", 4 << 20)->Write(0, content), IsOk());
  ASSERT_THAT(before.Create("other", 4 << 20)->Write(0, content), IsOk());
  before.engine().QuiesceForTest(/*merge=*/true);
  Save(before);
  Damage("disk.qcow2");

  TestVolumes after;
  const auto saves = OpenDir();
  ASSERT_THAT(saves->Begin(&after.engine(), nullptr).status(), IsOk());
  ASSERT_THAT(saves->AwaitRestored(nullptr), IsOk());
  EXPECT_EQ(saves->stats().damaged_images, 1u);
  auto disk = after.Find("disk");
  EXPECT_EQ(disk->completeness(), engine::Completeness::kIncomplete);
  EXPECT_EQ(after.Find("other")->completeness(),
            engine::Completeness::kComplete);
  int lost = 0;
  for (uint64_t at = 0; at < content.size(); at += 65536) {
    std::string got(65536, '?');
    const absl::Status status = disk->Read(at, absl::MakeSpan(got));
    if (status.ok()) {
      EXPECT_TRUE(got == content.substr(at, got.size())) << at;
      continue;
    }
    ++lost;
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, _));
    // A new content heals it.
    EXPECT_THAT(disk->Write(at, content.substr(at, got.size())), IsOk());
  }
  EXPECT_EQ(lost, 1);
  EXPECT_EQ(TestVolumes::Content(*disk), content);
  EXPECT_EQ(TestVolumes::Content(*after.Find("other")), content);
  // The image may still be of use.
  ASSERT_THAT(saves->Save(&after.engine(), true, nullptr).status(), IsOk());
  EXPECT_TRUE(std::filesystem::exists(path() + "/kept-1"));
}

TEST_F(ReadBackTest, WhatDoesNotBeginLikeTheImageIsNotServed) {
  TestVolumes before;
  FillALittle(before, 1);
  Save(before);
  std::filesystem::resize_file(PathOf("other.qcow2"), 70000);
  TestVolumes after;
  const auto saves = OpenDir();
  const auto begun = saves->Begin(&after.engine(), nullptr);
  ASSERT_THAT(begun.status(), IsOk());
  EXPECT_THAT(begun->damaged, SizeIs(1));
  EXPECT_TRUE(after.Find("other")->damaged());
  EXPECT_FALSE(after.Find("disk")->damaged());
  EXPECT_THAT(saves->AwaitRestored(nullptr), IsOk());
}

// What is still to be read has its memory already.
TEST_F(ReadBackTest, WritersCannotTakeTheRoomOfWhatIsToCome) {
  constexpr uint64_t kLimit = 32 << 20;
  constexpr uint64_t kBytes = 16 << 20;
  std::mt19937_64 random(8);
  TestVolumes before(kLimit);
  const std::string content = Noise(random, kBytes);
  ASSERT_THAT(before.Create("disk", kBytes)->Write(0, content), IsOk());
  Save(before);
  TestVolumes after(kLimit);
  const auto reading = Begin(after);
  auto greedy = after.Create("greedy", 64 << 20);
  absl::Status status;
  uint64_t at = 0;
  for (; status.ok() && at < 64 << 20; at += 1 << 20) {
    status = greedy->Write(at, Noise(random, 1 << 20));
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_EQ(TestVolumes::Content(*after.Find("disk")), content);
  EXPECT_THAT(reading->Run(&after.engine(), Always), IsEmpty());
  EXPECT_LE(after.engine().Stats().memory_used_bytes, kLimit);
  EXPECT_EQ(TestVolumes::Content(*after.Find("disk")), content);

  TestVolumes small(kLimit / 2);
  const auto saves = OpenDir();
  EXPECT_THAT(saves->Begin(&small.engine(), nullptr).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("does not fit")));
  EXPECT_THAT(small.Everything(), IsEmpty());
}

TEST_F(ReadBackTest, AStopLeavesTheSaveAsItIs) {
  std::map<std::string, std::string> wanted;
  {
    TestVolumes before;
    Fill(before, 17);
    wanted = before.Everything();
    Save(before);
  }
  {
    TestVolumes stopped;
    const auto saves = OpenDir();
    ASSERT_THAT(saves->Begin(&stopped.engine(), nullptr).status(), IsOk());
  }
  {
    TestVolumes saved;
    const auto saves = OpenDir();
    ASSERT_THAT(saves->Begin(&saved.engine(), nullptr).status(), IsOk());
    // Reads all first.
    ASSERT_THAT(saves->Save(&saved.engine(), true, nullptr).status(), IsOk());
    EXPECT_EQ(saves->stats().restoring_bytes, 0u);
  }
  TestVolumes after;
  const auto saves = OpenDir();
  ASSERT_THAT(saves->Begin(&after.engine(), nullptr).status(), IsOk());
  EXPECT_EQ(after.Everything(), wanted);
}

}  // namespace
}  // namespace ramvol::saves
