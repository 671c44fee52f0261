// Random changes, snapshots, clones, reverts, comparisons and deletions by many
// threads, each volume and snapshot against a byte array of its own.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "tests/server/engine/support/expect_allocated.h"
#include "tests/support/random_data.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::RandomData;
using ::ramvol::testing::SkewedBelow;
using ::ramvol::testing::TestSeed;
using ::ramvol::testing::TestSteps;

constexpr int kSteps = 2000;  // Of each thread.
// Which volumes there are is chance, so it takes more steps now and then until
// the limit refuses something. Then a test that should get there goes on.
constexpr int kMostTimesTheSteps = 50;
constexpr int kThreads = 4;
constexpr size_t kMostRoots = 40;
// The part of a volume that is used lies around the border of two leaves.
constexpr size_t kBytes = 400001;
constexpr uint64_t kBase = (4 << 20) - 200000;

// A volume or snapshot, and what it should hold.
struct Root {
  std::shared_ptr<Volume> volume;
  Mutex mu;  // Held while it is used, since what it holds is compared.
  std::string expected;
  bool gone = false;
};

struct ModelCase {
  std::string name;
  Allocator allocator = Allocator::kZstd;
  uint64_t memory_limit_bytes = 256 << 20;
  uint64_t hot_cache_bytes = 1 << 20;
  // Of another volume, which reserves its memory.
  uint64_t ballast_bytes = 0;
};

class Model {
 public:
  explicit Model(Engine* engine, Allocator allocator)
      : engine_(*engine), allocator_(allocator) {}

  void Step(std::mt19937_64& random) {
    switch (random() % 40) {
      case 0:
      case 1:
        return Create(random);
      case 2:
      case 3:
        return Delete(random);
      case 4:
        return Revert(random);
      case 5:
      case 6:
        return Compare(random);
      case 7:
        return Stat(random);
      default:
        break;
    }
    const std::shared_ptr<Root> root = Pick(random);
    if (root == nullptr) return Create(random);
    MutexLock lock(&root->mu);
    if (root->gone) return;
    if (random() % 2 == 0) return CheckRead(*root, Range(random));
    if (random() % 6 == 0) return Trim(*root, Range(random));
    Write(*root, Range(random), random);
  }

  void CheckAll() {
    for (const auto& root : All()) {
      MutexLock lock(&root->mu);
      if (!root->gone) CheckRead(*root, {0, kBytes});
    }
  }
  // While nothing else happens. Each gives back what it said it would.
  void DeleteAll(std::mt19937_64& random) {
    for (auto roots = All(); !roots.empty(); roots = All()) {
      std::vector<uint64_t> own(roots.size());
      // What a background thread looks at counts as shared meanwhile.
      for (int look = 0; look < 3; ++look) {
        engine_.QuiesceForTest(/*merge=*/false);
        for (size_t i = 0; i < roots.size(); ++i) {
          own[i] = std::max(own[i], roots[i]->volume->Stats().own_bytes);
        }
      }
      const uint64_t before = engine_.Stats().memory_allocated_bytes;
      Delete(random);
      const auto left = All();
      for (size_t i = 0; i < roots.size(); ++i) {
        if (std::find(left.begin(), left.end(), roots[i]) != left.end()) {
          continue;
        }
        SCOPED_TRACE(roots[i]->volume->name());
        ExpectAllocated(engine_, before - own[i]);
      }
    }
  }
  int refused() const { return refused_; }
  std::vector<std::shared_ptr<Root>> All() {
    MutexLock lock(&mu_);
    return roots_;
  }

 private:
  struct Slice {
    size_t begin;
    size_t length;
  };

  static Slice Range(std::mt19937_64& random) {
    size_t begin = random() % kBytes;
    if (random() % 2 == 0) {
      begin -= std::min<size_t>(begin, (kBase + begin) % 4096);
    }
    size_t length = 1 + SkewedBelow(random, 200000);
    if (random() % 2 == 0) length = 4096 * (1 + random() % 4);
    return {begin, std::min(length, kBytes - begin)};
  }
  std::shared_ptr<Root> Pick(std::mt19937_64& random) {
    MutexLock lock(&mu_);
    return roots_.empty() ? nullptr : roots_[random() % roots_.size()];
  }
  void Add(std::shared_ptr<Volume> volume, std::string expected) {
    auto root = std::make_shared<Root>();
    root->volume = std::move(volume);
    root->expected = std::move(expected);
    MutexLock lock(&mu_);
    roots_.push_back(std::move(root));
  }
  bool Refused(const absl::Status& status) {
    if (status.code() != absl::StatusCode::kResourceExhausted) return false;
    ++refused_;
    return true;
  }

