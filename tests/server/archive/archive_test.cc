// Volumes saved as images and restored, in memory and by qemu-img.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "qcow2/format.h"
#include "qcow2/stream_reader.h"
#include "qcow2/stream_writer.h"
#include "server/archive/volume_sink.h"
#include "server/archive/volume_source.h"
#include "server/engine/content/codec.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"

namespace ramvol::archive {
namespace {

using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::Noise;
using ::ramvol::testing::RandomData;
using ::ramvol::testing::Text;
using ::testing::HasSubstr;

constexpr uint64_t kMib = 1 << 20;

class ArchiveTest : public ::testing::Test {
 protected:
  ArchiveTest() : random_(::ramvol::testing::TestSeed(1)) {
    engine::EngineOptions options;
    options.memory_limit_bytes = 512 * kMib;
    options.merge_interval_ms = 3600000;
    engine_ = *engine::Engine::Create(options);
  }

  std::shared_ptr<engine::Volume> Create(
      const std::string& name, uint64_t size,
      engine::Allocator allocator = engine::Allocator::kZstd) {
    engine::VolumeOptions options;
    options.name = name;
    options.size_bytes = size;
    options.allocator = allocator;
    return *engine_->CreateVolume(options);
  }

  // Writes of all kinds and sizes, trims, and zeroes, in the first `within`
  // bytes.
  void Scribble(engine::Volume& volume, int writes, uint64_t within) {
    for (int i = 0; i < writes; ++i) {
      const uint64_t offset = random_() % within;
      const uint64_t length = std::min<uint64_t>(
          within - offset, 1 + ::ramvol::testing::SkewedBelow(random_, 300000));
      switch (random_() % 8) {
        case 0:
          ASSERT_THAT(volume.Trim(offset, length), IsOk());
          break;
        case 1:
          ASSERT_THAT(volume.WriteZeroes(offset, length, true), IsOk());
          break;
        case 2: {
          const std::string data = Text(random_, length);
          ASSERT_THAT(volume.Write(offset, {data.data(), length}), IsOk());
          break;
        }
        default: {
          const std::string data = RandomData(random_, length);
          ASSERT_THAT(volume.Write(offset, {data.data(), length}), IsOk());
        }
      }
    }
  }

  static std::string ReadAll(engine::Volume& volume) {
    std::string all(volume.size_bytes(), '\0');
    for (uint64_t at = 0; at < all.size(); at += kMib) {
      const uint64_t length = std::min(kMib, all.size() - at);
      EXPECT_THAT(volume.Read(at, {&all[at], length}), IsOk());
    }
    return all;
  }

  absl::StatusOr<std::string> Save(
      const std::shared_ptr<engine::Volume>& snapshot,
      const std::shared_ptr<engine::Volume>& since = nullptr,
      const std::string& backing_file = "", bool digest = true,
      std::optional<uint64_t> id = std::nullopt) {
    VolumeSource source(snapshot, since);
    qcow2::Header header;
    header.backing_file = backing_file;
    if (!backing_file.empty()) header.backing_format = "qcow2";
    header.origin = {.size_bytes = snapshot->size_bytes(),
                     .id = id.value_or(snapshot->uid()),
                     .parent = since == nullptr ? 0 : since->uid(),
                     .settings = "settings"};
    auto writer = qcow2::StreamWriter::Make(&source, header, digest);
    if (!writer.ok()) return writer.status();
    std::string image;
    while (!(*writer)->done()) {
      absl::Status status =
          (*writer)->Append(image.size() + 1 + random_() % 300000, &image);
      if (!status.ok()) return status;
    }
    EXPECT_EQ(image.size(), (*writer)->file_bytes());
    return image;
  }

