// What a catalog has of volumes and snapshots that outlived their server.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/reason.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "server/service/catalog.h"
#include "tests/server/engine/support/damage.h"
#include "tests/server/engine/support/shm_dir.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::absl::StatusCode;
using ::google::protobuf::util::MessageDifferencer;
using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

// As no other number in the memory file.
constexpr int64_t kSize = 0x1357'9000;

MATCHER_P(EqualsProto, expected, "") {
  std::string difference;
  MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&difference);
  const bool equal = differencer.Compare(expected, arg);
  *result_listener << difference;
  return equal;
}

v1::CreateVolumeRequest CreateRequest(const std::string& name,
                                      const std::string& request_id = "") {
  v1::CreateVolumeRequest request;
  request.set_name(name);
  request.set_size_bytes(kSize);
  request.set_request_id(request_id);
  (*request.mutable_labels())["team"] = "storage";
  return request;
}

v1::RenameVolumeRequest RenameRequest(const std::string& name,
                                      const std::string& new_name,
                                      const std::string& request_id) {
  v1::RenameVolumeRequest request;
  request.set_name(name);
  request.set_new_name(new_name);
  request.set_request_id(request_id);
  return request;
}

class CatalogStateTest : public ::testing::Test {
 protected:
  CatalogStateTest() { Start(); }

  void Start() {
    engine::EngineOptions options;
    options.memory_limit_bytes = 64 << 20;
    options.state_dir = dir_.path();
    auto engine = engine::Engine::Create(options);
    ASSERT_THAT(engine.status(), IsOk());
    engine_ = *std::move(engine);
    catalog_ = std::make_unique<Catalog>(
        engine_.get(), [this] { return now_; },
        [this] { return absl::ToUnixNanos(now_); });
  }
  void Stop() {
    catalog_.reset();
    engine_.reset();
  }
  void Restart() {
    Stop();
    now_ += absl::Minutes(5);
    Start();
  }

  v1::Volume Create(const v1::CreateVolumeRequest& request) {
    auto created = catalog_->Create(request);
    EXPECT_THAT(created.status(), IsOk());
    return *created;
  }
  v1::Volume Get(const std::string& name) {
    auto volume = catalog_->Get(name);
    EXPECT_THAT(volume.status(), IsOk()) << name;
    return volume.value_or(v1::Volume());
  }
  v1::CreateSnapshotsRequest SnapshotsRequest(
      const std::vector<std::string>& volumes, const std::string& id) {
    v1::CreateSnapshotsRequest request;
    request.set_request_id(id);
    for (const std::string& volume : volumes) {
      v1::CreateSnapshotRequest& one = *request.add_snapshots();
      one.set_volume(volume);
      (*one.mutable_labels())["of"] = volume;
    }
    return request;
  }
  std::vector<v1::Snapshot> Keep(const v1::CreateSnapshotsRequest& request) {
    auto made = catalog_->snapshots().Create(request, "");
    EXPECT_THAT(made.status(), IsOk());
    return made.value_or(std::vector<v1::Snapshot>());
  }
  absl::Status Write(const std::string& name, const std::string& data) {
    auto volume = engine_->Find(name);
    return volume.ok() ? (*volume)->Write(0, data) : volume.status();
  }

  engine::ShmDir dir_;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<Catalog> catalog_;
};

TEST_F(CatalogStateTest, TheStateIsThatOfNow) {
  Create(CreateRequest("a"));
  const std::string snapshot =
      "@" + Keep(SnapshotsRequest({"a"}, "id"))[0].name();
  const std::string bare = snapshot.substr(1);
  const auto expect = [&](engine::Completeness completeness,
                          v1::VolumeState state) {
    for (const std::string& name : {std::string("a"), snapshot}) {
      (*engine_->Find(name))->set_completeness(completeness);
    }
    EXPECT_EQ(Get("a").state(), state);
    EXPECT_EQ(catalog_->snapshots().Get(bare)->state(), state);
    EXPECT_EQ(catalog_->snapshots().List("", "", 10).first[0].state(), state);
  };
  // Nothing is outside, so nobody will ask the source.
  ASSERT_THAT(engine_->BeginOutside(nullptr, {}, 0, 1), IsOk());
  expect(engine::Completeness::kRestoring, v1::VOLUME_STATE_RESTORING);
  expect(engine::Completeness::kIncomplete, v1::VOLUME_STATE_INCOMPLETE);
  expect(engine::Completeness::kComplete, v1::VOLUME_STATE_READY);
  engine_->EndOutside(/*forget=*/true);
  // As a clone has it whose source was still being read.
  expect(engine::Completeness::kRestoring, v1::VOLUME_STATE_READY);
  expect(engine::Completeness::kIncomplete, v1::VOLUME_STATE_INCOMPLETE);
}

