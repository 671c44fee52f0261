// Who holds a volume, and what is refused meanwhile.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"

namespace ramvol::engine {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kGiB = uint64_t{1} << 30;

class VolumeAttachTest : public ::testing::Test {
 protected:
  VolumeAttachTest() {
    EngineOptions options;
    options.memory_limit_bytes = 64 << 20;
    options.merge_interval_ms = 3600000;
    engine_ = *Engine::Create(options);
  }

  Volume& Make(uint64_t size, Allocator allocator = Allocator::kZstd) {
    VolumeOptions options;
    options.name = "v";
    options.size_bytes = size;
    options.allocator = allocator;
    volume_ = engine_->CreateVolume(options).value();
    return *volume_;
  }

  std::unique_ptr<Engine> engine_;
  std::shared_ptr<Volume> volume_;
};

TEST_F(VolumeAttachTest, AttachedVolumeIsDeletedByForceOnly) {
  Make(kGiB);
  {
    auto attachment = Attachment::Make(volume_, {"nbd", "here"});
    ASSERT_TRUE(attachment.ok());
    EXPECT_EQ(volume_->Stats().attached_clients, 1);
    const absl::Status refused = engine_->DeleteVolume(volume_, false);
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(GetReason(refused), reason::kVolumeAttached);
    EXPECT_TRUE(engine_->Find("v").ok());
    EXPECT_TRUE(engine_->DeleteVolume(volume_, true).ok());
  }
  EXPECT_EQ(volume_->Stats().attached_clients, 0);
}

TEST_F(VolumeAttachTest, WhoHoldsItIsNamedUpToABound) {
  Volume& volume = Make(kGiB);
  EXPECT_TRUE(volume.CheckUnattached().ok());
  std::vector<Attachment> attachments;
  for (int i = 0; i < 10; ++i) {
    attachments.push_back(
        *Attachment::Make(volume_, {"nbd", absl::StrCat("10.0.0.1:", i),
                                    absl::FromUnixSeconds(1'000'000'000)}));
  }
  const absl::Status refused = volume.CheckUnattached();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetReason(refused), reason::kVolumeAttached);
  EXPECT_THAT(
      std::string(refused.message()),
      AllOf(HasSubstr("by 10 clients (nbd 10.0.0.1:0 since "
                      "2001-09-09T01:46:40Z, nbd 10.0.0.1:1 since "),
            HasSubstr("10.0.0.1:7 since 2001-09-09T01:46:40Z and 2 more)")));
  attachments.clear();
  EXPECT_TRUE(volume.CheckUnattached().ok());
}

TEST_F(VolumeAttachTest, WhatEachClientDidIsCountedApart) {
  Volume& volume = Make(kGiB);
  auto a = Attachment::Make(volume_, {"nbd", "a"});
  const auto b = Attachment::Make(volume_, {"io", "b"});
  a->CountRead(4096);
  const Attachment moved = *std::move(a);
  moved.CountRead(1);
  moved.CountWrite(512);
  b->CountWrite(8);
  const auto holders = volume.holders().List(2).first;
  ASSERT_EQ(holders.size(), 2);
  const auto& first = *holders[0].traffic;
  EXPECT_EQ(first.Sum(Traffic::kReads), 2);
  EXPECT_EQ(first.Sum(Traffic::kReadBytes), 4097);
  EXPECT_EQ(first.Sum(Traffic::kWrites), 1);
  EXPECT_EQ(first.Sum(Traffic::kWrittenBytes), 512);
  EXPECT_EQ(holders[1].traffic->Sum(Traffic::kReads), 0);
  EXPECT_EQ(holders[1].traffic->Sum(Traffic::kWrittenBytes), 8);
}

TEST_F(VolumeAttachTest, WhoWantsToBeAloneIsRefusedOrFirst) {
  Make(kGiB);
  auto alone = Attachment::Make(volume_, {"io", "a"}, true);
  ASSERT_TRUE(alone.ok());
  const auto second = Attachment::Make(volume_, {"io", "b"}, true);
  EXPECT_EQ(GetReason(second.status()), reason::kVolumeAttached);
  EXPECT_TRUE(Attachment::Make(volume_, {"io", "c"}).ok());
  EXPECT_EQ(volume_->Stats().attached_clients, 1);
}

TEST_F(VolumeAttachTest, GuardedUpdateChangesNothingWhileItIsAttached) {
  Volume& volume = Make(1 << 20, Allocator::kMalloc);
  const uint64_t used = engine_->Stats().memory_used_bytes;
  VolumeUpdate update;
  update.if_unattached = true;
  update.write_level = 3;
  {
    auto attachment = Attachment::Make(volume_, {"nbd", "a"});
    for (const uint64_t size : {uint64_t{4096}, uint64_t{2} << 20}) {
      update.size_bytes = size;
      EXPECT_EQ(GetReason(volume.Update(update)), reason::kVolumeAttached);
    }
    EXPECT_EQ(volume.size_bytes(), 1 << 20);
    EXPECT_EQ(volume.options().write_level, VolumeOptions().write_level);
    EXPECT_EQ(engine_->Stats().memory_used_bytes, used);
  }
  EXPECT_TRUE(volume.Update(update).ok());
}

}  // namespace
}  // namespace ramvol::engine
