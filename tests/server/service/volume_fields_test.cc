#include "server/service/volume_fields.h"

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "gtest/gtest.h"
#include "server/engine/types/options.h"
#include "server/engine/types/stats.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::IsInvalidField;
using ::ramvol::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::Pair;

v1::CreateVolumeRequest CreateRequest() {
  v1::CreateVolumeRequest request;
  request.set_name("disk");
  request.set_size_bytes(1 << 20);
  return request;
}

// Asks for all fields of `volume` that `paths` names.
absl::StatusOr<VolumeChange> Change(const v1::Volume& volume,
                                    std::initializer_list<const char*> paths) {
  v1::UpdateVolumeRequest request;
  *request.mutable_volume() = volume;
  for (const char* path : paths) request.mutable_update_mask()->add_paths(path);
  return ParseUpdate(request);
}

TEST(ParseCreateTest, FillsInTheEnginesDefaults) {
  const auto options = ParseCreate(CreateRequest());
  ASSERT_THAT(options, IsOk());
  const engine::VolumeOptions defaults;
  EXPECT_EQ(options->name, "disk");
  EXPECT_EQ(options->size_bytes, 1u << 20);
  EXPECT_EQ(options->allocator, engine::Allocator::kZstd);
  EXPECT_EQ(options->min_frame_bytes, defaults.min_frame_bytes);
  EXPECT_EQ(options->max_frame_bytes, defaults.max_frame_bytes);
  EXPECT_EQ(options->write_level, engine::kDefaultWriteLevel);
  EXPECT_EQ(options->merge_level, engine::kDefaultMergeLevel);
  EXPECT_EQ(options->memory_limit_bytes, 0u);
  EXPECT_FALSE(options->read_only);
}

TEST(ParseCreateTest, TakesTheFirstAndTheLastOfEachRange) {
  v1::CreateVolumeRequest request = CreateRequest();
  request.set_size_bytes(std::numeric_limits<int64_t>::max());
  request.set_min_frame_bytes(4096);
  request.set_max_frame_bytes(65536);
  request.set_zstd_level(engine::kMinLevel);
  request.set_merge_zstd_level(engine::kMaxLevel);
  request.set_request_id(std::string(kMaxRequestIdBytes, 'x'));
  for (size_t i = 1; i < kMaxLabels; ++i) {
    (*request.mutable_labels())[absl::StrCat("k", i)] = "";
  }
  (*request.mutable_labels())["long"] = std::string(kMaxLabelValueBytes, 'x');
  const auto options = ParseCreate(request);
  ASSERT_THAT(options, IsOk());
  EXPECT_EQ(options->size_bytes, engine::kMaxVolumeBytes);
  EXPECT_EQ(options->write_level, engine::kMinLevel);
  EXPECT_EQ(options->merge_level, engine::kMaxLevel);
  // What the service lets in, the engine must take.
  EXPECT_THAT(options->Validate(), IsOk());
}

TEST(ParseCreateTest, RefusesOneBeyondEachRange) {
  const auto spoilt = [](void (*spoil)(v1::CreateVolumeRequest&)) {
    v1::CreateVolumeRequest request = CreateRequest();
    spoil(request);
    return ParseCreate(request);
  };
  using R = v1::CreateVolumeRequest;
  EXPECT_THAT(spoilt([](R& r) { r.set_name("-"); }), IsInvalidField("name"));
  EXPECT_THAT(spoilt([](R& r) { r.set_size_bytes(0); }),
              IsInvalidField("size_bytes"));
  EXPECT_THAT(spoilt([](R& r) { r.set_allocator(v1::Allocator(99)); }),
              IsInvalidField("allocator"));
  EXPECT_THAT(spoilt([](R& r) { r.set_min_frame_bytes(2048); }),
              IsInvalidField("min_frame_bytes"));
  EXPECT_THAT(spoilt([](R& r) { r.set_max_frame_bytes(12288); }),
              IsInvalidField("max_frame_bytes"));
  EXPECT_THAT(spoilt([](R& r) { r.set_zstd_level(engine::kMaxLevel + 1); }),
              IsInvalidField("zstd_level"));
  EXPECT_THAT(
      spoilt([](R& r) { r.set_merge_zstd_level(engine::kMinLevel - 1); }),
      IsInvalidField("merge_zstd_level"));
  EXPECT_THAT(spoilt([](R& r) { r.set_memory_limit_bytes(-1); }),
              IsInvalidField("memory_limit_bytes"));
  EXPECT_THAT(spoilt([](R& r) {
                r.set_request_id(std::string(kMaxRequestIdBytes + 1, 'x'));
              }),
              IsInvalidField("request_id"));
  EXPECT_THAT(spoilt([](R& r) {
                for (size_t i = 0; i <= kMaxLabels; ++i) {
                  (*r.mutable_labels())[absl::StrCat("k", i)] = "";
                }
              }),
              IsInvalidField("labels"));
  EXPECT_THAT(spoilt([](R& r) {
                (*r.mutable_labels())["k"] =
                    std::string(kMaxLabelValueBytes + 1, 'x');
              }),
              IsInvalidField("labels"));
  EXPECT_THAT(spoilt([](R& r) { (*r.mutable_labels())["Bad"] = ""; }),
              IsInvalidField("labels"));
}

