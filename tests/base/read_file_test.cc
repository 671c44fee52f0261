#include "base/read_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "base/reason.h"
#include "tests/support/status_matchers.h"

namespace ramvol {
namespace {

using ::ramvol::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;

class ReadFileTest : public ::testing::Test {
 protected:
  void Write(const std::string& content) const {
    std::ofstream(path_, std::ios::binary) << content;
  }
  const std::string path_ = ::testing::TempDir() + "/read_file_test";
};

TEST_F(ReadFileTest, ReadsAllBytes) {
  std::string content;
  for (const size_t size : {0, 1, 4095, 4096, 4097, 8192, 100000}) {
    while (content.size() < size) content += static_cast<char>(content.size());
    Write(content);
    EXPECT_EQ(ReadFile(path_).value_or("none"), content) << size;
  }
}

TEST_F(ReadFileTest, ReadsWhatTheKernelMakes) {
  const auto text = ReadFile("/proc/self/cmdline");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("read_file_test"));
}

TEST_F(ReadFileTest, FailsWhereOpeningDoes) {
  const auto text = ReadFile("/none/at/all");
  EXPECT_EQ(GetReason(text.status()), "ENOENT");
  EXPECT_EQ(text.status().message(),
            "cannot read /none/at/all: No such file or directory");
}

TEST_F(ReadFileTest, FailsWhereReadingDoes) {
  EXPECT_EQ(GetReason(ReadFile(::testing::TempDir()).status()), "EISDIR");
  // Nothing is mapped at its beginning.
  EXPECT_EQ(GetReason(ReadFile("/proc/self/mem").status()), "EIO");
}

TEST_F(ReadFileTest, RefusesWhatIsTooLong) {
  Write("12345");
  EXPECT_EQ(ReadFile(path_, 5).value_or("none"), "12345");
  EXPECT_THAT(ReadFile(path_, 4),
              StatusIs(absl::StatusCode::kOutOfRange,
                       HasSubstr("it has more than 4 bytes")));
  EXPECT_THAT(ReadFile("/dev/zero", 10000),
              StatusIs(absl::StatusCode::kOutOfRange, _));
}

}  // namespace
}  // namespace ramvol
