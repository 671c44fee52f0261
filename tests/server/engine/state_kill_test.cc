// Kills a process after each single store of a call that changes volumes, and
// after each step of a recovery; of many stores only after some, from a random
// one on, under a sanitizer. The next engine must have the state before the
// call, or the one after it, with all that belongs together.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/memory/kill_point.h"
#include "tests/server/engine/support/expect_allocated.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/support/child_errors.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::RandomData;
using ::ramvol::testing::TestSeed;
using ::ramvol::testing::TestSteps;
using ::testing::AnyOf;
using ::testing::IsEmpty;

// More than any call has.
constexpr int kMaxStores = 2000;
// Of a call.
constexpr int kMostKills = 60;
constexpr uint64_t kSize = 5 << 20;

std::unique_ptr<Engine> Open(const std::string& dir) {
  EngineOptions options;
  options.memory_limit_bytes = 64 << 20;
  options.hot_cache_bytes = 2 << 20;
  options.background_threads = 1;
  options.merge_interval_ms = 100000;
  options.state_dir = dir;
  auto engine = Engine::Create(options);
  RAMVOL_CHECK(engine.ok());
  return *std::move(engine);
}

std::shared_ptr<Volume> Find(Engine& engine, const std::string& name) {
  auto volume = engine.Find(name);
  RAMVOL_CHECK(volume.ok());
  return *std::move(volume);
}

// All that users can see, as text.
std::string Describe(Engine& engine) {
  std::string all;
  for (const auto& listed : {engine.List("", 100), engine.List("@", 100)}) {
    for (const NamedVolume& named : listed) {
      Volume& volume = *named.volume;
      const VolumeOptions options = volume.options();
      // No volume has anything behind that.
      std::string content(std::min(volume.size_bytes(), 2 * kSize), '?');
      RAMVOL_CHECK(volume.Read(0, absl::MakeSpan(content)).ok());
      absl::StrAppend(&all, named.name, " of ", volume.size_bytes(), " level ",
                      options.write_level, " limit ",
                      options.memory_limit_bytes, " read-only ",
                      options.read_only, " \"", volume.attributes(), "\" ",
                      std::hash<std::string>()(content), "\n");
    }
  }
  return all;
}

// "disk" and "other", each with a snapshot and a clone, and changes since.
void SetUpVolumes(Engine& engine) {
  std::mt19937_64 random(1);
  for (const std::string name : {"disk", "other"}) {
    VolumeOptions options;
    options.name = name;
    options.size_bytes = kSize;
    const auto volume = engine.CreateVolume(
        options, [](const Volume& made) { return "first " + made.name(); });
    RAMVOL_CHECK(volume.ok());
    const auto scribble = [&](int steps) {
      for (int i = 0; i < steps; ++i) {
        const std::string data = RandomData(random, 1 + random() % 50000);
        RAMVOL_CHECK((*volume)->Write(random() % (kSize - 50000), data).ok());
      }
    };
    scribble(20);
    RAMVOL_CHECK(
        engine.CreateSnapshots({{*volume, absl::StrCat("of-", name)}}).ok());
    scribble(6);
    options.name = absl::StrCat("clone-", name);
    RAMVOL_CHECK(engine.CloneVolume(options, *volume).ok());
    scribble(4);
  }
  engine.QuiesceForTest(/*merge=*/true);
}

void DeleteAll(Engine& engine) {
  for (const auto& listed : {engine.List("", 100), engine.List("@", 100)}) {
    for (const NamedVolume& named : listed) {
      EXPECT_THAT(engine.DeleteVolume(named.volume, false), IsOk());
    }
  }
}

struct Call {
  std::string name;
  std::function<absl::Status(Engine&)> act;
};

VolumeUpdate Settings(uint64_t size_bytes) {
  VolumeUpdate update;
  update.size_bytes = size_bytes;
  update.write_level = 4;
  update.memory_limit_bytes = 30 << 20;
  update.read_only = true;
  update.attributes = std::string(9000, 'u');
  return update;
}

