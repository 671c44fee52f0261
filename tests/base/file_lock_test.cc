#include "base/file_lock.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "base/file_descriptor.h"

namespace ramvol {
namespace {

class FileLockTest : public testing::Test {
 protected:
  FileDescriptor Open() const {
    return FileDescriptor(
        open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  }
  const std::string path_ = testing::TempDir() + "/file_lock_test";
};

TEST_F(FileLockTest, TakesAFreeLockAtOnce) {
  const FileDescriptor file = Open();
  const auto locked = LockFile(file, path_, [] { FAIL() << "it is free"; });
  ASSERT_TRUE(locked.ok()) << locked.status();
  EXPECT_TRUE(*locked);
}

TEST_F(FileLockTest, WaitsForOneThatIsAboutToGo) {
  std::optional<FileDescriptor> other = Open();
  ASSERT_TRUE(*LockFile(*other, path_));
  int waits = 0;
  const FileDescriptor file = Open();
  const auto locked = LockFile(file, path_, [&] {
    ++waits;
    other.reset();
  });
  ASSERT_TRUE(locked.ok()) << locked.status();
  EXPECT_TRUE(*locked);
  EXPECT_EQ(waits, 1);
}

TEST_F(FileLockTest, RefusesOneThatStays) {
  const FileDescriptor other = Open();
  ASSERT_TRUE(*LockFile(other, path_));
  int waits = 0;
  const FileDescriptor file = Open();
  const auto locked = LockFile(file, path_, [&] { ++waits; });
  ASSERT_TRUE(locked.ok()) << locked.status();
  EXPECT_FALSE(*locked);
  EXPECT_EQ(waits, 1);
}

TEST_F(FileLockTest, SaysWhatFails) {
  const FileDescriptor none;
  EXPECT_THAT(std::string(LockFile(none, "x").status().message()),
              testing::HasSubstr("cannot lock x"));
}

}  // namespace
}  // namespace ramvol
