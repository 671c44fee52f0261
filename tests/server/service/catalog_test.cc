#include "server/service/catalog.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/reason.h"
#include "base/usage_limiter.h"
#include "base/usage_limits.h"
#include "base/usage_timer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/status.h"
#include "server/engine/engine.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::HasReason;
using ::ramvol::testing::IsInvalidField;
using ::ramvol::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
constexpr auto kAborted = absl::StatusCode::kAborted;
constexpr auto kAlreadyExists = absl::StatusCode::kAlreadyExists;
constexpr auto kNotFound = absl::StatusCode::kNotFound;

v1::CreateVolumeRequest CreateRequest(const std::string& name,
                                      const std::string& request_id = "") {
  v1::CreateVolumeRequest request;
  request.set_name(name);
  request.set_size_bytes(1 << 20);
  request.set_request_id(request_id);
  (*request.mutable_labels())["team"] = "storage";
  return request;
}

v1::UpdateVolumeRequest Resize(const std::string& name, int64_t size_bytes,
                               const std::string& etag = "") {
  v1::UpdateVolumeRequest request;
  request.set_name(name);
  request.set_etag(etag);
  request.mutable_volume()->set_size_bytes(size_bytes);
  request.mutable_update_mask()->add_paths("size_bytes");
  return request;
}

v1::DeleteVolumeRequest DeleteRequest(const std::string& name,
                                      const std::string& etag = "") {
  v1::DeleteVolumeRequest request;
  request.set_name(name);
  request.set_etag(etag);
  return request;
}

class CatalogTest : public ::testing::Test {
 protected:
  // The names of a page, and whether more follow.
  std::pair<std::vector<std::string>, bool> List(std::string_view after,
                                                 size_t max) const {
    const auto [volumes, more] = catalog_.List(after, max);
    std::vector<std::string> names;
    for (const v1::Volume& volume : volumes) names.push_back(volume.name());
    return {names, more};
  }

  absl::Time now_ = absl::FromUnixSeconds(1000);
  const std::unique_ptr<engine::Engine> engine_ = [] {
    engine::EngineOptions options;
    options.memory_limit_bytes = uint64_t{64} << 20;
    return *engine::Engine::Create(options);
  }();
  Catalog catalog_{engine_.get(), [this] { return now_; }};
};

TEST_F(CatalogTest, CreatesInTheEngineAndKeepsTheRest) {
  const auto created = catalog_.Create(CreateRequest("a"));
  ASSERT_THAT(created, IsOk());
  EXPECT_EQ(created->size_bytes(), 1 << 20);
  EXPECT_THAT(created->labels(), ElementsAre(Pair("team", "storage")));
  EXPECT_EQ(created->create_time().seconds(), 1000);
  EXPECT_EQ(created->update_time().seconds(), 1000);
  EXPECT_FALSE(created->etag().empty());
  EXPECT_EQ(catalog_.Get("a")->SerializeAsString(),
            created->SerializeAsString());
  const auto volume = catalog_.FindVolume("a");
  ASSERT_THAT(volume, IsOk());
  EXPECT_EQ((*volume)->options().size_bytes, 1u << 20);
  EXPECT_EQ(catalog_.Stat("a")->size_bytes, 1u << 20);
}

TEST_F(CatalogTest, NamesWhatItDoesNotFind) {
  const absl::Status status = catalog_.Get("no").status();
  EXPECT_THAT(status, HasReason(kNotFound, reason::kVolumeNotFound));
  EXPECT_EQ(GetMetadata(status).at("volume"), "no");
  EXPECT_THAT(catalog_.FindVolume("no"),
              HasReason(kNotFound, reason::kVolumeNotFound));
  EXPECT_THAT(catalog_.Stat("no"),
              HasReason(kNotFound, reason::kVolumeNotFound));
  EXPECT_THAT(catalog_.Update(Resize("no", 4096)),
              HasReason(kNotFound, reason::kVolumeNotFound));
  EXPECT_THAT(catalog_.Delete(DeleteRequest("no")),
              HasReason(kNotFound, reason::kVolumeNotFound));
  EXPECT_THAT(catalog_.Get(""), IsInvalidField("name"));
}

