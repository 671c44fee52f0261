// Arenas in memory files: what a later process finds, claims and gives back.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "server/engine/memory/arena.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/size_class.h"
#include "server/engine/memory/state_file.h"
#include "server/engine/memory/state_header.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/support/child_errors.h"

namespace ramvol::engine {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kLimitBytes = 64 * kMiB;
constexpr uint64_t kFormat = 3;

// What an owner of memory keeps of a piece of it.
struct Piece {
  void* object = nullptr;  // Or
  PageId page = 0;
  uint32_t bytes = 0;
  unsigned char tag = 0;
};

class ArenaRecoveryTest : public ::testing::Test {
 protected:
  ArenaRecoveryTest() {
    RecordProperty("seed", std::to_string(seed_));
    Reopen();
    arena_->FinishRecovery();
  }

  // The arena as the next process finds it, in recovery.
  void Reopen(uint64_t limit_bytes = kLimitBytes) {
    arena_.reset();
    auto file = StateFile::Open(dir(), limit_bytes, kFormat);
    ASSERT_TRUE(file.ok()) << file.status();
    auto arena = Arena::Create(*std::move(file));
    ASSERT_TRUE(arena.ok()) << arena.status();
    arena_ = *std::move(arena);
  }

  char* DataOf(const Piece& piece) {
    return piece.page != 0 ? arena_->PageData(piece.page)
                           : static_cast<char*>(piece.object);
  }
  bool Add(std::vector<Piece>* pieces, Priority priority = Priority::kNormal) {
    Piece piece;
    piece.tag = static_cast<unsigned char>(random_());
    if (random_() % 3 == 0) {
      piece.bytes = kPageBytes;
      piece.page = arena_->AllocatePage(priority);
    } else {
      piece.bytes = 1 + random_() % kMaxObjectBytes;
      piece.object = arena_->Allocate(piece.bytes, priority);
    }
    if (piece.page == 0 && piece.object == nullptr) return false;
    std::memset(DataOf(piece), piece.tag, piece.bytes);
    pieces->push_back(piece);
    return true;
  }
  void Free(const Piece& piece) {
    Check(piece);
    if (piece.page != 0) {
      arena_->UnrefPage(piece.page);
    } else {
      arena_->Free(piece.object, piece.bytes);
    }
  }
  // Frees about one in `n`, at random, and forgets it.
  void FreeOneIn(size_t n, std::vector<Piece>* pieces) {
    std::shuffle(pieces->begin(), pieces->end(), random_);
    const size_t keep = pieces->size() - pieces->size() / n;
    for (; pieces->size() > keep; pieces->pop_back()) Free(pieces->back());
  }
  Claim ClaimPiece(const Piece& piece) {
    return piece.page != 0 ? arena_->ClaimPage(piece.page)
                           : arena_->ClaimObject(piece.object, piece.bytes);
  }
  void Check(const Piece& piece) {
    const char* const data = DataOf(piece);
    ASSERT_EQ(data[0], static_cast<char>(piece.tag));
    ASSERT_EQ(std::memcmp(data, data + 1, piece.bytes - 1), 0);
  }

  static uint64_t AllocatedBytes(const std::vector<Piece>& pieces) {
    uint64_t bytes = 0;
    for (const Piece& piece : pieces) {
      bytes +=
          piece.page != 0 ? kPageBytes : Arena::AllocatedBytes(piece.bytes);
    }
    return bytes;
  }
  uint64_t FileBytes() const {
    struct stat info = {};
    EXPECT_EQ(stat((dir() + "/arena").c_str(), &info), 0);
    return info.st_blocks * 512;
  }
  // The count is what the file takes, and the arena's tables: 312 bytes for
  // each unit.
  void ExpectCountedExactly() {
    const uint64_t file = FileBytes();
    EXPECT_GE(arena_->used_bytes(), file);
    EXPECT_LE(arena_->used_bytes(), file + file / 512 + 128 * 1024);
  }
  // Allocation goes on, and never where something is: all keep their bytes.
  void ExpectWorks(std::vector<Piece> pieces) {
    const uint64_t before = AllocatedBytes(pieces);
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < 3000; ++i) ASSERT_TRUE(Add(&pieces));
      for (const Piece& piece : pieces) Check(piece);
      FreeOneIn(2, &pieces);
      EXPECT_EQ(arena_->allocated_bytes(), AllocatedBytes(pieces));
    }
    EXPECT_GT(before + AllocatedBytes(pieces), 0u);
    for (const Piece& piece : pieces) Free(piece);
    arena_->ReleaseFreeMemory();
    EXPECT_EQ(arena_->allocated_bytes(), 0u);
    EXPECT_LE(FileBytes(), kUnitBytes + 4 * kPageBytes);
    ExpectCountedExactly();
  }

  std::string dir() const { return shm_.path(); }

  const uint64_t seed_ = std::random_device{}();
  std::mt19937_64 random_{seed_};
  const ::testing::ScopedTrace trace_{__FILE__, __LINE__,
                                      "seed " + std::to_string(seed_)};
  const ShmDir shm_;
  std::unique_ptr<Arena> arena_;
};