  void Create(std::mt19937_64& random) {
    if (All().size() >= kMostRoots) return Delete(random);
    const std::string name = absl::StrCat("r", ++names_);
    const std::shared_ptr<Root> source = Pick(random);
    VolumeOptions options;
    options.name = name;
    options.allocator = allocator_;
    if (source == nullptr || random() % 8 == 0) {
      options.size_bytes = kBase + kBytes;
      auto volume = engine_.CreateVolume(options);
      if (Refused(volume.status())) return;
      ASSERT_TRUE(volume.ok()) << volume.status();
      return Add(*volume, std::string(kBytes, '\0'));
    }
    MutexLock lock(&source->mu);
    if (source->gone) return;
    if (source->volume->is_snapshot() || random() % 2 == 0) {
      auto clone = engine_.CloneVolume(options, source->volume);
      if (Refused(clone.status())) return;
      ASSERT_TRUE(clone.ok()) << clone.status();
      return Add(*clone, source->expected);
    }
    auto snapshots = engine_.CreateSnapshots({{source->volume, name}});
    if (Refused(snapshots.status())) return;
    ASSERT_TRUE(snapshots.ok()) << snapshots.status();
    Add(snapshots->front(), source->expected);
  }

  void Delete(std::mt19937_64& random) {
    std::shared_ptr<Root> root;
    {
      MutexLock lock(&mu_);
      if (roots_.empty()) return;
      const size_t i = random() % roots_.size();
      root = std::move(roots_[i]);
      roots_[i] = std::move(roots_.back());
      roots_.pop_back();
    }
    MutexLock lock(&root->mu);
    ASSERT_TRUE(engine_.DeleteVolume(root->volume, false).ok());
    root->gone = true;
  }

  // Locks two roots. False when one of them cannot be used.
  bool PickTwo(std::mt19937_64& random, std::shared_ptr<Root>* a,
               std::shared_ptr<Root>* b) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    *a = Pick(random);
    *b = Pick(random);
    if (*a == nullptr || *a == *b) return false;
    std::min(*a, *b)->mu.Lock();
    std::max(*a, *b)->mu.Lock();
    if (!(*a)->gone && !(*b)->gone) return true;
    Unlock(*a, *b);
    return false;
  }
  static void Unlock(const std::shared_ptr<Root>& a,
                     const std::shared_ptr<Root>& b)
      ABSL_NO_THREAD_SAFETY_ANALYSIS {
    a->mu.Unlock();
    b->mu.Unlock();
  }

  void Revert(std::mt19937_64& random) {
    std::shared_ptr<Root> volume;
    std::shared_ptr<Root> snapshot;
    if (!PickTwo(random, &volume, &snapshot)) return;
    if (!volume->volume->is_snapshot() && snapshot->volume->is_snapshot()) {
      const absl::Status status =
          engine_.RevertVolume(volume->volume, snapshot->volume, false);
      EXPECT_TRUE(status.ok()) << status;
      volume->expected = snapshot->expected;
    }
    Unlock(volume, snapshot);
  }

  void Compare(std::mt19937_64& random) {
    std::shared_ptr<Root> now;
    std::shared_ptr<Root> since;
    if (!PickTwo(random, &now, &since)) return;
    std::string reads_as = since->expected;
    uint64_t offset = 0;
    const uint64_t size = kBase + kBytes;
    while (offset < size) {
      const auto changes = now->volume->GetChanges(
          *since->volume, offset, size - offset, 1 + random() % 5);
      ASSERT_TRUE(changes.ok()) << changes.status();
      for (const Changes::Range& range : changes->ranges) {
        ASSERT_GE(range.offset_bytes, offset);
        const uint64_t begin = std::max(range.offset_bytes, kBase);
        const uint64_t end = range.offset_bytes + range.length_bytes;
        ASSERT_LE(end, size);
        if (end <= begin) continue;
        std::copy_n(now->expected.begin() + (begin - kBase), end - begin,
                    reads_as.begin() + (begin - kBase));
      }
      ASSERT_GT(changes->next_offset_bytes, offset);
      offset = changes->next_offset_bytes;
    }
    EXPECT_TRUE(reads_as == now->expected) << "a change was not named";
    Unlock(now, since);
  }

  void Stat(std::mt19937_64& random) {
    const std::shared_ptr<Root> root = Pick(random);
    if (root == nullptr) return;
    const VolumeStats stats = root->volume->Stats();
    EXPECT_LE(stats.dirty_bytes, stats.hot_bytes);
    engine_.Stats();
  }

  void Write(Root& root, Slice at, std::mt19937_64& random) {
    const std::string data = RandomData(random, at.length);
    const absl::Status status = root.volume->Write(
        kBase + at.begin, absl::MakeConstSpan(data.data(), data.size()));
    if (root.volume->is_snapshot()) {
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
      return;
    }
    if (Refused(status)) return;
    ASSERT_TRUE(status.ok()) << status;
    std::copy(data.begin(), data.end(), root.expected.begin() + at.begin);
  }

  void Trim(Root& root, Slice at) {
    const absl::Status status = root.volume->Trim(kBase + at.begin, at.length);
    if (root.volume->is_snapshot()) {
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
      return;
    }
    ASSERT_TRUE(status.ok()) << status;
    std::fill_n(root.expected.begin() + at.begin, at.length, '\0');
  }

  void CheckRead(Root& root, Slice at) {
    std::string now(at.length, 'x');
    const absl::Status status =
        root.volume->Read(kBase + at.begin, absl::MakeSpan(now));
    ASSERT_TRUE(status.ok()) << status;
    // Byte by byte only where it differs.
    if (root.expected.compare(at.begin, at.length, now) == 0) return;
    const auto [got, wanted] =
        std::mismatch(now.begin(), now.end(), root.expected.begin() + at.begin);
    ASSERT_TRUE(got == now.end())
        << root.volume->name() << ", byte "
        << kBase + at.begin + (got - now.begin()) << " of a read of "
        << at.length << " at " << kBase + at.begin;
  }

  Engine& engine_;
  const Allocator allocator_;
  std::atomic<int> names_{0};
  std::atomic<int> refused_{0};
  Mutex mu_;
  std::vector<std::shared_ptr<Root>> roots_ ABSL_GUARDED_BY(mu_);
};

