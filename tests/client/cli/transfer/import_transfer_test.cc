#include "client/cli/transfer/import_transfer.h"

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file_error.h"
#include "base/reason.h"
#include "client/cli/local_file.h"
#include "client/cli/transfer/transfer.h"
#include "client/cli/transfer/zeroes.h"
#include "client/remote_volume.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/cli_harness.h"
#include "tests/client/fake_volume.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::SizeIs;

constexpr int64_t kMiB = 1 << 20;

class ImportTransferTest : public ::testing::Test {
 protected:
  absl::StatusOr<ImportResult> ImportPath(const std::string& path,
                                          const ImportRequest& request,
                                          int fd = -1) {
    absl::StatusOr<LocalFile> file =
        LocalFile::OpenForReading(path, fd, interrupted_);
    if (!file.ok()) return file.status();
    return Import(*file, RemoteVolume(volume_), request,
                  {.interrupted = interrupted_, .done_bytes = done_bytes_});
  }

  FakeVolume& volume() { return *volume_; }

  std::atomic<bool> interrupted_{false};
  std::atomic<int64_t> done_bytes_{0};
  std::shared_ptr<FakeVolume> volume_ = std::make_shared<FakeVolume>(64 * kMiB);
};

TEST_F(ImportTransferTest, HolesAndZeroesOfAFreshVolumeCostNothing) {
  const std::string path = TempPath("image");
  const std::string data = Noise(8192, 1);
  WriteSparseFile(path, 40 * kMiB, 20 * kMiB, data);
  const auto result =
      ImportPath(path, {.room_bytes = 64 * kMiB, .fresh = true});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->source_bytes, 40 * kMiB);
  EXPECT_EQ(result->sent_bytes, 8192);
  EXPECT_THAT(volume().writes(),
              ElementsAre(Extent{.offset = 20 * kMiB, .length = 8192}));
  EXPECT_THAT(volume().trims(), IsEmpty());
  EXPECT_EQ(volume().Content(20 * kMiB, 8192), data);
}

TEST_F(ImportTransferTest, HolesReplaceWhatAVolumeHeld) {
  volume().Fill(0, Noise(64 * kMiB, 2));
  const std::string path = TempPath("image");
  const std::string data = Noise(8192, 1);
  WriteSparseFile(path, 40 * kMiB, 20 * kMiB, data);
  ASSERT_TRUE(ImportPath(path, {.room_bytes = 64 * kMiB}).ok());
  EXPECT_EQ(volume().Content(0, 40 * kMiB), ReadFile(path));
  EXPECT_EQ(volume().Content(40 * kMiB, 24 * kMiB),
            Noise(64 * kMiB, 2).substr(40 * kMiB))
      << "what lies past the file must stay";
  EXPECT_THAT(volume().writes(), SizeIs(1));
  // One before the data and one after it.
  EXPECT_THAT(volume().trims(),
              ElementsAre(Extent{.offset = 0, .length = 20 * kMiB},
                          Extent{.offset = 20 * kMiB + 8192,
                                 .length = 20 * kMiB - 8192}));
}

TEST_F(ImportTransferTest, BlocksOfZeroesAreNotSent) {
  std::string data = Noise(3 * kMiB + 5000, 3);
  data.replace(kMiB - 4096, 8192, std::string(8192, '\0'));
  data.replace(2 * kMiB + 4096, 100,
               std::string(100, '\0'));  // No whole block.
  const std::string path = TempPath("image");
  WriteFile(path, data);
  const auto result = ImportPath(path, {.room_bytes = 64 * kMiB});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->sent_bytes, 3 * kMiB + 5000 - 8192);
  EXPECT_EQ(volume().Content(0, data.size()), data);
  EXPECT_THAT(volume().trims(),
              ElementsAre(Extent{.offset = kMiB - 4096, .length = 8192}))
      << "zeroes across two operations must be one trim";
  EXPECT_EQ(done_bytes_, 3 * kMiB + 5000);
}

TEST_F(ImportTransferTest, OperationsEndAtMultiplesOfTheirSize) {
  const std::string path = TempPath("image");
  WriteFile(path, Noise(3 * kMiB, 4));
  const auto result =
      ImportPath(path, {.volume_offset = 4096 + 7, .room_bytes = 60 * kMiB});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(volume().writes(),
              ElementsAre(Extent{.offset = 4103, .length = kMiB - 4103},
                          Extent{.offset = kMiB, .length = kMiB},
                          Extent{.offset = 2 * kMiB, .length = kMiB},
                          Extent{.offset = 3 * kMiB, .length = 4103}));
  EXPECT_EQ(volume().Content(4103, 3 * kMiB), Noise(3 * kMiB, 4));
}