TEST_F(ArenaRecoveryTest, ANewFileHoldsTheRootAreaAlone) {
  EXPECT_EQ(FileBytes(), kUnitBytes);
  ExpectCountedExactly();
  ExpectWorks({});
}

TEST_F(ArenaRecoveryTest, WhatIsClaimedStaysAndTheRestGoesBack) {
  std::vector<Piece> pieces;
  for (int i = 0; i < 6000; ++i) ASSERT_TRUE(Add(&pieces));
  FreeOneIn(3, &pieces);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(Add(&pieces));
  for (const size_t keep_one_in : {1, 2, 10, 50}) {
    Reopen();
    std::shuffle(pieces.begin(), pieces.end(), random_);
    pieces.resize(pieces.size() / keep_one_in);
    for (const Piece& piece : pieces) {
      ASSERT_TRUE(arena_->Contains(DataOf(piece), piece.bytes));
      ASSERT_EQ(ClaimPiece(piece), Claim::kFirst);
    }
    arena_->FinishRecovery();
    for (const Piece& piece : pieces) Check(piece);
    EXPECT_EQ(arena_->allocated_bytes(), AllocatedBytes(pieces));
    EXPECT_LE(FileBytes(), AllocatedBytes(pieces) + arena_->slack_bytes() +
                               kUnitBytes + kMiB / 2)
        << "nothing is retained";
    ExpectCountedExactly();
  }
  ExpectWorks(pieces);
}

TEST_F(ArenaRecoveryTest, NothingClaimedLeavesNothing) {
  std::vector<Piece> pieces;
  for (int i = 0; i < 3000; ++i) ASSERT_TRUE(Add(&pieces));
  Reopen();
  arena_->FinishRecovery();
  EXPECT_LE(FileBytes(), kUnitBytes + 2 * kPageBytes);
  ExpectCountedExactly();
  ExpectWorks({});
}

TEST_F(ArenaRecoveryTest, SharedPagesCountTheirReferences) {
  const PageId page = arena_->AllocatePage(Priority::kNormal);
  Reopen();
  EXPECT_EQ(arena_->ClaimPage(page), Claim::kFirst);
  EXPECT_FALSE(arena_->IsReferredToTwice(page));
  EXPECT_EQ(arena_->ClaimPage(page), Claim::kAgain);
  EXPECT_EQ(arena_->ClaimPage(page), Claim::kAgain);
  EXPECT_TRUE(arena_->IsReferredToTwice(page));
  EXPECT_TRUE(arena_->MarkCommon(page));
  EXPECT_EQ(arena_->common_bytes(), kPageBytes);
  arena_->FinishRecovery();
  arena_->UnrefPage(page);
  arena_->UnrefPage(page);
  EXPECT_EQ(arena_->allocated_bytes(), kPageBytes);
  EXPECT_TRUE(arena_->IsCommon(page));
  arena_->UnrefPage(page);
  EXPECT_EQ(arena_->allocated_bytes(), 0u);
  EXPECT_EQ(arena_->common_bytes(), 0u);
}

TEST_F(ArenaRecoveryTest, AnObjectClaimedTwiceIsOneObject) {
  void* const object = arena_->Allocate(100, Priority::kNormal);
  Reopen();
  EXPECT_EQ(arena_->ClaimObject(object, 100), Claim::kFirst);
  EXPECT_EQ(arena_->ClaimObject(object, 100), Claim::kAgain);
  arena_->FinishRecovery();
  EXPECT_EQ(arena_->allocated_bytes(), Arena::AllocatedBytes(100));
  arena_->Free(object, 100);
  EXPECT_EQ(arena_->allocated_bytes(), 0u);
}