TEST_F(CatalogStateTest, SettingsStay) {
  Create(CreateRequest("a"));
  now_ += absl::Seconds(10);
  v1::UpdateVolumeRequest update;
  update.set_name("a");
  update.mutable_volume()->set_zstd_level(5);
  (*update.mutable_volume()->mutable_labels())["env"] = "test";
  update.mutable_update_mask()->add_paths("zstd_level");
  update.mutable_update_mask()->add_paths("labels");
  ASSERT_THAT(catalog_->Update(update), IsOk());
  v1::CreateVolumeRequest clone = CreateRequest("b");
  clone.set_source("a");
  Create(clone);
  const v1::Volume a = Get("a");
  const v1::Volume b = Get("b");
  EXPECT_EQ(a.state(), v1::VOLUME_STATE_READY);
  EXPECT_EQ(b.source_uid(), a.uid());
  for (int i = 0; i < 2; ++i) {
    Restart();
    EXPECT_THAT(Get("a"), EqualsProto(a));
    EXPECT_THAT(Get("b"), EqualsProto(b));
  }
  // Its etag goes on.
  update.set_etag(a.etag());
  ASSERT_THAT(catalog_->Update(update), IsOk());
  EXPECT_THAT(catalog_->Update(update),
              HasReason(StatusCode::kAborted, reason::kEtagMismatch));
  const v1::Volume changed = Get("a");
  EXPECT_NE(changed.etag(), a.etag());
  Restart();
  EXPECT_THAT(Get("a"), EqualsProto(changed));
}

TEST_F(CatalogStateTest, LabelsAndTimeToLiveAloneStay) {
  Create(CreateRequest("a"));
  v1::UpdateVolumeRequest update;
  update.set_name("a");
  update.mutable_volume()->mutable_ttl()->set_seconds(600);
  update.mutable_update_mask()->add_paths("ttl");
  update.mutable_update_mask()->add_paths("labels");
  const auto changed = catalog_->Update(update);
  ASSERT_THAT(changed.status(), IsOk());
  Restart();
  EXPECT_EQ(Get("a").ttl().seconds(), 600);
  EXPECT_TRUE(Get("a").labels().empty());
  EXPECT_EQ(Get("a").etag(), changed->etag());
}

TEST_F(CatalogStateTest, ARepeatedCreationGetsTheFirstAnswer) {
  v1::CreateVolumeRequest request = CreateRequest("a", "id-1");
  request.mutable_ttl()->set_seconds(3600);
  const v1::Volume first = Create(request);
  ASSERT_THAT(catalog_->Rename(RenameRequest("a", "b", "")), IsOk());
  Restart();
  EXPECT_THAT(Create(request), EqualsProto(first));
  request.set_size_bytes(1);
  EXPECT_THAT(catalog_->Create(request),
              HasReason(StatusCode::kAlreadyExists, reason::kVolumeExists));
  // It is forgotten with the volume.
  v1::DeleteVolumeRequest remove;
  remove.set_name("b");
  ASSERT_THAT(catalog_->Delete(remove), IsOk());
  Restart();
  EXPECT_NE(Create(request).uid(), first.uid());
}

TEST_F(CatalogStateTest, ARepeatedRenamingGetsTheFirstAnswer) {
  Create(CreateRequest("a"));
  const auto first = catalog_->Rename(RenameRequest("a", "b", "id-2"));
  ASSERT_THAT(first.status(), IsOk());
  Restart();
  const auto again = catalog_->Rename(RenameRequest("a", "b", "id-2"));
  ASSERT_THAT(again.status(), IsOk());
  EXPECT_THAT(*again, EqualsProto(*first));
  EXPECT_EQ(Get("b").etag(), first->etag());
  EXPECT_THAT(catalog_->Get("a"),
              HasReason(StatusCode::kNotFound, reason::kVolumeNotFound));
}

