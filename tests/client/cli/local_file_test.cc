#include "client/cli/local_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/file_error.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/cli_harness.h"

namespace ramvol::cli {
namespace {

using ::testing::HasSubstr;

std::atomic<bool> interrupted{false};

absl::StatusOr<LocalFile> OpenToRead(const std::string& path, int fd = -1) {
  return LocalFile::OpenForReading(path, fd, interrupted);
}

absl::StatusOr<LocalFile> OpenToWrite(const std::string& path, int fd = -1) {
  return LocalFile::OpenForWriting(path, fd, interrupted);
}

TEST(LocalFileTest, MissingFileIsNamedWithTheCause) {
  const auto file = OpenToRead("/nonexistent/a");
  EXPECT_EQ(file.status().message(),
            "cannot open /nonexistent/a: No such file or directory");
  EXPECT_EQ(GetReason(file.status()), "ENOENT");
}

TEST(LocalFileTest, DirectoryIsRefused) {
  EXPECT_EQ(GetReason(OpenToRead("/").status()), "EISDIR");
}

TEST(LocalFileTest, FindsDataOfASparseFile) {
  const std::string path = TempPath("sparse");
  WriteSparseFile(path, 10 << 20, 4 << 20, Noise(8192, 1));
  auto file = OpenToRead(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->random_access());
  EXPECT_EQ(file->size_bytes(), 10 << 20);
  const auto run = file->NextData(0);
  ASSERT_TRUE(run.ok());
  // Where the file system keeps no holes, all is one run of data.
  EXPECT_LE(run->offset, 4 << 20);
  EXPECT_GE(run->offset + run->length, (4 << 20) + 8192);
  const auto none = file->NextData(run->offset + run->length);
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none->length, 0);
  EXPECT_EQ(none->offset, 10 << 20);
}

TEST(LocalFileTest, StandardInputBeginsWhereItStands) {
  MemoryFile memory;
  memory.Set("0123456789");
  lseek(memory.fd(), 4, SEEK_SET);
  auto file = OpenToRead("-", memory.fd());
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->size_bytes(), 6);
  char out[16];
  EXPECT_EQ(*file->ReadAt(1, absl::MakeSpan(out, 3)), 3u);
  EXPECT_EQ(std::string(out, 3), "567");
  EXPECT_EQ(*file->ReadAt(4, absl::MakeSpan(out)), 2u) << "short at the end";
}

TEST(LocalFileTest, PipeIsReadInOrderToItsEnd) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(write(ends[1], "hello", 5), 5);
  close(ends[1]);
  auto file = OpenToRead("-", ends[0]);
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE(file->random_access());
  char out[16];
  EXPECT_EQ(*file->Read(absl::MakeSpan(out)), 5u);
  EXPECT_EQ(*file->Read(absl::MakeSpan(out)), 0u);
  close(ends[0]);
}

TEST(LocalFileTest, WaitForAPipeEndsWithAnInterruption) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::atomic<bool> set{true};
  auto file = LocalFile::OpenForReading("-", ends[0], set);
  ASSERT_TRUE(file.ok());
  char out[16];
  EXPECT_EQ(file->Read(absl::MakeSpan(out)).status(), InterruptedError());
  close(ends[0]);
  close(ends[1]);
}

TEST(LocalFileTest, FullDeviceIsReportedWithTheOffset) {
  auto file = OpenToWrite("/dev/full");
  ASSERT_TRUE(file.ok()) << file.status();
  const absl::Status written = file->Write("x");
  EXPECT_EQ(written.message(),
            "cannot write /dev/full at offset 0: No space left on device");
  EXPECT_EQ(GetReason(written), "ENOSPC");
}

TEST(LocalFileTest, ClosedPipeIsABrokenPipe) {
  signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  auto file = OpenToWrite("-", ends[1]);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(IsBrokenPipe(file->Write("x")));
  close(ends[1]);
}

TEST(LocalFileTest, WhoSharesTheDescriptorGoesOnBehindTheEnd) {
  const std::string path = TempPath("shared");
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  ASSERT_EQ(write(fd, "before ", 7), 7);
  auto file = OpenToWrite("-", fd);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE(file->random_access());
  ASSERT_TRUE(file->WriteAt(0, "data").ok());
  ASSERT_TRUE(file->Truncate(6).ok());
  ASSERT_TRUE(file->Close().ok());
  ASSERT_EQ(write(fd, " after", 6), 6);
  std::string content(19, 'x');
  EXPECT_EQ(pread(fd, content.data(), content.size(), 0), 19);
  EXPECT_EQ(content, std::string("before data\0\0 after", 19));
  close(fd);
}

TEST(LocalFileTest, AppendedFileIsWrittenInOrder) {
  const std::string path = TempPath("append");
  WriteFile(path, "old");
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND);
  auto file = OpenToWrite("-", fd);
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE(file->random_access());
  close(fd);
}

TEST(LocalFileTest, FileWithContentBelowIsWrittenInOrder) {
  MemoryFile memory;
  memory.Set("what is there would show through holes");
  auto file = OpenToWrite("-", memory.fd());
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE(file->random_access());
}

TEST(LocalFileTest, RemovesOnlyWhatItMade) {
  const std::string path = TempPath("made");
  {
    auto file = OpenToWrite(path);
    ASSERT_TRUE(file.ok());
    EXPECT_TRUE(file->RemoveIfCreated());
    EXPECT_FALSE(FileExists(path));
  }
  WriteFile(path, "mine");
  auto file = OpenToWrite(path);
  ASSERT_TRUE(file.ok());
  EXPECT_FALSE(file->RemoveIfCreated());
  EXPECT_EQ(ReadFile(path), "") << "an existing file is emptied";
}

TEST(LocalFileTest, SizePastTheFileSystemsLimitIsReported) {
  auto file = OpenToWrite(TempPath("huge"));
  ASSERT_TRUE(file.ok());
  const absl::Status truncated = file->Truncate(9223372036854775807);
  // tmpfs takes it.
  if (!truncated.ok()) {
    EXPECT_THAT(std::string(truncated.message()),
                HasSubstr("9223372036854775807 bytes long: "));
  }
}

}  // namespace
}  // namespace ramvol::cli
