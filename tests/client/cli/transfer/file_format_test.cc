#include "client/cli/transfer/file_format.h"

#include <string>

#include "absl/status/status.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Refusal(const std::string& head) {
  const absl::Status status = CheckRawFormat("it's", head);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetReason(status), "FOREIGN_FORMAT");
  return std::string(status.message());
}

TEST(FileFormatTest, ImagesOfOtherFormatsAreForQemuImg) {
  const std::pair<std::string, const char*> images[] = {
      {"QFI\xfb\0\0\0\3", "qcow2"},
      {"KDMV\1", "VMDK"},
      {"# Disk DescriptorFile\nversion=1", "VMDK"},
      {"vhdxfile", "VHDX"},
      {"conectix", "VHD"},
      {std::string(64, 'x') + "\x7f\x10\xda\xbe", "VDI"}};
  for (const auto& [head, name] : images) {
    EXPECT_THAT(
        Refusal(head),
        AllOf(HasSubstr(name), HasSubstr("qemu-img convert -O raw 'it'\\''s' "),
              HasSubstr("--format=raw")));
  }
}

TEST(FileFormatTest, CompressedFilesAreToBeDecompressed) {
  const std::pair<std::string, const char*> files[] = {
      {"\x1f\x8b\x08", "zcat"},
      {"\x28\xb5\x2f\xfd", "zstdcat"},
      {std::string("\xfd\x37zXZ\0", 6), "xzcat"},
      {"BZh9", "bzcat"}};
  for (const auto& [head, command] : files) {
    EXPECT_THAT(Refusal(head),
                AllOf(HasSubstr(command), HasSubstr("| ramvol import - NAME")));
  }
}

TEST(FileFormatTest, NamesAreQuotedWhereAShellNeedsIt) {
  const absl::Status plain = CheckRawFormat("/a/b-1.gz", "\x1f\x8b\x08");
  EXPECT_THAT(plain.message(), HasSubstr("zcat /a/b-1.gz | ramvol"));
  const absl::Status pipe = CheckRawFormat("", "\x1f\x8b\x08");
  EXPECT_THAT(pipe.message(), AllOf(HasSubstr("standard input is compressed"),
                                    HasSubstr("zcat | ramvol")));
}

TEST(FileFormatTest, AnythingElseIsTheBytesOfADisk) {
  const std::string heads[] = {"",
                               "Q",
                               std::string(512, '\0'),
                               std::string(510, '\0') + "\x55\xaa",
                               "LUKS\xba\xbe",
                               "#!/bin/sh",
                               std::string(64, 'x')};
  for (const std::string& head : heads) {
    EXPECT_TRUE(CheckRawFormat("a", head).ok()) << head;
  }
}

}  // namespace
}  // namespace ramvol::cli
