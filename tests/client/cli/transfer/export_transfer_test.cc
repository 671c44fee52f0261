#include "client/cli/transfer/export_transfer.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/file_error.h"
#include "base/reason.h"
#include "client/cli/local_file.h"
#include "client/cli/transfer/extent_walk.h"
#include "client/cli/transfer/transfer.h"
#include "client/remote_volume.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/cli/cli_harness.h"
#include "tests/client/fake_volume.h"

namespace ramvol::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::Le;

constexpr int64_t kMiB = 1 << 20;

class ExportTransferTest : public ::testing::Test {
 protected:
  absl::StatusOr<ExportResult> ExportTo(const std::string& path,
                                        const ExportRequest& request,
                                        int fd = -1) {
    absl::StatusOr<LocalFile> file =
        LocalFile::OpenForWriting(path, fd, interrupted_);
    if (!file.ok()) return file.status();
    absl::StatusOr<ExportResult> result =
        Export(RemoteVolume(volume_), *file, request,
               {.interrupted = interrupted_, .done_bytes = done_bytes_});
    absl::Status closed = file->Close();
    if (result.ok() && !closed.ok()) return closed;
    return result;
  }

  FakeVolume& volume() { return *volume_; }

  std::atomic<bool> interrupted_{false};
  std::atomic<int64_t> done_bytes_{0};
  std::shared_ptr<FakeVolume> volume_ = std::make_shared<FakeVolume>(64 * kMiB);
};

TEST_F(ExportTransferTest, HolesAreNeitherReadNorWritten) {
  volume().Fill(20 * kMiB, Noise(8192, 1));
  volume().Fill(50 * kMiB, Noise(4096, 2));
  const std::string path = TempPath("out");
  const auto result = ExportTo(path, {.offset = 0, .length = 64 * kMiB});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->read_bytes, 8192 + 4096);
  EXPECT_EQ(result->written_bytes, 8192 + 4096);
  EXPECT_EQ(ReadFile(path), volume().Content(0, 64 * kMiB));
  EXPECT_LT(DiskBytes(path), kMiB);
  EXPECT_EQ(done_bytes_, 8192 + 4096);
}

TEST_F(ExportTransferTest, RangeOfOddBounds) {
  volume().Fill(0, Noise(8 * kMiB, 3));
  const std::string path = TempPath("out");
  ASSERT_TRUE(ExportTo(path, {.offset = 12345, .length = 3 * kMiB + 7}).ok());
  EXPECT_EQ(ReadFile(path), volume().Content(12345, 3 * kMiB + 7));
}

TEST_F(ExportTransferTest, MoreReadsThanMayBeUnderWayComeInOrder) {
  volume().Fill(0, Noise(48 * kMiB, 4));
  const std::string path = TempPath("out");
  ASSERT_TRUE(ExportTo(path, {.offset = 0, .length = 64 * kMiB}).ok());
  EXPECT_EQ(ReadFile(path), volume().Content(0, 64 * kMiB));
}

TEST_F(ExportTransferTest, ExistingFileIsReplaced) {
  const std::string path = TempPath("out");
  WriteFile(path, Noise(70 * kMiB, 5));
  volume().Fill(kMiB, "data");
  ASSERT_TRUE(ExportTo(path, {.offset = 0, .length = 64 * kMiB}).ok());
  EXPECT_EQ(ReadFile(path), volume().Content(0, 64 * kMiB));
}

TEST_F(ExportTransferTest, PipeGetsZeroesForHoles) {
  volume().Fill(3 * kMiB + 100, Noise(70000, 6));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::string got;
  std::thread reader([&] {
    char buffer[65536];
    ssize_t bytes;
    while ((bytes = read(ends[0], buffer, sizeof(buffer))) > 0) {
      got.append(buffer, bytes);
    }
  });
  const auto result =
      ExportTo("-", {.offset = 0, .length = 10 * kMiB}, ends[1]);
  close(ends[1]);
  reader.join();
  close(ends[0]);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(got, volume().Content(0, 10 * kMiB));
}

TEST_F(ExportTransferTest, LargestVolumeIsWalkedInFewSteps) {
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  volume().Resize(kLargest);
  volume().Fill(kLargest - 1, "x");
  std::vector<Extent> extents;
  ASSERT_TRUE(WalkExtents(RemoteVolume(volume_), 0, kLargest,
                          [&extents](const Extent& extent) {
                            extents.push_back(extent);
                            return absl::OkStatus();
                          })
                  .ok());
  EXPECT_THAT(
      extents,
      ElementsAre(Extent{.offset = 0, .length = kLargest - 4095, .hole = true},
                  Extent{.offset = kLargest - 4095, .length = 4095}));
  EXPECT_THAT(volume().extents_calls(), Le(40));
}

TEST_F(ExportTransferTest, FullDiskIsReportedAsTheFilesError) {
  volume().Fill(0, Noise(2 * kMiB, 7));
  const auto result = ExportTo("/dev/full", {.offset = 0, .length = 64 * kMiB});
  EXPECT_EQ(GetReason(result.status()), "ENOSPC");
  EXPECT_EQ(result.status().message(),
            "cannot write /dev/full at offset 0: No space left on device");
}

TEST_F(ExportTransferTest, ClosedPipeEndsIt) {
  signal(SIGPIPE, SIG_IGN);
  volume().Fill(0, Noise(40 * kMiB, 8));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  EXPECT_TRUE(IsBrokenPipe(
      ExportTo("-", {.offset = 0, .length = 64 * kMiB}, ends[1]).status()));
  close(ends[1]);
}

TEST_F(ExportTransferTest, ServersErrorIsReported) {
  volume().Fill(0, Noise(40 * kMiB, 9));
  volume().FailAfter(3, WithReason(absl::DataLossError("frame is corrupt"),
                                   reason::kCorruptFrame));
  const auto result =
      ExportTo(TempPath("out"), {.offset = 0, .length = 64 * kMiB});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(GetReason(result.status()), "CORRUPT_FRAME");
}

TEST_F(ExportTransferTest, InterruptionStopsIt) {
  volume().Fill(0, Noise(4 * kMiB, 10));
  volume().OnOperation([this] { interrupted_ = true; });
  EXPECT_EQ(
      ExportTo(TempPath("out"), {.offset = 0, .length = 64 * kMiB}).status(),
      InterruptedError());
}

}  // namespace
}  // namespace ramvol::cli