TEST_F(ArenaRecoveryTest, ALargerLimitGoesOn) {
  std::vector<Piece> pieces;
  for (int i = 0; i < 3000; ++i) ASSERT_TRUE(Add(&pieces));
  Reopen(4 * kLimitBytes);
  EXPECT_EQ(arena_->limit_bytes(), 4 * kLimitBytes);
  for (const Piece& piece : pieces) {
    ASSERT_EQ(ClaimPiece(piece), Claim::kFirst);
  }
  arena_->FinishRecovery();
  while (arena_->used_bytes() < 2 * kLimitBytes) ASSERT_TRUE(Add(&pieces));
  for (const Piece& piece : pieces) Check(piece);
  // Back to a limit below what is stored: that waits for FinishRecovery, so
  // nothing is lost.
  arena_.reset();
  EXPECT_FALSE(StateFile::Open(dir(), kLimitBytes, kFormat).ok());
}

TEST_F(ArenaRecoveryTest, NothingIsAllocatedBeforeRecoveryEnds) {
  arena_->AllocatePage(Priority::kNormal);
  Reopen();
  EXPECT_EQ(arena_->AllocatePage(Priority::kNormal), 0u);
  EXPECT_EQ(arena_->Allocate(100, Priority::kNormal), nullptr);
  arena_->FinishRecovery();
  EXPECT_NE(arena_->AllocatePage(Priority::kNormal), 0u);
}

// Also after a recovery that did not end.
TEST_F(ArenaRecoveryTest, RecoversAgainAndAgain) {
  std::vector<Piece> pieces;
  for (int i = 0; i < 3000; ++i) ASSERT_TRUE(Add(&pieces));
  FreeOneIn(4, &pieces);
  uint64_t file_bytes = 0;
  for (int round = 0; round < 6; ++round) {
    Reopen();
    std::shuffle(pieces.begin(), pieces.end(), random_);
    const bool ends = round % 2 == 1;
    const size_t count = ends ? pieces.size() : pieces.size() / 2;
    for (size_t i = 0; i < count; ++i) {
      ASSERT_EQ(ClaimPiece(pieces[i]), Claim::kFirst);
    }
    if (!ends) continue;
    arena_->FinishRecovery();
    for (const Piece& piece : pieces) Check(piece);
    if (file_bytes == 0) file_bytes = FileBytes();
    EXPECT_EQ(FileBytes(), file_bytes);
    ExpectCountedExactly();
  }
  ExpectWorks(pieces);
}

// ---- Garbage --------------------------------------------------------------

TEST_F(ArenaRecoveryTest, ClaimsOfWhatCannotBeAreInvalid) {
  char* const object =
      static_cast<char*>(arena_->Allocate(1000, Priority::kNormal));
  const PageId page = arena_->AllocatePage(Priority::kNormal);
  char* const data = arena_->PageData(page);
  Reopen();
  char* const root = arena_->root_area();
  const std::vector<std::pair<const char*, size_t>> objects = {
      {object, 0},
      {object, kMaxObjectBytes + 1},
      {object, ~size_t{0}},
      {object, 2000},       // Of another class.
      {object + 16, 1000},  // Beside a slot.
      {object + 1, 1000},
      {object - Arena::AllocatedBytes(1000), 1000},  // In the slab's header.
      {object + kUnitBytes - 4096, 1000},            // In no page of the file.
      {data, 1000},                                  // In a page's unit.
      {root, 1000},
      {root + kUnitBytes, 1000},  // In the table of owners.
      {nullptr, 1000},
      {reinterpret_cast<const char*>(~uintptr_t{0}), 1000},
      {reinterpret_cast<const char*>(&page), 16},
  };
  for (const auto& [start, bytes] : objects) {
    EXPECT_EQ(arena_->ClaimObject(start, bytes), Claim::kInvalid)
        << static_cast<const void*>(start) << " " << bytes;
  }
  const auto page_of = [&](const char* address) {
    return static_cast<PageId>((address - (root - kPageBytes)) / kPageBytes);
  };
  ASSERT_EQ(page_of(data), page);
  for (const PageId id :
       {PageId{0}, PageId{1}, page + 40, page_of(object), page_of(object) + 1,
        PageId{kUnitPages}, ~PageId{0}, PageId{20000 * kUnitPages}}) {
    EXPECT_EQ(arena_->ClaimPage(id), Claim::kInvalid) << id;
  }
  EXPECT_EQ(arena_->ClaimObject(object, 1000), Claim::kFirst);
  EXPECT_EQ(arena_->ClaimPage(page), Claim::kFirst);
  arena_->FinishRecovery();
  EXPECT_EQ(arena_->allocated_bytes(),
            kPageBytes + Arena::AllocatedBytes(1000));
}

