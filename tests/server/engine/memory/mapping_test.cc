#include "server/engine/memory/mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file_descriptor.h"
#include "gtest/gtest.h"
#include "server/engine/memory/memory_types.h"
#include "tests/server/engine/support/lock_memory.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/support/status_matchers.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::HasSubstr;

constexpr size_t kPages = 16;

size_t ResidentPages(const Mapping& mapping) {
  std::vector<unsigned char> pages(mapping.size_bytes() / kPageBytes);
  EXPECT_EQ(mincore(mapping.data(), mapping.size_bytes(), pages.data()), 0);
  return static_cast<size_t>(std::count(pages.begin(), pages.end(), 1));
}

TEST(MappingTest, IsAlignedZeroedAndOfWholePages) {
  for (const size_t alignment : {kPageBytes, size_t{1} << 21}) {
    const auto mapping = Mapping::Create(kPages * kPageBytes - 1, alignment);
    ASSERT_THAT(mapping, IsOk());
    EXPECT_EQ(mapping->size_bytes(), kPages * kPageBytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(mapping->data()) % alignment, 0u);
    EXPECT_EQ(
        std::count(mapping->data(), mapping->data() + mapping->size_bytes(), 0),
        static_cast<ptrdiff_t>(mapping->size_bytes()));
  }
}

TEST(MappingTest, APageBecomesResidentByItself) {
  const auto mapping = Mapping::Create(size_t{4} << 20, size_t{2} << 20);
  ASSERT_THAT(mapping, IsOk());
  EXPECT_EQ(ResidentPages(*mapping), 0u);
  mapping->data()[5 * kPageBytes] = 'x';
  EXPECT_EQ(ResidentPages(*mapping), 1u) << "there are no huge pages";
}

TEST(MappingTest, GivesBackOnlyWhatItIsAskedFor) {
  const auto mapping = Mapping::Create(kPages * kPageBytes, kPageBytes);
  ASSERT_THAT(mapping, IsOk());
  char* const data = mapping->data();
  for (size_t page = 0; page < kPages; ++page) data[page * kPageBytes] = 'x';
  EXPECT_TRUE(mapping->GiveBack(data + 2 * kPageBytes, 3 * kPageBytes));
  EXPECT_EQ(ResidentPages(*mapping), kPages - 3);
  for (size_t page = 0; page < kPages; ++page) {
    EXPECT_EQ(data[page * kPageBytes], page >= 2 && page < 5 ? 0 : 'x') << page;
  }
}

TEST(MappingTest, SaysWhenTheKernelKeepsAPage) {
  const auto mapping = Mapping::Create(kPages * kPageBytes, kPageBytes);
  ASSERT_THAT(mapping, IsOk());
  if (!LockMemory(mapping->data(), kPageBytes)) {
    GTEST_SKIP() << "may not lock memory";
  }
  EXPECT_FALSE(mapping->GiveBack(mapping->data(), kPageBytes));
}

TEST(MappingTest, MovesWithItsRange) {
  auto first = Mapping::Create(kPages * kPageBytes, kPageBytes);
  ASSERT_THAT(first, IsOk());
  char* const data = first->data();
  data[0] = 'x';
  Mapping second = *std::move(first);
  EXPECT_EQ(second.data(), data);
  EXPECT_EQ(data[0], 'x');
  auto third = Mapping::Create(kPageBytes, kPageBytes);
  ASSERT_THAT(third, IsOk());
  *third = std::move(second);
  EXPECT_EQ(third->data(), data);
  EXPECT_EQ(third->size_bytes(), kPages * kPageBytes);
  EXPECT_EQ(data[0], 'x');
}

TEST(MappingTest, UnmapsAllOfItAndWhatPaddedIt) {
  char* data = nullptr;
  {
    const auto mapping = Mapping::Create(kPages * kPageBytes, size_t{1} << 21);
    ASSERT_THAT(mapping, IsOk());
    data = mapping->data();
    EXPECT_NE(msync(data + kPages * kPageBytes, kPageBytes, MS_ASYNC), 0);
  }
  EXPECT_NE(msync(data, kPageBytes, MS_ASYNC), 0);
}

// A file of kPages pages on a tmpfs.
class FileMappingTest : public ::testing::Test {
 protected:
  FileMappingTest() {
    EXPECT_EQ(ftruncate(file_.get(), kPages * kPageBytes), 0);
    // An address that is free.
    const auto free = Mapping::Create(kPages * kPageBytes, kPageBytes);
    address_ = free->data();
  }
  absl::StatusOr<Mapping> Map() {
    return Mapping::OfFile(file_.get(), kPages * kPageBytes, address_);
  }
  uint64_t PagesInFile() const {
    struct stat info = {};
    EXPECT_EQ(fstat(file_.get(), &info), 0);
    return info.st_blocks * 512 / kPageBytes;
  }

  const ShmDir shm_;
  const FileDescriptor file_{
      open((shm_.path() + "/file").c_str(), O_RDWR | O_CREAT, 0600)};
  char* address_ = nullptr;
};

TEST_F(FileMappingTest, WhatIsStoredOutlivesTheMapping) {
  {
    const auto mapping = Map();
    ASSERT_THAT(mapping, IsOk());
    EXPECT_TRUE(mapping->is_file());
    EXPECT_EQ(mapping->data(), address_);
    ASSERT_TRUE(mapping->Fill(address_ + 3 * kPageBytes, kPageBytes));
    address_[3 * kPageBytes] = 'x';
  }
  const auto mapping = Map();
  ASSERT_THAT(mapping, IsOk());
  EXPECT_EQ(address_[3 * kPageBytes], 'x');
  EXPECT_EQ(PagesInFile(), 1u);
}

TEST_F(FileMappingTest, FillsAndGivesBackJustWhatItIsAskedFor) {
  const auto mapping = Map();
  ASSERT_THAT(mapping, IsOk());
  ASSERT_TRUE(mapping->Fill(address_ + 2 * kPageBytes, 9 * kPageBytes));
  EXPECT_EQ(PagesInFile(), 9u);
  EXPECT_EQ(ResidentPages(*mapping), 9u);
  std::memset(address_ + 2 * kPageBytes, 'x', 9 * kPageBytes);
  EXPECT_EQ(PagesInFile(), 9u);
  EXPECT_TRUE(mapping->GiveBack(address_ + 4 * kPageBytes, 2 * kPageBytes));
  EXPECT_EQ(PagesInFile(), 7u);
  // They are zeroed when they come back.
  ASSERT_TRUE(mapping->Fill(address_ + 4 * kPageBytes, kPageBytes));
  EXPECT_EQ(address_[4 * kPageBytes], 0);
  EXPECT_EQ(address_[6 * kPageBytes], 'x');
}

TEST_F(FileMappingTest, SaysWhenItsAddressIsTaken) {
  const auto mapping = Map();
  ASSERT_THAT(mapping, IsOk());
  EXPECT_THAT(Map(), StatusIs(absl::StatusCode::kAlreadyExists,
                              HasSubstr("in use in this process")));
}

TEST(MappingTest, SaysWhatToDoWhereAddressSpaceEnds) {
  for (const size_t bytes :
       {size_t{1} << 60, std::numeric_limits<size_t>::max()}) {
    EXPECT_THAT(Mapping::Create(bytes, kPageBytes),
                StatusIs(absl::StatusCode::kResourceExhausted,
                         HasSubstr("lower the memory limit")));
  }
}

}  // namespace
}  // namespace ramvol::engine
