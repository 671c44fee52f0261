// Images that no honest program writes.
#include "qcow2/image_file.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "qcow2/chain_source.h"
#include "qcow2/format.h"
#include "tests/support/status_matchers.h"

namespace ramvol::qcow2 {
namespace {

using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsOk;

class MemoryReader final : public RandomReader {
 public:
  explicit MemoryReader(std::string bytes) : bytes_(std::move(bytes)) {}

  uint64_t size_bytes() const override { return bytes_.size(); }
  absl::StatusOr<size_t> ReadAt(uint64_t offset,
                                absl::Span<char> out) override {
    if (out.empty() || offset >= bytes_.size()) return 0;
    const size_t length = std::min(out.size(), bytes_.size() - offset);
    std::memcpy(out.data(), bytes_.data() + offset, length);
    return length;
  }

 private:
  const std::string bytes_;
};

// An image with a header and numbers at chosen places.
class Crafted {
 public:
  Crafted(int cluster_bits, uint64_t size, uint32_t l1_entries,
          uint64_t l1_offset, size_t bytes)
      : bytes_(bytes, '\0') {
    std::memcpy(bytes_.data(), "QFI\xfb", 4);
    Put32(4, 3);
    Put32(20, static_cast<uint32_t>(cluster_bits));
    Put64(24, size);
    Put32(36, l1_entries);
    Put64(40, l1_offset);
    Put32(96, 4);
    Put32(100, 104);
  }

  Crafted& Put64(size_t at, uint64_t value) {
    StoreBig64(value, &bytes_[at]);
    return *this;
  }
  Crafted& Put32(size_t at, uint32_t value) {
    char eight[8];
    StoreBig64(value, eight);
    std::memcpy(&bytes_[at], eight + 4, 4);
    return *this;
  }
  Crafted& Fill64(size_t at, size_t count, uint64_t value) {
    for (size_t i = 0; i < count; ++i) Put64(at + 8 * i, value);
    return *this;
  }

