#include "server/service/block_operations.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "gtest/gtest.h"
#include "proto/status.h"
#include "server/engine/engine.h"
#include "server/service/limits.h"
#include "server/service/uid.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsInvalidField;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kBlock = 4096;
constexpr int64_t kVolumeBytes = 64 * kBlock;

class BlockOperationsTest : public ::testing::Test {
 protected:
  // The extents of the range, and where the next ones begin.
  absl::Status List(int64_t offset, int64_t length, int32_t max_extents) {
    extents_.Clear();
    return ListExtents(*volume_, offset, length, max_extents, &extents_,
                       &next_offset_);
  }

  const std::unique_ptr<engine::Engine> engine_ = [] {
    engine::EngineOptions options;
    options.memory_limit_bytes = uint64_t{64} << 20;
    return *engine::Engine::Create(options);
  }();
  const std::shared_ptr<engine::Volume> volume_ = [this] {
    engine::VolumeOptions options;
    options.name = "disk";
    options.size_bytes = kVolumeBytes;
    return *engine_->CreateVolume(options);
  }();
  google::protobuf::RepeatedPtrField<v1::Extent> extents_;
  int64_t next_offset_ = 0;
  std::string data_;
};

TEST_F(BlockOperationsTest, ReadsWhatWasWritten) {
  ASSERT_THAT(WriteBlocks(*volume_, 5, "hello"), IsOk());
  ASSERT_THAT(ReadBlocks(*volume_, 4, 7, &data_), IsOk());
  EXPECT_EQ(data_, std::string("\0hello\0", 7));
  ASSERT_THAT(TrimBlocks(*volume_, 5, 2), IsOk());
  ASSERT_THAT(ZeroBlocks(*volume_, 9, 1, /*no_hole=*/true), IsOk());
  ASSERT_THAT(ReadBlocks(*volume_, 5, 5, &data_), IsOk());
  EXPECT_EQ(data_, std::string("\0\0ll\0", 5));
}

TEST_F(BlockOperationsTest, NegativeNumbersAreNamed) {
  EXPECT_THAT(ReadBlocks(*volume_, -1, 1, &data_), IsInvalidField("offset"));
  EXPECT_THAT(ReadBlocks(*volume_, 0, -1, &data_), IsInvalidField("length"));
  EXPECT_THAT(WriteBlocks(*volume_, -1, "x"), IsInvalidField("offset"));
  EXPECT_THAT(TrimBlocks(*volume_, -1, 1), IsInvalidField("offset"));
  EXPECT_THAT(TrimBlocks(*volume_, 0, -1), IsInvalidField("length"));
  EXPECT_THAT(ZeroBlocks(*volume_, -1, 1, false), IsInvalidField("offset"));
  EXPECT_THAT(ZeroBlocks(*volume_, 0, -1, false), IsInvalidField("length"));
  EXPECT_THAT(List(-1, 1, 0), IsInvalidField("offset"));
  EXPECT_THAT(List(0, -1, 0), IsInvalidField("length"));
  EXPECT_THAT(List(0, 1, -1), IsInvalidField("max_extents"));
}

TEST_F(BlockOperationsTest, TooMuchDataIsRefusedBeforeItTakesMemory) {
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(ReadBlocks(*volume_, 0, kMaxDataBytes + 1, &data_),
              HasReason(kInvalid, reason::kTooMuchData));
  EXPECT_THAT(
      ReadBlocks(*volume_, 0, std::numeric_limits<int64_t>::max(), &data_),
      HasReason(kInvalid, reason::kTooMuchData));
  EXPECT_LT(data_.capacity(), 4096u);
  EXPECT_THAT(WriteBlocks(*volume_, 0, std::string(kMaxDataBytes + 1, 'x')),
              HasReason(kInvalid, reason::kTooMuchData));
  // Of that length, but past the end of this volume.
  EXPECT_THAT(ReadBlocks(*volume_, 0, kMaxDataBytes, &data_),
              HasReason(absl::StatusCode::kOutOfRange, reason::kPastEnd));
}

