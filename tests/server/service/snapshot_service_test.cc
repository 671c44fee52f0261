// Snapshots, clones and changes, by RPC against a whole server.
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/random_data.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_server.h"

namespace ramvol::service {
namespace {

using ::absl::StatusCode;
using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsInvalidField;
using ::ramvol::testing::IsOk;
using ::ramvol::testing::StatusIs;
using ::ramvol::testing::TestServer;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Pair;
using Volumes = v1::VolumeService::Stub;
using Blocks = v1::BlockService::Stub;

constexpr int64_t kSize = int64_t{64} << 20;
constexpr int64_t kChunk = 65536;

std::string RandomBytes(uint64_t seed, int64_t bytes) {
  std::mt19937_64 random(seed);
  return testing::Noise(random, static_cast<size_t>(bytes));
}

class SnapshotServiceTest : public ::testing::Test {
 protected:
  SnapshotServiceTest() { server_.CreateVolume("disk", kSize); }

  absl::Status Write(int64_t offset, std::string data,
                     const std::string& volume = "disk") {
    v1::WriteRequest request;
    request.set_volume(volume);
    request.set_offset(offset);
    request.set_data(std::move(data));
    return TestServer::Call(&Blocks::Write, server_.blocks(), request).status();
  }
  absl::StatusOr<std::string> Read(int64_t offset, int64_t length,
                                   const std::string& volume) {
    v1::ReadRequest request;
    request.set_volume(volume);
    request.set_offset(offset);
    request.set_length(length);
    auto response = TestServer::Call(&Blocks::Read, server_.blocks(), request);
    if (!response.ok()) return response.status();
    return response->data();
  }
  absl::StatusOr<v1::Snapshot> Keep(const v1::CreateSnapshotRequest& request) {
    auto response =
        TestServer::Call(&Volumes::CreateSnapshot, server_.volumes(), request);
    if (!response.ok()) return response.status();
    return response->snapshot();
  }
  absl::StatusOr<v1::Snapshot> Keep(const std::string& volume,
                                    const std::string& name) {
    v1::CreateSnapshotRequest request;
    request.set_volume(volume);
    request.set_name(name);
    return Keep(request);
  }
  absl::StatusOr<v1::CreateSnapshotsResponse> KeepAll(
      const std::vector<std::pair<std::string, std::string>>& all) {
    v1::CreateSnapshotsRequest request;
    for (const auto& [volume, name] : all) {
      auto& one = *request.add_snapshots();
      one.set_volume(volume);
      one.set_name(name);
    }
    return TestServer::Call(&Volumes::CreateSnapshots, server_.volumes(),
                            request);
  }
  absl::StatusOr<v1::Snapshot> Get(const std::string& name) {
    v1::GetSnapshotRequest request;
    request.set_name(name);
    auto response =
        TestServer::Call(&Volumes::GetSnapshot, server_.volumes(), request);
    if (!response.ok()) return response.status();
    return response->snapshot();
  }
  absl::StatusOr<v1::Volume> GetVolume(const std::string& name) {
    v1::GetVolumeRequest request;
    request.set_name(name);
    auto response =
        TestServer::Call(&Volumes::GetVolume, server_.volumes(), request);
    if (!response.ok()) return response.status();
    return response->volume();
  }
  std::vector<std::string> Names(const std::string& volume) {
    v1::ListSnapshotsRequest request;
    request.set_volume(volume);
    request.set_page_size(2);
    std::vector<std::string> names;
    do {
      auto page =
          TestServer::Call(&Volumes::ListSnapshots, server_.volumes(), request);
      EXPECT_THAT(page, IsOk());
      if (!page.ok()) break;
      for (const auto& one : page->snapshots()) names.push_back(one.name());
      request.set_page_token(page->next_page_token());
    } while (!request.page_token().empty());
    return names;
  }
  absl::Status Delete(const std::string& name, const std::string& etag = "") {
    v1::DeleteSnapshotRequest request;
    request.set_name(name);
    request.set_etag(etag);
    return TestServer::Call(&Volumes::DeleteSnapshot, server_.volumes(),
                            request)
        .status();
  }
  absl::StatusOr<v1::Volume> Clone(const std::string& source,
                                   const std::string& name,
                                   int64_t size_bytes = 0) {
    v1::CreateVolumeRequest request;
    request.set_source(source);
    request.set_name(name);
    request.set_size_bytes(size_bytes);
    auto response =
        TestServer::Call(&Volumes::CreateVolume, server_.volumes(), request);
    if (!response.ok()) return response.status();
    return response->volume();
  }
  absl::StatusOr<v1::Volume> Revert(const std::string& name,
                                    const std::string& snapshot,
                                    const std::string& etag = "") {
    v1::RevertVolumeRequest request;
    request.set_name(name);
    request.set_snapshot(snapshot);
    request.set_etag(etag);
    auto response =
        TestServer::Call(&Volumes::RevertVolume, server_.volumes(), request);
    if (!response.ok()) return response.status();
    return response->volume();
  }
  // "offset+length" of what changed, "-" before what did not.
  absl::StatusOr<std::vector<std::string>> Changes(const std::string& volume,
                                                   const std::string& since,
                                                   int64_t offset = 0,
                                                   int64_t length = 0,
                                                   int32_t max_extents = 0) {
    v1::GetChangedExtentsRequest request;
    request.set_volume(volume);
    request.set_since(since);
    request.set_offset(offset);
    request.set_length(length);
    request.set_max_extents(max_extents);
    auto response =
        TestServer::Call(&Blocks::GetChangedExtents, server_.blocks(), request);
    if (!response.ok()) return response.status();
    next_offset_ = response->next_offset();
    std::vector<std::string> texts;
    for (const v1::ChangedExtent& one : response->extents()) {
      texts.push_back(absl::StrCat(one.changed() ? "" : "-", one.offset(), "+",
                                   one.length()));
    }
    return texts;
  }

