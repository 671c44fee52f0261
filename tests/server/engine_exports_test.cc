#include "server/engine_exports.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "base/block/block_device.h"
#include "base/block/exports.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ramvol/v1/volume_service.pb.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "server/service/catalog.h"
#include "tests/support/status_matchers.h"

namespace ramvol::server {
namespace {

using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
constexpr auto kNotFound = absl::StatusCode::kNotFound;
constexpr uint64_t kVolumeBytes = 1 << 20;

// Keeps what it is told.
class Completion final : public block::Completion {
 public:
  void Done(absl::Status status) override { status_ = std::move(status); }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_ = absl::UnknownError("not done");
};

class EngineExportsTest : public ::testing::Test {
 protected:
  std::shared_ptr<engine::Volume> Create(const std::string& name,
                                         bool read_only = false) {
    engine::VolumeOptions options;
    options.name = name;
    options.size_bytes = kVolumeBytes;
    options.read_only = read_only;
    return *engine_->CreateVolume(options);
  }

  const std::unique_ptr<engine::Engine> engine_ = [] {
    engine::EngineOptions options;
    options.memory_limit_bytes = uint64_t{64} << 20;
    return *engine::Engine::Create(options);
  }();
  service::Catalog catalog_{engine_.get()};
  EngineExports exports_{engine_.get(), &catalog_};
  Completion done_;
};

TEST_F(EngineExportsTest, FindsVolumes) {
  Create("disk", /*read_only=*/true);
  const auto found = exports_.Find("disk");
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(found->name, "disk");
  EXPECT_EQ(found->size_bytes, kVolumeBytes);
  EXPECT_TRUE(found->read_only);
  EXPECT_THAT(exports_.Find("tape"),
              HasReason(kNotFound, reason::kVolumeNotFound));
  EXPECT_THAT(exports_.Open("tape", "here"),
              HasReason(kNotFound, reason::kVolumeNotFound));
}

TEST_F(EngineExportsTest, ListsInPagesWithoutAGap) {
  EXPECT_THAT(exports_.List("")->exports, IsEmpty());
  std::vector<std::string> made;
  for (int i = 0; i < 1001; ++i) {
    made.push_back(absl::StrFormat("v%04d", i));
    Create(made.back());
  }
  std::vector<std::string> listed;
  std::string from;
  int pages = 0;
  do {
    const auto page = exports_.List(from);
    ASSERT_THAT(page, IsOk());
    ASSERT_LE(page->exports.size(), 1000u);
    for (const block::ExportInfo& info : page->exports) {
      listed.push_back(info.name);
    }
    from = page->next;
    ++pages;
  } while (!from.empty());
  EXPECT_EQ(listed, made);
  EXPECT_EQ(pages, 2);
}

TEST_F(EngineExportsTest, AVolumeIsAttachedWhileItsDeviceLives) {
  const auto volume = Create("disk");
  auto device = exports_.Open("disk", "127.0.0.1:4711");
  ASSERT_THAT(device, IsOk());
  EXPECT_EQ(volume->Stats().attached_clients, 1);
  device->reset();
  EXPECT_EQ(volume->Stats().attached_clients, 0);
}

TEST_F(EngineExportsTest, DevicesPassOperationsOn) {
  const auto volume = Create("disk");
  const auto opened = exports_.Open("disk", "here");
  ASSERT_THAT(opened, IsOk());
  block::BlockDevice& device = **opened;
  EXPECT_EQ(device.size_bytes(), kVolumeBytes);
  EXPECT_FALSE(device.read_only());
  EXPECT_TRUE(device.synchronous());

  const std::string text(8192, 'x');
  device.Write(4096, {text.data(), text.size()}, &done_);
  EXPECT_THAT(done_.status(), IsOk());
  std::string out(2, '\0');
  device.Read(4095, absl::MakeSpan(out), &done_);
  EXPECT_THAT(done_.status(), IsOk());
  EXPECT_EQ(out, std::string("\0x", 2));

  device.Trim(4096, 4096, &done_);
  EXPECT_THAT(done_.status(), IsOk());
  device.WriteZeroes(8192, 4096, /*no_hole=*/true, &done_);
  EXPECT_THAT(done_.status(), IsOk());
  std::vector<block::Extent> extents;
  device.GetExtents(0, 16384, 10, &extents, &done_);
  EXPECT_THAT(done_.status(), IsOk());
  ASSERT_THAT(extents, SizeIs(3));
  EXPECT_EQ(extents[1].offset, 8192u);
  EXPECT_EQ(extents[1].length, 4096u);
  EXPECT_FALSE(extents[1].hole) << "zeroes that are no hole";
  EXPECT_TRUE(extents[0].hole) << "trimmed";
  extents.clear();
  device.GetExtents(0, 16384, 1, &extents, &done_);
  EXPECT_THAT(extents, SizeIs(1));

  device.Flush(&done_);
  EXPECT_THAT(done_.status(), IsOk());
  EXPECT_EQ(volume->Stats().flush_operations, 1u);
}

TEST_F(EngineExportsTest, WhatEachDeviceReadsAndWritesIsCounted) {
  const auto volume = Create("disk");
  const auto opened = exports_.Open("disk", "10.0.0.7:40112");
  ASSERT_THAT(opened, IsOk());
  block::BlockDevice& device = **opened;
  const std::string data(8192, 'x');
  device.Write(0, {data.data(), data.size()}, &done_);
  ASSERT_THAT(done_.status(), IsOk());
  std::string out(100, '\0');
  device.Read(0, absl::MakeSpan(out), &done_);
  ASSERT_THAT(done_.status(), IsOk());
  device.Read(kVolumeBytes, absl::MakeSpan(out), &done_);
  EXPECT_FALSE(done_.status().ok());

  const auto holders = volume->holders().List(10).first;
  ASSERT_THAT(holders, SizeIs(1));
  const auto& traffic = *holders[0].traffic;
  EXPECT_EQ(traffic.Sum(engine::Traffic::kWrites), 1u);
  EXPECT_EQ(traffic.Sum(engine::Traffic::kWrittenBytes), 8192u);
  EXPECT_EQ(traffic.Sum(engine::Traffic::kReads), 1u) << "one has failed";
  EXPECT_EQ(traffic.Sum(engine::Traffic::kReadBytes), 100u);
}

TEST_F(EngineExportsTest, DevicesPassErrorsOn) {
  Create("disk");
  const auto opened = exports_.Open("disk", "here");
  ASSERT_THAT(opened, IsOk());
  block::BlockDevice& device = **opened;
  std::string out(2, '\0');
  const auto past_end =
      HasReason(absl::StatusCode::kOutOfRange, reason::kPastEnd);
  device.Read(kVolumeBytes, absl::MakeSpan(out), &done_);
  EXPECT_THAT(done_.status(), past_end);
  device.Write(kVolumeBytes, {out.data(), out.size()}, &done_);
  EXPECT_THAT(done_.status(), past_end);
  std::vector<block::Extent> extents;
  device.GetExtents(kVolumeBytes, 1, 1, &extents, &done_);
  EXPECT_THAT(done_.status(), past_end);
  EXPECT_THAT(extents, IsEmpty());
}

class EngineExportsSnapshotsTest : public EngineExportsTest {
 protected:
  EngineExportsSnapshotsTest() {
    v1::CreateVolumeRequest volume;
    volume.set_name("disk");
    volume.set_size_bytes(kVolumeBytes);
    EXPECT_THAT(catalog_.Create(volume), IsOk());
    Keep("mon");
  }