const Call kCalls[] = {
    {"grow",
     [](Engine& engine) {
       return Find(engine, "disk")->Update(Settings(uint64_t{1} << 33));
     }},
    {"shrink",
     [](Engine& engine) {
       return Find(engine, "disk")->Update(Settings(kSize / 3 + 5));
     }},
    {"settings",
     [](Engine& engine) {
       return Find(engine, "disk")->Update(Settings(kSize));
     }},
    {"labels",
     [](Engine& engine) {
       VolumeUpdate update;
       update.attributes = "labels";
       return Find(engine, "disk")->Update(update);
     }},
    {"rename",
     [](Engine& engine) {
       return engine.RenameVolume(Find(engine, "disk"), "disc", "renamed");
     }},
    {"create",
     [](Engine& engine) {
       VolumeOptions options;
       options.name = "new";
       options.size_bytes = kSize;
       return engine
           .CreateVolume(options, [](const Volume&) { return "created"; })
           .status();
     }},
    {"publish",
     [](Engine& engine) {
       VolumeOptions options;
       options.name = "new";
       options.size_bytes = kSize;
       auto hidden = engine.CreateHidden(options);
       absl::Status status = hidden.status();
       if (status.ok()) status = (*hidden)->Write(0, std::string(70000, 'h'));
       if (!status.ok()) return status;
       return engine.Publish(*hidden, [](const Volume&) { return "kept"; });
     }},
    {"snapshots",
     [](Engine& engine) {
       const auto attributes = [](const Volume&) { return "kept"; };
       return engine
           .CreateSnapshots({{Find(engine, "disk"), "one", attributes},
                             {Find(engine, "other"), "two", attributes}})
           .status();
     }},
    {"clone",
     [](Engine& engine) {
       VolumeOptions options;
       options.name = "new";
       options.size_bytes = 2 * kSize;
       return engine
           .CloneVolume(options, Find(engine, "@of-disk"),
                        [](const Volume&) { return "cloned"; })
           .status();
     }},
    {"revert",
     [](Engine& engine) {
       return engine.RevertVolume(Find(engine, "disk"),
                                  Find(engine, "@of-disk"), false, "reverted");
     }},
    {"delete",
     [](Engine& engine) {
       return engine.DeleteVolume(Find(engine, "disk"), false);
     }},
    {"delete a snapshot",
     [](Engine& engine) {
       return engine.DeleteVolume(Find(engine, "@of-disk"), false);
     }},
};

