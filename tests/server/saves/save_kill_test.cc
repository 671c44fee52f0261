// Kills a process at each step of a save; the last good one must be whole.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/saves/save_dir.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/server/saves/save_fixture.h"
#include "tests/support/child_errors.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace ramvol::saves {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::RandomData;
using ::ramvol::testing::TempDir;
using ::testing::IsEmpty;

// Generation `n` of the same volumes.
void Fill(TestVolumes& volumes, int n) {
  std::mt19937_64 random(static_cast<uint64_t>(n));
  auto disk = volumes.Create("disk", 2 << 20);
  EXPECT_THAT(disk->Write(0, RandomData(random, 500000)), IsOk());
  volumes.Snapshot("disk", "snapshot");
  for (int i = 0; i < n; ++i) {
    auto clone = volumes.Clone("@snapshot", absl::StrCat("clone", i));
    EXPECT_THAT(clone->Write(300000, RandomData(random, 300000)), IsOk());
  }
}

// Content by name: uids differ between two fillings.
std::map<std::string, std::string> ContentOf(TestVolumes& volumes) {
  std::map<std::string, std::string> all;
  for (const char* const after : {"", "@"}) {
    for (const auto& [name, volume] : volumes.engine().List(after, 1000)) {
      all[name] = TestVolumes::Content(*volume);
    }
  }
  return all;
}
std::map<std::string, std::string> Wanted(int n) {
  TestVolumes volumes;
  Fill(volumes, n);
  return ContentOf(volumes);
}

// In a process of its own: what an earlier one left is read, replaced by
// generation `n`, and saved; killed at step `kill_at` of the save. Returns
// whether it was killed.
bool SaveAndDie(const std::string& path, int n, int kill_at) {
  const testing::ChildErrors errors;
  const pid_t pid = fork();
  if (pid == 0) {
    errors.Collect();
    int step = 0;
    auto dir = SaveDir::Open(path, [&] {
      if (step++ == kill_at) kill(getpid(), SIGKILL);
      return 0;
    });
    TestVolumes volumes;
    Fill(volumes, n);
    _exit((*dir)->Save(&volumes.engine(), n % 2 == 0, nullptr).ok() ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  errors.ExpectNoReport();
  if (WIFSIGNALED(status)) return true;
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  return false;
}

TEST(SaveKillTest, TheLastGoodSaveIsWhole) {
  const std::map<std::string, std::string> wanted[] = {Wanted(0), Wanted(1),
                                                       Wanted(2), Wanted(3)};
  TempDir dir;
  const std::string path = dir.path() + "/saves";
  int last = 0;
  int kills = 0;
  ASSERT_FALSE(SaveAndDie(path, 0, -1));
  // Finely at the ends, coarsely between.
  for (int kill_at = 0;; kill_at += kill_at < 12 ? 1 : 3) {
    const int n = (last + 1) % 4;
    const bool killed = SaveAndDie(path, n, kill_at);
    kills += killed ? 1 : 0;
    TestVolumes volumes;
    auto opened = SaveDir::Open(path);
    ASSERT_THAT(opened.status(), IsOk());
    const auto restored = (*opened)->Begin(&volumes.engine(), nullptr);
    ASSERT_THAT(restored.status(), IsOk()) << kill_at;
    EXPECT_THAT(restored->damaged, IsEmpty());
    EXPECT_THAT((*opened)->AwaitRestored(nullptr), IsOk());
    EXPECT_EQ((*opened)->stats().damaged_images, 0u);
    const auto found = ContentOf(volumes);
    if (found == wanted[n]) {
      last = n;  // It was killed after it had its name.
    } else {
      EXPECT_TRUE(killed && found == wanted[last]) << kill_at;
    }
    if (!killed) break;
  }
  std::printf("killed %d times\n", kills);
  EXPECT_GT(kills, 10);
}

// With a state_dir, nothing is there until all can be served: the next start
// begins again.
TEST(SaveKillTest, AKilledRestoreBeginsAnew) {
  const auto wanted = Wanted(3);
  TempDir dir;
  engine::ShmDir state;
  const std::string path = dir.path() + "/saves";
  ASSERT_FALSE(SaveAndDie(path, 3, -1));
  const testing::ChildErrors errors;
  const pid_t pid = fork();
  if (pid == 0) {
    errors.Collect();
    auto saves = SaveDir::Open(path);
    TestVolumes volumes(uint64_t{256} << 20, state.path());
    int calls = 0;
    (void)(*saves)->Begin(&volumes.engine(), [&](uint64_t) {
      if (++calls == 4) kill(getpid(), SIGKILL);
      return absl::OkStatus();
    });
    _exit(1);
  }
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  errors.ExpectNoReport();
  EXPECT_TRUE(WIFSIGNALED(status));
  TestVolumes volumes(uint64_t{256} << 20, state.path());
  EXPECT_EQ(volumes.engine().recovered().volumes, 0u);
  auto saves = SaveDir::Open(path);
  ASSERT_THAT(saves.status(), IsOk());
  EXPECT_THAT((*saves)->Begin(&volumes.engine(), nullptr).status(), IsOk());
  EXPECT_EQ(ContentOf(volumes), wanted);
}

}  // namespace
}  // namespace ramvol::saves
