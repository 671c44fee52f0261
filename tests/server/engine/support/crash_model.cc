#include "tests/server/engine/support/crash_model.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/config.h"
#include "absl/debugging/failure_signal_handler.h"
#include "absl/debugging/symbolize.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/check.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/memory/kill_point.h"
#include "tests/server/engine/support/expect_allocated.h"
#include "tests/support/child_errors.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::RandomData;
using ::ramvol::testing::SkewedBelow;

constexpr int kThreads = 3;
// Volumes and snapshots of each thread; the latter come second.
constexpr int kRoots = 8;
constexpr int kVolumes = 5;
// The part of a volume that is used lies around the border of two leaves.
constexpr size_t kBytes = 300001;
constexpr uint64_t kBase = (4 << 20) - 150000;

// What a root should hold.
struct Root {
  bool there = false;
  char bytes[kBytes];
};

// What a thread is doing to which of its roots.
struct Doing {
  enum What : int { kNothing, kChange, kMake, kDelete, kRevert, kKinds };
  What what = kNothing;
  int root = 0;
  int source = -1;  // Of kMake and kRevert; -1: none.
  // Of kChange.
  size_t begin = 0;
  size_t end = 0;
  char bytes[kBytes];
};

std::string NameOf(int thread, int root) {
  return absl::StrCat(root < kVolumes ? "" : "@", "t", thread, "-", root);
}

std::string ReadAll(Volume& volume) {
  std::string content(kBytes, '?');
  EXPECT_THAT(volume.Read(kBase, absl::MakeSpan(content)), IsOk());
  std::string rest(kBase, '?');
  EXPECT_THAT(volume.Read(0, absl::MakeSpan(rest)), IsOk());
  EXPECT_TRUE(rest == std::string(kBase, '\0'));
  return content;
}

// Whether each block is that of one of the two.
bool IsMixture(const std::string& found, const std::string& before,
               const std::string& after) {
  for (size_t at = 0; at < kBytes;) {
    const size_t bytes =
        std::min<size_t>(kBytes - at, 4096 - (kBase + at) % 4096);
    const auto same = [&](const std::string& one) {
      return found.compare(at, bytes, one, at, bytes) == 0;
    };
    if (!same(before) && !same(after)) return false;
    at += bytes;
  }
  return true;
}

// A crash shall say where it was.
void PrintCrashes() {
#ifndef ABSL_HAVE_ADDRESS_SANITIZER  // It says more.
  absl::InitializeSymbolizer(nullptr);
  absl::InstallFailureSignalHandler({});
#endif
}

std::string HowItEnded(int wait_status) {
  if (WIFSIGNALED(wait_status)) return strsignal(WTERMSIG(wait_status));
  return absl::StrCat("exit code ", WEXITSTATUS(wait_status));
}

}  // namespace

struct CrashModel::State {
  Root roots[kThreads][kRoots];
  Doing doing[kThreads];
  // Of each kind, how often it was done, and was under way at a kill.
  std::atomic<int> done[Doing::kKinds];
  int killed[Doing::kKinds];
};

// One thread of the process that will be killed.
class CrashModel::Worker {
 public:
  Worker(Engine& engine, State& model, int thread, uint64_t seed)
      : engine_(engine),
        model_(model),
        roots_(model.roots[thread]),
        doing_(model.doing[thread]),
        thread_(thread),
        random_(seed) {}

  void Run() {
    for (;;) Step();
  }

 private:
  void Step() {
    const int root = static_cast<int>(random_() % kRoots);
    if (!roots_[root].there) return Make(root);
    if (random_() % 16 == 0) return Delete(root);
    if (random_() % 8 == 0) return Verify(root);
    if (root >= kVolumes) return;
    if (random_() % 16 == 0) return Revert(root);
    Change(root);
  }

  // Says what is about to be done, does it, and notes that it was done.
  void Do(Doing::What what, int root, int source,
          const std::function<void()>& act, const std::function<void()>& note) {
    doing_.root = root;
    doing_.source = source;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    doing_.what = what;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    act();
    std::atomic_signal_fence(std::memory_order_seq_cst);
    note();
    std::atomic_signal_fence(std::memory_order_seq_cst);
    doing_.what = Doing::kNothing;
    model_.done[what].fetch_add(1, std::memory_order_relaxed);
  }

  std::shared_ptr<Volume> Find(int root) {
    auto volume = engine_.Find(NameOf(thread_, root));
    RAMVOL_CHECK(volume.ok());
    return *std::move(volume);
  }

  void Verify(int root) {
    const size_t begin = random_() % kBytes;
    const size_t length = 1 + random_() % (kBytes - begin);
    std::string content(length, '?');
    RAMVOL_CHECK(Find(root)->Read(kBase + begin, absl::MakeSpan(content)).ok());
    RAMVOL_CHECK(
        std::memcmp(content.data(), roots_[root].bytes + begin, length) == 0);
  }

  void Make(int root) {
    const int source = static_cast<int>(random_() % kRoots);
    const bool copies = roots_[source].there;
    if (root >= kVolumes && (!copies || source >= kVolumes)) return;
    Do(
        Doing::kMake, root, copies ? source : -1,
        [&] {
          if (root >= kVolumes) {
            const std::string name = NameOf(thread_, root).substr(1);
            RAMVOL_CHECK(engine_.CreateSnapshots({{Find(source), name}}).ok());
            return;
          }
          VolumeOptions options;
          options.name = NameOf(thread_, root);
          options.size_bytes = kBase + kBytes;
          options.allocator =
              random_() % 4 == 0 ? Allocator::kSparse : Allocator::kZstd;
          RAMVOL_CHECK(copies ? engine_.CloneVolume(options, Find(source)).ok()
                              : engine_.CreateVolume(options).ok());
        },
        [&] {
          if (copies) {
            std::memcpy(roots_[root].bytes, roots_[source].bytes, kBytes);
          } else {
            std::memset(roots_[root].bytes, 0, kBytes);
          }
          std::atomic_signal_fence(std::memory_order_seq_cst);
          roots_[root].there = true;
        });
  }