  // In pieces of random length.
  absl::StatusOr<std::shared_ptr<engine::Volume>> Restore(
      const std::string& images, const std::string& name = "restored") {
    VolumeSink sink([&](const qcow2::Header& header) {
      engine::VolumeOptions options = options_;
      options.name = name;
      options.size_bytes = header.exact_size_bytes();
      return engine_->CreateHidden(options);
    });
    qcow2::StreamReader reader(&sink);
    absl::Status status;
    for (size_t at = 0; status.ok() && at < images.size();) {
      const size_t length =
          std::min<size_t>(images.size() - at, 1 + random_() % 200000);
      status = reader.Feed({images.data() + at, length});
      at += length;
    }
    if (status.ok()) status = reader.Finish();
    if (status.ok()) return sink.volume();
    if (sink.volume() != nullptr) {
      EXPECT_THAT(engine_->DeleteVolume(sink.volume(), true), IsOk());
    }
    return status;
  }

  std::shared_ptr<engine::Volume> Snapshot(
      const std::shared_ptr<engine::Volume>& volume) {
    auto snapshot = engine_->SnapshotHidden(volume);
    EXPECT_THAT(snapshot.status(), IsOk());
    return *snapshot;
  }

  static std::string File(const std::string& name, const std::string& bytes) {
    const std::string path =
        absl::StrCat(std::getenv("TEST_TMPDIR"), "/", name);
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  static int Qemu(const std::string& arguments) {
    return std::system(absl::StrCat("cd ", std::getenv("TEST_TMPDIR"),
                                    " && qemu-img ", arguments)
                           .c_str());
  }
  static void QemuAgrees(const std::string& image, const std::string& content) {
    File("image.qcow2", image);
    std::string padded = content;
    padded.resize((padded.size() + 511) / 512 * 512);
    File("content.raw", padded);
    EXPECT_EQ(Qemu("check -q image.qcow2"), 0);
    EXPECT_EQ(Qemu("compare -q -f qcow2 -F raw image.qcow2 content.raw"), 0);
  }

  std::mt19937_64 random_;
  engine::VolumeOptions options_;
  std::unique_ptr<engine::Engine> engine_;
};

TEST_F(ArchiveTest, ImagesOfAllKindsOfContentComeBackAndOpenInQemu) {
  for (const uint64_t size :
       {uint64_t{1}, uint64_t{4096}, uint64_t{65536}, 3 * kMib + 513,
        40 * kMib - 4096 - 7, 90 * kMib}) {
    for (const bool merged : {false, true}) {
      SCOPED_TRACE(absl::StrCat(size, merged ? " merged" : ""));
      const auto volume = Create("v", size);
      Scribble(*volume, 400, size);
      if (merged) {
        engine_->QuiesceForTest(true);
        Scribble(*volume, 40, size);
      }
      const auto snapshot = Snapshot(volume);
      const std::string content = ReadAll(*volume);
      const auto image = Save(snapshot);
      ASSERT_THAT(image.status(), IsOk());
      QemuAgrees(*image, content);
      const auto restored = Restore(*image);
      ASSERT_THAT(restored.status(), IsOk());
      EXPECT_EQ((*restored)->size_bytes(), size);
      EXPECT_TRUE(ReadAll(**restored) == content);
      // And again, merged, which trusts what was put in.
      engine_->QuiesceForTest(true);
      EXPECT_TRUE(ReadAll(**restored) == content);
      for (const auto& each : {volume, snapshot, *restored}) {
        EXPECT_THAT(engine_->DeleteVolume(each, true), IsOk());
      }
    }
  }
}

TEST_F(ArchiveTest, VolumesWithoutCompressionComeBackAndGoIntoAnyOther) {
  for (const auto from :
       {engine::Allocator::kSparse, engine::Allocator::kMalloc,
        engine::Allocator::kZstd}) {
    for (const auto to :
         {engine::Allocator::kSparse, engine::Allocator::kMalloc}) {
      const auto volume = Create("v", 20 * kMib + 100, from);
      Scribble(*volume, 200, volume->size_bytes());
      const auto snapshot = Snapshot(volume);
      const auto image = Save(snapshot);
      ASSERT_THAT(image.status(), IsOk());
      options_.allocator = to;
      const auto restored = Restore(*image);
      ASSERT_THAT(restored.status(), IsOk());
      EXPECT_TRUE(ReadAll(**restored) == ReadAll(*volume));
      for (const auto& each : {volume, snapshot, *restored}) {
        EXPECT_THAT(engine_->DeleteVolume(each, true), IsOk());
      }
    }
  }
}

TEST_F(ArchiveTest, AnImageIsOneInstantWhateverHappensMeanwhile) {
  const auto volume = Create("v", 64 * kMib);
  Scribble(*volume, 600, volume->size_bytes());
  const auto snapshot = Snapshot(volume);
  const std::string content = ReadAll(*volume);
  std::atomic<bool> stop{false};
  std::thread background([&] {
    std::mt19937_64 random(7);
    while (!stop.load()) {
      const std::string data = RandomData(random, 100000);
      const uint64_t offset = random() % (63 * kMib);
      EXPECT_THAT(volume->Write(offset, {data.data(), data.size()}), IsOk());
      engine_->QuiesceForTest(random() % 2 == 0);
      std::string out(4096, ' ');
      for (int i = 0; i < 200; ++i) {
        EXPECT_THAT(volume->Read(random() % (63 * kMib), {out.data(), 4096}),
                    IsOk());
      }
    }
  });
  for (int i = 0; i < 8; ++i) {
    const auto image = Save(snapshot);
    ASSERT_THAT(image.status(), IsOk());
    const auto restored = Restore(*image);
    ASSERT_THAT(restored.status(), IsOk());
    EXPECT_TRUE(ReadAll(**restored) == content);
    if (i == 0) QemuAgrees(*image, content);
    EXPECT_THAT(engine_->DeleteVolume(*restored, true), IsOk());
  }
  stop.store(true);
  background.join();
}

TEST_F(ArchiveTest, AChainHoldsWhatChanged) {
  const auto volume = Create("v", 30 * kMib + 4096);
  Scribble(*volume, 200, volume->size_bytes());
  const auto first = Snapshot(volume);
  Scribble(*volume, 20, volume->size_bytes());
  // What was there and is a hole now has to hide what is below it.
  ASSERT_THAT(volume->Trim(5 * kMib, 3 * kMib), IsOk());
  engine::VolumeUpdate grow;
  grow.size_bytes = 50 * kMib;
  ASSERT_THAT(volume->Update(grow), IsOk());
  Scribble(*volume, 10, volume->size_bytes());
  const auto second = Snapshot(volume);
  const auto base = Save(first);
  const auto overlay = Save(second, first, "base.qcow2");
  ASSERT_THAT(base.status(), IsOk());
  ASSERT_THAT(overlay.status(), IsOk());
  const std::string content = ReadAll(*volume);
  const auto restored = Restore(*base + *overlay);
  ASSERT_THAT(restored.status(), IsOk());
  EXPECT_TRUE(ReadAll(**restored) == content);

  File("base.qcow2", *base);
  QemuAgrees(*overlay, content);
  EXPECT_EQ(Qemu("info --backing-chain image.qcow2 > info.txt"), 0);
  EXPECT_EQ(Qemu("convert -O raw image.qcow2 flat.raw"), 0);
  EXPECT_EQ(Qemu("rebase -f qcow2 -F qcow2 -b base.qcow2 image.qcow2"), 0);
  EXPECT_EQ(Qemu("commit -q image.qcow2"), 0);
  EXPECT_EQ(Qemu("compare -q -f qcow2 -F raw base.qcow2 content.raw"), 0);
  EXPECT_EQ(Qemu("check -q base.qcow2"), 0);
}

TEST_F(ArchiveTest, ChainsInTheWrongOrderAreRefused) {
  const auto volume = Create("v", 2 * kMib);
  Scribble(*volume, 10, volume->size_bytes());
  const auto first = Snapshot(volume);
  Scribble(*volume, 10, volume->size_bytes());
  const auto second = Snapshot(volume);
  const auto base = Save(first);
  const auto overlay = Save(second, first, "base.qcow2");
  EXPECT_THAT(
      Restore(*overlay).status(),
      HasReason(absl::StatusCode::kFailedPrecondition, reason::kWrongBacking));
  EXPECT_THAT(
      Restore(*base + *overlay + *overlay).status(),
      HasReason(absl::StatusCode::kFailedPrecondition, reason::kWrongBacking));
  EXPECT_THAT(
      Restore(*base + *base).status(),
      HasReason(absl::StatusCode::kFailedPrecondition, reason::kWrongBacking));
}

TEST_F(ArchiveTest, DamageAnywhereIsFoundAndLeavesNothing) {
  const auto volume = Create("v", 2 * kMib + 300);
  Scribble(*volume, 60, volume->size_bytes());
  const auto snapshot = Snapshot(volume);
  const std::string content = ReadAll(*volume);
  const std::string image = *Save(snapshot);
  engine_->QuiesceForTest(false);
  const uint64_t before = engine_->Stats().memory_allocated_bytes;
  int found = 0;
  for (int i = 0; i < 300; ++i) {
    std::string damaged = image;
    const size_t at = random_() % damaged.size();
    damaged[at] = static_cast<char>(damaged[at] ^ 1 << random_() % 8);
    const auto restored = Restore(damaged);
    if (!restored.ok()) {
      ++found;
      continue;
    }
    // Only what nobody reads may differ: the end of the trailer.
    EXPECT_TRUE(ReadAll(**restored) == content) << at;
    EXPECT_THAT(engine_->DeleteVolume(*restored, true), IsOk());
  }
  EXPECT_GT(found, 290);
  for (const size_t length :
       {size_t{0}, size_t{1}, size_t{65535}, size_t{65536}, image.size() / 2,
        image.size() - 1}) {
    EXPECT_THAT(
        Restore(image.substr(0, length)).status(),
        HasReason(absl::StatusCode::kInvalidArgument, reason::kDamagedImage));
  }
  engine_->QuiesceForTest(false);
  EXPECT_LE(engine_->Stats().memory_allocated_bytes, before);
  EXPECT_THAT(
      Restore(image + "x").status(),
      HasReason(absl::StatusCode::kInvalidArgument, reason::kDamagedImage));
}

TEST_F(ArchiveTest, AFrameThatWasDamagedBeforeIsFoundWhereItIsRead) {
  const auto volume = Create("v", 4 * kMib);
  const std::string data = Text(random_, 4 * kMib);
  ASSERT_THAT(volume->Write(0, {data.data(), data.size()}), IsOk());
  engine_->QuiesceForTest(true);
  const auto snapshot = Snapshot(volume);
  // It leaves and comes back as it is, with the checksum that it always had:
  // nobody looks at it.
  ASSERT_TRUE(volume->CorruptForTest(kMib));
  const auto image = Save(snapshot);
  ASSERT_THAT(image.status(), IsOk());
  const uint64_t before = engine_->Stats().decompressions.count();
  const auto restored = Restore(*image);
  ASSERT_THAT(restored.status(), IsOk());
  EXPECT_EQ(engine_->Stats().decompressions.count(), before);
  engine_->QuiesceForTest(true);
  std::string out(kMib, ' ');
  EXPECT_EQ((*restored)->Read(kMib, {out.data(), 4096}).code(),
            absl::StatusCode::kDataLoss);
  EXPECT_THAT((*restored)->Read(2 * kMib, {out.data(), kMib}), IsOk());
  EXPECT_TRUE(out == data.substr(2 * kMib, kMib));
}

TEST_F(ArchiveTest, FramesOfOtherImagesHaveToProveWhatTheyHold) {
  const auto volume = Create("v", 4 * kMib);
  const std::string data = Text(random_, 4 * kMib);
  ASSERT_THAT(volume->Write(0, {data.data(), data.size()}), IsOk());
  engine_->QuiesceForTest(true);
  const auto snapshot = Snapshot(volume);
  ASSERT_TRUE(volume->CorruptForTest(kMib));
  // As the command line sends what another program changed.
  EXPECT_THAT(
      Restore(*Save(snapshot, nullptr, "", /*digest=*/false, /*id=*/0))
          .status(),
      HasReason(absl::StatusCode::kInvalidArgument, reason::kDamagedImage));
  EXPECT_THAT(
      Restore(*Save(snapshot, nullptr, "", /*digest=*/false)).status(),
      HasReason(absl::StatusCode::kInvalidArgument, reason::kDamagedImage))
      << "its own, without a digest";
}

// A volume's clusters, with other bytes in the middle of frames.
class FalseSource final : public qcow2::ClusterSource {
 public:
  explicit FalseSource(std::shared_ptr<engine::Volume> volume)
      : source_(std::move(volume), nullptr) {}
  absl::StatusOr<std::vector<qcow2::GroupRoom>> Survey() override {
    return source_.Survey();
  }
  absl::Status PlanGroup(uint32_t group, uint32_t room,
                         std::vector<qcow2::ClusterPlan>* plan) override {
    return source_.PlanGroup(group, room, plan);
  }
  absl::Status ReadCluster(const qcow2::ClusterPlan& plan,
                           absl::Span<char> out) override {
    absl::Status status = source_.ReadCluster(plan, out);
    for (size_t i = 40; i < std::min<size_t>(400, out.size()); ++i) {
      out[i] = static_cast<char>(out[i] * 37 + plan.index);
    }
    return status;
  }

