#include "server/engine/memory/arena.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/state_file.h"
#include "tests/server/engine/support/shm_dir.h"

namespace ramvol::engine {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kGiB = 1 << 30;
constexpr uint64_t kReserve = 1 << 20;
// Retained after everything was freed.
constexpr uint64_t kMaxRetained = kMiB;
// Tables of an arena that has held a few hundred MiB at most.
constexpr uint64_t kMaxTables = kMiB;

// The first and the last core that this process may run on.
std::array<int, 2> TwoCores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  EXPECT_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  std::array<int, 2> cores = {-1, -1};
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &allowed)) continue;
    if (cores[0] < 0) cores[0] = core;
    cores[1] = core;
  }
  return cores;
}

// Memory from an arena with a pattern by which it knows itself again.
struct Object {
  char* data;
  size_t bytes;
  PageId page = 0;  // 0: a small object.
  unsigned char tag = 0;
};

class Owner {
 public:
  explicit Owner(Arena* arena, uint64_t seed = 1)
      : arena_(*arena), random_(seed) {}
  ~Owner() { FreeAll(); }

  bool AddObject(size_t bytes, Priority priority = Priority::kNormal) {
    void* const data = arena_.Allocate(bytes, priority);
    if (data == nullptr) return false;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 16, 0);
    Fill({.data = static_cast<char*>(data), .bytes = bytes});
    return true;
  }

  bool AddPage(Priority priority = Priority::kNormal) {
    const PageId page = arena_.AllocatePage(priority);
    if (page == 0) return false;
    Fill({.data = arena_.PageData(page), .bytes = kPageBytes, .page = page});
    return true;
  }

  void AddObjects(size_t count, size_t bytes) {
    for (size_t i = 0; i < count; ++i) ASSERT_TRUE(AddObject(bytes));
  }
  void AddPages(size_t count) {
    for (size_t i = 0; i < count; ++i) ASSERT_TRUE(AddPage());
  }

  // Checks and frees the object at `index`; the last one takes its place.
  void FreeAt(size_t index) {
    Check(objects_[index]);
    Free(objects_[index]);
    objects_[index] = objects_.back();
    objects_.pop_back();
  }
  void FreeAll() {
    while (!objects_.empty()) FreeAt(objects_.size() - 1);
  }
  // Frees all but one in `n`, chosen at random.
  void KeepOneIn(size_t n) {
    std::shuffle(objects_.begin(), objects_.end(), random_);
    const size_t keep = objects_.size() / n;
    while (objects_.size() > keep) FreeAt(objects_.size() - 1);
  }

  // Moves what the arena wants moved, once through; returns how many.
  size_t Evacuate(Evacuation how = Evacuation::kLight) {
    size_t moved = 0;
    arena_.StartEvacuation(how);
    for (Object& object : objects_) {
      if (object.page != 0 || !arena_.ShouldMove(object.data)) continue;
      void* const copy = arena_.Allocate(object.bytes, Priority::kNormal);
      if (copy == nullptr) continue;
      std::memcpy(copy, object.data, object.bytes);
      arena_.Free(object.data, object.bytes);
      object.data = static_cast<char*>(copy);
      ++moved;
    }
    arena_.EndEvacuation();
    return moved;
  }

  void CheckAll() const {
    for (const Object& object : objects_) Check(object);
  }

  // What the objects take, by the arena's own rounding.
  uint64_t allocated_bytes() const {
    uint64_t bytes = 0;
    for (const Object& object : objects_) {
      bytes +=
          object.page != 0 ? kPageBytes : Arena::AllocatedBytes(object.bytes);
    }
    return bytes;
  }
  size_t size() const { return objects_.size(); }
  const Object& at(size_t index) const { return objects_[index]; }
  std::mt19937_64& random() { return random_; }

 private:
  void Fill(Object object) {
    object.tag = static_cast<unsigned char>(random_());
    std::memset(object.data, object.tag, object.bytes);
    objects_.push_back(object);
  }
  static void Check(const Object& object) {
    const char tag = static_cast<char>(object.tag);
    ASSERT_EQ(object.data[0], tag);
    // All bytes are as the first.
    ASSERT_EQ(std::memcmp(object.data, object.data + 1, object.bytes - 1), 0)
        << "an object of " << object.bytes << " bytes was overwritten";
  }
  void Free(const Object& object) {
    if (object.page != 0) {
      arena_.UnrefPage(object.page);
    } else {
      arena_.Free(object.data, object.bytes);
    }
  }

  Arena& arena_;
  std::mt19937_64 random_;
  std::vector<Object> objects_;
};

