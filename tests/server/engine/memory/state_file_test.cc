#include "server/engine/memory/state_file.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file_descriptor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/memory/mapping.h"
#include "server/engine/memory/memory_types.h"
#include "server/engine/memory/state_header.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/support/status_matchers.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kLimitBytes = 64 << 20;
constexpr uint64_t kFormat = 7;
constexpr auto kRefused = absl::StatusCode::kFailedPrecondition;

class StateFileTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<StateFile>> Open(
      uint64_t limit_bytes = kLimitBytes, uint64_t format = kFormat) {
    return StateFile::Open(dir(), limit_bytes, format);
  }
  // Makes the file, and leaves `text` in its root area.
  void Make(const std::string& text = "root") {
    const auto file = Open();
    ASSERT_THAT(file, IsOk());
    std::memcpy((*file)->root_area(), text.data(), text.size());
  }

  // The file, for doing things to it.
  int fd() {
    if (!fd_.is_open()) fd_ = FileDescriptor(open(path().c_str(), O_RDWR));
    EXPECT_TRUE(fd_.is_open());
    return fd_.get();
  }
  struct stat Info() {
    struct stat info = {};
    EXPECT_EQ(fstat(fd(), &info), 0);
    return info;
  }
  StateHeader ReadHeader() {
    StateHeader header;
    EXPECT_EQ(pread(fd(), &header, sizeof(header), 0),
              static_cast<ssize_t>(sizeof(header)));
    return header;
  }
  void Write(uint64_t offset, const void* data, size_t bytes) {
    EXPECT_EQ(pwrite(fd(), data, bytes, static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes));
  }
  void WriteHeader(const StateHeader& header) {
    Write(0, &header, sizeof(header));
  }
  // Opening it is refused with a message that has `text`, and changes nothing.
  void ExpectRefused(const std::string& text,
                     uint64_t limit_bytes = kLimitBytes,
                     uint64_t format = kFormat) {
    const StateHeader before = ReadHeader();
    const struct stat info = Info();
    EXPECT_THAT(Open(limit_bytes, format),
                StatusIs(kRefused, AllOf(HasSubstr(dir()), HasSubstr(text))));
    const StateHeader after = ReadHeader();
    EXPECT_EQ(std::memcmp(&before, &after, sizeof(before)), 0);
    EXPECT_EQ(Info().st_size, info.st_size);
    EXPECT_EQ(Info().st_blocks, info.st_blocks);
  }

  std::string dir() const { return shm_.path() + "/state"; }
  std::string path() const { return dir() + "/arena"; }

 private:
  const ShmDir shm_;
  FileDescriptor fd_;
};

TEST_F(StateFileTest, MakesThePrivateDirectoryAndASparseFile) {
  const auto file = Open();
  ASSERT_THAT(file, IsOk());
  EXPECT_TRUE((*file)->is_new());
  EXPECT_EQ((*file)->limit_bytes(), kLimitBytes);
  struct stat info;
  ASSERT_EQ(stat(dir().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  EXPECT_EQ(Info().st_mode & 0777, 0600u);
  EXPECT_GE(static_cast<uint64_t>(Info().st_size), RangeBytes(kLimitBytes));
  EXPECT_EQ(Info().st_blocks * 512, static_cast<int64_t>(kUnitBytes));
}

TEST_F(StateFileTest, TheRootAreaIsZeroedAndStaysWhereItIs) {
  char* root = nullptr;
  {
    const auto file = Open();
    ASSERT_THAT(file, IsOk());
    root = (*file)->root_area();
    EXPECT_EQ(std::count(root, root + kRootAreaBytes, 0),
              static_cast<ptrdiff_t>(kRootAreaBytes));
    root[0] = 'a';
    root[kRootAreaBytes - 1] = 'z';
  }
  const auto file = Open();
  ASSERT_THAT(file, IsOk());
  EXPECT_FALSE((*file)->is_new());
  ASSERT_EQ((*file)->root_area(), root);
  EXPECT_EQ(root[0], 'a');
  EXPECT_EQ(root[kRootAreaBytes - 1], 'z');
}

TEST_F(StateFileTest, ListsWhatTheFileHoldsPageByPage) {
  Make();
  for (const uint64_t page : {500, 501, 502, 600}) {
    Write(page * kPageBytes, "x", 1);
  }
  const auto file = Open();
  ASSERT_THAT(file, IsOk());
  std::vector<std::pair<uint64_t, uint64_t>> runs;
  EXPECT_THAT((*file)->ForEachRun([&](uint64_t first, uint64_t end) {
    runs.emplace_back(first, end);
  }),
              IsOk());
  EXPECT_EQ(runs, (std::vector<std::pair<uint64_t, uint64_t>>{
                      {0, kUnitPages}, {500, 503}, {600, 601}}));
}

TEST_F(StateFileTest, OneProcessAtATime) {
  auto first = Open();
  ASSERT_THAT(first, IsOk());
  ExpectRefused("another ramvold uses");
  first->reset();
  EXPECT_THAT(Open(), IsOk());
}

TEST_F(StateFileTest, WantsATmpfs) {
  const char* const elsewhere = std::getenv("TEST_TMPDIR");
  ASSERT_NE(elsewhere, nullptr);
  const std::string dir = std::string(elsewhere) + "/state";
  const auto file = StateFile::Open(dir, kLimitBytes, kFormat);
  if (file.ok()) GTEST_SKIP() << elsewhere << " is on a tmpfs";
  EXPECT_THAT(file, StatusIs(kRefused,
                             AllOf(HasSubstr(dir), HasSubstr("not on a tmpfs"),
                                   HasSubstr("/dev/shm"))));
  EXPECT_FALSE(std::filesystem::exists(dir)) << "it leaves nothing behind";
}

TEST_F(StateFileTest, SaysWhenTheDirectoryCannotBeMade) {
  EXPECT_THAT(StateFile::Open(dir() + "/a/b", kLimitBytes, kFormat),
              StatusIs(absl::StatusCode::kUnknown, HasSubstr(dir() + "/a/b")));
  std::ofstream(dir()) << "a file";
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kUnknown, HasSubstr(dir())));
}