TEST_F(CatalogTest, ATakenNameIsRefused) {
  ASSERT_THAT(catalog_.Create(CreateRequest("a")), IsOk());
  const absl::Status status = catalog_.Create(CreateRequest("a")).status();
  EXPECT_THAT(status, HasReason(kAlreadyExists, reason::kVolumeExists));
  EXPECT_EQ(GetMetadata(status).at("volume"), "a");
}

TEST_F(CatalogTest, ADryRunCreatesNothingButTellsWhatWouldFail) {
  v1::CreateVolumeRequest request = CreateRequest("a");
  request.set_validate_only(true);
  const auto dry = catalog_.Create(request);
  ASSERT_THAT(dry, IsOk());
  EXPECT_EQ(dry->zstd_level(), 1) << "defaults are filled in";
  EXPECT_THAT(dry->labels(), ElementsAre(Pair("team", "storage")));
  EXPECT_TRUE(dry->etag().empty());
  EXPECT_THAT(List("", 10).first, IsEmpty());
  ASSERT_THAT(catalog_.Create(CreateRequest("a")), IsOk());
  EXPECT_THAT(catalog_.Create(request),
              HasReason(kAlreadyExists, reason::kVolumeExists));
}

TEST_F(CatalogTest, ARepeatedRequestGetsTheFirstAnswer) {
  const auto first = catalog_.Create(CreateRequest("a", "id"));
  ASSERT_THAT(first, IsOk());
  now_ += absl::Seconds(5);
  ASSERT_THAT(catalog_.Update(Resize("a", 4096)), IsOk());
  v1::CreateVolumeRequest again = CreateRequest("a", "id");
  for (const bool dry_run : {false, true}) {
    again.set_validate_only(dry_run);
    const auto answer = catalog_.Create(again);
    ASSERT_THAT(answer, IsOk());
    EXPECT_EQ(answer->SerializeAsString(), first->SerializeAsString());
  }
}

TEST_F(CatalogTest, ARequestIdWithOtherFieldsIsRefused) {
  ASSERT_THAT(catalog_.Create(CreateRequest("a", "id")), IsOk());
  const absl::Status status =
      catalog_.Create(CreateRequest("b", "id")).status();
  EXPECT_THAT(status, HasReason(kAlreadyExists, reason::kVolumeExists));
  EXPECT_EQ(GetMetadata(status).at("volume"), "a");
}

TEST_F(CatalogTest, ARequestIdIsFreeWhenItsVolumeIsGone) {
  const auto first = catalog_.Create(CreateRequest("a", "id"));
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(catalog_.Delete(DeleteRequest("a")), IsOk());
  const auto second = catalog_.Create(CreateRequest("a", "id"));
  ASSERT_THAT(second, IsOk());
  EXPECT_NE(second->uid(), first->uid());
}

// The repetition comes while the first request is between the engine and the
// catalog, where neither knows all of it.
TEST_F(CatalogTest, ARepetitionWaitsForTheFirstOutcome) {
  std::thread repeater;
  std::atomic<bool> answered = false;
  absl::StatusOr<v1::Volume> second = absl::UnknownError("no answer");
  Catalog* repeated = nullptr;
  Catalog catalog(engine_.get(), [&] {
    if (repeater.joinable()) return now_;
    repeater = std::thread([&] {
      second = repeated->Create(CreateRequest("a", "id"));
      answered = true;
    });
    // Gives an answer that comes too early the time to come.
    for (int i = 0; i < 10'000 && !answered; ++i) std::this_thread::yield();
    return now_;
  });
  repeated = &catalog;
  const auto first = catalog.Create(CreateRequest("a", "id"));
  repeater.join();
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->uid(), first->uid());
}

