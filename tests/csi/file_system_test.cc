#include "csi/file_system.h"

#include <stdlib.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "csi/command.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::ramvol::testing::IsOk;

absl::Time Later() { return absl::Now() + absl::Minutes(2); }

// The beginning of a file with a file system of this size, as the driver makes
// it.
std::string Made(const std::string& type, uint64_t bytes, bool is_zero) {
  const char* const folder = getenv("TEST_TMPDIR");
  const std::string path = absl::StrCat(folder, "/", type, bytes);
  SystemCommands commands;
  EXPECT_THAT(
      commands.Output({"truncate", "-s", absl::StrCat(bytes), path}, Later()),
      IsOk());
  EXPECT_THAT(FileSystems(&commands).Make(type, path, is_zero, Later()),
              IsOk());
  std::ifstream file(path);
  std::string data(kProbeBytes, '\0');
  file.read(data.data(), kProbeBytes);
  return data;
}

TEST(FileSystemTest, FindsWhatItMakes) {
  setenv("PATH", absl::StrCat(getenv("PATH"), ":/usr/sbin:/sbin").c_str(), 1);
  for (const std::string type : {"ext4", "xfs", "btrfs"}) {
    for (const uint64_t mib : {512, 20480}) {
      for (const bool is_zero : {true, false}) {
        const FileSystem found =
            ProbeFileSystem(Made(type, mib << 20, is_zero));
        EXPECT_EQ(found.type, type);
        // A whole number of its units.
        EXPECT_LE(found.size_bytes, mib << 20);
        EXPECT_GT(found.size_bytes, (mib - 1) << 20);
      }
    }
  }
}

TEST(FileSystemTest, ZerosAreNoFileSystemAndOtherBytesAreUnknown) {
  EXPECT_EQ(ProbeFileSystem(std::string(kProbeBytes, '\0')).type, "");
  EXPECT_EQ(ProbeFileSystem("").type, "");
  std::string data(kProbeBytes, '\0');
  data[510] = '\x55';
  EXPECT_EQ(ProbeFileSystem(data).type, "unknown");
}

// Notes the deadlines of programs.
class Deadlines final : public CommandRunner {
 public:
  absl::StatusOr<CommandResult> Run(const Command& command,
                                    absl::Time deadline) override {
    of[command[0]] = deadline;
    return CommandResult();
  }
  absl::Status Start(const Command&, const std::string&, absl::Time) override {
    return absl::UnimplementedError("not used");
  }

  std::map<std::string, absl::Time> of;
};

TEST(FileSystemTest, NothingEndsAGrowthThatIsNotTheKernels) {
  Deadlines deadlines;
  const FileSystems file_systems(&deadlines);
  const absl::Time deadline = Later();
  EXPECT_THAT(file_systems.GrowUnmounted("ext4", "/dev/disk", deadline),
              IsOk());
  EXPECT_EQ(deadlines.of["e2fsck"], deadline);
  EXPECT_EQ(deadlines.of["resize2fs"], absl::InfiniteFuture());
  EXPECT_THAT(file_systems.Grow("ext4", "/dev/disk", "/mounted", deadline),
              IsOk());
  EXPECT_EQ(deadlines.of["resize2fs"], deadline);
}

TEST(FileSystemTest, HalfASuperBlockIsUnknown) {
  const std::string ext4 = Made("ext4", uint64_t{16} << 20, true);
  EXPECT_EQ(ProbeFileSystem(ext4.substr(0, 2047)).type, "unknown");
  EXPECT_EQ(ProbeFileSystem("XFSB").type, "unknown");
  std::string absurd = ext4;
  absurd[1024 + 24] = '\x7f';  // The logarithm of the block's size.
  EXPECT_EQ(ProbeFileSystem(absurd).type, "unknown");
}

}  // namespace
}  // namespace ramvol::csi_driver