TEST(ParseCreateTest, ChecksFieldsAgainstEachOther) {
  v1::CreateVolumeRequest request = CreateRequest();
  request.set_min_frame_bytes(16384);
  request.set_max_frame_bytes(16384);
  EXPECT_THAT(ParseCreate(request), IsOk());
  request.set_max_frame_bytes(8192);
  EXPECT_THAT(ParseCreate(request), IsInvalidField("min_frame_bytes"));
  request = CreateRequest();
  request.set_allocator(v1::ALLOCATOR_MALLOC);
  EXPECT_THAT(ParseCreate(request), IsOk());
  request.set_memory_limit_bytes(1 << 20);
  EXPECT_THAT(ParseCreate(request), IsInvalidField("memory_limit_bytes"));
}

TEST(ParseUpdateTest, SetsOnlyWhatTheMaskNames) {
  v1::Volume volume;
  volume.set_size_bytes(8192);
  volume.set_zstd_level(3);
  volume.set_read_only(true);
  (*volume.mutable_labels())["a"] = "b";
  const auto change = Change(volume, {"size_bytes", "read_only"});
  ASSERT_THAT(change, IsOk());
  EXPECT_EQ(change->engine.size_bytes, 8192u);
  EXPECT_EQ(change->engine.read_only, true);
  EXPECT_FALSE(change->engine.write_level.has_value());
  EXPECT_FALSE(change->engine.merge_level.has_value());
  EXPECT_FALSE(change->engine.memory_limit_bytes.has_value());
  EXPECT_FALSE(change->set_labels);
  EXPECT_TRUE(change->labels.empty());
}

TEST(ParseUpdateTest, TakesEachPath) {
  v1::Volume volume;
  volume.set_zstd_level(3);
  volume.set_memory_limit_bytes(77);
  (*volume.mutable_labels())["a"] = "b";
  const auto change = Change(volume, {"zstd_level", "merge_zstd_level",
                                      "memory_limit_bytes", "labels"});
  ASSERT_THAT(change, IsOk());
  EXPECT_EQ(change->engine.write_level, 3);
  EXPECT_EQ(change->engine.merge_level, engine::kDefaultMergeLevel)
      << "0 means the default";
  EXPECT_EQ(change->engine.memory_limit_bytes, 77u);
  EXPECT_TRUE(change->set_labels);
  EXPECT_THAT(change->labels, ElementsAre(Pair("a", "b")));
  EXPECT_FALSE(change->engine.if_unattached);
}

TEST(ParseUpdateTest, PassesOnWhetherAttachedClientsForbidIt) {
  v1::UpdateVolumeRequest request;
  request.mutable_update_mask()->add_paths("read_only");
  request.set_if_unattached(true);
  EXPECT_TRUE(ParseUpdate(request)->engine.if_unattached);
}

TEST(ParseUpdateTest, RefusesEmptyAndUnknownMasksAndBadValues) {
  EXPECT_THAT(Change({}, {}), IsInvalidField("update_mask"));
  EXPECT_THAT(Change({}, {"read_only", "name"}), IsInvalidField("update_mask"));
  v1::Volume volume;
  volume.set_zstd_level(99);
  volume.set_merge_zstd_level(99);
  volume.set_memory_limit_bytes(-1);
  (*volume.mutable_labels())["Bad"] = "";
  for (const char* path : {"size_bytes", "zstd_level", "merge_zstd_level",
                           "memory_limit_bytes", "labels"}) {
    EXPECT_THAT(Change(volume, {path}),
                IsInvalidField(absl::StrCat("volume.", path)));
  }
}

TEST(FillVolumeTest, IsTheInverseOfParseCreate) {
  v1::CreateVolumeRequest request = CreateRequest();
  request.set_min_frame_bytes(8192);
  request.set_max_frame_bytes(32768);
  request.set_zstd_level(-7);
  request.set_merge_zstd_level(12);
  request.set_read_only(true);
  for (const v1::Allocator allocator :
       {v1::ALLOCATOR_ZSTD, v1::ALLOCATOR_SPARSE, v1::ALLOCATOR_MALLOC}) {
    request.set_allocator(allocator);
    request.set_memory_limit_bytes(allocator == v1::ALLOCATOR_MALLOC ? 0
                                                                     : 1 << 20);
    const auto options = ParseCreate(request);
    ASSERT_THAT(options, IsOk());
    v1::Volume volume;
    FillVolume(*options, &volume);
    EXPECT_EQ(volume.name(), request.name());
    EXPECT_EQ(volume.size_bytes(), request.size_bytes());
    EXPECT_EQ(volume.allocator(), allocator);
    EXPECT_EQ(volume.min_frame_bytes(), request.min_frame_bytes());
    EXPECT_EQ(volume.max_frame_bytes(), request.max_frame_bytes());
    EXPECT_EQ(volume.zstd_level(), request.zstd_level());
    EXPECT_EQ(volume.merge_zstd_level(), request.merge_zstd_level());
    EXPECT_EQ(volume.memory_limit_bytes(), request.memory_limit_bytes());
    EXPECT_TRUE(volume.read_only());
  }
}