TEST_F(StateFileTest, RefusesTheFileOfAnotherUser) {
  Make();
  if (fchown(fd(), 12345, -1) != 0)
    GTEST_SKIP() << "only root gives files away";
  ExpectRefused("user 12345");
}

TEST_F(StateFileTest, DoesNotFollowALink) {
  std::filesystem::create_directory(dir());
  std::filesystem::create_symlink(dir() + "/elsewhere", path());
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kUnknown, HasSubstr(path())));
  EXPECT_FALSE(std::filesystem::exists(dir() + "/elsewhere"));
}

// ---- Other and damaged files ----------------------------------------------

TEST_F(StateFileTest, RefusesAnotherFormatOfVolumes) {
  Make();
  ExpectRefused("is 7, expected 8", kLimitBytes, 8);
  EXPECT_THAT(Open(), IsOk());
}

TEST_F(StateFileTest, RefusesAnotherVersion) {
  Make();
  StateHeader header = ReadHeader();
  ++header.version;
  WriteHeader(header);
  ExpectRefused("version is 2, expected 1. Start that version and save them");
}

TEST_F(StateFileTest, RefusesOtherParameters) {
  Make();
  // A header as another program would write it has the right checksum.
  StateHeader header =
      StateHeader::Make(kFormat, 1, ReadHeader().file_bytes, kLimitBytes);
  EXPECT_THAT(header.Check(kFormat, "DIR"), IsOk());
  header.page_bytes = 16384;
  EXPECT_THAT(header.Check(kFormat, "DIR"), StatusIs(kRefused, HasSubstr("")));
}

TEST_F(StateFileTest, RefusesAnyFlippedBitOfItsHeader) {
  Make();
  const StateHeader good = ReadHeader();
  // What follows may differ: it grows with the limit.
  for (size_t bit = 0; bit < offsetof(StateHeader, file_bytes) * 8; ++bit) {
    StateHeader bad = good;
    reinterpret_cast<unsigned char*>(&bad)[bit / 8] ^= 1 << bit % 8;
    WriteHeader(bad);
    ExpectRefused("away to start without");
    if (HasFailure()) FAIL() << "bit " << bit;
  }
  WriteHeader(good);
  EXPECT_THAT(Open(), IsOk());
}

TEST_F(StateFileTest, RefusesWhatIsNotAMemoryFile) {
  std::filesystem::create_directory(dir());
  std::ofstream(path()) << std::string(100000, 'x');
  ExpectRefused("its magic is wrong");
}

TEST_F(StateFileTest, RefusesATruncatedFile) {
  Make();
  const auto size = static_cast<uint64_t>(Info().st_size);
  for (const uint64_t bytes :
       {size - 1, size - kUnitBytes, uint64_t{kPageBytes}, uint64_t{100}}) {
    ASSERT_EQ(truncate(path().c_str(), static_cast<off_t>(bytes)), 0);
    ExpectRefused("was truncated");
  }
  // Not even a header.
  ASSERT_EQ(truncate(path().c_str(), 20), 0);
  EXPECT_THAT(Open(), StatusIs(kRefused, HasSubstr(dir())));
}

TEST_F(StateFileTest, AHalfMadeFileIsMadeAgain) {
  Make("left over");
  StateHeader header = ReadHeader();
  // As a process leaves it that ends before it writes the magic.
  header.magic = 0;
  header.format = 123;
  WriteHeader(header);
  ASSERT_EQ(fallocate(fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      kPageBytes, kRootAreaBytes),
            0);
  {
    const auto file = Open();
    ASSERT_THAT(file, IsOk());
    EXPECT_TRUE((*file)->is_new());
    EXPECT_EQ((*file)->root_area()[0], 0);
  }
  // As before it gave the file its size, or wrote anything.
  ASSERT_EQ(truncate(path().c_str(), 0), 0);
  EXPECT_THAT(Open(), IsOk());
}