TEST_F(CatalogStateTest, ARevertedVolumeHasANewEtag) {
  const v1::Volume created = Create(CreateRequest("a"));
  const std::string snapshot = Keep(SnapshotsRequest({"a"}, ""))[0].name();
  v1::RevertVolumeRequest request;
  request.set_name("a");
  request.set_snapshot(snapshot);
  const auto reverted = catalog_->Revert(request);
  ASSERT_THAT(reverted.status(), IsOk());
  Restart();
  EXPECT_NE(Get("a").etag(), created.etag());
  EXPECT_THAT(Get("a"), EqualsProto(*reverted));
}

TEST_F(CatalogStateTest, SnapshotsAndTheirRequestsStay) {
  for (const char* name : {"a", "b", "c"}) Create(CreateRequest(name));
  ASSERT_THAT(Write("b", "some content"), IsOk());
  const auto request = SnapshotsRequest({"c", "b", "a"}, "id-3");
  const std::vector<v1::Snapshot> first = Keep(request);
  const std::vector<v1::Snapshot> other = Keep(SnapshotsRequest({"a"}, ""));
  ASSERT_EQ(first.size(), 3u);
  Restart();
  const std::vector<v1::Snapshot> again = Keep(request);
  ASSERT_EQ(again.size(), 3u);
  for (int i = 0; i < 3; ++i) EXPECT_THAT(again[i], EqualsProto(first[i]));
  const auto got = catalog_->snapshots().Get(first[1].name());
  ASSERT_THAT(got.status(), IsOk());
  EXPECT_THAT(got->labels(), ElementsAre(Pair("of", "b")));
  EXPECT_EQ(got->source_uid(), Get("b").uid());
  EXPECT_EQ(got->create_time().seconds(), first[1].create_time().seconds());
  EXPECT_EQ(got->state(), v1::VOLUME_STATE_READY);
  EXPECT_THAT(catalog_->snapshots().Get(other[0].name()), IsOk());
  // As long as all are there.
  v1::DeleteSnapshotRequest remove;
  remove.set_name(first[0].name());
  remove.set_etag(first[0].etag());
  ASSERT_THAT(catalog_->snapshots().Delete(remove, ""), IsOk());
  EXPECT_EQ(Keep(request)[0].uid(), first[0].uid());
  Restart();
  EXPECT_NE(Keep(request)[0].uid(), first[0].uid());
}

TEST_F(CatalogStateTest, ATimeToLiveBeginsAnew) {
  v1::CreateVolumeRequest request = CreateRequest("a");
  request.mutable_ttl()->set_seconds(600);
  Create(request);
  now_ += absl::Seconds(500);
  Restart();
  EXPECT_EQ(catalog_->with_ttl(), 1u);
  EXPECT_EQ(Get("a").expire_time().seconds(),
            absl::ToUnixSeconds(now_ + absl::Seconds(600)));
  now_ += absl::Seconds(599);
  catalog_->ExpireDue();
  Get("a");
  now_ += absl::Seconds(2);
  catalog_->ExpireDue();
  EXPECT_FALSE(catalog_->Get("a").ok());
  Restart();
  EXPECT_FALSE(catalog_->Get("a").ok());
}

TEST_F(CatalogStateTest, WithoutSettingsThereAreDefaults) {
  engine::VolumeOptions options;
  options.name = "bare";
  options.size_bytes = kSize;
  ASSERT_THAT(engine_->CreateVolume(options).status(), IsOk());
  options.name = "odd";
  {
    const auto odd = engine_->CreateVolume(
        options, [](const engine::Volume&) { return "\xff nothing to parse"; });
    ASSERT_THAT(odd.status(), IsOk());
    ASSERT_THAT(engine_->CreateSnapshots({{*odd, "still"}}).status(), IsOk());
  }
  Restart();
  for (const char* name : {"bare", "odd"}) {
    const v1::Volume volume = Get(name);
    EXPECT_EQ(volume.name(), name);
    EXPECT_EQ(volume.size_bytes(), kSize);
    EXPECT_EQ(volume.etag(), volume.uid() + "-1");
    EXPECT_EQ(volume.create_time().seconds(), absl::ToUnixSeconds(now_));
  }
  const auto snapshot = catalog_->snapshots().Get("still");
  ASSERT_THAT(snapshot.status(), IsOk());
  EXPECT_EQ(snapshot->size_bytes(), kSize);
  EXPECT_EQ(snapshot->etag(), snapshot->uid() + "-1");
}