TEST_F(CatalogTest, AChangeStampsTimeAndEtag) {
  const auto before = catalog_.Create(CreateRequest("a"));
  ASSERT_THAT(before, IsOk());
  now_ += absl::Seconds(5);
  const auto after = catalog_.Update(Resize("a", 4096, before->etag()));
  ASSERT_THAT(after, IsOk());
  EXPECT_EQ(after->size_bytes(), 4096);
  EXPECT_EQ(after->create_time().seconds(), 1000);
  EXPECT_EQ(after->update_time().seconds(), 1005);
  EXPECT_NE(after->etag(), before->etag());
  EXPECT_THAT(after->labels(), ElementsAre(Pair("team", "storage")))
      << "the mask does not name them";
  EXPECT_EQ((*catalog_.FindVolume("a"))->options().size_bytes, 4096u);
}

TEST_F(CatalogTest, AnOldEtagChangesNothing) {
  const auto created = catalog_.Create(CreateRequest("a"));
  ASSERT_THAT(created, IsOk());
  const auto now = catalog_.Update(Resize("a", 4096));
  ASSERT_THAT(now, IsOk());
  const absl::Status status =
      catalog_.Update(Resize("a", 8192, created->etag())).status();
  EXPECT_THAT(status, HasReason(kAborted, reason::kEtagMismatch));
  EXPECT_EQ(GetMetadata(status).at("etag"), now->etag());
  EXPECT_THAT(catalog_.Delete(DeleteRequest("a", created->etag())),
              HasReason(kAborted, reason::kEtagMismatch));
  EXPECT_EQ(catalog_.Get("a")->SerializeAsString(), now->SerializeAsString());
  EXPECT_THAT(catalog_.Delete(DeleteRequest("a", now->etag())), IsOk());
  EXPECT_THAT(List("", 10).first, IsEmpty());
}

TEST_F(CatalogTest, AnEtagIsNeverUsedAgain) {
  const auto first = catalog_.Create(CreateRequest("a"));
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(catalog_.Delete(DeleteRequest("a")), IsOk());
  const auto second = catalog_.Create(CreateRequest("a"));
  ASSERT_THAT(second, IsOk());
  EXPECT_NE(first->etag(), second->etag());
}

TEST_F(CatalogTest, OneOfManyDeletesSucceeds) {
  ASSERT_THAT(catalog_.Create(CreateRequest("a")), IsOk());
  constexpr int kThreads = 8;
  std::vector<absl::Status> answers(kThreads);
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (absl::Status& answer : answers) {
    threads.emplace_back([&] { answer = catalog_.Delete(DeleteRequest("a")); });
  }
  for (std::thread& thread : threads) thread.join();
  int deleted = 0;
  for (const absl::Status& answer : answers) deleted += answer.ok() ? 1 : 0;
  EXPECT_EQ(deleted, 1);
  EXPECT_THAT(catalog_.Create(CreateRequest("a")), IsOk());
}

TEST_F(CatalogTest, ListsByNamePageByPage) {
  for (const char* name : {"c", "a", "d", "b"}) {
    ASSERT_THAT(catalog_.Create(CreateRequest(name)), IsOk());
  }
  EXPECT_THAT(List("", 2), Pair(ElementsAre("a", "b"), true));
  EXPECT_THAT(List("b", 2), Pair(ElementsAre("c", "d"), false));
  EXPECT_THAT(List("bb", 1), Pair(ElementsAre("c"), true));
  EXPECT_THAT(List("d", 2), Pair(IsEmpty(), false));
}

TEST_F(CatalogTest, AFailedCreationLeavesNothing) {
  v1::CreateVolumeRequest request = CreateRequest("a", "id");
  request.set_allocator(v1::ALLOCATOR_MALLOC);
  request.set_size_bytes(int64_t{1} << 30);
  const absl::Status status = catalog_.Create(request).status();
  EXPECT_THAT(status, HasReason(absl::StatusCode::kResourceExhausted,
                                reason::kServerMemoryLimit));
  EXPECT_EQ(GetMetadata(status).at("volume"), "a");
  EXPECT_THAT(List("", 10).first, IsEmpty());
  EXPECT_THAT(catalog_.Create(CreateRequest("a", "id")), IsOk());
}