  absl::StatusOr<std::unique_ptr<ImageFile>> Open() const {
    return ImageFile::Open(std::make_unique<MemoryReader>(bytes_));
  }
  // Reads all of it, as a restore does.
  absl::Status ReadAll() const {
    auto image = Open();
    if (!image.ok()) return image.status();
    std::vector<std::unique_ptr<ImageFile>> images;
    images.push_back(*std::move(image));
    ChainSource source(std::move(images));
    auto groups = source.Survey();
    if (!groups.ok()) return groups.status();
    for (const GroupRoom& room : *groups) {
      std::vector<ClusterPlan> plan;
      absl::Status status = source.PlanGroup(room.group, room.clusters, &plan);
      for (size_t i = 0; status.ok() && i < plan.size(); ++i) {
        std::string out(
            plan[i].kind == ClusterKind::kRaw ? kClusterBytes : plan[i].bytes,
            '\0');
        status = source.ReadCluster(plan[i], absl::MakeSpan(out));
      }
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  std::string bytes_;
};

void ExpectDamaged(const absl::Status& status) {
  EXPECT_THAT(status, HasReason(absl::StatusCode::kInvalidArgument,
                                reason::kDamagedImage));
}
void ExpectForeign(const absl::Status& status) {
  EXPECT_THAT(status, HasReason(absl::StatusCode::kFailedPrecondition,
                                reason::kForeignImage));
}

TEST(ImageFileTest, AnEmptyDiskIsRead) {
  EXPECT_THAT(Crafted(16, 1 << 20, 1, 65536, 2 << 16).ReadAll(), IsOk());
  EXPECT_THAT(Crafted(9, 0, 0, 0, 104).ReadAll(), IsOk());
}

TEST(ImageFileTest, HeadersThatCannotBeAreRefused) {
  ExpectDamaged(Crafted(8, 512, 1, 512, 4096).Open().status());
  ExpectDamaged(Crafted(22, 512, 1, 1 << 22, 4096).Open().status());
  ExpectDamaged(Crafted(-1, 512, 1, 512, 4096).Open().status());
  // Too few entries, too many, and such that are not there.
  ExpectDamaged(
      Crafted(16, uint64_t{1} << 50, 1, 65536, 2 << 16).Open().status());
  ExpectDamaged(
      Crafted(16, ~uint64_t{0}, 0xffffffff, 65536, 2 << 16).Open().status());
  ExpectDamaged(
      Crafted(16, uint64_t{2} << 50, 4 << 20, 65536, 2 << 16).Open().status());
  ExpectDamaged(
      Crafted(16, 1 << 20, 1, ~uint64_t{0xffff}, 2 << 16).Open().status());
  ExpectDamaged(Crafted(16, 1 << 20, 1, 65537, 2 << 16).Open().status());
  // The length of the header, an extension, and the backing file's name.
  ExpectDamaged(
      Crafted(16, 1 << 20, 1, 65536, 2 << 16).Put32(100, 60).Open().status());
  ExpectDamaged(Crafted(16, 1 << 20, 1, 65536, 2 << 16)
                    .Put32(104, 5)
                    .Put32(108, 0xfffffff0)
                    .Open()
                    .status());
  ExpectDamaged(Crafted(16, 1 << 20, 1, 65536, 2 << 16)
                    .Put64(8, 65530)
                    .Put32(16, 100)
                    .Open()
                    .status());
  ExpectDamaged(
      Crafted(16, 1 << 20, 1, 65536, 2 << 16).Put64(72, 2).Open().status());
}

TEST(ImageFileTest, WhatIsNotSupportedIsNamed) {
  const auto base = [] { return Crafted(16, 1 << 20, 1, 65536, 2 << 16); };
  ExpectForeign(base().Put32(4, 4).Open().status());
  ExpectForeign(base().Put32(32, 1).Open().status());
  ExpectForeign(base().Put64(72, 4).Open().status());
  ExpectForeign(base().Put64(72, 16).Open().status());
  ExpectForeign(base().Put64(72, uint64_t{1} << 40).Open().status());
  EXPECT_THAT(base().Put64(72, 1).Open().status(), IsOk());
}

TEST(ImageFileTest, TablesAndClustersPastTheEndAreRefused) {
  const auto with = [](uint64_t l1, uint64_t l2) {
    Crafted image(16, 1 << 20, 1, 65536, 3 << 16);
    return image.Put64(65536, l1).Put64(2 << 16, l2).ReadAll();
  };
  EXPECT_THAT(with(2 << 16, 0), IsOk());
  ExpectDamaged(with(3 << 16, 0));
  ExpectDamaged(with((2 << 16) + 512, 0));
  ExpectDamaged(with(0x00fffffffffff000, 0));
  ExpectDamaged(with(2 << 16, 3 << 16));
  ExpectDamaged(with(2 << 16, (1 << 16) + 512));
  ExpectDamaged(with(2 << 16, (uint64_t{1} << 62) | (3 << 16)));
  // Of zlib: it does not decompress.
  ExpectDamaged(with(2 << 16, (uint64_t{1} << 62) | (2 << 16)));
}

TEST(ImageFileTest, ATableOrClusterThatIsUsedAgainAndAgainIsRefused) {
  // 2 PiB of one table, in 33 MiB.
  Crafted tables(16, uint64_t{2} << 50, 4 << 20, 65536, (34 << 20));
  tables.Fill64(65536, 4 << 20, 33 << 20);
  ExpectDamaged(tables.ReadAll());
  // 512 MiB of one cluster, in four.
  Crafted raw(16, 512 << 20, 1, 65536, 4 << 16);
  raw.Put64(65536, 2 << 16).Fill64(2 << 16, 8192, 3 << 16);
  ExpectDamaged(raw.ReadAll());
  Crafted small(9, 32 << 10, 1, 512, 4 << 9);
  small.Put64(512, 2 << 9).Fill64(2 << 9, 64, 3 << 9);
  EXPECT_THAT(small.ReadAll(), IsOk());
  Crafted compressed(16, 512 << 20, 1, 65536, 3 << 16);
  compressed.Put64(65536, 2 << 16)
      .Fill64(2 << 16, 8192, (uint64_t{1} << 62) | 60000);
  ExpectDamaged(compressed.ReadAll());
}

}  // namespace
}  // namespace ramvol::qcow2