  void Keep(const std::string& name) {
    v1::CreateSnapshotsRequest request;
    auto& one = *request.add_snapshots();
    one.set_volume("disk");
    one.set_name(name);
    EXPECT_THAT(catalog_.snapshots().Create(request, ""), IsOk());
  }
};

TEST_F(EngineExportsSnapshotsTest, AreReadOnlyExportsAfterTheVolumes) {
  const auto page = exports_.List("");
  ASSERT_THAT(page, IsOk());
  ASSERT_THAT(page->exports, SizeIs(2));
  EXPECT_EQ(page->exports[0].name, "disk");
  EXPECT_EQ(page->exports[1].name, "@mon");
  EXPECT_TRUE(page->exports[1].read_only);
  EXPECT_EQ(page->next, "");
  EXPECT_THAT(exports_.List("@mon")->exports, IsEmpty());
  const auto device = exports_.Open("@mon", "here");
  ASSERT_THAT(device, IsOk());
  EXPECT_TRUE((*device)->read_only());
}

TEST_F(EngineExportsSnapshotsTest, AreListedOfAVolumeAndItsSnapshots) {
  Keep("tue");
  Create("other");
  EXPECT_THAT(*exports_.ListSnapshots("disk", 10), ElementsAre("mon", "tue"));
  EXPECT_THAT(*exports_.ListSnapshots("disk", 1), ElementsAre("mon"));
  EXPECT_THAT(*exports_.ListSnapshots("@mon", 10), ElementsAre("tue"));
  EXPECT_THAT(exports_.ListSnapshots("@wed", 10),
              HasReason(kNotFound, reason::kSnapshotNotFound));
}

TEST_F(EngineExportsSnapshotsTest, DevicesTellWhatHasChanged) {
  const auto device = exports_.Open("disk", "here");
  ASSERT_THAT(device, IsOk());
  const std::string text(4096, 'x');
  (*device)->Write(65536, {text.data(), text.size()}, &done_);
  std::vector<block::Extent> extents;
  const std::string uid = exports_.Find("@mon")->uid;
  (*device)->GetChanges(uid, 0, kVolumeBytes, 10, &extents, &done_);
  EXPECT_THAT(done_.status(), IsOk());
  ASSERT_THAT(extents, SizeIs(3));
  EXPECT_FALSE(extents[0].changed);
  EXPECT_TRUE(extents[1].changed);
  EXPECT_EQ(extents[1].offset, 65536u);
  EXPECT_EQ(extents[2].offset + extents[2].length, kVolumeBytes);

  // The connection, which is about the volume, goes on without the snapshot. It
  // takes no other one for it.
  v1::DeleteSnapshotRequest request;
  request.set_name("mon");
  ASSERT_THAT(catalog_.snapshots().Delete(request, ""), IsOk());
  Keep("mon");
  extents.clear();
  (*device)->GetChanges(uid, 0, kVolumeBytes, 10, &extents, &done_);
  EXPECT_EQ(done_.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(extents, IsEmpty());
  EXPECT_NE(exports_.Find("@mon")->uid, uid);
}

}  // namespace
}  // namespace ramvol::server