TEST_F(ImportTransferTest, PipeOfOddLength) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::string data = Noise(2 * kMiB + 12345, 5);
  std::thread writer([&] {
    WriteAll(ends[1], data, "pipe").IgnoreError();
    close(ends[1]);
  });
  const auto result =
      ImportPath("-", {.room_bytes = 64 * kMiB, .fresh = true}, ends[0]);
  writer.join();
  close(ends[0]);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->source_bytes, 2 * kMiB + 12345);
  EXPECT_EQ(volume().Content(0, data.size()), data);
}

TEST_F(ImportTransferTest, MoreBuffersThanMayBeUnderWay) {
  const std::string path = TempPath("image");
  const std::string data = Noise(41 * kMiB, 6);
  volume().Resize(128 * kMiB);
  WriteFile(path, data);
  ASSERT_TRUE(ImportPath(path, {.room_bytes = 128 * kMiB, .fresh = true}).ok());
  EXPECT_EQ(volume().Content(0, data.size()), data);
}

TEST_F(ImportTransferTest, AlternatingBlocksTakeManyOperations) {
  std::string data = Noise(4 * kMiB, 7);
  for (size_t at = 0; at < data.size(); at += 2 * kBlockBytes) {
    data.replace(at, kBlockBytes, std::string(kBlockBytes, '\0'));
  }
  const std::string path = TempPath("image");
  WriteFile(path, data);
  ASSERT_TRUE(ImportPath(path, {.room_bytes = 64 * kMiB}).ok());
  EXPECT_EQ(volume().Content(0, data.size()), data);
  EXPECT_THAT(volume().writes(), SizeIs(512));
}

TEST_F(ImportTransferTest, FileLongerThanTheRoomChangesNothing) {
  const std::string path = TempPath("image");
  WriteFile(path, Noise(9000, 8));
  const auto result = ImportPath(path, {.room_bytes = 8999});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(result.status().message()),
              AllOf(HasSubstr("9000 bytes"), HasSubstr("8999"),
                    HasSubstr("ramvol resize")));
  EXPECT_THAT(volume().writes(), IsEmpty());
}

TEST_F(ImportTransferTest, PipeLongerThanTheRoom) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(write(ends[1], Noise(5000, 9).data(), 5000), 5000);
  close(ends[1]);
  const auto result = ImportPath("-", {.room_bytes = 4096}, ends[0]);
  close(ends[0]);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(volume().writes(), IsEmpty());
}

TEST_F(ImportTransferTest, FileThatBecomesShorterIsAnError) {
  const std::string path = TempPath("image");
  WriteFile(path, Noise(8 * kMiB, 10));
  volume().OnOperation([&path] {
    if (truncate(path.c_str(), 3 * kMiB + 17) != 0) abort();
  });
  const auto result = ImportPath(path, {.room_bytes = 64 * kMiB});
  EXPECT_EQ(GetReason(result.status()), "FILE_CHANGED");
  EXPECT_THAT(std::string(result.status().message()),
              AllOf(HasSubstr("8388608 bytes"), HasSubstr("3145745")));
}

TEST_F(ImportTransferTest, HoleThatIsCutOffIsAnErrorToo) {
  const std::string path = TempPath("image");
  WriteSparseFile(path, 8 * kMiB, 0, Noise(4096, 11));
  volume().OnOperation([&path] {
    if (truncate(path.c_str(), kMiB) != 0) abort();
  });
  const auto result = ImportPath(path, {.room_bytes = 64 * kMiB});
  EXPECT_EQ(GetReason(result.status()), "FILE_CHANGED");
}

TEST_F(ImportTransferTest, FirstFailureOfTheServerStopsIt) {
  const std::string path = TempPath("image");
  WriteFile(path, Noise(48 * kMiB, 12));
  volume().FailAfter(5, WithReason(absl::ResourceExhaustedError("full"),
                                   reason::kServerMemoryLimit));
  const auto result = ImportPath(path, {.room_bytes = 64 * kMiB});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetReason(result.status()), "SERVER_MEMORY_LIMIT");
  // Five succeed, one waits, and the rest is what may be unanswered.
  EXPECT_THAT(volume().writes(),
              SizeIs(Le(5 + 1 + FakeVolume::kMaxInflightBytes / kMiB)));
}

TEST_F(ImportTransferTest, InterruptionStopsIt) {
  const std::string path = TempPath("image");
  WriteFile(path, Noise(8 * kMiB, 13));
  volume().OnOperation([this] { interrupted_ = true; });
  const auto result = ImportPath(path, {.room_bytes = 64 * kMiB});
  EXPECT_EQ(result.status(), InterruptedError());
  EXPECT_THAT(volume().writes(), SizeIs(1));
}

}  // namespace
}  // namespace ramvol::cli
