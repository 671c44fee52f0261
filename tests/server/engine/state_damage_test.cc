// Opens memory files with flipped bits. Whatever they hold, the engine names
// what is damaged, and neither it nor what uses the volumes comes to harm.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::RandomData;
using ::ramvol::testing::TestSeed;
using ::ramvol::testing::TestSteps;

constexpr int kRounds = 60;
constexpr uint64_t kSize = 6 << 20;
constexpr off_t kPage = 4096;

// How the process that opened the file ended.
enum Outcome : int { kUsable, kDamaged, kLost, kRefused, kOutcomes };

absl::StatusOr<std::unique_ptr<Engine>> Open(const std::string& dir) {
  EngineOptions options;
  options.memory_limit_bytes = 64 << 20;
  options.hot_cache_bytes = 2 << 20;
  options.merge_interval_ms = 1;
  options.state_dir = dir;
  return Engine::Create(options);
}

// Reads, changes and deletes all that there is.
void UseAll(Engine& engine, std::mt19937_64& random) {
  for (const auto& listed : {engine.List("", 100), engine.List("@", 100)}) {
    for (const NamedVolume& named : listed) {
      Volume& volume = *named.volume;
      volume.Stats();
      std::string bytes(volume.size_bytes() % (8 << 20), '?');
      volume.Read(0, absl::MakeSpan(bytes)).IgnoreError();
      const std::string data = RandomData(random, 100000);
      volume.Write(random() % kSize, data).IgnoreError();
      volume.Trim(random() % kSize, 70000).IgnoreError();
    }
  }
  engine.QuiesceForTest(/*merge=*/true);
  for (const auto& listed : {engine.List("", 100), engine.List("@", 100)}) {
    for (const NamedVolume& named : listed) {
      if (random() % 2 == 0) {
        EXPECT_THAT(engine.DeleteVolume(named.volume, false), IsOk());
      }
    }
  }
}

class StateDamageTest : public ::testing::Test {
 protected:
  StateDamageTest() {
    std::mt19937_64 random(1);
    auto opened = Open(dir_.path());
    EXPECT_THAT(opened, IsOk());
    Engine& engine = **opened;
    for (int i = 0; i < 3; ++i) {
      VolumeOptions options;
      options.name = absl::StrCat("disk", i);
      options.size_bytes = kSize;
      auto volume = engine.CreateVolume(options);
      EXPECT_THAT(volume, IsOk());
      for (int step = 0; step < 60; ++step) {
        const std::string data = RandomData(random, 1 + random() % 30000);
        EXPECT_THAT((*volume)->Write(random() % (kSize - 30000), data), IsOk());
      }
      EXPECT_THAT(engine.CreateSnapshots({{*volume, absl::StrCat("snap", i)}}),
                  IsOk());
      EXPECT_THAT((*volume)->Write(100, RandomData(random, 100000)), IsOk());
    }
  }

  std::string file() const { return absl::StrCat(dir_.path(), "/arena"); }