TEST_F(BlockOperationsTest, AFailedReadLeavesNoData) {
  data_ = "old";
  EXPECT_THAT(ReadBlocks(*volume_, kVolumeBytes - 1, 2, &data_),
              HasReason(absl::StatusCode::kOutOfRange, reason::kPastEnd));
  EXPECT_THAT(data_, IsEmpty());
}

TEST_F(BlockOperationsTest, ListsExtentsToTheEndOrTheLimit) {
  ASSERT_THAT(WriteBlocks(*volume_, kBlock, std::string(kBlock, 'x')), IsOk());
  ASSERT_THAT(List(0, 0, 0), IsOk());
  ASSERT_THAT(extents_, SizeIs(3));
  EXPECT_TRUE(extents_[0].hole());
  EXPECT_EQ(extents_[1].offset(), kBlock);
  EXPECT_EQ(extents_[1].length(), kBlock);
  EXPECT_FALSE(extents_[1].hole());
  EXPECT_EQ(extents_[2].offset() + extents_[2].length(), kVolumeBytes);
  ASSERT_THAT(List(0, 0, 1), IsOk());
  EXPECT_THAT(extents_, SizeIs(1));
  EXPECT_EQ(next_offset_, kBlock);
  ASSERT_THAT(List(kBlock, 10, 0), IsOk());
  ASSERT_THAT(extents_, SizeIs(1));
  EXPECT_EQ(extents_[0].length(), 10);
  EXPECT_THAT(List(kVolumeBytes + 1, 0, 0),
              HasReason(absl::StatusCode::kOutOfRange, reason::kPastEnd));
}

TEST_F(BlockOperationsTest, RunsEachKindAndKeepsItsId) {
  v1::IoOperation operation;
  operation.set_id(7);
  operation.mutable_write()->set_data(std::string(kBlock, 'x'));
  EXPECT_EQ(RunOperation(*volume_, *engine_, operation)->id(), 7u);
  operation.mutable_read()->set_length(2);
  EXPECT_EQ(RunOperation(*volume_, *engine_, operation)->data(), "xx");
  operation.mutable_get_extents()->set_max_extents(1);
  const auto extents = RunOperation(*volume_, *engine_, operation);
  EXPECT_EQ(extents->extents_size(), 1);
  EXPECT_EQ(extents->next_offset(), kBlock);
  operation.mutable_trim()->set_length(1);
  EXPECT_FALSE(RunOperation(*volume_, *engine_, operation)->has_error());
  operation.mutable_write_zeroes()->set_length(kBlock);
  EXPECT_FALSE(RunOperation(*volume_, *engine_, operation)->has_error());
  operation.mutable_read()->set_length(1);
  EXPECT_EQ(RunOperation(*volume_, *engine_, operation)->data(),
            std::string(1, '\0'));
  operation.mutable_flush();
  EXPECT_FALSE(RunOperation(*volume_, *engine_, operation)->has_error());
  EXPECT_EQ(volume_->Stats().flush_operations, 1u);
}

TEST_F(BlockOperationsTest, ListsChangesSinceASnapshot) {
  const auto kept = engine_->CreateSnapshots({{volume_, "monday"}});
  ASSERT_THAT(kept, IsOk());
  ASSERT_THAT(WriteBlocks(*volume_, kBlock, std::string(kBlock, 'x')), IsOk());
  v1::IoOperation operation;
  v1::IoGetChangedExtents& get = *operation.mutable_get_changed_extents();
  get.set_since("@monday");
  get.set_max_extents(2);
  const auto result = RunOperation(*volume_, *engine_, operation);
  ASSERT_FALSE(result->has_error());
  ASSERT_EQ(result->changed_extents_size(), 2);
  EXPECT_FALSE(result->changed_extents(0).changed());
  EXPECT_EQ(result->changed_extents(0).length(), kBlock);
  EXPECT_TRUE(result->changed_extents(1).changed());
  EXPECT_EQ(result->changed_extents(1).length(), kBlock);
  EXPECT_EQ(result->next_offset(), 2 * kBlock);
  const auto fails = [&](const std::string& since) {
    get.set_since(since);
    return FromRpcStatus(RunOperation(*volume_, *engine_, operation)->error());
  };
  const auto not_found =
      HasReason(absl::StatusCode::kNotFound, reason::kSnapshotNotFound);
  EXPECT_THAT(fails("@tuesday"), not_found);
  EXPECT_THAT(fails(FormatUid(volume_->uid())), not_found);
  EXPECT_THAT(fails(""), IsInvalidField("since"));
  EXPECT_THAT(fails("monday"), IsInvalidField("since"));

  // By its uid, it is never another one of this name.
  const std::string uid = FormatUid(kept->front()->uid());
  get.set_since(uid);
  EXPECT_EQ(RunOperation(*volume_, *engine_, operation)->next_offset(),
            2 * kBlock);
  ASSERT_THAT(engine_->DeleteVolume(kept->front(), /*force=*/false), IsOk());
  ASSERT_THAT(engine_->CreateSnapshots({{volume_, "monday"}}), IsOk());
  EXPECT_THAT(fails(uid), not_found);
}