  TestServer server_;
  int64_t next_offset_ = 0;
};

TEST_F(SnapshotServiceTest, ASnapshotKeepsWhatTheVolumeHeld) {
  ASSERT_THAT(Write(4096, "before"), IsOk());
  v1::CreateSnapshotRequest request;
  request.set_volume("disk");
  request.set_name("monday");
  (*request.mutable_labels())["team"] = "storage";
  const auto made = Keep(request);
  ASSERT_THAT(made, IsOk());
  ASSERT_THAT(Write(4096, "after!"), IsOk());
  EXPECT_EQ(Read(4096, 6, "@monday").value(), "before");
  EXPECT_EQ(Read(4096, 6, "disk").value(), "after!");

  const auto disk = GetVolume("disk");
  const auto got = Get("monday");
  ASSERT_THAT(got, IsOk());
  EXPECT_EQ(got->name(), "monday");
  EXPECT_EQ(got->uid(), made->uid());
  EXPECT_EQ(got->source(), "disk");
  EXPECT_EQ(got->source_uid(), disk->uid());
  EXPECT_EQ(got->size_bytes(), kSize);
  EXPECT_GT(got->create_time().seconds(), 0);
  EXPECT_EQ(got->stats().logical_bytes(), 4096);
  EXPECT_THAT(got->labels(), ElementsAre(Pair("team", "storage")));
  EXPECT_EQ(Get("@monday")->uid(), got->uid()) << "with @, too";

  const auto as_volume = GetVolume("@monday");
  ASSERT_THAT(as_volume, IsOk());
  EXPECT_EQ(as_volume->name(), "@monday");
  EXPECT_TRUE(as_volume->read_only());
  EXPECT_EQ(as_volume->uid(), got->uid());
  EXPECT_EQ(as_volume->source(), "disk");
}

TEST_F(SnapshotServiceTest, ASnapshotOutlivesItsVolume) {
  ASSERT_THAT(Write(0, "kept"), IsOk());
  ASSERT_THAT(Keep("disk", "x"), IsOk());
  v1::DeleteVolumeRequest request;
  request.set_name("disk");
  ASSERT_THAT(
      TestServer::Call(&Volumes::DeleteVolume, server_.volumes(), request),
      IsOk());
  EXPECT_EQ(Read(0, 4, "@x").value(), "kept");
  EXPECT_EQ(Get("x")->source(), "disk");
  EXPECT_THAT(Names("disk"), ElementsAre("x"));
}

TEST_F(SnapshotServiceTest, TheServerChoosesANameThatIsFree) {
  const auto one = Keep("disk", "");
  const auto two = Keep("disk", "");
  ASSERT_THAT(one, IsOk());
  ASSERT_THAT(two, IsOk());
  EXPECT_THAT(one->name(), MatchesRegex("disk-[0-9]{8}-[0-9]{6}"));
  EXPECT_NE(one->name(), two->name());

  const std::string longest(63, 'v');
  server_.CreateVolume(longest, 4096);
  EXPECT_THAT(Keep(longest, ""), IsOk());
}

TEST_F(SnapshotServiceTest, RefusesBadRequests) {
  EXPECT_THAT(Keep("none", "x"),
              HasReason(StatusCode::kNotFound, reason::kVolumeNotFound));
  EXPECT_THAT(Keep("", "x"), IsInvalidField("volume"));
  EXPECT_THAT(Keep("disk", "Bad Name"), IsInvalidField("name"));
  ASSERT_THAT(Keep("disk", "x"), IsOk());
  EXPECT_THAT(Keep("disk", "x"),
              HasReason(StatusCode::kAlreadyExists, reason::kSnapshotExists));
  EXPECT_THAT(Keep("@x", "y"), HasReason(StatusCode::kFailedPrecondition,
                                         reason::kReadOnlySnapshot));
  EXPECT_THAT(Get("y"),
              HasReason(StatusCode::kNotFound, reason::kSnapshotNotFound));
  EXPECT_THAT(KeepAll({}), IsInvalidField("snapshots"));
  EXPECT_THAT(KeepAll({{"disk", "a"}, {"disk", "b"}}),
              IsInvalidField("snapshots"));
  EXPECT_THAT(Names(""), ElementsAre("x"));
}

TEST_F(SnapshotServiceTest, ASnapshotCannotChange) {
  ASSERT_THAT(Keep("disk", "x"), IsOk());
  EXPECT_THAT(Write(0, "no", "@x"), HasReason(StatusCode::kFailedPrecondition,
                                              reason::kReadOnlySnapshot));
  v1::UpdateVolumeRequest update;
  update.set_name("@x");
  update.mutable_update_mask()->add_paths("read_only");
  EXPECT_THAT(
      TestServer::Call(&Volumes::UpdateVolume, server_.volumes(), update),
      HasReason(StatusCode::kFailedPrecondition, reason::kReadOnlySnapshot));
  v1::DeleteVolumeRequest remove;
  remove.set_name("@x");
  EXPECT_THAT(
      TestServer::Call(&Volumes::DeleteVolume, server_.volumes(), remove),
      HasReason(StatusCode::kFailedPrecondition, reason::kReadOnlySnapshot));
}

TEST_F(SnapshotServiceTest, SeveralAreMadeAtOnceOrNone) {
  server_.CreateVolume("log", kSize);
  const auto made = KeepAll({{"disk", "d1"}, {"log", ""}});
  ASSERT_THAT(made, IsOk());
  ASSERT_EQ(made->snapshots_size(), 2);
  EXPECT_EQ(made->snapshots(0).name(), "d1");
  EXPECT_EQ(made->snapshots(1).source(), "log");
  EXPECT_THAT(KeepAll({{"log", "l2"}, {"disk", "d1"}}),
              HasReason(StatusCode::kAlreadyExists, reason::kSnapshotExists));
  EXPECT_THAT(Get("l2"), StatusIs(StatusCode::kNotFound, _));
  EXPECT_THAT(KeepAll({{"log", "l2"}, {"none", "n"}}),
              HasReason(StatusCode::kNotFound, reason::kVolumeNotFound));
  EXPECT_THAT(Get("l2"), StatusIs(StatusCode::kNotFound, _));
}

TEST_F(SnapshotServiceTest, ARepeatedRequestGetsTheFirstAnswer) {
  v1::CreateSnapshotRequest request;
  request.set_volume("disk");
  request.set_request_id("one");
  const auto first = Keep(request);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(Keep(request)->uid(), first->uid());
  EXPECT_THAT(Names(""), ElementsAre(first->name()));
  request.set_name("other");
  EXPECT_THAT(Keep(request),
              HasReason(StatusCode::kAlreadyExists, reason::kSnapshotExists));
  ASSERT_THAT(Delete(first->name()), IsOk());
  EXPECT_THAT(Keep(request), IsOk()) << "forgotten with the snapshot";
}

TEST_F(SnapshotServiceTest, ListsByVolumeAndInPages) {
  server_.CreateVolume("log", kSize);
  for (const char* name : {"e", "a", "c"}) {
    ASSERT_THAT(Keep("disk", name), IsOk());
  }
  for (const char* name : {"b", "d"}) ASSERT_THAT(Keep("log", name), IsOk());
  EXPECT_THAT(Names(""), ElementsAre("a", "b", "c", "d", "e"));
  EXPECT_THAT(Names("disk"), ElementsAre("a", "c", "e"));
  EXPECT_THAT(Names("log"), ElementsAre("b", "d"));
  EXPECT_THAT(Names("none"), IsEmpty());
}

TEST_F(SnapshotServiceTest, DeletesByEtag) {
  const auto made = Keep("disk", "x");
  ASSERT_THAT(made, IsOk());
  EXPECT_THAT(Delete("x", "other"),
              HasReason(StatusCode::kAborted, reason::kEtagMismatch));
  EXPECT_THAT(Delete("@x", made->etag()), IsOk());
  EXPECT_THAT(Delete("x"),
              HasReason(StatusCode::kNotFound, reason::kSnapshotNotFound));
  EXPECT_THAT(Read(0, 1, "@x"),
              HasReason(StatusCode::kNotFound, reason::kSnapshotNotFound));
}

TEST_F(SnapshotServiceTest, ACloneBeginsAsItsSource) {
  ASSERT_THAT(Write(0, "golden"), IsOk());
  ASSERT_THAT(Keep("disk", "gold"), IsOk());
  ASSERT_THAT(Write(0, "rotten"), IsOk());
  const auto clone = Clone("@gold", "vm1");
  ASSERT_THAT(clone, IsOk());
  EXPECT_EQ(clone->source(), "@gold");
  EXPECT_EQ(clone->source_uid(), Get("gold")->uid());
  EXPECT_EQ(clone->size_bytes(), kSize);
  EXPECT_FALSE(clone->read_only());
  ASSERT_THAT(Clone("disk", "vm2", 2 * kSize), IsOk());
  ASSERT_THAT(Write(6, "!", "vm1"), IsOk());
  EXPECT_EQ(Read(0, 7, "vm1").value(), "golden!");
  EXPECT_EQ(Read(0, 7, "vm2").value(), std::string("rotten\0", 7));
  EXPECT_EQ(Read(0, 7, "@gold").value(), std::string("golden\0", 7));
  EXPECT_EQ(GetVolume("vm2")->size_bytes(), 2 * kSize);

  EXPECT_THAT(Clone("disk", "vm3", kSize - 1), IsInvalidField("size_bytes"));
  EXPECT_THAT(Clone("@none", "vm3"),
              HasReason(StatusCode::kNotFound, reason::kSnapshotNotFound));
  EXPECT_THAT(Clone("none", "vm3"),
              HasReason(StatusCode::kNotFound, reason::kVolumeNotFound));
}

TEST_F(SnapshotServiceTest, ACloneHasTheSettingsOfItsSource) {
  v1::CreateVolumeRequest request;
  request.set_name("src");
  request.set_size_bytes(kSize);
  request.set_allocator(v1::ALLOCATOR_SPARSE);
  request.set_max_frame_bytes(16384);
  request.set_zstd_level(3);
  request.set_memory_limit_bytes(kSize);
  ASSERT_THAT(
      TestServer::Call(&Volumes::CreateVolume, server_.volumes(), request),
      IsOk());
  v1::CreateVolumeRequest clone;
  clone.set_name("copy");
  clone.set_source("src");
  clone.set_zstd_level(5);
  clone.set_validate_only(true);
  const auto dry =
      TestServer::Call(&Volumes::CreateVolume, server_.volumes(), clone);
  clone.set_validate_only(false);
  const auto made =
      TestServer::Call(&Volumes::CreateVolume, server_.volumes(), clone);
  for (const auto& answer : {dry, made}) {
    ASSERT_THAT(answer, IsOk());
    const v1::Volume& volume = answer->volume();
    EXPECT_EQ(volume.size_bytes(), kSize);
    EXPECT_EQ(volume.allocator(), v1::ALLOCATOR_SPARSE);
    EXPECT_EQ(volume.max_frame_bytes(), 16384);
    EXPECT_EQ(volume.zstd_level(), 5);
    EXPECT_EQ(volume.memory_limit_bytes(), 0);
    EXPECT_EQ(volume.source(), "src");
  }
}

TEST_F(SnapshotServiceTest, RevertGivesTheVolumeThatContentAgain) {
  ASSERT_THAT(Write(0, "good"), IsOk());
  ASSERT_THAT(Keep("disk", "x"), IsOk());
  ASSERT_THAT(Write(0, "evil"), IsOk());
  const std::string etag = GetVolume("disk")->etag();
  EXPECT_THAT(Revert("disk", "@x", "other"),
              HasReason(StatusCode::kAborted, reason::kEtagMismatch));
  EXPECT_THAT(Revert("disk", "@y"),
              HasReason(StatusCode::kNotFound, reason::kSnapshotNotFound));
  EXPECT_THAT(Revert("@x", "@x"), HasReason(StatusCode::kFailedPrecondition,
                                            reason::kReadOnlySnapshot));
  const auto reverted = Revert("disk", "@x", etag);
  ASSERT_THAT(reverted, IsOk());
  EXPECT_NE(reverted->etag(), etag);
  EXPECT_EQ(Read(0, 4, "disk").value(), "good");
  EXPECT_THAT(Revert("disk", "x"), IsOk()) << "without @, and again";
}

TEST_F(SnapshotServiceTest, ListsWhatHasChanged) {
  ASSERT_THAT(Write(0, RandomBytes(1, 4 * kChunk)), IsOk());
  ASSERT_THAT(Keep("disk", "x"), IsOk());
  EXPECT_THAT(Changes("disk", "@x").value(),
              ElementsAre(absl::StrCat("-0+", kSize)));
  ASSERT_THAT(Write(4096, RandomBytes(2, 4096)), IsOk());
  ASSERT_THAT(Write(8 * kChunk, RandomBytes(3, kChunk)), IsOk());
  const auto changes = Changes("disk", "@x");
  ASSERT_THAT(changes, IsOk());
  // Of the first chunk, other blocks may be named, too.
  EXPECT_THAT(*changes, ::testing::Contains("524288+65536"));
  EXPECT_EQ(next_offset_, kSize);
  EXPECT_THAT(Changes("@x", "@x").value(),
              ElementsAre(absl::StrCat("-0+", kSize)));
  EXPECT_THAT(Changes("disk", "@x", 2 * kChunk, kChunk).value(),
              ElementsAre("-131072+65536"));
  EXPECT_THAT(Changes("disk", "@x", 4 * kChunk, 0, 1).value(),
              ElementsAre("-262144+262144"));
  EXPECT_EQ(next_offset_, 8 * kChunk);
  EXPECT_THAT(Changes("disk", "@x", 8 * kChunk, 0, 1).value(),
              ElementsAre("524288+65536"));
  EXPECT_EQ(next_offset_, 9 * kChunk);

  EXPECT_THAT(Changes("disk", "x"), IsInvalidField("since"));
  EXPECT_THAT(Changes("disk", ""), IsInvalidField("since"));
  EXPECT_THAT(Changes("disk", "@y"),
              HasReason(StatusCode::kNotFound, reason::kSnapshotNotFound));
  EXPECT_THAT(Changes("disk", "@x", -1), IsInvalidField("offset"));
  EXPECT_THAT(Changes("disk", "@x", kSize + 1),
              StatusIs(StatusCode::kOutOfRange, _));
}

TEST_F(SnapshotServiceTest, MeasuresWhatIsShared) {
  ASSERT_THAT(Write(0, RandomBytes(1, 16 * kChunk)), IsOk());
  ASSERT_THAT(Keep("disk", "x"), IsOk());
  v1::StatVolumeRequest request;
  request.set_name("@x");
  const auto stat =
      TestServer::Call(&Volumes::StatVolume, server_.volumes(), request);
  ASSERT_THAT(stat, IsOk());
  const v1::VolumeStats& stats = stat->stats();
  EXPECT_EQ(stats.logical_bytes(), 16 * kChunk);
  EXPECT_GE(stats.shared_bytes(), 16 * kChunk);
  EXPECT_LT(stats.own_bytes(), kChunk);
  EXPECT_EQ(stats.own_bytes() + stats.shared_bytes(), stats.memory_bytes());
  const auto info = TestServer::Call(&Volumes::GetServerInfo, server_.volumes(),
                                     v1::GetServerInfoRequest());
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->snapshots(), 1);
  EXPECT_GE(info->shared_bytes(), 16 * kChunk);
}

}  // namespace
}  // namespace ramvol::service