  // The pages that the file holds.
  std::vector<off_t> Pages() const {
    std::vector<off_t> pages;
    const int fd = open(file().c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_GE(fd, 0);
    for (off_t at = lseek(fd, 0, SEEK_DATA); at >= 0;
         at = lseek(fd, at, SEEK_DATA)) {
      const off_t end = lseek(fd, at, SEEK_HOLE);
      for (; at < end; at += kPage) pages.push_back(at);
    }
    close(fd);
    return pages;
  }

  struct Saved {
    off_t at;
    std::string bytes;
  };
  std::vector<Saved> Save() const {
    std::vector<Saved> saved;
    const int fd = open(file().c_str(), O_RDONLY | O_CLOEXEC);
    for (const off_t page : Pages()) {
      saved.push_back({page, std::string(kPage, '\0')});
      EXPECT_EQ(pread(fd, saved.back().bytes.data(), kPage, page), kPage);
    }
    close(fd);
    return saved;
  }
  // Whether a word looks like a pointer into the arena, whose address is random
  // but in this range.
  static bool LooksLikePointer(uint64_t word) {
    return word >> 40 >= 0x11 && word >> 40 < 0x50;
  }
  static bool HasPointer(const std::string& bytes) {
    for (off_t at = 0; at < kPage; at += 8) {
      uint64_t word;
      std::memcpy(&word, bytes.data() + at, sizeof(word));
      if (LooksLikePointer(word)) return true;
    }
    return false;
  }
  // Flips one bit; of a pointer, if there is one, half of the time.
  static void FlipBit(std::string* bytes, std::mt19937_64& random) {
    size_t at = random() % kPage;
    const bool in_pointer = random() % 2 == 0;
    for (off_t tried = 0; in_pointer && tried < kPage; tried += 8) {
      const size_t word_at = (at / 8 * 8 + tried) % kPage;
      uint64_t word;
      std::memcpy(&word, bytes->data() + word_at, sizeof(word));
      if (!LooksLikePointer(word)) continue;
      at = word_at + random() % 3;  // Else it would point out of the arena.
      break;
    }
    (*bytes)[at] ^= static_cast<char>(1 << random() % 8);
  }
  // Makes the file what it was, with some bits flipped.
  void Damage(const std::vector<Saved>& saved, std::mt19937_64& random) const {
    const int fd = open(file().c_str(), O_RDWR | O_CLOEXEC);
    const off_t size = lseek(fd, 0, SEEK_END);
    EXPECT_EQ(ftruncate(fd, 0), 0);
    EXPECT_EQ(ftruncate(fd, size), 0);
    const size_t flipped = 1 + random() % 3;
    std::vector<size_t> chosen;
    for (size_t i = 0; i < flipped; ++i) {
      size_t page = random() % saved.size();
      // Most pages hold content, which has checksums.
      for (size_t tried = 0; tried < saved.size(); ++tried) {
        if (HasPointer(saved[page].bytes)) break;
        page = (page + 1) % saved.size();
      }
      chosen.push_back(page);
    }
    for (size_t i = 0; i < saved.size(); ++i) {
      std::string bytes = saved[i].bytes;
      for (const size_t page : chosen) {
        if (page != i) continue;
        for (int bit = 0; bit < 8; ++bit) FlipBit(&bytes, random);
      }
      EXPECT_EQ(pwrite(fd, bytes.data(), kPage, saved[i].at), kPage);
    }
    close(fd);
  }

  // Opens the file in a process of its own.
  Outcome OpenAndUse(uint64_t seed) {
    const pid_t child = fork();
    if (child == 0) {
      std::mt19937_64 random(seed);
      auto engine = Open(dir_.path());
      if (!engine.ok()) _exit(kRefused);
      const Engine::Recovered recovered = (*engine)->recovered();
      UseAll(**engine, random);
      engine->reset();
      if (::testing::Test::HasFailure()) _exit(100);
      _exit(recovered.lost              ? kLost
            : recovered.damaged.empty() ? kUsable
                                        : kDamaged);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 100;
    EXPECT_LT(code, kOutcomes);
    return static_cast<Outcome>(code);
  }

  ShmDir dir_;
};

TEST_F(StateDamageTest, FlippedBitsHarmNobody) {
  std::mt19937_64 random(TestSeed(1));
  const std::vector<Saved> saved = Save();
  int outcomes[kOutcomes] = {};
  for (int round = 0; round < TestSteps(kRounds); ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    Damage(saved, random);
    const uint64_t seed = random();
    ++outcomes[OpenAndUse(seed)];
    if (HasFailure()) return;
    // What it left is for the next one, who may find damage again.
    OpenAndUse(seed + 1);
    if (HasFailure()) return;
  }
  std::cout << outcomes[kUsable] << " usable, " << outcomes[kDamaged]
            << " with damaged volumes, " << outcomes[kLost]
            << " with a damaged list, " << outcomes[kRefused] << " refused\n";
  EXPECT_GT(outcomes[kDamaged], 0);
}

}  // namespace
}  // namespace ramvol::engine
