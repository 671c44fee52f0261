#include "csi/snapshot_metadata_service.h"

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "csi.grpc.pb.h"
#include "csi.pb.h"
#include "gmock/gmock.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/sync_stream.h"
#include "gtest/gtest.h"
#include "proto/status.h"
#include "tests/csi/driver_world.h"
#include "tests/support/status_matchers.h"

namespace ramvol::csi_driver {
namespace {

using ::absl::StatusCode;
using ::csi::v1::GetMetadataAllocatedRequest;
using ::csi::v1::GetMetadataAllocatedResponse;
using ::csi::v1::GetMetadataDeltaRequest;
using ::csi::v1::GetMetadataDeltaResponse;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr int64_t kBlock = 4096;
constexpr int64_t kChunk = 65536;
constexpr int64_t kMib = int64_t{1} << 20;
constexpr int64_t kTib = int64_t{1} << 40;

// What a stream said: (offset, length), and how many answers it took.
struct Ranges {
  std::vector<std::pair<int64_t, int64_t>> all;
  std::vector<int> sizes;
};

class SnapshotMetadataServiceTest : public ::testing::Test {
 protected:
  SnapshotMetadataServiceTest() { world_.CreateVolume("disk", kTib); }

  absl::StatusOr<Ranges> Allocated(const std::string& snapshot,
                                   int64_t offset = 0, int max_results = 0) {
    GetMetadataAllocatedRequest request;
    request.set_snapshot_id(snapshot);
    request.set_starting_offset(offset);
    request.set_max_results(max_results);
    grpc::ClientContext context;
    return Collect(world_.metadata().GetMetadataAllocated(&context, request));
  }
  absl::StatusOr<Ranges> Delta(const std::string& base,
                               const std::string& target, int64_t offset = 0,
                               int max_results = 0) {
    GetMetadataDeltaRequest request;
    request.set_base_snapshot_id(base);
    request.set_target_snapshot_id(target);
    request.set_starting_offset(offset);
    request.set_max_results(max_results);
    grpc::ClientContext context;
    return Collect(world_.metadata().GetMetadataDelta(&context, request));
  }
  void WriteBlock(int64_t offset, const std::string& volume = "disk") {
    world_.Write(volume, offset, std::string(kBlock, 'x'));
  }

  DriverWorld world_{/*overcommit=*/100000};

