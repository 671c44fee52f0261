// Content that is still to be read: who waits for it, and who does not.
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/types/blocks.h"
#include "server/engine/types/encoded_chunk.h"
#include "server/engine/types/outside_source.h"
#include "server/engine/volume.h"
#include "tests/support/status_matchers.h"

namespace ramvol::engine {
namespace {

using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::testing::_;

constexpr uint64_t kBytes = uint64_t{8} << 20;

std::string ChunkOf(uint32_t image, uint64_t chunk) {
  std::string content(kChunkBytes, '\0');
  for (size_t i = 0; i < content.size(); ++i) {
    content[i] = static_cast<char>(i / 7 * 31 + chunk * 13 + image);
  }
  return content;
}

// Waits at one chunk, until it may go on.
class SlowSource final : public OutsideSource {
 public:
  absl::Status Read(uint32_t image, uint64_t chunk,
                    EncodedChunk* out) override {
    reads_.fetch_add(1);
    if (chunk == kSlow) {
      if (!reached_.HasBeenNotified()) reached_.Notify();
      go_on_.WaitForNotification();
    }
    if (chunk == kLost) return absl::DataLossError("it is gone");
    const std::string content = ChunkOf(image, chunk);
    out->chunk = chunk;
    out->buffer = std::make_unique<char[]>(kChunkBytes);
    std::memcpy(out->buffer.get(), content.data(), content.size());
    out->runs = {{.kind = RunKind::kRaw,
                  .first_block = 0,
                  .blocks = kBlocksPerChunk,
                  .bytes = {out->buffer.get(), kChunkBytes}}};
    return absl::OkStatus();
  }
  void AwaitReached() { reached_.WaitForNotification(); }
  void GoOn() { go_on_.Notify(); }
  int reads() const { return reads_.load(); }

  static constexpr uint64_t kSlow = 3;
  static constexpr uint64_t kLost = 100;

 private:
  absl::Notification reached_;
  absl::Notification go_on_;
  std::atomic<int> reads_{0};
};

class OutsideTest : public ::testing::Test {
 protected:
  OutsideTest() {
    EngineOptions options;
    options.memory_limit_bytes = 64 << 20;
    options.background_threads = 2;
    engine_ = *Engine::Create(options);
    VolumeOptions volume;
    volume.name = "disk";
    volume.size_bytes = kBytes;
    disk_ = *engine_->CreateVolume(volume);
    std::vector<OutsideChunk> chunks;
    for (uint64_t i = 0; i < kBytes / kChunkBytes; ++i)
      chunks.push_back({i, 0});
    EXPECT_THAT(disk_->AddOutside(7, chunks), IsOk());
    EXPECT_THAT(engine_->BeginOutside(source_, {}, 1 << 20, 1), IsOk());
  }
  static std::string Read(Volume& volume, uint64_t chunk) {
    std::string got(kChunkBytes, '?');
    EXPECT_THAT(volume.Read(chunk * kChunkBytes, absl::MakeSpan(got)), IsOk());
    return got;
  }