TEST_F(StateFileTest, AMissingMagicDoesNotMakeWhatIsStoredNew) {
  Make("stored");
  StateHeader header = ReadHeader();
  header.magic = 0;
  WriteHeader(header);
  ExpectRefused("its magic is wrong");
}

// ---- Limits ---------------------------------------------------------------

TEST_F(StateFileTest, GrowsWithTheLimit) {
  Make();
  const auto size = Info().st_size;
  {
    const auto file = Open(2 * kLimitBytes);
    ASSERT_THAT(file, IsOk());
    EXPECT_EQ(std::string((*file)->root_area()), "root");
    EXPECT_EQ((*file)->TakeRange().size_bytes(),
              static_cast<size_t>(Info().st_size));
  }
  EXPECT_GT(Info().st_size, size);
  EXPECT_EQ(ReadHeader().limit_bytes, 2 * kLimitBytes);
  EXPECT_EQ(ReadHeader().file_bytes, static_cast<uint64_t>(Info().st_size));
  // And back, as it holds little.
  EXPECT_THAT(Open(), IsOk());
  EXPECT_EQ(ReadHeader().limit_bytes, kLimitBytes);
}

TEST_F(StateFileTest, RefusesALimitBelowWhatIsStored) {
  Make();
  const std::string stored(3 << 20, 'x');
  Write(uint64_t{kFirstFileUnit} * kUnitBytes, stored.data(), stored.size());
  ExpectRefused("the limit that it had (64M)", 2 << 20);
  EXPECT_THAT(Open(32 << 20), IsOk());
}

// As when more is stored than the limit for a moment, which is allowed.
TEST_F(StateFileTest, TheSameLimitIsNeverTooLow) {
  Make();
  std::string stored(kLimitBytes + kUnitBytes, 'x');
  Write(uint64_t{kFirstFileUnit} * kUnitBytes, stored.data(), stored.size());
  EXPECT_THAT(Open(), IsOk());
}

TEST_F(StateFileTest, SaysWhatToDoWhereAddressSpaceEnds) {
  for (const uint64_t limit : {uint64_t{1} << 50, ~uint64_t{0}}) {
    EXPECT_THAT(Open(limit), StatusIs(absl::StatusCode::kResourceExhausted,
                                      HasSubstr("lower the memory limit")));
  }
}

TEST_F(StateFileTest, SaysWhenItsAddressIsTaken) {
  Make();
  void* const address = reinterpret_cast<void*>(ReadHeader().address);
  ASSERT_EQ(mmap(address, kPageBytes, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
            address);
  ExpectRefused("is in use in this process");
  ASSERT_EQ(munmap(address, kPageBytes), 0);
  EXPECT_THAT(Open(), IsOk());
}

// ---- Other file systems ---------------------------------------------------

// A tmpfs on `dir`, in this process's own view; false where that is not
// allowed.
bool Mount(const std::string& dir, const std::string& options) {
  return unshare(CLONE_NEWNS) == 0 &&
         mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("small", dir.c_str(), "tmpfs", 0, options.c_str()) == 0;
}

TEST_F(StateFileTest, WarnsOfATmpfsThatIsSmallerThanTheLimit) {
  std::filesystem::create_directory(dir());
  if (!Mount(dir(), "size=4M")) GTEST_SKIP() << "may not mount";
  const auto file = Open();
  ASSERT_THAT(file, IsOk());
  EXPECT_THAT((*file)->warning(),
              AllOf(HasSubstr(dir()), HasSubstr("room for 4 MiB"),
                    HasSubstr("limit of 64 MiB")));
  EXPECT_EQ(umount2(dir().c_str(), MNT_DETACH), 0);
}

TEST_F(StateFileTest, SaysWhenThereIsNoRoomAtAll) {
  std::filesystem::create_directory(dir());
  if (!Mount(dir(), "size=32k")) GTEST_SKIP() << "may not mount";
  EXPECT_THAT(Open(), StatusIs(absl::StatusCode::kResourceExhausted,
                               HasSubstr("give it a larger size")));
  EXPECT_EQ(umount2(dir().c_str(), MNT_DETACH), 0);
}

TEST_F(StateFileTest, RefusesHugePages) {
  std::filesystem::create_directory(dir());
  if (!Mount(dir(), "size=64M,huge=always")) GTEST_SKIP() << "may not mount";
  EXPECT_THAT(Open(), StatusIs(kRefused, AllOf(HasSubstr(dir()),
                                               HasSubstr("huge=never"))));
  EXPECT_EQ(umount2(dir().c_str(), MNT_DETACH), 0);
}

TEST_F(StateFileTest, HasNothingToWarnOfOtherwise) {
  const auto file = Open();
  ASSERT_THAT(file, IsOk());
  EXPECT_EQ((*file)->warning(), "");
}

}  // namespace
}  // namespace ramvol::engine