 private:
  VolumeSource source_;
};

TEST_F(ArchiveTest, AFalseImageWithARightDigestHarmsOnlyItsOwnVolume) {
  const auto volume = Create("v", 4 * kMib);
  const std::string data = Text(random_, 4 * kMib);
  ASSERT_THAT(volume->Write(0, {data.data(), data.size()}), IsOk());
  engine_->QuiesceForTest(false);
  const auto snapshot = Snapshot(volume);
  FalseSource source(snapshot);
  qcow2::Header header;
  header.origin.emplace();
  header.origin->size_bytes = 4 * kMib;
  header.origin->id = snapshot->uid();
  auto writer = qcow2::StreamWriter::Make(&source, header, /*digest=*/true);
  ASSERT_THAT(writer.status(), IsOk());
  std::string image;
  ASSERT_THAT((*writer)->Append(size_t{1} << 30, &image), IsOk());
  const uint64_t before = engine_->Stats().memory_allocated_bytes;
  const auto restored = Restore(image);
  ASSERT_THAT(restored.status(), IsOk());
  const auto read_all = [&] {
    std::string out(4096, ' ');
    int lost = 0;
    for (uint64_t at = 0; at < 4 * kMib; at += out.size()) {
      const absl::Status read = (*restored)->Read(at, {out.data(), 4096});
      if (read.ok()) {
        EXPECT_TRUE(out == data.substr(at, out.size())) << at;
      } else {
        EXPECT_EQ(read.code(), absl::StatusCode::kDataLoss);
        ++lost;
      }
    }
    return lost;
  };
  const int lost = read_all();
  EXPECT_GT(lost, 0);
  engine_->QuiesceForTest(true);
  EXPECT_EQ(read_all(), lost) << "merging makes nothing good of it";
  ASSERT_THAT((*restored)->Write(0, {data.data(), kMib}), IsOk());
  EXPECT_LT(read_all(), lost);
  EXPECT_TRUE(ReadAll(*volume) == data);
  EXPECT_THAT(engine_->DeleteVolume(*restored, true), IsOk());
  engine_->QuiesceForTest(true);
  EXPECT_LE(engine_->Stats().memory_allocated_bytes, before + kMib);
}

TEST_F(ArchiveTest, ARestoreThatDoesNotFitLeavesNothing) {
  const auto volume = Create("v", 24 * kMib);
  Scribble(*volume, 300, volume->size_bytes());
  const auto snapshot = Snapshot(volume);
  const std::string content = ReadAll(*volume);
  const std::string image = *Save(snapshot);
  engine_->QuiesceForTest(false);
  const uint64_t before = engine_->Stats().memory_allocated_bytes;
  for (const int64_t n : {0, 1, 2, 3, 5, 10, 20, 50, 100, 200}) {
    engine_->FailAllocationsAfterForTest(n);
    const auto restored = Restore(image);
    engine_->FailAllocationsAfterForTest(-1);
    EXPECT_EQ(restored.status().code(), absl::StatusCode::kResourceExhausted)
        << restored.status();
    engine_->QuiesceForTest(false);
    // Less, where the caches of others gave way.
    EXPECT_LE(engine_->Stats().memory_allocated_bytes, before);
  }
  options_.memory_limit_bytes = kMib;
  EXPECT_THAT(Restore(image).status(),
              HasReason(absl::StatusCode::kResourceExhausted,
                        reason::kVolumeMemoryLimit));
  engine_->QuiesceForTest(false);
  EXPECT_LE(engine_->Stats().memory_allocated_bytes, before);
  options_.memory_limit_bytes = 0;
  const auto restored = Restore(image);
  ASSERT_THAT(restored.status(), IsOk());
  EXPECT_TRUE(ReadAll(**restored) == content);
}

TEST_F(ArchiveTest, ASnapshotThatIsDeletedMeanwhileEndsTheSave) {
  const auto volume = Create("v", 8 * kMib);
  Scribble(*volume, 100, volume->size_bytes());
  const auto first = Snapshot(volume);
  Scribble(*volume, 100, volume->size_bytes());
  const auto second = Snapshot(volume);
  ASSERT_THAT(engine_->DeleteVolume(first, true), IsOk());
  EXPECT_EQ(Save(first).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Save(second, first, "b").status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(ArchiveTest, WithoutCompressionItFitsOrSaysThatItDoesNot) {
  const auto volume = Create("v", 8 * kMib);
  Scribble(*volume, 200, volume->size_bytes());
  engine_->QuiesceForTest(true);
  Scribble(*volume, 200, volume->size_bytes());
  engine_->QuiesceForTest(false);
  const auto snapshot = Snapshot(volume);
  const std::string content = ReadAll(*volume);
  for (const int64_t n : {0, 1, 5, 20}) {
    engine::codec::FailCompressionsAfterForTest(n);
    const auto image = Save(snapshot);
    engine::codec::FailCompressionsAfterForTest(-1);
    if (!image.ok()) {
      EXPECT_EQ(image.status().code(), absl::StatusCode::kAborted);
      continue;
    }
    const auto restored = Restore(*image);
    ASSERT_THAT(restored.status(), IsOk());
    EXPECT_TRUE(ReadAll(**restored) == content);
    EXPECT_THAT(engine_->DeleteVolume(*restored, true), IsOk());
  }
}

TEST_F(ArchiveTest, HugeSparseVolumesAreCheapAndLargerOnesAreRefused) {
  const auto volume = Create("v", uint64_t{2} << 50);
  const std::string data = Text(random_, 100000);
  for (const uint64_t offset :
       {uint64_t{0}, uint64_t{1} << 40, (uint64_t{2} << 50) - 100000}) {
    ASSERT_THAT(volume->Write(offset, {data.data(), data.size()}), IsOk());
  }
  const auto image = Save(Snapshot(volume));
  ASSERT_THAT(image.status(), IsOk());
  EXPECT_LT(image->size(), 40 * kMib);
  const auto restored = Restore(*image);
  ASSERT_THAT(restored.status(), IsOk());
  std::string out(100000, ' ');
  ASSERT_THAT(
      (*restored)->Read((uint64_t{2} << 50) - 100000, {out.data(), out.size()}),
      IsOk());
  EXPECT_TRUE(out == data);
  const auto larger = Create("larger", (uint64_t{2} << 50) + 1);
  EXPECT_THAT(
      Save(Snapshot(larger)).status(),
      HasReason(absl::StatusCode::kFailedPrecondition, reason::kTooLargeImage));
}

TEST_F(ArchiveTest, AFileOfSeveralGibHasRefcountBlocksBetween) {
  // Noise at few places, so that groups are full but memory is not: what is
  // written again and again is shared.
  const auto volume = Create("v", uint64_t{5} << 30);
  const std::string data = Text(random_, 1 << 16);
  for (uint64_t offset = 0; offset < volume->size_bytes(); offset += 16 << 20) {
    ASSERT_THAT(volume->Write(offset, {data.data(), data.size()}), IsOk());
  }
  const auto image = Save(Snapshot(volume));
  ASSERT_THAT(image.status(), IsOk());
  File("image.qcow2", *image);
  EXPECT_EQ(Qemu("check -q image.qcow2"), 0);
}

}  // namespace
}  // namespace ramvol::archive