// --- Damage ---

class CatalogDamageTest : public CatalogStateTest {
 protected:
  // "bad" and a snapshot of it, "still", are damaged.
  CatalogDamageTest() {
    v1::CreateVolumeRequest good = CreateRequest("good");
    good.set_size_bytes(kSize + 4096);
    Create(good);
    created_ = Create(CreateRequest("bad"));
    EXPECT_THAT(Write("good", "good"), IsOk());
    EXPECT_THAT(Write("bad", "bad"), IsOk());
    v1::CreateSnapshotsRequest keep = SnapshotsRequest({"bad"}, "");
    keep.mutable_snapshots(0)->set_name("still");
    Keep(keep);
    Stop();
    EXPECT_GE(engine::DamageContent(dir_.path(), kSize), 2);
    Start();
  }
  static constexpr auto kDataLoss = StatusCode::kDataLoss;

  v1::Volume created_;
};

TEST_F(CatalogDamageTest, ItIsShown) {
  v1::Volume expected = created_;
  expected.set_state(v1::VOLUME_STATE_DAMAGED);
  EXPECT_THAT(Get("bad"), EqualsProto(expected));
  EXPECT_EQ(Get("@still").state(), v1::VOLUME_STATE_DAMAGED);
  EXPECT_EQ(catalog_->snapshots().Get("still")->state(),
            v1::VOLUME_STATE_DAMAGED);
  EXPECT_EQ(Get("good").state(), v1::VOLUME_STATE_READY);
  EXPECT_THAT(engine_->recovered().damaged,
              UnorderedElementsAre("bad", "@still"));
  std::string data(4, '?');
  EXPECT_THAT((*engine_->Find("good"))->Read(0, absl::MakeSpan(data)), IsOk());
  EXPECT_EQ(data, "good");
}

TEST_F(CatalogDamageTest, EveryUseIsRefused) {
  const auto is_damaged = HasReason(kDataLoss, reason::kVolumeDamaged);
  EXPECT_THAT(Write("bad", "x"), is_damaged);
  v1::UpdateVolumeRequest update;
  update.set_name("bad");
  update.mutable_update_mask()->add_paths("labels");
  EXPECT_THAT(catalog_->Update(update), is_damaged);
  EXPECT_THAT(catalog_->Rename(RenameRequest("bad", "worse", "")), is_damaged);
  EXPECT_THAT(
      catalog_->snapshots().Create(SnapshotsRequest({"good", "bad"}, ""), ""),
      is_damaged);
  EXPECT_EQ(catalog_->snapshots().List("", "", 10).first.size(), 1u);
  for (const char* source : {"bad", "@still"}) {
    v1::CreateVolumeRequest clone = CreateRequest("clone");
    clone.set_source(source);
    EXPECT_THAT(catalog_->Create(clone), is_damaged);
    EXPECT_FALSE(engine_->Find("clone").ok());
  }
  v1::RevertVolumeRequest revert;
  revert.set_name("good");
  revert.set_snapshot("still");
  EXPECT_THAT(catalog_->Revert(revert), is_damaged);
  const auto good = *engine_->Find("good");
  EXPECT_THAT(
      good->GetChanges(**engine_->Find("@still"), 0, kSize, 10).status(),
      is_damaged);
  EXPECT_THAT(
      engine::Attachment::Make(*engine_->Find("bad"), {"nbd", "test"}).status(),
      is_damaged);
  EXPECT_THAT(catalog_->Stat("bad").status(), IsOk());
}

TEST_F(CatalogDamageTest, ItCanBeDeleted) {
  v1::DeleteVolumeRequest remove;
  remove.set_name("bad");
  EXPECT_THAT(catalog_->Delete(remove), IsOk());
  v1::DeleteSnapshotRequest remove_snapshot;
  remove_snapshot.set_name("still");
  EXPECT_THAT(catalog_->snapshots().Delete(remove_snapshot, ""), IsOk());
  EXPECT_EQ(Get("good").name(), "good");
  Create(CreateRequest("bad"));
  EXPECT_THAT(Write("bad", "new"), IsOk());
  Restart();
  EXPECT_EQ(Get("bad").state(), v1::VOLUME_STATE_READY);
  EXPECT_TRUE(engine_->recovered().damaged.empty());
}

}  // namespace
}  // namespace ramvol::service