TEST_F(ArenaRecoveryTest, ContainsTellsWhatMayBeRead) {
  char* const data = arena_->PageData(arena_->AllocatePage(Priority::kNormal));
  Reopen();
  EXPECT_TRUE(arena_->Contains(data, kPageBytes));
  EXPECT_TRUE(arena_->Contains(data + kPageBytes - 16, 16));
  EXPECT_FALSE(arena_->Contains(data + 8, 8)) << "no object begins there";
  EXPECT_FALSE(arena_->Contains(data, 0));
  EXPECT_FALSE(arena_->Contains(data, kPageBytes + 1)) << "a hole follows";
  EXPECT_FALSE(arena_->Contains(data - 16, 32));
  EXPECT_FALSE(arena_->Contains(data, ~size_t{0}));
  EXPECT_FALSE(arena_->Contains(arena_->root_area(), 1));
  EXPECT_FALSE(arena_->Contains(nullptr, 1));
  EXPECT_FALSE(arena_->Contains(&data, 1));
  arena_->FinishRecovery();
}

// Whatever a damaged file refers to: what is whole can be claimed all the same,
// and nothing that is claimed overlaps.
TEST_F(ArenaRecoveryTest, GarbageClaimsHarmNothingElse) {
  std::vector<Piece> pieces;
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(Add(&pieces));
  FreeOneIn(3, &pieces);
  const auto start =
      reinterpret_cast<uintptr_t>(arena_->root_area() - kPageBytes);
  const uint64_t file_bytes = StateFileBytes(kLimitBytes);
  const uint64_t resident = FileBytes();
  Reopen();
  std::set<std::pair<const void*, PageId>> garbage;
  size_t first = 0;
  for (int i = 0; i < 300000; ++i) {
    // Near what there is, in the range or beside it, and anywhere.
    const Piece& near = pieces[random_() % pieces.size()];
    uintptr_t number =
        reinterpret_cast<uintptr_t>(DataOf(near)) - 4096 + random_() % 512 * 16;
    if (i % 2 == 1) {
      number = start - file_bytes / 2 + random_() % (2 * file_bytes);
    }
    if (i % 8 == 7) number = random_();
    const void* const address = reinterpret_cast<const void*>(number);
    arena_->Contains(address, random_() % 8192);
    if (arena_->ClaimObject(address, random_() % 4400) == Claim::kFirst) {
      garbage.emplace(address, 0);
      ++first;
    }
    const auto page = static_cast<PageId>(
        i % 2 == 0 ? near.page + random_() % 64 - 32 : random_());
    if (arena_->ClaimPage(page) == Claim::kFirst) {
      garbage.emplace(nullptr, page);
      ++first;
    }
  }
  EXPECT_EQ(garbage.size(), first);
  EXPECT_EQ(FileBytes(), resident) << "no claim puts a page into the file";
  for (const Piece& piece : pieces) {
    ASSERT_NE(ClaimPiece(piece), Claim::kInvalid);
    garbage.emplace(piece.object, piece.page);
  }
  arena_->FinishRecovery();
  for (const Piece& piece : pieces) Check(piece);
  ExpectCountedExactly();
  std::vector<Piece> more;
  for (int i = 0; i < 3000; ++i) ASSERT_TRUE(Add(&more));
  for (const Piece& piece : pieces) Check(piece);
  for (const Piece& piece : more) {
    ASSERT_EQ(garbage.count({piece.object, piece.page}), 0u);
  }
}

// ---- Processes that are killed --------------------------------------------

// What a process leaves behind: a list in the root area, of which an entry is
// valid from when its bytes are stored.
struct Journal {
  static constexpr size_t kMaxPieces = kRootAreaBytes / sizeof(Piece) - 1;
  std::atomic<uint64_t> steps;
  std::array<Piece, kMaxPieces> pieces;
};
static_assert(sizeof(Journal) <= kRootAreaBytes);

class KilledProcessTest : public ArenaRecoveryTest {
 protected:
  Journal* journal() { return reinterpret_cast<Journal*>(arena_->root_area()); }

  // Allocates and frees at random, until it is killed.
  [[noreturn]] void Work() {
    for (;; journal()->steps.fetch_add(1)) {
      Piece& slot = journal()->pieces[random_() % 4000];
      if (slot.bytes != 0) {
        // It must not be referred to any more when it is freed.
        const Piece piece = slot;
        std::atomic_ref<uint32_t>(slot.bytes).store(0);
        Free(piece);
        // Only the child knows.
        if (HasFailure()) _exit(1);
        continue;
      }
      std::vector<Piece> added;
      if (!Add(&added)) continue;
      const uint32_t bytes = std::exchange(added[0].bytes, 0);
      slot = added[0];
      std::atomic_ref<uint32_t>(slot.bytes).store(bytes);
    }
  }