 private:
  template <typename Response>
  absl::StatusOr<Ranges> Collect(
      std::unique_ptr<grpc::ClientReader<Response>> reader) {
    Ranges ranges;
    Response response;
    while (reader->Read(&response)) {
      EXPECT_EQ(response.block_metadata_type(), ::csi::v1::VARIABLE_LENGTH);
      EXPECT_GT(response.volume_capacity_bytes(), 0);
      ranges.sizes.push_back(response.block_metadata_size());
      for (const auto& range : response.block_metadata()) {
        ranges.all.emplace_back(range.byte_offset(), range.size_bytes());
      }
    }
    const grpc::Status status = reader->Finish();
    if (!status.ok()) return FromGrpcStatus(status);
    return ranges;
  }
};

TEST_F(SnapshotMetadataServiceTest, NamesWhatIsAllocated) {
  WriteBlock(0);
  WriteBlock(kBlock);
  WriteBlock(3 * kChunk);
  WriteBlock(kTib - kBlock);
  world_.CreateSnapshot("snap", "disk");
  WriteBlock(5 * kChunk);
  const auto ranges = Allocated("snap");
  ASSERT_THAT(ranges, IsOk());
  EXPECT_THAT(ranges->all,
              ElementsAre(Pair(0, 2 * kBlock), Pair(3 * kChunk, kBlock),
                          Pair(kTib - kBlock, kBlock)));
  EXPECT_THAT(ranges->sizes, ElementsAre(3));
}

TEST_F(SnapshotMetadataServiceTest, RunsOverManyWindowsAreOneRange) {
  // Two windows of 1 GiB meet here.
  WriteBlock((int64_t{1} << 30) - kBlock);
  WriteBlock(int64_t{1} << 30);
  world_.CreateSnapshot("snap", "disk");
  const auto ranges = Allocated("snap");
  ASSERT_THAT(ranges, IsOk());
  EXPECT_THAT(ranges->all,
              ElementsAre(Pair((int64_t{1} << 30) - kBlock, 2 * kBlock)));
}

TEST_F(SnapshotMetadataServiceTest, AnEmptySnapshotSaysSo) {
  world_.CreateSnapshot("snap", "disk");
  const auto ranges = Allocated("snap");
  ASSERT_THAT(ranges, IsOk());
  EXPECT_THAT(ranges->all, IsEmpty());
  EXPECT_THAT(ranges->sizes, ElementsAre(0));
}

TEST_F(SnapshotMetadataServiceTest, GoesOnWhereAnEarlierCallEnded) {
  for (const int chunk : {0, 2, 4, 6, 8}) WriteBlock(chunk * kChunk);
  world_.CreateSnapshot("snap", "disk");
  const auto all = Allocated("snap", 0, 2);
  ASSERT_THAT(all, IsOk());
  EXPECT_THAT(all->sizes, ElementsAre(2, 2, 1));
  const auto rest = Allocated("snap", 2 * kChunk + kBlock, 2);
  ASSERT_THAT(rest, IsOk());
  EXPECT_THAT(rest->all,
              ElementsAre(Pair(4 * kChunk, kBlock), Pair(6 * kChunk, kBlock),
                          Pair(8 * kChunk, kBlock)));
  // Blocks stay whole, and none ends before the offset.
  const auto inside = Allocated("snap", 8 * kChunk + 100);
  ASSERT_THAT(inside, IsOk());
  EXPECT_THAT(inside->all, ElementsAre(Pair(8 * kChunk, kBlock)));
  const auto none = Allocated("snap", kTib);
  ASSERT_THAT(none, IsOk());
  EXPECT_THAT(none->all, IsEmpty());
}

TEST_F(SnapshotMetadataServiceTest, OnlyABoundedNumberOfRangesIsInAnAnswer) {
  world_.CreateVolume("many", 64 * kMib);
  for (int i = 0; i < SnapshotMetadataService::kMaxRanges + 1; ++i) {
    WriteBlock(i * 2 * kBlock, "many");
  }
  world_.CreateSnapshot("snap", "many");
  for (const int wanted : {0, 1 << 30}) {
    const auto ranges = Allocated("snap", 0, wanted);
    ASSERT_THAT(ranges, IsOk());
    EXPECT_THAT(ranges->sizes,
                ElementsAre(SnapshotMetadataService::kMaxRanges, 1));
  }
}

TEST_F(SnapshotMetadataServiceTest, NamesAllThatHasChanged) {
  WriteBlock(0);
  WriteBlock(2 * kChunk);
  world_.CreateSnapshot("base", "disk");
  WriteBlock(2 * kChunk);
  world_.Write("disk", 9 * kChunk, "new");
  world_.CreateSnapshot("target", "disk");
  WriteBlock(20 * kChunk);
  const auto ranges = Delta("base", "target");
  ASSERT_THAT(ranges, IsOk());
  // Of 64 KiB with a change, more may be named.
  int64_t named = 0;
  bool has_new = false;
  for (const auto& [offset, length] : ranges->all) {
    named += length;
    has_new |= offset <= 9 * kChunk && offset + length >= 9 * kChunk + 3;
    EXPECT_LE(offset + length, 10 * kChunk);
    EXPECT_GE(offset, 2 * kChunk);
  }
  EXPECT_TRUE(has_new);
  EXPECT_LE(named, 2 * kChunk);
  const auto same = Delta("target", "target");
  ASSERT_THAT(same, IsOk());
  EXPECT_THAT(same->all, IsEmpty());
  const auto rest = Delta("base", "target", 5 * kChunk, 1);
  ASSERT_THAT(rest, IsOk());
  ASSERT_THAT(rest->all, SizeIs(1));
  EXPECT_GE(rest->all[0].first, 9 * kChunk);
}

// A backup of the base, and of what the delta names, is the target.
TEST_F(SnapshotMetadataServiceTest, ABackupByDeltasIsWhatTheSnapshotIs) {
  constexpr uint64_t kSeed = 20261130;
  SCOPED_TRACE(kSeed);
  std::mt19937_64 random(kSeed);
  constexpr int64_t kSize = 4 * kMib;
  world_.CreateVolume("random", kSize);
  std::string backup(kSize, '\0');
  std::string last;
  for (int round = 0; round < 8; ++round) {
    for (int i = 0; i < 20; ++i) {
      const auto length = static_cast<int64_t>(random() % 20000 + 1);
      const auto offset = static_cast<int64_t>(
          random() % static_cast<uint64_t>(kSize - length));
      world_.Write("random", offset,
                   std::string(static_cast<size_t>(length),
                               static_cast<char>(random() % 3)));
    }
    const std::string snapshot = "s" + std::to_string(round);
    world_.CreateSnapshot(snapshot, "random");
    const auto ranges =
        round == 0 ? Allocated(snapshot, 0, 3) : Delta(last, snapshot, 0, 3);
    ASSERT_THAT(ranges, IsOk());
    for (const auto& [offset, length] : ranges->all) {
      backup.replace(static_cast<size_t>(offset), static_cast<size_t>(length),
                     world_.Read("@" + snapshot, offset, length));
    }
    ASSERT_TRUE(backup == world_.Read("@" + snapshot, 0, kSize)) << round;
    last = snapshot;
  }
}

TEST_F(SnapshotMetadataServiceTest, GrowthIsPartOfADelta) {
  world_.CreateVolume("small", kMib);
  world_.CreateSnapshot("base", "small");
  ASSERT_THAT(world_.volumes().Expand("small", {.required_bytes = 2 * kMib}),
              IsOk());
  WriteBlock(2 * kMib - kBlock, "small");
  world_.CreateSnapshot("target", "small");
  const auto ranges = Delta("base", "target");
  ASSERT_THAT(ranges, IsOk());
  ASSERT_THAT(ranges->all, SizeIs(1));
  EXPECT_EQ(ranges->all[0].first + ranges->all[0].second, 2 * kMib);
}

TEST_F(SnapshotMetadataServiceTest, ErrorsSayWhatIsWrong) {
  world_.CreateVolume("other", kMib);
  world_.CreateSnapshot("snap", "disk");
  world_.CreateSnapshot("of-other", "other");
  EXPECT_THAT(Allocated(""),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("snapshot_id")));
  EXPECT_THAT(Allocated("none"),
              StatusIs(StatusCode::kNotFound, HasSubstr("none")));
  EXPECT_THAT(Allocated("snap", 0, -1),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("max_results")));
  for (const int64_t offset : {int64_t{-1}, kTib + 1}) {
    EXPECT_THAT(
        Allocated("snap", offset),
        StatusIs(StatusCode::kOutOfRange, HasSubstr("starting_offset")));
    EXPECT_THAT(
        Delta("snap", "snap", offset),
        StatusIs(StatusCode::kOutOfRange, HasSubstr("starting_offset")));
  }
  EXPECT_THAT(Delta("", "snap"), StatusIs(StatusCode::kInvalidArgument,
                                          HasSubstr("base_snapshot_id")));
  EXPECT_THAT(Delta("snap", ""), StatusIs(StatusCode::kInvalidArgument,
                                          HasSubstr("target_snapshot_id")));
  EXPECT_THAT(Delta("none", "snap"),
              StatusIs(StatusCode::kNotFound, HasSubstr("none")));
  EXPECT_THAT(Delta("snap", "none"),
              StatusIs(StatusCode::kNotFound, HasSubstr("none")));
  EXPECT_THAT(
      Delta("of-other", "snap"),
      StatusIs(StatusCode::kInvalidArgument, HasSubstr("different volumes")));
}

}  // namespace
}  // namespace ramvol::csi_driver