  const std::shared_ptr<SlowSource> source_ = std::make_shared<SlowSource>();
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<Volume> disk_;
};

TEST_F(OutsideTest, NobodyElseWaitsForAChunkThatIsBeingRead) {
  std::string got;
  std::thread reader([&] { got = Read(*disk_, SlowSource::kSlow); });
  source_->AwaitReached();
  // Of the same leaf, and of the volume as a whole.
  EXPECT_EQ(Read(*disk_, 2), ChunkOf(7, 2));
  EXPECT_THAT(disk_->Write(4 * kChunkBytes + 10, "part"), IsOk());
  EXPECT_THAT(disk_->Trim(5 * kChunkBytes, kChunkBytes), IsOk());
  EXPECT_THAT(disk_->GetExtents(0, kBytes, 100).status(), IsOk());
  EXPECT_THAT(engine_->CreateSnapshots({{disk_, "taken"}}).status(), IsOk());
  // All of the chunk itself can be replaced, too.
  const std::string whole(kChunkBytes, 'w');
  EXPECT_THAT(disk_->Write(SlowSource::kSlow * kChunkBytes, whole), IsOk());
  EXPECT_EQ(Read(*disk_, SlowSource::kSlow), whole);
  VolumeUpdate update;
  update.size_bytes = 6 * kChunkBytes;
  EXPECT_THAT(disk_->Update(update), IsOk());
  source_->GoOn();
  reader.join();
  EXPECT_EQ(got, whole);
}

TEST_F(OutsideTest, WhoAsksTogetherReadsOnce) {
  std::vector<std::thread> readers;
  for (int i = 0; i < 8; ++i) {
    readers.emplace_back([&] {
      EXPECT_EQ(Read(*disk_, SlowSource::kSlow), ChunkOf(7, SlowSource::kSlow));
    });
  }
  source_->AwaitReached();
  source_->GoOn();
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(source_->reads(), 1);
  EXPECT_EQ(Read(*disk_, SlowSource::kSlow), ChunkOf(7, SlowSource::kSlow));
  EXPECT_EQ(source_->reads(), 1);
}

TEST_F(OutsideTest, WhatCannotBeHadIsDataLossUntilItIsReplaced) {
  source_->GoOn();
  std::string got(10, '?');
  const uint64_t offset = SlowSource::kLost * kChunkBytes;
  EXPECT_THAT(disk_->Read(offset, absl::MakeSpan(got)),
              StatusIs(absl::StatusCode::kDataLoss, _));
  EXPECT_THAT(disk_->Write(offset + 1, "x"),
              StatusIs(absl::StatusCode::kDataLoss, _));
  EXPECT_EQ(engine_->LoadOutside([] { return true; }), 1u);
  engine_->EndOutside(false);
  EXPECT_THAT(disk_->Read(offset, absl::MakeSpan(got)),
              StatusIs(absl::StatusCode::kDataLoss, _));
  EncodedChunk encoded;
  EXPECT_THAT(
      disk_->ReadEncoded(SlowSource::kLost, EncodedForm::kAsStored, &encoded),
      StatusIs(absl::StatusCode::kDataLoss, _));
  const std::string block(kBlockBytes, 'b');
  EXPECT_THAT(disk_->Write(offset, block), IsOk());
  EXPECT_THAT(disk_->Read(offset, absl::MakeSpan(got)), IsOk());
  EXPECT_EQ(got, block.substr(0, 10));
  EXPECT_THAT(disk_->Trim(offset, kChunkBytes), IsOk());
  EXPECT_THAT(disk_->Read(offset, absl::MakeSpan(got)), IsOk());
  EXPECT_EQ(got, std::string(10, '\0'));
  EXPECT_EQ(Read(*disk_, 50), ChunkOf(7, 50));
}

TEST_F(OutsideTest, CopiesOfAChunkAreReadOnce) {
  source_->GoOn();
  std::vector<std::shared_ptr<Volume>> clones;
  for (const char* name : {"a", "b", "c"}) {
    VolumeOptions clone;
    clone.name = name;
    clones.push_back(*engine_->CloneVolume(clone, disk_));
    // So that the leaf is its own.
    EXPECT_THAT(clones.back()->Write(0, std::string(kChunkBytes, 'x')), IsOk());
  }
  for (const auto& clone : clones) EXPECT_EQ(Read(*clone, 9), ChunkOf(7, 9));
  EXPECT_EQ(Read(*disk_, 9), ChunkOf(7, 9));
  EXPECT_EQ(source_->reads(), 1);
  // A change of a part leaves the rest to be shared.
  EXPECT_THAT(clones[0]->Write(10 * kChunkBytes, std::string(4096, 'y')),
              IsOk());
  EXPECT_EQ(Read(*disk_, 10), ChunkOf(7, 10));
  EXPECT_EQ(Read(*clones[1], 10), ChunkOf(7, 10));
  EXPECT_EQ(source_->reads(), 2);
  EXPECT_GE(engine_->LoadOutside([] { return true; }), 1u);
  EXPECT_EQ(Read(*clones[2], 11), ChunkOf(7, 11));
}

// A clone that is not entered yet may be all that has it.
TEST_F(OutsideTest, WhatIsBeingClonedIsReadBeforeTheEnd) {
  source_->GoOn();
  VolumeOptions options;
  options.name = "small";
  options.size_bytes = kChunkBytes;
  auto small = *engine_->CreateVolume(options);
  EXPECT_THAT(small->AddOutside(7, {{{0, 0}}}), IsOk());
  EXPECT_THAT(engine_->DeleteVolume(disk_, false), IsOk());
  std::thread reader;
  absl::Notification ended;
  options.name = "clone";
  auto clone = engine_->CloneVolume(options, small, [&](const Volume&) {
    EXPECT_THAT(engine_->DeleteVolume(small, false), IsOk());
    reader = std::thread([&] {
      EXPECT_EQ(engine_->LoadOutside([] { return true; }), 0u);
      engine_->EndOutside(/*forget=*/true);
      ended.Notify();
    });
    EXPECT_FALSE(ended.WaitForNotificationWithTimeout(absl::Milliseconds(200)));
    return std::string();
  });
  reader.join();
  ASSERT_THAT(clone.status(), IsOk());
  EXPECT_TRUE(Read(**clone, 0) == ChunkOf(7, 0));
}

}  // namespace
}  // namespace ramvol::engine