// Resident bytes of the mapping that holds `address`, by the kernel's count.
uint64_t ResidentBytesAround(const void* address) {
  const auto target = reinterpret_cast<uintptr_t>(address);
  std::ifstream smaps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    unsigned long start = 0, end = 0, kib = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &start, &end) == 2) {
      inside = start <= target && target < end;
    } else if (inside && std::sscanf(line.c_str(), "Rss: %lu kB", &kib) == 1) {
      return kib << 10;
    }
  }
  ADD_FAILURE() << "no mapping holds " << address;
  return 0;
}

std::unique_ptr<Arena> MakeAnonymousArena(uint64_t limit_bytes) {
  absl::StatusOr<std::unique_ptr<Arena>> arena = Arena::Create(limit_bytes);
  EXPECT_TRUE(arena.ok()) << arena.status();
  return *std::move(arena);
}

// Over both kinds of memory.
enum class Memory { kAnonymous, kFile };

class ArenaTest : public ::testing::TestWithParam<Memory> {
 protected:
  std::unique_ptr<Arena> MakeArena(uint64_t limit_bytes) {
    if (GetParam() == Memory::kAnonymous) {
      return MakeAnonymousArena(limit_bytes);
    }
    dirs_.push_back(std::make_unique<ShmDir>());
    auto file = StateFile::Open(dirs_.back()->path(), limit_bytes, 1);
    EXPECT_TRUE(file.ok()) << file.status();
    auto arena = Arena::Create(*std::move(file));
    EXPECT_TRUE(arena.ok()) << arena.status();
    (*arena)->FinishRecovery();
    return *std::move(arena);
  }

  // By the kernel's count, of the arena that was made last.
  uint64_t ResidentBytes(const Arena& arena) const {
    if (GetParam() == Memory::kAnonymous) {
      return ResidentBytesAround(arena.PageData(0));
    }
    struct stat info = {};
    EXPECT_EQ(stat((dirs_.back()->path() + "/arena").c_str(), &info), 0);
    return info.st_blocks * 512;
  }
  // What is resident in an arena where nothing is allocated.
  uint64_t empty_bytes() const {
    return GetParam() == Memory::kAnonymous ? 0 : kUnitBytes + kPageBytes;
  }

 private:
  std::vector<std::unique_ptr<ShmDir>> dirs_;
};

INSTANTIATE_TEST_SUITE_P(Memory, ArenaTest,
                         ::testing::Values(Memory::kAnonymous, Memory::kFile),
                         [](const auto& info) {
                           return info.param == Memory::kFile ? "File"
                                                              : "Anonymous";
                         });

// ---- Boundaries ---------------------------------------------------------

TEST(AnonymousArenaTest, CreateFailsWhereAddressSpaceEnds) {
  for (const uint64_t limit : {uint64_t{1} << 50, ~uint64_t{0}}) {
    const auto arena = Arena::Create(limit);
    EXPECT_EQ(arena.status().code(), absl::StatusCode::kResourceExhausted);
  }
}

TEST(AnonymousArenaTest, EmptyArenaUsesKilobytes) {
  const auto arena = MakeAnonymousArena(64 * kGiB);
  EXPECT_EQ(arena->limit_bytes(), 64 * kGiB);
  EXPECT_EQ(arena->allocated_bytes(), 0);
  EXPECT_LE(arena->used_bytes(), 64 << 10);
}

TEST(AnonymousArenaTest, RoundsSizesByLittle) {
  for (size_t bytes = 1; bytes <= kMaxObjectBytes; ++bytes) {
    const size_t allocated = Arena::AllocatedBytes(bytes);
    ASSERT_GE(allocated, bytes);
    ASSERT_LE(allocated, bytes + std::max<size_t>(15, bytes / 30)) << bytes;
    ASSERT_EQ(allocated % 16, 0);
    ASSERT_EQ(
        Arena::AllocatedBytes(allocated < kMaxObjectBytes ? allocated : bytes),
        allocated);
  }
}

TEST_P(ArenaTest, EverySizeHoldsItsBytes) {
  const auto arena = MakeArena(256 * kMiB);
  Owner owner(arena.get());
  for (size_t bytes = 1; bytes <= kMaxObjectBytes; ++bytes) {
    owner.AddObjects(3, bytes);
  }
  owner.CheckAll();
  EXPECT_EQ(arena->allocated_bytes(), owner.allocated_bytes());
}