UsageLimits LimitsOf(engine::Engine& engine, const std::string& name) {
  return (*engine.Find(name))->limiter()->limits();
}

v1::UpdateVolumeRequest SetLimits(const v1::UsageLimits& limits,
                                  const std::string& path) {
  v1::UpdateVolumeRequest request;
  request.set_name("a");
  *request.mutable_volume()->mutable_limits() = limits;
  request.mutable_update_mask()->add_paths(path);
  return request;
}

TEST_F(CatalogTest, HoldsVolumesToLimitsOrDefaults) {
  UsageTimer timer;
  ASSERT_THAT(catalog_.Create(CreateRequest("early")), IsOk());
  catalog_.SetUsage({.iops_total = 5, .bps_total_max = 10}, &timer);
  EXPECT_EQ(LimitsOf(*engine_, "early").iops_total, 5u);
  v1::CreateVolumeRequest request = CreateRequest("a");
  request.mutable_limits()->set_iops_total(-1);
  request.mutable_limits()->set_bps_total(20);
  ASSERT_THAT(catalog_.Create(request), IsOk());
  // A burst of another origin is at least the rate.
  EXPECT_EQ(LimitsOf(*engine_, "a"),
            (UsageLimits{.bps_total = 20, .bps_total_max = 20}));
  EXPECT_EQ(catalog_.Get("a")->limits().iops_total(), -1);
}

TEST_F(CatalogTest, ChangesLimitsOneByOneOrAllTogether) {
  UsageTimer timer;
  catalog_.SetUsage({}, &timer);
  ASSERT_THAT(catalog_.Create(CreateRequest("a")), IsOk());
  v1::UsageLimits limits;
  limits.set_iops_total(3);
  limits.set_io_streams(4);
  ASSERT_THAT(catalog_.Update(SetLimits(limits, "limits")), IsOk());
  limits.Clear();
  limits.set_nbd_connections(2);
  ASSERT_THAT(catalog_.Update(SetLimits(limits, "limits.nbd_connections")),
              IsOk());
  EXPECT_EQ(
      LimitsOf(*engine_, "a"),
      (UsageLimits{.iops_total = 3, .io_streams = 4, .nbd_connections = 2}));
  ASSERT_THAT(catalog_.Update(SetLimits(limits, "limits")), IsOk());
  EXPECT_EQ(LimitsOf(*engine_, "a"), UsageLimits{.nbd_connections = 2});
}

TEST_F(CatalogTest, RefusesLimitsThatDoNotFit) {
  UsageTimer timer;
  catalog_.SetUsage({}, &timer);
  ASSERT_THAT(catalog_.Create(CreateRequest("a")), IsOk());
  v1::UsageLimits limits;
  limits.set_iops_total(10);
  ASSERT_THAT(catalog_.Update(SetLimits(limits, "limits")), IsOk());
  limits.set_iops_total_max(9);
  const auto path = {"limits", "limits.iops_total_max"};
  for (const char* one : path) {
    EXPECT_EQ(catalog_.Update(SetLimits(limits, one)).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(catalog_.Update(SetLimits(limits, "limits.x")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(LimitsOf(*engine_, "a"), UsageLimits{.iops_total = 10});
}

TEST_F(CatalogTest, AVolumeThatIsDeletedLetsGo) {
  UsageTimer timer;
  catalog_.SetUsage({.iops_total = 1}, &timer);
  ASSERT_THAT(catalog_.Create(CreateRequest("a")), IsOk());
  const auto limiter = (*engine_->Find("a"))->limiter();
  ASSERT_THAT(catalog_.Delete(DeleteRequest("a")), IsOk());
  EXPECT_FALSE(limiter->limited());
}

}  // namespace
}  // namespace ramvol::service
