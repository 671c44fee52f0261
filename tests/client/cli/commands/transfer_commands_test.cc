// The commands import and export, from the command line to files.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "tests/client/cli/cli_harness.h"
#include "tests/client/fake_server.h"
#include "tests/client/fake_volume.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kMiB = 1 << 20;

class TransferCommandsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    WriteSparseFile(image_, 16 * kMiB, 5 * kMiB, Noise(300000, 1));
  }
  FakeServer& server() { return cli_.server(); }

  CliHarness cli_;
  const std::string image_ = TempPath("image");
};

TEST_F(TransferCommandsTest, ImportMakesTheVolumeAndExportGivesItBack) {
  const auto imported = cli_.Run({"import", image_, "a", "--level=3"});
  EXPECT_EQ(imported.exit_code, 0) << imported.err;
  EXPECT_EQ(imported.out, "");
  EXPECT_EQ(imported.err, "");
  EXPECT_EQ(server().settings("a").size_bytes(), 16 * kMiB);
  EXPECT_EQ(server().settings("a").zstd_level(), 3);
  EXPECT_THAT(server().data("a").trims(), IsEmpty());

  const std::string out = TempPath("out");
  const auto exported = cli_.Run({"export", "a", out});
  EXPECT_EQ(exported.exit_code, 0) << exported.err;
  EXPECT_EQ(exported.out, "");
  EXPECT_EQ(ReadFile(out), ReadFile(image_));
  EXPECT_LE(DiskBytes(out), DiskBytes(image_) + 65536);
}

TEST_F(TransferCommandsTest, JsonTellsWhatWasDone) {
  EXPECT_EQ(cli_.Run({"import", image_, "a", "--output=json"}).out,
            "{\n \"name\": \"a\",\n \"created\": true,\n"
            " \"sourceBytes\": \"16777216\",\n \"sentBytes\": \"303104\"\n}\n");
  EXPECT_THAT(cli_.Run({"export", "a", TempPath("out"), "--output=json"}).out,
              HasSubstr("\"writtenBytes\": \"303104\""));
}

TEST_F(TransferCommandsTest, StandardInputOfUnknownLength) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(write(ends[1], Noise(50001, 2).data(), 50001), 50001);
  close(ends[1]);
  cli_.context().in_fd = ends[0];
  const auto result = cli_.Run({"import", "-", "a", "--read-only"});
  close(ends[0]);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(server().settings("a").size_bytes(), 50001);
  EXPECT_TRUE(server().settings("a").read_only());
  EXPECT_EQ(server().data("a").Content(0, 50001), Noise(50001, 2));
  EXPECT_EQ(cli_.Run({"export", "a", "-"}).out, Noise(50001, 2));
}

TEST_F(TransferCommandsTest, EmptyInputMakesNoVolume) {
  for (const char* file : {"-", "/dev/null"}) {
    const auto result = cli_.Run({"import", file, "a"});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("(EMPTY_FILE)"));
    EXPECT_FALSE(server().Has("a"));
  }
}