TEST_P(ArenaTest, PageIsFreedWithItsLastReference) {
  const auto arena = MakeArena(16 * kMiB);
  const PageId page = arena->AllocatePage(Priority::kNormal);
  ASSERT_NE(page, 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(arena->PageData(page)) % kPageBytes, 0);
  arena->RefPage(page);
  EXPECT_EQ(arena->allocated_bytes(), kPageBytes);
  arena->UnrefPage(page);
  EXPECT_EQ(arena->allocated_bytes(), kPageBytes);
  arena->UnrefPage(page);
  EXPECT_EQ(arena->allocated_bytes(), 0);
}

TEST_P(ArenaTest, FreedMemoryIsReused) {
  const auto arena = MakeArena(64 * kMiB);
  Owner owner(arena.get());
  owner.AddPages(100);
  owner.AddObjects(100, 1000);
  const uint64_t used = arena->used_bytes();
  for (int round = 0; round < 10; ++round) {
    owner.FreeAll();
    owner.AddPages(100);
    owner.AddObjects(100, 1000);
  }
  EXPECT_EQ(arena->used_bytes(), used);
}

using ArenaDeathTest = testing::Test;

TEST(ArenaDeathTest, FreeingTwiceAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto arena = MakeAnonymousArena(16 * kMiB);
  void* const keep = arena->Allocate(100, Priority::kNormal);
  void* const object = arena->Allocate(100, Priority::kNormal);
  arena->Free(object, 100);
  EXPECT_DEATH(arena->Free(object, 100), "check failed");
  EXPECT_DEATH(arena->Free(keep, 1000), "check failed");
  const PageId page = arena->AllocatePage(Priority::kNormal);
  arena->UnrefPage(page);
  EXPECT_DEATH(arena->UnrefPage(page), "check failed");
  arena->Free(keep, 100);
}

// ---- The limit ----------------------------------------------------------

TEST_P(ArenaTest, NormalStopsAtTheReserveAndGuaranteedGoesOn) {
  constexpr uint64_t kLimit = 16 * kMiB;
  const auto arena = MakeArena(kLimit);
  Owner owner(arena.get());
  while (owner.AddPage()) {
  }
  EXPECT_LE(arena->used_bytes(), kLimit - kReserve);
  EXPECT_GT(arena->used_bytes(), kLimit - kReserve - 2 * kPageBytes);

  while (arena->used_bytes() < kLimit + 8 * kMiB) {
    ASSERT_TRUE(owner.AddPage(Priority::kGuaranteed));
    ASSERT_TRUE(owner.AddObject(3000, Priority::kGuaranteed));
    ASSERT_FALSE(owner.AddPage());
    ASSERT_FALSE(owner.AddObject(3000));
    ASSERT_FALSE(arena->Reserve(1, Priority::kNormal));
  }
  EXPECT_EQ(arena->allocated_bytes(), owner.allocated_bytes());
}

TEST_P(ArenaTest,
       BackgroundWorkBorrowsFromTheReserveAndTakesNothingFromOthers) {
  constexpr uint64_t kLimit = 16 * kMiB;
  const auto arena = MakeArena(kLimit);
  Owner owner(arena.get());
  while (arena->HasRoom(8 * kPageBytes)) ASSERT_TRUE(owner.AddPage());
  while (arena->HasRoom(kPageBytes, Priority::kMerge)) {
    ASSERT_TRUE(owner.AddPage(Priority::kMerge));
  }
  EXPECT_LE(arena->used_bytes(), kLimit - kReserve / 2);
  // It took what was free, too: that was for anyone.
  EXPECT_FALSE(owner.AddPage());
  owner.FreeAt(0);
  arena->ReleaseFreeMemory();
  while (owner.AddPage(Priority::kReclaim)) {
  }
  EXPECT_LE(arena->used_bytes(), kLimit);
  EXPECT_GT(arena->used_bytes(), kLimit - 2 * kPageBytes);
  EXPECT_FALSE(owner.AddPage(Priority::kMerge));
}

TEST_P(ArenaTest, ObjectsStopAtTheReserve) {
  constexpr uint64_t kLimit = 16 * kMiB;
  const auto arena = MakeArena(kLimit);
  Owner owner(arena.get());
  while (owner.AddObject(1 + owner.random()() % kMaxObjectBytes)) {
  }
  EXPECT_LE(arena->used_bytes(), kLimit - kReserve);
  EXPECT_GT(arena->used_bytes(), kLimit - kReserve - 3 * kPageBytes);
}