void ExpectStatsAddUp(Engine& engine, Model& model, uint64_t empty_bytes) {
  const EngineStats stats = engine.Stats();
  uint64_t own_bytes = 0;
  for (const auto& root : model.All()) {
    const VolumeStats one = root->volume->Stats();
    EXPECT_EQ(one.own_bytes + one.shared_bytes, one.memory_bytes);
    EXPECT_GE(one.memory_bytes, one.stored_bytes);
    EXPECT_EQ(one.own_bytes, root->volume->OwnBytes());
    own_bytes += one.own_bytes;
  }
  EXPECT_LE(empty_bytes + own_bytes, stats.memory_allocated_bytes);
  EXPECT_LE(stats.memory_used_bytes, stats.memory_limit_bytes);
}

class SnapshotModelTest : public ::testing::TestWithParam<ModelCase> {};

TEST_P(SnapshotModelTest, EachRootEqualsAByteArray) {
  const uint64_t seed = TestSeed(20261129);
  const int steps = TestSteps(kSteps);
  EngineOptions options;
  options.memory_limit_bytes = GetParam().memory_limit_bytes;
  options.hot_cache_bytes = GetParam().hot_cache_bytes;
  // Only the test has chunks merged, so that nothing changes by itself in the
  // end.
  options.merge_interval_ms = 3600000;
  auto engine = Engine::Create(options);
  ASSERT_TRUE(engine.ok()) << engine.status();
  if (GetParam().ballast_bytes > 0) {
    VolumeOptions ballast;
    ballast.name = "ballast";
    ballast.allocator = Allocator::kMalloc;
    ballast.size_bytes = GetParam().ballast_bytes;
    ASSERT_TRUE((*engine)->CreateVolume(ballast).ok());
  }
  const uint64_t empty_bytes = (*engine)->Stats().memory_allocated_bytes;
  const bool tight = GetParam().name.find("Tight") != std::string::npos;
  Model model(engine->get(), GetParam().allocator);
  const auto goes_on = [&](int step) {
    if (::testing::Test::HasFailure()) return false;
    const bool to_the_limit = tight && model.refused() == 0;
    return step < steps * (to_the_limit ? kMostTimesTheSteps : 1);
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&model, &goes_on, seed, i] {
      std::mt19937_64 random(seed + i);
      for (int j = 0; goes_on(j); ++j) model.Step(random);
    });
  }
  std::mt19937_64 random(seed);
  for (int i = 0; i < steps / 100; ++i) {
    (*engine)->QuiesceForTest(/*merge=*/random() % 2 == 0);
  }
  for (std::thread& thread : threads) thread.join();
  model.CheckAll();
  (*engine)->QuiesceForTest(true);
  model.CheckAll();
  EXPECT_EQ((*engine)->Stats().hot_cache_dirty_bytes, 0u)
      << "left out of its queue";
  ExpectStatsAddUp(**engine, model, empty_bytes);
  if (tight) {
    EXPECT_GT(model.refused(), 0) << "the limit never bit";
  } else {
    EXPECT_EQ(model.refused(), 0);
  }
  model.DeleteAll(random);
  ExpectAllocated(**engine, empty_bytes);
  EXPECT_EQ((*engine)->Stats().hot_cache_bytes, 0u);
}

INSTANTIATE_TEST_SUITE_P(
    All, SnapshotModelTest,
    ::testing::Values(
        ModelCase{"Zstd"},
        ModelCase{.name = "ZstdLargeCache", .hot_cache_bytes = 32 << 20},
        ModelCase{.name = "ZstdTight",
                  .memory_limit_bytes = 16 << 20,
                  .ballast_bytes = 13 << 20},
        ModelCase{.name = "SparseTight",
                  .allocator = Allocator::kSparse,
                  .memory_limit_bytes = 16 << 20,
                  .ballast_bytes = 13 << 20},
        ModelCase{.name = "Sparse", .allocator = Allocator::kSparse},
        ModelCase{.name = "MallocTight",
                  .allocator = Allocator::kMalloc,
                  .memory_limit_bytes = 64 << 20}),
    [](const ::testing::TestParamInfo<ModelCase>& info) {
      return info.param.name;
    });

}  // namespace
}  // namespace ramvol::engine