TEST(ToProtoTest, SplitsATimeAsTimestampsDo) {
  const auto at = [](int64_t ns) { return ToProto(absl::FromUnixNanos(ns)); };
  EXPECT_EQ(at(1'500'000'007).seconds(), 1);
  EXPECT_EQ(at(1'500'000'007).nanos(), 500'000'007);
  // Nanoseconds count forward, before 1970 too.
  EXPECT_EQ(at(-1).seconds(), -1);
  EXPECT_EQ(at(-1).nanos(), 999'999'999);
}

TEST(MakeStatsTest, TellsWhatTheEngineMeasured) {
  engine::VolumeStats stats;
  stats.size_bytes = 1;
  stats.logical_bytes = 300;
  stats.stored_bytes = 200;
  stats.memory_bytes = 4;
  stats.memory_limit_bytes = 5;
  stats.compressed_blocks = 6;
  stats.raw_blocks = 7;
  stats.same_filled_blocks = 8;
  stats.dirty_blocks = 9;
  for (size_t i = 0; i < stats.frames.size(); ++i) {
    stats.frames[i] = 10 + i;
    stats.frame_bytes[i] = 20 + i;
  }
  const v1::VolumeStats told = MakeStats(stats);
  EXPECT_EQ(told.size_bytes(), 1);
  EXPECT_EQ(told.logical_bytes(), 300);
  EXPECT_EQ(told.stored_bytes(), 200);
  EXPECT_EQ(told.ratio(), 1.5);
  EXPECT_EQ(told.memory_bytes(), 4);
  EXPECT_EQ(told.memory_limit_bytes(), 5);
  EXPECT_EQ(told.blocks().compressed(), 6);
  EXPECT_EQ(told.blocks().raw(), 7);
  EXPECT_EQ(told.blocks().same_filled(), 8);
  EXPECT_EQ(told.blocks().dirty(), 9);
  ASSERT_EQ(told.frames_size(), engine::kSpans);
  EXPECT_EQ(told.frames(0).span_blocks(), 1);
  EXPECT_EQ(told.frames(4).span_blocks(), 16);
  EXPECT_EQ(told.frames(4).frames(), 14);
  EXPECT_EQ(told.frames(4).stored_bytes(), 24);
}

TEST(MakeStatsTest, AnEmptyVolumeHasNoRatio) {
  EXPECT_EQ(MakeStats({}).ratio(), 0);
}

// Each counter of the message has a number of its own.
TEST(MakeStatsTest, MixesNoCounters) {
  engine::VolumeStats stats;
  uint64_t next = 0;
  for (uint64_t* counter : {&stats.read_operations,
                            &stats.write_operations,
                            &stats.trim_operations,
                            &stats.zero_operations,
                            &stats.flush_operations,
                            &stats.extents_operations,
                            &stats.failed_operations,
                            &stats.read_bytes,
                            &stats.written_bytes,
                            &stats.trimmed_bytes,
                            &stats.zeroed_bytes,
                            &stats.cache_hits,
                            &stats.cache_misses,
                            &stats.merged_frames,
                            &stats.split_frames,
                            &stats.compress_ns,
                            &stats.decompress_ns,
                            &stats.corrupt_frames,
                            &stats.read_ns,
                            &stats.write_ns,
                            &stats.throttled_operations,
                            &stats.throttled_ns}) {
    *counter = ++next;
  }
  const v1::IoCounters io = MakeStats(stats).io();
  const google::protobuf::Descriptor& fields = *io.GetDescriptor();
  EXPECT_EQ(static_cast<uint64_t>(fields.field_count()), next);
  std::set<int64_t> numbers;
  for (int i = 0; i < fields.field_count(); ++i) {
    numbers.insert(io.GetReflection()->GetInt64(io, fields.field(i)));
  }
  EXPECT_EQ(numbers.size(), next) << io.ShortDebugString();
  EXPECT_EQ(numbers.count(0), 0u) << io.ShortDebugString();
  EXPECT_EQ(io.read_operations(), 1);
  EXPECT_EQ(io.failed_operations(), 7);
  EXPECT_EQ(io.written_bytes(), 9);
  EXPECT_EQ(io.cache_misses(), 13);
  EXPECT_EQ(io.write_nanoseconds(), 20);
}

}  // namespace
}  // namespace ramvol::service