TEST_P(ArenaTest, LimitHoldsExactlyUnderConcurrency) {
  constexpr uint64_t kLimit = 32 * kMiB;
  const auto arena = MakeArena(kLimit);
  std::atomic<bool> done{false};
  std::atomic<uint64_t> max_used{0};
  std::thread watcher([&] {
    while (!done) {
      max_used = std::max(max_used.load(), arena->used_bytes());
    }
  });
  std::vector<std::thread> workers;
  for (int t = 0; t < 4; ++t) {
    workers.emplace_back([&, t] {
      Owner owner(arena.get(), t);
      for (int round = 0; round < 4; ++round) {
        while (t % 2 == 0 ? owner.AddPage()
                          : owner.AddObject(1 + owner.random()() % 4000)) {
        }
        owner.KeepOneIn(2);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  done = true;
  watcher.join();
  EXPECT_LE(max_used, kLimit - kReserve);
  EXPECT_EQ(arena->allocated_bytes(), 0);
}

TEST_P(ArenaTest, RetainedMemoryNeverMakesAnAllocationFail) {
  const auto arena = MakeArena(16 * kMiB);
  Owner owner(arena.get());
  size_t pages = 0;
  for (; owner.AddPage(); ++pages) {
  }
  for (int round = 0; round < 3; ++round) {
    owner.FreeAll();
    // The retained pages have to go before objects fit.
    size_t objects = 0;
    for (; owner.AddObject(4000); ++objects) {
    }
    EXPECT_GE(objects * 4000, pages * kPageBytes * 97 / 100);
    owner.FreeAll();
    // And the objects' before pages do.
    owner.AddPages(pages - 16);
  }
}

TEST_P(ArenaTest, TakingTurnsAtTheLimitNeverFails) {
  const auto arena = MakeArena(16 * kMiB);
  constexpr int kThreads = 4;
  constexpr size_t kPagesEach = 900;  // Of about 4000.
  std::vector<std::thread> workers;
  ASSERT_TRUE(arena->Reserve(arena->limit_bytes() - kReserve -
                                 arena->used_bytes() - kMiB / 2 -
                                 kThreads * kPagesEach * kPageBytes,
                             Priority::kNormal));
  for (int t = 0; t < kThreads; ++t) {
    workers.emplace_back([&, t] {
      Owner owner(arena.get(), t);
      for (int round = 0; round < 8; ++round) {
        // One thread takes objects: neighbours of several threads would keep
        // each other's pages resident.
        if (t == 0) {
          owner.AddObjects(kPagesEach, 4000);
        } else {
          owner.AddPages(kPagesEach);
        }
        owner.FreeAll();
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
}

TEST_P(ArenaTest, ReservationsTakeFromTheLimit) {
  constexpr uint64_t kLimit = 16 * kMiB;
  const auto arena = MakeArena(kLimit);
  EXPECT_FALSE(arena->Reserve(kLimit, Priority::kNormal));
  EXPECT_FALSE(arena->Reserve(~uint64_t{0}, Priority::kNormal));
  EXPECT_TRUE(arena->Reserve(0, Priority::kNormal));
  const uint64_t room = kLimit - kReserve - arena->used_bytes();
  EXPECT_FALSE(arena->Reserve(room + 1, Priority::kNormal));
  ASSERT_TRUE(arena->Reserve(room, Priority::kNormal));
  EXPECT_EQ(arena->allocated_bytes(), room);
  EXPECT_EQ(arena->used_bytes(), kLimit - kReserve);
  EXPECT_EQ(arena->AllocatePage(Priority::kNormal), 0);

  // As a volume that reserved its memory writes: page by page.
  Owner owner(arena.get());
  for (uint64_t taken = 0; taken + kPageBytes <= room; taken += kPageBytes) {
    ASSERT_TRUE(owner.AddPage(Priority::kGuaranteed));
    arena->Unreserve(kPageBytes);
  }
  arena->Unreserve(room % kPageBytes);
  EXPECT_LE(arena->used_bytes(), kLimit);
  EXPECT_EQ(arena->allocated_bytes(), owner.allocated_bytes());
}

TEST_P(ArenaTest, InjectedFaultsSpareTheGuaranteed) {
  const auto arena = MakeArena(16 * kMiB);
  Owner owner(arena.get());
  arena->FailAllocationsAfterForTest(2);
  EXPECT_TRUE(owner.AddObject(10, Priority::kGuaranteed));
  EXPECT_TRUE(owner.AddObject(10));
  EXPECT_TRUE(owner.AddPage());
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(owner.AddObject(10));
    EXPECT_FALSE(owner.AddPage());
    EXPECT_FALSE(arena->Reserve(1, Priority::kNormal));
    EXPECT_TRUE(owner.AddPage(Priority::kGuaranteed));
  }
  arena->FailAllocationsAfterForTest(0);
  EXPECT_FALSE(owner.AddPage());
  arena->FailAllocationsAfterForTest(-1);
  EXPECT_TRUE(owner.AddPage());
}

// ---- What is resident ---------------------------------------------------

TEST_P(ArenaTest, CountsWhatIsResident) {
  const auto arena = MakeArena(kGiB);
  Owner owner(arena.get());
  owner.AddObjects(1, 100);
  const auto expect_equal = [&] {
    const uint64_t used = arena->used_bytes();
    const uint64_t resident = ResidentBytes(*arena);
    EXPECT_LE(resident, used);
    EXPECT_GE(resident + kMaxTables / 2, used * 95 / 100);
  };

  owner.AddPages(10000);
  for (int i = 0; i < 30000; ++i) {
    ASSERT_TRUE(owner.AddObject(300 + owner.random()() % 4000));
  }
  EXPECT_GT(arena->used_bytes(), 90 * kMiB);
  expect_equal();
  owner.KeepOneIn(10);
  expect_equal();
  while (owner.Evacuate() > 0) {
  }
  expect_equal();
  owner.CheckAll();
  owner.FreeAll();
  expect_equal();
  EXPECT_LE(arena->used_bytes(), kMaxRetained + kMaxTables);
  arena->ReleaseFreeMemory();
  EXPECT_EQ(ResidentBytes(*arena), empty_bytes());
}

// Runs on one core after the other, as far as there are several.
TEST_P(ArenaTest, PagesFreedOnOneCoreAreReusedOnAnother) {
  const std::unique_ptr<Arena> arena = MakeArena(kGiB);
  constexpr size_t kPages = kMiB / kPageBytes / 2;  // All may be retained.
  std::vector<uint64_t> used;
  for (const int core : TwoCores()) {
    std::thread([&] {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(core, &one);
      ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
      Owner owner(arena.get());
      owner.AddPages(kPages);
      used.push_back(arena->used_bytes());
    }).join();
  }
  EXPECT_EQ(used[1], used[0]) << "no fresh page while others are retained";
}

TEST_P(ArenaTest, FreedPagesGoBackButForATenth) {
  const auto arena = MakeArena(kGiB);
  Owner owner(arena.get());
  owner.AddPages(40000);
  owner.KeepOneIn(2);
  EXPECT_LE(arena->used_bytes(),
            owner.allocated_bytes() * 11 / 10 + kMaxTables);
  EXPECT_GE(arena->used_bytes(), owner.allocated_bytes());
  owner.FreeAll();
  EXPECT_LE(arena->used_bytes(), kMaxRetained + kMaxTables);
}

TEST_P(ArenaTest, ObjectsPackTightly) {
  const auto arena = MakeArena(kGiB);
  Owner owner(arena.get());
  uint64_t requested = 0;
  for (int i = 0; i < 40000; ++i) {
    const size_t bytes = 300 + owner.random()() % 4000;
    requested += bytes;
    ASSERT_TRUE(owner.AddObject(bytes));
  }
  arena->ReleaseFreeMemory();  // What was made resident ahead.
  EXPECT_LE(arena->used_bytes(), requested * 103 / 100);
}

TEST_P(ArenaTest, FirstObjectOfAClassCostsAPageOrTwo) {
  const auto arena = MakeArena(64 * kMiB);
  Owner owner(arena.get());
  owner.AddPages(1);  // The first unit may also take a page of a table.
  for (size_t bytes = 16; bytes <= kMaxObjectBytes; bytes += 16) {
    const uint64_t before = arena->used_bytes();
    ASSERT_TRUE(owner.AddObject(bytes));
    // And an entry in the tables.
    ASSERT_LE(arena->used_bytes(), before + 2 * kPageBytes + 512) << bytes;
  }
}

// ---- Moving -------------------------------------------------------------

TEST_P(ArenaTest, DenseSlabsStay) {
  const auto arena = MakeArena(64 * kMiB);
  Owner owner(arena.get());
  owner.AddObjects(1000, 2000);
  EXPECT_EQ(owner.Evacuate(), 0);
}

TEST_P(ArenaTest, EvacuationGivesSparseSlabsBack) {
  for (const size_t bytes : {16, 100, 700, 2000, 4352}) {
    SCOPED_TRACE(bytes);
    const auto arena = MakeArena(kGiB);
    Owner owner(arena.get());
    // Not a million of the smallest.
    owner.AddObjects(std::min<size_t>(20 * kMiB / bytes, 200000), bytes);
    owner.KeepOneIn(20);
    // All of it, or nothing would move any more.
    int rounds = 0;
    while (owner.Evacuate() > 0) ASSERT_LT(++rounds, 10);
    owner.CheckAll();
    arena->ReleaseFreeMemory();
    EXPECT_LE(arena->used_bytes(),
              owner.allocated_bytes() * 3 + kMaxTables / 4);
    EXPECT_EQ(arena->allocated_bytes(), owner.allocated_bytes());
  }
}

TEST_P(ArenaTest, EvacuationPacksALoneSlab) {
  const auto arena = MakeArena(16 * kMiB);
  Owner owner(arena.get());
  owner.AddObjects(800, 300);
  owner.KeepOneIn(20);
  while (owner.Evacuate() > 0) {
  }
  arena->ReleaseFreeMemory();
  EXPECT_LE(ResidentBytes(*arena),
            owner.allocated_bytes() * 2 + kPageBytes + empty_bytes());
}

// ---- Everything at once -------------------------------------------------

// One step of the model: adds, frees, moves or gives back at random.
void RandomStep(Arena* arena, Owner* owner) {
  std::mt19937_64& random = owner->random();
  const uint64_t dice = random() % 100;
  if (dice < 30) {
    owner->AddObject(1 + random() % kMaxObjectBytes);
  } else if (dice < 45) {
    owner->AddObject(16 * (1 + random() % 8), Priority::kGuaranteed);
  } else if (dice < 60) {
    owner->AddPage();
  } else if (dice < 98 && owner->size() > 0) {
    owner->FreeAt(random() % owner->size());
  } else if (random() % 500 == 0) {
    owner->Evacuate();
  } else if (random() % 500 == 0) {
    arena->ReleaseFreeMemory();
  } else if (random() % 1000 == 0) {
    owner->KeepOneIn(8);
  }
}

TEST_P(ArenaTest, RandomStepsOfManyThreadsNeverCollide) {
  const uint64_t seed = std::random_device{}();
  RecordProperty("seed", std::to_string(seed));
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  const auto arena = MakeArena(20 * kMiB);
  std::vector<std::unique_ptr<Owner>> owners;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    owners.push_back(std::make_unique<Owner>(arena.get(), seed + t));
    threads.emplace_back([&arena, owner = owners.back().get()] {
      for (int step = 0; step < 60000; ++step) RandomStep(arena.get(), owner);
      owner->CheckAll();
    });
  }
  for (std::thread& thread : threads) thread.join();

  uint64_t allocated = 0;
  for (const auto& owner : owners) {
    owner->CheckAll();
    allocated += owner->allocated_bytes();
  }
  EXPECT_EQ(arena->allocated_bytes(), allocated);
  EXPECT_GE(arena->used_bytes(), allocated);
  owners.clear();
  EXPECT_EQ(arena->allocated_bytes(), 0);
  EXPECT_LE(arena->used_bytes(), kMaxRetained + kMaxTables);
  arena->ReleaseFreeMemory();
  EXPECT_LE(arena->used_bytes(), kMaxTables);
  EXPECT_EQ(ResidentBytes(*arena), empty_bytes());
}

TEST_P(ArenaTest, ReferencesMayBeSharedByThreads) {
  const auto arena = MakeArena(16 * kMiB);
  for (int round = 0; round < 200; ++round) {
    const PageId page = arena->AllocatePage(Priority::kNormal);
    ASSERT_NE(page, 0);
    std::memset(arena->PageData(page), round, kPageBytes);
    arena->RefPage(page);
    std::thread reader([&] {
      EXPECT_EQ(arena->PageData(page)[kPageBytes - 1],
                static_cast<char>(round));
      arena->UnrefPage(page);
    });
    arena->UnrefPage(page);
    reader.join();
  }
  EXPECT_EQ(arena->allocated_bytes(), 0);
}

}  // namespace
}  // namespace ramvol::engine