TEST_F(TransferCommandsTest, MallocNeedsTheSizeOfAPipe) {
  const auto result =
      cli_.Run({"import", "/dev/null", "a", "--allocator=malloc"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("--size"));
}

TEST_F(TransferCommandsTest, SizeMayBeLargerThanTheFile) {
  EXPECT_EQ(cli_.Run({"import", image_, "a", "--size", "1G"}).exit_code, 0);
  EXPECT_EQ(server().settings("a").size_bytes(), 1024 * kMiB);
  const auto small = cli_.Run({"import", image_, "b", "--size", "1M"});
  EXPECT_EQ(small.exit_code, 1);
  EXPECT_THAT(small.err, HasSubstr("has 16777216 bytes"));
  EXPECT_FALSE(server().Has("b"));
}

TEST_F(TransferCommandsTest, ExistingVolume) {
  cli_.AddVolume("a", 32 * kMiB).Fill(0, Noise(32 * kMiB, 3));
  EXPECT_EQ(cli_.Run({"import", image_, "a", "--create"}).exit_code, 4);
  const auto described = cli_.Run({"import", image_, "a", "--level", "3"});
  EXPECT_EQ(described.exit_code, 2);
  EXPECT_THAT(described.err, HasSubstr("--level only describes a new one"));
  EXPECT_EQ(cli_.Run({"import", image_, "a", "--size=1G"}).exit_code, 2);
  EXPECT_EQ(server().data("a").Content(0, kMiB), Noise(kMiB, 3));
  EXPECT_EQ(cli_.Run({"import", image_, "b", "--existing"}).exit_code, 3);
  EXPECT_EQ(cli_.Run({"import", image_, "a", "--existing"}).exit_code, 0);
  // Others hold it: nothing is written, and nothing says so.
  cli_.server().attached = true;
  const auto refused = cli_.Run({"import", image_, "a"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(refused.err,
            "ramvol: import: is attached by 1 client (VOLUME_ATTACHED)\n");
  EXPECT_EQ(cli_.Run({"import", image_, "a", "--force"}).exit_code, 0);
  // Of a volume that it makes it is the first client.
  EXPECT_EQ(cli_.Run({"import", image_, "b"}).exit_code, 0);
  EXPECT_EQ(server().data("a").Content(0, 16 * kMiB), ReadFile(image_));
}

TEST_F(TransferCommandsTest, MissingFileMakesNoVolume) {
  const auto result = cli_.Run({"import", "/nonexistent", "a"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err,
            "ramvol: import: cannot open /nonexistent: No such file or "
            "directory (ENOENT)\n");
  EXPECT_FALSE(server().Has("a"));
}

TEST_F(TransferCommandsTest, FailedImportRemovesTheVolumeThatItMade) {
  server().on_create = [](FakeVolume& volume) {
    volume.FailAfter(0, WithReason(absl::ResourceExhaustedError("no memory"),
                                   reason::kServerMemoryLimit));
  };
  const auto result = cli_.Run({"import", image_, "a"});
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_EQ(result.err,
            "ramvol: import: volume \"a\" is removed again: no memory "
            "(SERVER_MEMORY_LIMIT)\n");
  EXPECT_FALSE(server().Has("a"));
  EXPECT_EQ(server().last_delete.etag(), "etag-1");

  const auto kept = cli_.Run({"import", image_, "a", "--keep-partial"});
  EXPECT_EQ(kept.exit_code, 6);
  EXPECT_TRUE(server().Has("a"));
}

TEST_F(TransferCommandsTest, FailedImportKeepsAVolumeThatWasThere) {
  cli_.AddVolume("a", 32 * kMiB).FailAfter(1, absl::DataLossError("corrupt"));
  WriteFile(image_, Noise(8 * kMiB, 1));
  const auto result = cli_.Run({"import", image_, "a"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("\"a\" is partly written: corrupt"));
  EXPECT_TRUE(server().Has("a"));
}

TEST_F(TransferCommandsTest, AVolumeThatNothingWasWrittenToIsUnchanged) {
  cli_.AddVolume("a", 32 * kMiB).FailAfter(0, absl::DataLossError("corrupt"));
  EXPECT_THAT(cli_.Run({"import", image_, "a"}).err,
              HasSubstr("\"a\" is unchanged: corrupt"));
  // Nobody knows what became of an operation without an answer.
  cli_.AddVolume("b", 32 * kMiB).FailAfter(0, absl::UnavailableError("gone"));
  EXPECT_THAT(cli_.Run({"import", image_, "b"}).err,
              HasSubstr("\"b\" is partly written: gone"));
}

TEST_F(TransferCommandsTest, ImportChecksBeforeItWrites) {
  FakeVolume& small = cli_.AddVolume("small", kMiB);
  const auto large = cli_.Run({"import", image_, "small"});
  EXPECT_EQ(large.exit_code, 1);
  EXPECT_EQ(large.err, "ramvol: import: " + image_ +
                           " has 16777216 bytes, volume \"small\" 1048576; "
                           "grow it with \"ramvol resize small 16777216\" "
                           "(PAST_END)\n");
  cli_.AddVolume("frozen", 32 * kMiB);
  server().settings("frozen").set_read_only(true);
  const auto frozen = cli_.Run({"import", image_, "frozen"});
  EXPECT_EQ(frozen.exit_code, 1);
  EXPECT_THAT(frozen.err,
              AllOf(HasSubstr("\"ramvol set frozen --read-only=false\""),
                    HasSubstr("(VOLUME_READ_ONLY)")));
  EXPECT_THAT(small.writes(), IsEmpty());
  EXPECT_THAT(small.trims(), IsEmpty());
  EXPECT_THAT(server().data("frozen").trims(), IsEmpty());
}

TEST_F(TransferCommandsTest, ImagesAndCompressedFilesAreNotStoredUnawares) {
  const std::string qcow2 = std::string("QFI\xfb\0\0\0\3", 8) + Noise(9000, 8);
  WriteFile(image_, qcow2);
  const auto refused = cli_.Run({"import", image_, "a"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("qemu-img convert"),
                                 HasSubstr("FOREIGN_FORMAT")));
  EXPECT_FALSE(server().Has("a"));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(write(ends[1], "\x1f\x8b\x08 and so on", 13), 13);
  close(ends[1]);
  cli_.context().in_fd = ends[0];
  EXPECT_THAT(cli_.Run({"import", "-", "a"}).err, HasSubstr("gzip"));
  close(ends[0]);
  EXPECT_FALSE(server().Has("a"));
  EXPECT_EQ(cli_.Run({"import", image_, "a", "--format=raw"}).exit_code, 0);
  EXPECT_EQ(server().data("a").Content(0, 9008), qcow2);
}

TEST_F(TransferCommandsTest, InterruptedImportRemovesTheVolume) {
  server().on_create = [this](FakeVolume& volume) {
    volume.OnOperation([this] { cli_.interrupted() = true; });
  };
  WriteFile(image_, Noise(8 * kMiB, 4));
  const auto result = cli_.Run({"import", image_, "a"});
  EXPECT_EQ(result.exit_code, 130);
  EXPECT_THAT(result.err, HasSubstr("interrupted (INTERRUPTED)"));
  EXPECT_FALSE(server().Has("a"));
}

TEST_F(TransferCommandsTest, ExportOfNoVolumeMakesNoFile) {
  const std::string out = TempPath("out");
  EXPECT_EQ(cli_.Run({"export", "missing", out}).exit_code, 3);
  EXPECT_FALSE(FileExists(out));
}

TEST_F(TransferCommandsTest, FailedExportRemovesTheFileThatItMade) {
  FakeVolume& volume = cli_.AddVolume("a", 4 * kMiB);
  volume.Fill(0, Noise(4 * kMiB, 5));
  volume.FailAfter(
      2, WithReason(absl::DataLossError("corrupt"), reason::kCorruptFrame));
  const std::string out = TempPath("out");
  const auto result = cli_.Run({"export", "a", out});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("is removed again: corrupt"),
                                HasSubstr("(CORRUPT_FRAME)")));
  EXPECT_FALSE(FileExists(out));
  WriteFile(out, "there before");
  EXPECT_THAT(cli_.Run({"export", "a", out}).err, HasSubstr("is incomplete"));
  EXPECT_TRUE(FileExists(out));
}

TEST_F(TransferCommandsTest, FullDiskIsAnOrdinaryFailure) {
  cli_.AddVolume("a", kMiB).Fill(0, Noise(kMiB, 6));
  const auto result = cli_.Run({"export", "a", "/dev/full"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err,
              HasSubstr("/dev/full is incomplete: cannot write /dev/full at "
                        "offset 0: No space left on device (ENOSPC)"));
}

TEST_F(TransferCommandsTest, FullStandardOutputIsReported) {
  cli_.context().out_fd = open("/dev/full", O_WRONLY);
  const auto result = cli_.Run({"ls"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.err,
            "ramvol: ls: cannot write standard output: No space left on device "
            "(ENOSPC)\n");
  close(cli_.context().out_fd);
}

TEST_F(TransferCommandsTest, ClosedStandardOutputIsQuiet) {
  signal(SIGPIPE, SIG_IGN);
  cli_.AddVolume("a", 40 * kMiB).Fill(0, Noise(40 * kMiB, 7));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  cli_.context().out_fd = ends[1];
  for (const char* command : {"export", "read"}) {
    const auto result = command == std::string("export")
                            ? cli_.Run({"export", "a", "-"})
                            : cli_.Run({"read", "a", "0", "40M"});
    EXPECT_EQ(result.exit_code, 1) << command;
    EXPECT_EQ(result.err, "") << command;
  }
  EXPECT_EQ(cli_.Run({"ls"}).exit_code, 1);
  close(ends[1]);
}

TEST_F(TransferCommandsTest, TerminalGetsASummary) {
  cli_.context().err_is_terminal = true;
  const auto result = cli_.Run({"import", image_, "a"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err,
              HasSubstr("into a: 16 MiB, of which 296 KiB data, in "));
}

}  // namespace
}  // namespace ramvol::cli
