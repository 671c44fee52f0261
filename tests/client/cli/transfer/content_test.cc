#include "client/cli/transfer/content.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/reason.h"
#include "client/cli/local_file.h"
#include "client/remote_volume.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/status.h"
#include "tests/client/cli/cli_harness.h"
#include "tests/client/fake_volume.h"

namespace ramvol::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kMiB = 1 << 20;

class ContentTest : public ::testing::Test {
 protected:
  std::unique_ptr<Content> Volume(const std::string& name = "a") {
    const auto& volume = name == "a" ? a_ : b_;
    return ContentOfVolume(name, RemoteVolume(volume), volume->size_bytes());
  }
  std::unique_ptr<Content> File(const std::string& path) {
    auto file = LocalFile::OpenForReading(path, -1, interrupted_);
    EXPECT_TRUE(file.ok()) << file.status();
    return ContentOfFile(*std::move(file));
  }
  std::string SumOf(std::unique_ptr<Content> content) {
    auto sum = Checksum(*content, interrupted_);
    EXPECT_TRUE(sum.ok()) << sum.status();
    return sum.value_or("");
  }
  absl::Status CompareAB() {
    auto a = Volume("a");
    auto b = Volume("b");
    return Compare(*a, *b, interrupted_);
  }
  // The offset where they differ; -1 when they are equal.
  int64_t DifferenceOfAB() {
    const absl::Status status = CompareAB();
    if (status.ok()) return -1;
    EXPECT_EQ(GetReason(status), "CONTENT_DIFFERS");
    return std::stoll(GetMetadata(status)["offset"]);
  }

  std::atomic<bool> interrupted_{false};
  std::shared_ptr<FakeVolume> a_ = std::make_shared<FakeVolume>(64 * kMiB + 5);
  std::shared_ptr<FakeVolume> b_ = std::make_shared<FakeVolume>(64 * kMiB + 5);
};

TEST_F(ContentTest, AVolumeAndItsFileHaveTheSameSum) {
  const std::string data = Noise(3 * kMiB + 100, 1);
  a_->Fill(20 * kMiB + 7, data);
  a_->Fill(64 * kMiB, "end!!");
  const std::string path = TempPath("image");
  WriteSparseFile(path, 64 * kMiB + 5, 20 * kMiB + 7, data);
  const std::string without_end = SumOf(File(path));
  EXPECT_NE(SumOf(Volume()), without_end);
  std::string content = ReadFile(path);
  content.replace(64 * kMiB, 5, "end!!");
  WriteFile(path, content);  // Zeroes in place of holes.
  EXPECT_EQ(SumOf(Volume()), SumOf(File(path)));
  EXPECT_EQ(SumOf(Volume()).size(), 32u);
  auto volume = Volume();
  auto file = File(path);
  EXPECT_TRUE(Compare(*volume, *file, interrupted_).ok());
}

TEST_F(ContentTest, TheSumDependsOnPlaceSizeAndEveryByte) {
  const std::string empty = SumOf(Volume());
  a_->Fill(4096, "x");
  const std::string at_4096 = SumOf(Volume());
  b_->Fill(8192, "x");
  EXPECT_NE(at_4096, empty);
  EXPECT_NE(at_4096, SumOf(Volume("b")));
  a_->Resize(64 * kMiB + 6);
  EXPECT_NE(SumOf(Volume()), at_4096);
  const std::shared_ptr<FakeVolume> empty_one =
      std::make_shared<FakeVolume>(64 * kMiB + 4);
  EXPECT_NE(SumOf(ContentOfVolume("c", RemoteVolume(empty_one), 64 * kMiB + 4)),
            empty);
}

TEST_F(ContentTest, FindsTheFirstDifference) {
  EXPECT_EQ(DifferenceOfAB(), -1);
  EXPECT_THAT(a_->reads(), IsEmpty());
  const std::string data = Noise(5 * kMiB, 2);
  a_->Fill(10 * kMiB, data);
  EXPECT_EQ(DifferenceOfAB(), 10 * kMiB);
  b_->Fill(10 * kMiB, data);
  EXPECT_EQ(DifferenceOfAB(), -1);
  b_->Fill(64 * kMiB + 4, "x");
  EXPECT_EQ(DifferenceOfAB(), 64 * kMiB + 4);
  a_->Fill(64 * kMiB + 4, "y");
  EXPECT_EQ(DifferenceOfAB(), 64 * kMiB + 4);
  a_->Fill(12 * kMiB + 4567, "\1");
  b_->Fill(12 * kMiB + 4567, "\2");
  EXPECT_EQ(DifferenceOfAB(), 12 * kMiB + 4567);
  b_->Fill(kMiB + 1, "z");
  EXPECT_EQ(DifferenceOfAB(), kMiB + 1);
}

TEST_F(ContentTest, SizesAreComparedFirst) {
  b_->Resize(64 * kMiB);
  const absl::Status status = CompareAB();
  EXPECT_EQ(GetReason(status), "CONTENT_DIFFERS");
  EXPECT_THAT(status.message(), HasSubstr("a has 67108869 bytes, b 67108864"));
}

TEST_F(ContentTest, FailuresAndInterruptionsEndIt) {
  a_->Fill(0, Noise(2 * kMiB, 3));
  a_->FailAfter(1, absl::DataLossError("corrupt"));
  auto content = Volume();
  EXPECT_EQ(Checksum(*content, interrupted_).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(CompareAB().code(), absl::StatusCode::kDataLoss);
  interrupted_ = true;
  EXPECT_EQ(CompareAB().code(), absl::StatusCode::kCancelled);
  auto other = Volume("b");
  EXPECT_EQ(Checksum(*other, interrupted_).status().code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace ramvol::cli