  // Forks a process that opens the arena, claims, works, and is killed.
  void RunAndKill(uint64_t steps) {
    arena_.reset();
    Reopen();
    const uint64_t until = journal()->steps + steps;
    const volatile std::atomic<uint64_t>* const done = &journal()->steps;
    const testing::ChildErrors errors;
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      errors.Collect();
      ClaimAll();
      if (HasFailure()) _exit(1);
      Work();
    }
    int status = 0;
    pid_t ended = 0;
    while (*done < until && ended == 0) {
      sched_yield();
      ended = waitpid(child, &status, WNOHANG);
    }
    if (ended == 0) {
      ASSERT_EQ(kill(child, SIGKILL), 0);
      ASSERT_EQ(waitpid(child, &status, 0), child);
    }
    errors.ExpectNoReport();
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        << "the process ended by itself: " << status;
  }

  std::vector<Piece> ClaimAll() {
    std::vector<Piece> claimed;
    for (const Piece& piece : journal()->pieces) {
      if (piece.bytes == 0) continue;
      EXPECT_EQ(ClaimPiece(piece), Claim::kFirst);
      claimed.push_back(piece);
    }
    arena_->FinishRecovery();
    return claimed;
  }
};

TEST_F(KilledProcessTest, LeavesAFileThatGoesOn) {
  for (int round = 0; round < 24; ++round) {
    // Every fourth does not get beyond claiming.
    RunAndKill(round % 4 == 3 ? 0 : 1 + random_() % 20000);
    Reopen();
    const std::vector<Piece> claimed = ClaimAll();
    for (const Piece& piece : claimed) Check(piece);
    EXPECT_EQ(arena_->allocated_bytes(), AllocatedBytes(claimed));
    ExpectCountedExactly();
    if (HasFailure()) FAIL() << "round " << round;
  }
}

// ---- A file system that is full -------------------------------------------

class FullFileSystemTest : public ArenaRecoveryTest {
 protected:
  static constexpr size_t kPages = 2000;

  // Opens the arena again in a tmpfs that has fewer pages than the limit.
  void Mount() {
    arena_.reset();
    const std::string options = "size=" + std::to_string(kPages * kPageBytes);
    if (unshare(CLONE_NEWNS) != 0 ||
        mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("small", dir().c_str(), "tmpfs", 0, options.c_str()) != 0) {
      GTEST_SKIP() << "may not mount";
    }
    mounted_ = true;
    Reopen();
    arena_->FinishRecovery();
  }
  ~FullFileSystemTest() override {
    arena_.reset();
    if (mounted_) umount2(dir().c_str(), MNT_DETACH);
  }

 private:
  bool mounted_ = false;
};

TEST_F(FullFileSystemTest, AllocationsFailAsAtTheLimit) {
  Mount();
  if (IsSkipped()) return;
  for (int round = 0; round < 3; ++round) {
    std::vector<Piece> pieces;
    while (Add(&pieces)) {
    }
    EXPECT_GT(FileBytes(), (kPages - 4) * kPageBytes) << "to the last page";
    ExpectCountedExactly();
    for (const Piece& piece : pieces) Check(piece);
    // What is retained makes room for others.
    FreeOneIn(2, &pieces);
    size_t again = 0;
    while (Add(&pieces)) ++again;
    EXPECT_GT(again, 100u);
    for (const Piece& piece : pieces) Free(piece);
    arena_->ReleaseFreeMemory();
    EXPECT_EQ(arena_->allocated_bytes(), 0u);
  }
}

TEST_F(FullFileSystemTest, TheGuaranteedEndTheProcessAndWhatIsStoredSurvives) {
  GTEST_FLAG_SET(death_test_style, "fast");
  Mount();
  if (IsSkipped()) return;
  std::vector<Piece> pieces;
  while (Add(&pieces)) {
  }
  EXPECT_DEATH(while (Add(&pieces, Priority::kGuaranteed)){},
               "is full.*survives");
  Reopen();
  for (const Piece& piece : pieces) {
    ASSERT_EQ(ClaimPiece(piece), Claim::kFirst);
  }
  arena_->FinishRecovery();
  for (const Piece& piece : pieces) Check(piece);
}

}  // namespace
}  // namespace ramvol::engine