TEST_F(BlockOperationsTest, AFailureNamesTheVolume) {
  v1::IoOperation operation;
  operation.mutable_read()->set_offset(-1);
  const absl::Status status =
      FromRpcStatus(RunOperation(*volume_, *engine_, operation)->error());
  EXPECT_THAT(status, IsInvalidField("offset"));
  EXPECT_EQ(GetMetadata(status).at("volume"), "disk");
  v1::IoOperation none;
  EXPECT_THAT(FromRpcStatus(RunOperation(*volume_, *engine_, none)->error()),
              StatusIs(absl::StatusCode::kInternal, ::testing::_));
}

// What an operation may take decides where and when it runs.
TEST(OperationCostTest, OfEachKind) {
  v1::IoOperation read;
  read.mutable_read()->set_length(kMaxInlineBytes);
  EXPECT_TRUE(IsSmall(read));
  EXPECT_EQ(LaneOf(read), Lane::kPrompt);
  EXPECT_EQ(DataBytes(read), kMaxInlineBytes);
  EXPECT_EQ(ResultBytes(read), static_cast<size_t>(kMaxInlineBytes));
  read.mutable_read()->set_length(kMaxInlineBytes + 1);
  EXPECT_FALSE(IsSmall(read));

  v1::IoOperation write;
  write.mutable_write()->set_data(std::string(100, 'x'));
  EXPECT_TRUE(IsSmall(write));
  EXPECT_EQ(LaneOf(write), Lane::kMayWait);
  EXPECT_EQ(DataBytes(write), 100);
  EXPECT_EQ(ResultBytes(write), 0u);

  v1::IoOperation zeroes;
  zeroes.mutable_write_zeroes()->set_length(1);
  EXPECT_FALSE(IsSmall(zeroes));
  EXPECT_EQ(LaneOf(zeroes), Lane::kMayWait);
  EXPECT_EQ(DataBytes(zeroes), 0);

  v1::IoOperation trim;
  trim.mutable_trim()->set_length(kMaxInlineBytes);
  EXPECT_FALSE(IsSmall(trim));
  EXPECT_EQ(LaneOf(trim), Lane::kPrompt);

  v1::IoOperation flush;
  flush.mutable_flush();
  EXPECT_TRUE(IsSmall(flush));

  v1::IoOperation extents;
  extents.mutable_get_extents()->set_max_extents(3);
  EXPECT_EQ(DataBytes(extents), 0);
  EXPECT_EQ(ResultBytes(extents), ExtentsBytes(3));
}

TEST(OperationCostTest, IsBoundedForWhatWillBeRefused) {
  v1::IoOperation read;
  read.mutable_read()->set_length(std::numeric_limits<int64_t>::max());
  EXPECT_EQ(DataBytes(read), kMaxDataBytes);
  read.mutable_read()->set_length(-1);
  EXPECT_EQ(DataBytes(read), 0);
  EXPECT_EQ(ExtentsBytes(std::numeric_limits<int32_t>::max()),
            ExtentsBytes(kMaxExtents));
  EXPECT_EQ(ExtentsBytes(0), ExtentsBytes(kDefaultExtents));
  EXPECT_EQ(ExtentsBytes(-1), 0u);
  EXPECT_EQ(ExtentsBytes(2), 2 * ExtentsBytes(1));
}

}  // namespace
}  // namespace ramvol::service