// Runs `act` in a process of its own. Whether it was killed.
bool IsKilled(const std::function<void()>& act) {
  const testing::ChildErrors errors;
  const pid_t child = fork();
  RAMVOL_CHECK(child >= 0);
  if (child == 0) {
    errors.Collect();
    act();
    KillAtPointForTest(-1);
    _exit(0);
  }
  int status = 0;
  RAMVOL_CHECK(waitpid(child, &status, 0) == child);
  errors.ExpectNoReport();
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  RAMVOL_CHECK(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
  return killed;
}

class StateKillTest : public ::testing::Test {
 protected:
  StateKillTest() {
    const ShmDir dir;
    auto engine = Open(dir.path());
    allocated_at_first_ = engine->Stats().memory_allocated_bytes;
  }

  // Opens `dir`, compares, deletes all.
  void Check(const std::string& dir) {
    auto engine = Open(dir);
    EXPECT_THAT(engine->recovered().damaged, IsEmpty());
    EXPECT_FALSE(engine->recovered().lost);
    EXPECT_THAT(Describe(*engine), AnyOf(before_, after_));
    DeleteAll(*engine);
    ExpectAllocated(*engine, allocated_at_first_);
  }

  uint64_t allocated_at_first_ = 0;
  std::string before_;
  std::string after_;
};

class StateKillCallTest : public StateKillTest,
                          public ::testing::WithParamInterface<Call> {};

TEST_P(StateKillCallTest, OldOrNewAfterEachStore) {
  int last = 0;
  {
    const ShmDir dir;
    auto engine = Open(dir.path());
    SetUpVolumes(*engine);
    before_ = Describe(*engine);
    KillAtPointForTest(kMaxStores);
    ASSERT_THAT(GetParam().act(*engine), IsOk());
    last = kMaxStores -
           static_cast<int>(internal_kill_point::left_for_test.load());
    KillAtPointForTest(-1);
    after_ = Describe(*engine);
    ASSERT_NE(before_, after_);
  }
  const int stride = last / TestSteps(kMostKills) + 1;
  std::mt19937_64 random(TestSeed(std::random_device()()));
  int kills = 0;
  int stores = static_cast<int>(random() % stride);
  for (bool killed = true; killed; stores += stride) {
    ASSERT_LT(stores, kMaxStores);
    SCOPED_TRACE(absl::StrCat("killed after store ", stores));
    const ShmDir dir;
    killed = IsKilled([&] {
      auto engine = Open(dir.path());
      SetUpVolumes(*engine);
      KillAtPointForTest(stores);
      RAMVOL_CHECK(GetParam().act(*engine).ok());
      KillAtPointForTest(-1);
      // As it is; nothing ends in order.
      _exit(0);
    });
    kills += killed;
    Check(dir.path());
    if (HasFailure()) return;
  }
  std::cout << GetParam().name << ": killed " << kills << " times\n";
  EXPECT_GT(kills, 0);
}

// The last process was killed amid a call, and left garbage of many sizes.
// Then each that recovers is killed one step later than the one before.
TEST_F(StateKillTest, RecoveriesAreKilledAtEachStep) {
  {
    const ShmDir whole;
    auto model = Open(whole.path());
    SetUpVolumes(*model);
    ASSERT_THAT(model->DeleteVolume(Find(*model, "clone-other"), false),
                IsOk());
    before_ = Describe(*model);
    ASSERT_THAT(model->DeleteVolume(Find(*model, "other"), false), IsOk());
    after_ = Describe(*model);
  }
  const ShmDir dir;
  const bool killed = IsKilled([&] {
    auto engine = Open(dir.path());
    SetUpVolumes(*engine);
    KillAtPointForTest(20);
    engine->DeleteVolume(Find(*engine, "clone-other"), false).IgnoreError();
    engine->DeleteVolume(Find(*engine, "other"), false).IgnoreError();
  });
  ASSERT_TRUE(killed);
  int steps = 0;
  for (bool recovered = false; !recovered; ++steps) {
    ASSERT_LT(steps, kMaxStores);
    recovered = !IsKilled([&] {
      KillAtPointForTest(steps);
      const auto engine = Open(dir.path());
      KillAtPointForTest(-1);
      _exit(0);
    });
  }
  Check(dir.path());
  std::cout << "recoveries: killed " << steps - 1 << " times\n";
  EXPECT_GT(steps, 10);
}

// Of a file that is being made.
TEST_F(StateKillTest, TheFirstStartIsKilledAtEachStep) {
  int steps = 0;
  for (bool started = false; !started; ++steps) {
    ASSERT_LT(steps, kMaxStores);
    SCOPED_TRACE(absl::StrCat("killed at step ", steps));
    const ShmDir dir;
    started = !IsKilled([&] {
      KillAtPointForTest(steps);
      const auto engine = Open(dir.path());
      KillAtPointForTest(-1);
      _exit(0);
    });
    Check(dir.path());
  }
  EXPECT_GT(steps, 3);
}

INSTANTIATE_TEST_SUITE_P(Calls, StateKillCallTest, ::testing::ValuesIn(kCalls),
                         [](const ::testing::TestParamInfo<Call>& call) {
                           std::string name = call.param.name;
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

}  // namespace
}  // namespace ramvol::engine