  void Delete(int root) {
    Do(
        Doing::kDelete, root, -1,
        [&] { RAMVOL_CHECK(engine_.DeleteVolume(Find(root), false).ok()); },
        [&] { roots_[root].there = false; });
  }

  void Revert(int root) {
    const int source =
        kVolumes + static_cast<int>(random_() % (kRoots - kVolumes));
    if (!roots_[source].there) return;
    Do(
        Doing::kRevert, root, source,
        [&] {
          RAMVOL_CHECK(
              engine_.RevertVolume(Find(root), Find(source), false).ok());
        },
        [&] { std::memcpy(roots_[root].bytes, roots_[source].bytes, kBytes); });
  }

  void Change(int root) {
    const size_t begin = random_() % kBytes;
    const size_t length = 1 + SkewedBelow(random_, kBytes - begin);
    const bool trims = random_() % 4 == 0;
    doing_.begin = begin;
    doing_.end = begin + length;
    if (trims) {
      std::memset(doing_.bytes, 0, length);
    } else {
      const std::string data = RandomData(random_, length);
      std::memcpy(doing_.bytes, data.data(), length);
    }
    auto volume = Find(root);
    Do(
        Doing::kChange, root, -1,
        [&] {
          const absl::Status done =
              trims ? volume->Trim(kBase + begin, length)
                    : volume->Write(kBase + begin, {doing_.bytes, length});
          RAMVOL_CHECK(done.ok());
        },
        [&] { std::memcpy(roots_[root].bytes + begin, doing_.bytes, length); });
  }

  Engine& engine_;
  State& model_;
  Root* const roots_;
  Doing& doing_;
  const int thread_;
  std::mt19937_64 random_;
};

CrashModel::CrashModel()
    : state_(*new(mmap(nullptr, sizeof(State), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0)) State) {}
CrashModel::~CrashModel() { munmap(&state_, sizeof(State)); }

void CrashModel::Work(Engine& engine, uint64_t seed) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] { Worker(engine, state_, i, seed + i).Run(); });
  }
  for (;;) pause();
}

// Compares a root with the model, and gives the model what was found.
void CrashModel::CheckRoot(Engine& engine, int thread, int number) {
  Root& root = state_.roots[thread][number];
  const Doing& doing = state_.doing[thread];
  const bool involved = doing.what != Doing::kNothing && doing.root == number;
  auto found = engine.Find(NameOf(thread, number));
  const std::string name = NameOf(thread, number);
  std::string before(root.bytes, kBytes);
  if (involved && doing.what == Doing::kDelete && !found.ok()) {
    root.there = false;
    return;
  }
  if (involved && doing.what == Doing::kMake) {
    root.there = found.ok();
    if (!found.ok()) return;
    before =
        doing.source < 0
            ? std::string(kBytes, '\0')
            : std::string(state_.roots[thread][doing.source].bytes, kBytes);
  }
  ASSERT_EQ(found.ok(), root.there) << name;
  if (!root.there) return;
  const std::string content = ReadAll(**found);
  if (involved && doing.what == Doing::kChange) {
    std::string after = before;
    after.replace(doing.begin, doing.end - doing.begin, doing.bytes,
                  doing.end - doing.begin);
    ASSERT_TRUE(IsMixture(content, before, after)) << name;
  } else if (involved && doing.what == Doing::kRevert) {
    const std::string after(state_.roots[thread][doing.source].bytes, kBytes);
    ASSERT_TRUE(content == before || content == after) << name;
  } else {
    ASSERT_TRUE(content == before) << name;
  }
  std::memcpy(root.bytes, content.data(), kBytes);
}

void CrashModel::Check(Engine& engine) {
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int root = 0; root < kRoots; ++root) {
      CheckRoot(engine, thread, root);
      if (::testing::Test::HasFatalFailure()) return;
    }
    ++state_.killed[state_.doing[thread].what];
    state_.doing[thread].what = Doing::kNothing;
  }
}

void CrashModel::ExpectAllKinds() const {
  for (int what = Doing::kChange; what < Doing::kKinds; ++what) {
    std::cout << "kind " << what << ": done " << state_.done[what]
              << " times, killed " << state_.killed[what] << " times\n";
    EXPECT_GT(state_.done[what], 0);
  }
}

void RunAndKill(std::mt19937_64& random, uint64_t max_points,
                uint64_t max_micros, const std::function<void()>& run) {
  const bool at_a_point = random() % 2 == 0;
  const auto points = static_cast<int64_t>(SkewedBelow(random, max_points));
  const auto micros = static_cast<useconds_t>(SkewedBelow(random, max_micros));
  const testing::ChildErrors errors;
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    errors.Collect();
    PrintCrashes();
    // Also while it recovers.
    if (at_a_point) KillAtPointForTest(points);
    run();
    _exit(1);
  }
  if (!at_a_point) {
    usleep(micros);
    kill(child, SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  errors.ExpectNoReport();
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
      << "the process failed by itself: " << HowItEnded(status);
}

void ExpectFreed(Engine& engine, uint64_t bytes) {
  for (const auto& registry : {engine.List("", 1000), engine.List("@", 1000)}) {
    for (const NamedVolume& named : registry) {
      EXPECT_THAT(engine.DeleteVolume(named.volume, false), IsOk());
    }
  }
  ExpectAllocated(engine, bytes);
}

}  // namespace ramvol::engine
