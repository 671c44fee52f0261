#include "csi/btrfs_uuid.h"

#include <stdlib.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "csi/command.h"
#include "csi/file_system.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::absl::StatusCode;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::HasSubstr;

constexpr size_t kSuper = 65536;

// A file with a file system, which csi_node_test mounts beside its source.
class BtrfsUuidTest : public ::testing::Test {
 protected:
  BtrfsUuidTest() {
    setenv("PATH", absl::StrCat(getenv("PATH"), ":/usr/sbin:/sbin").c_str(), 1);
    Run({"truncate", "--size=512M", device_});
    EXPECT_THAT(FileSystems(&commands_).Make("btrfs", device_, true, Later()),
                IsOk());
  }

  std::string Run(const Command& command) {
    const auto output = commands_.Output(command, Later());
    EXPECT_THAT(output, IsOk());
    return output.value_or("");
  }
  // A field of the super block, as btrfs shows it.
  std::string Show(const std::string& field) {
    const std::string all =
        Run({"btrfs", "inspect-internal", "dump-super", device_});
    std::smatch found;
    const std::regex line("(^|\n)" + field + "\\s+([^\n]*)");
    EXPECT_TRUE(std::regex_search(all, found, line)) << all;
    return found[2];
  }
  // Changes a byte of it.
  void Damage(size_t offset) {
    std::fstream file(device_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(kSuper + offset);
    file.put('\x77');
  }
  // Sets its flags, and a checksum that fits.
  void SetFlags(uint64_t flags) {
    constexpr size_t kFlags = 56;
    std::string super = Content().substr(kSuper, 4096);
    for (size_t i = 0; i < sizeof(flags); ++i) {
      super[kFlags + i] = static_cast<char>(flags >> (8 * i));
    }
    uint32_t crc = ~uint32_t{0};
    for (size_t i = 32; i < super.size(); ++i) {
      crc ^= static_cast<uint8_t>(super[i]);
      for (int bit = 0; bit < 8; ++bit) {
        crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
      }
    }
    crc = ~crc;
    for (size_t i = 0; i < sizeof(crc); ++i) {
      super[i] = static_cast<char>(crc >> (8 * i));
    }
    std::fstream file(device_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(kSuper);
    file << super;
  }
  void ExpectUnchanged() const {
    const std::string before = Content();
    EXPECT_THAT(RenewBtrfsUuid(device_), IsOk());
    EXPECT_EQ(Content(), before);
  }
  std::string Content() const {
    std::ifstream file(device_);
    std::string content(kProbeBytes, '\0');
    file.read(content.data(), kProbeBytes);
    return content;
  }
  static absl::Time Later() { return absl::Now() + absl::Minutes(2); }

  const std::string device_ = absl::StrCat(getenv("TEST_TMPDIR"), "/btrfs.img");
  SystemCommands commands_;
};

TEST_F(BtrfsUuidTest, AllButTheSuperBlockKeepsTheOldOne) {
  const std::string old = Show("fsid");
  std::string last = old;
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(RenewBtrfsUuid(device_), IsOk());
    EXPECT_NE(Show("fsid"), last);
    last = Show("fsid");
    EXPECT_EQ(Show("metadata_uuid"), old);
    EXPECT_THAT(Show("dev_item.fsid"), HasSubstr(old + " [match]"));
    EXPECT_THAT(Show("csum"), HasSubstr("[match]"));
  }
  Run({"btrfs", "check", device_});
}

TEST_F(BtrfsUuidTest, WhatIsDamagedStaysAsItIs) {
  Damage(/*offset=*/300);  // The label, which the checksum covers.
  ExpectUnchanged();
}

TEST_F(BtrfsUuidTest, AnotherChecksumStaysAsItIs) {
  Run({"mkfs.btrfs", "-q", "-f", "--csum=xxhash", device_});
  ExpectUnchanged();
}

// Others lie over it, and know it by the old one.
TEST_F(BtrfsUuidTest, ASeedStaysAsItIs) {
  Run({"btrfstune", "-S", "1", device_});
  EXPECT_THAT(Show("csum"), HasSubstr("[match]"));
  ExpectUnchanged();
}

TEST_F(BtrfsUuidTest, WhatHasSeveralDevicesStaysAsItIs) {
  const std::string other = device_ + "2";
  Run({"truncate", "--size=512M", other});
  Run({"mkfs.btrfs", "-q", "-f", device_, other});
  EXPECT_EQ(Show("num_devices"), "2");
  ExpectUnchanged();
  Run({"rm", other});
}

TEST_F(BtrfsUuidTest, WhatBtrfstuneHasNotEndedStaysAsItIs) {
  constexpr uint64_t kWritten = 1;
  for (const int bit : {35, 36}) {  // CHANGING_FSID, and its second form.
    SetFlags(kWritten | uint64_t{1} << bit);
    EXPECT_THAT(Show("csum"), HasSubstr("[match]"));
    ExpectUnchanged();
  }
  // It is the flags that it stays for.
  SetFlags(kWritten);
  const std::string old = Show("fsid");
  ASSERT_THAT(RenewBtrfsUuid(device_), IsOk());
  EXPECT_NE(Show("fsid"), old);
}

TEST_F(BtrfsUuidTest, WhatIsTooShortIsNoFileSystem) {
  Run({"truncate", "--size=66000", device_});
  EXPECT_THAT(RenewBtrfsUuid(device_), IsOk());
  Run({"rm", device_});
  EXPECT_THAT(RenewBtrfsUuid(device_),
              StatusIs(StatusCode::kInternal, HasSubstr(device_)));
}

}  // namespace
}  // namespace ramvol::csi_driver
