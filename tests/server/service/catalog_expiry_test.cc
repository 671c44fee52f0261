// Times to live.
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "server/engine/engine.h"
#include "server/engine/volume.h"
#include "server/service/catalog.h"
#include "tests/support/status_matchers.h"

namespace ramvol::service {
namespace {

using ::ramvol::testing::IsInvalidField;
using ::ramvol::testing::IsOk;

class CatalogExpiryTest : public ::testing::Test {
 protected:
  CatalogExpiryTest() {
    engine::EngineOptions options;
    options.memory_limit_bytes = 64 << 20;
    engine_ = *engine::Engine::Create(options);
    catalog_ = std::make_unique<Catalog>(
        engine_.get(), [this] { return kStart + Passed(); },
        [this] { return absl::ToInt64Nanoseconds(Passed()); });
  }

  v1::Volume Create(const std::string& name, absl::Duration ttl) {
    v1::CreateVolumeRequest request;
    request.set_name(name);
    request.set_size_bytes(1 << 20);
    request.mutable_ttl()->set_seconds(absl::ToInt64Seconds(ttl));
    return catalog_->Create(request).value();
  }
  absl::StatusOr<v1::Volume> SetTtl(const std::string& name,
                                    absl::Duration ttl) {
    v1::UpdateVolumeRequest request;
    request.set_name(name);
    request.mutable_update_mask()->add_paths("ttl");
    request.mutable_volume()->mutable_ttl()->set_seconds(
        absl::ToInt64Seconds(ttl));
    return catalog_->Update(request);
  }
  bool Exists(const std::string& name) {
    const bool known = catalog_->Get(name).ok();
    EXPECT_EQ(engine_->Find(name).ok(), known);
    return known;
  }
  absl::Duration Passed() const {
    return absl::Seconds(passed_seconds_.load());
  }
  // As the server does, looks every second.
  void Pass(absl::Duration time) {
    for (int64_t i = 0; i < absl::ToInt64Seconds(time); ++i) {
      ++passed_seconds_;
      catalog_->ExpireDue();
    }
  }
  // No look comes in between.
  void PassUnseen(absl::Duration time) {
    passed_seconds_ += absl::ToInt64Seconds(time);
  }
  static absl::Time ExpireTime(const v1::Volume& volume) {
    return absl::FromUnixSeconds(volume.expire_time().seconds());
  }

  const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);
  std::atomic<int64_t> passed_seconds_{0};
  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<Catalog> catalog_;
};

TEST_F(CatalogExpiryTest, AnUnusedVolumeExpires) {
  const v1::Volume volume = Create("v", absl::Minutes(10));
  EXPECT_EQ(volume.ttl().seconds(), 600);
  EXPECT_EQ(ExpireTime(volume), kStart + absl::Minutes(10));
  EXPECT_FALSE(Create("kept", absl::ZeroDuration()).has_ttl());
  EXPECT_EQ(catalog_->with_ttl(), 1u);
  Pass(absl::Seconds(599));
  EXPECT_TRUE(Exists("v"));
  EXPECT_EQ(ExpireTime(*catalog_->Get("v")), kStart + absl::Minutes(10));
  Pass(absl::Seconds(1));
  EXPECT_FALSE(Exists("v"));
  EXPECT_EQ(catalog_->expired(), 1u);
  EXPECT_EQ(catalog_->with_ttl(), 0u);
  Pass(absl::Minutes(20));
  EXPECT_TRUE(Exists("kept"));
  // The name is free.
  EXPECT_NE(Create("v", absl::Minutes(1)).uid(), volume.uid());
}

TEST_F(CatalogExpiryTest, EveryUseProlongsIt) {
  Create("v", absl::Minutes(10));
  std::string data(4096, 'x');
  using Use = std::function<absl::Status(engine::Volume&)>;
  const std::vector<Use> uses = {
      [&](engine::Volume& v) { return v.Write(0, data); },
      [&](engine::Volume& v) { return v.Read(0, absl::MakeSpan(data)); },
      [](engine::Volume& v) { return v.Trim(0, 4096); },
      [](engine::Volume& v) { return v.WriteZeroes(0, 4096, true); },
      [&](engine::Volume&) {
        return engine::Attachment::Make(*engine_->Find("v"), {"nbd", "here"})
            .status();
      }};
  for (const Use& use : uses) {
    Pass(absl::Minutes(9));
    ASSERT_THAT(use(**engine_->Find("v")), IsOk());
  }
  // Looks come every 600 / 32 s.
  Pass(absl::Seconds(599));
  EXPECT_TRUE(Exists("v"));
  Pass(absl::Seconds(20));
  EXPECT_FALSE(Exists("v"));
}

TEST_F(CatalogExpiryTest, SnapshotsClonesAndRevertsProlongIt) {
  Create("v", absl::Minutes(10));
  const std::vector<std::function<absl::Status()>> uses = {
      [&] {
        v1::CreateSnapshotsRequest request;
        request.add_snapshots()->set_volume("v");
        request.mutable_snapshots(0)->set_name("s");
        return catalog_->snapshots().Create(request, "").status();
      },
      [&] {
        v1::CreateVolumeRequest request;
        request.set_name("clone");
        request.set_source("v");
        return catalog_->Create(request).status();
      },
      [&] {
        v1::RevertVolumeRequest request;
        request.set_name("v");
        request.set_snapshot("@s");
        return catalog_->Revert(request).status();
      }};
  for (const auto& use : uses) {
    Pass(absl::Minutes(9));
    ASSERT_THAT(use(), IsOk());
  }
  Pass(absl::Seconds(599));
  EXPECT_TRUE(Exists("v"));
  // What was made of it has a life of its own.
  Pass(absl::Seconds(20));
  EXPECT_FALSE(Exists("v"));
  EXPECT_TRUE(Exists("clone"));
}

TEST_F(CatalogExpiryTest, AnAttachedVolumeDoesNotExpire) {
  Create("v", absl::Seconds(10));
  {
    const auto attachment =
        engine::Attachment::Make(*engine_->Find("v"), {"nbd", "here"});
    ASSERT_THAT(attachment, IsOk());
    Pass(absl::Minutes(10));
    EXPECT_TRUE(Exists("v"));
    EXPECT_FALSE(catalog_->Get("v")->has_expire_time());
    EXPECT_TRUE(catalog_->Get("v")->has_ttl());
  }
  EXPECT_EQ(ExpireTime(*catalog_->Get("v")),
            kStart + Passed() + absl::Seconds(10));
  Pass(absl::Seconds(9));
  EXPECT_TRUE(Exists("v"));
  Pass(absl::Seconds(2));
  EXPECT_FALSE(Exists("v"));
}

TEST_F(CatalogExpiryTest, TheTimeToLiveIsExtendedAndRemoved) {
  const v1::Volume created = Create("v", absl::Seconds(10));
  Pass(absl::Seconds(9));
  const auto extended = SetTtl("v", absl::Seconds(20));
  ASSERT_THAT(extended, IsOk());
  EXPECT_NE(extended->etag(), created.etag());
  EXPECT_EQ(ExpireTime(*extended), kStart + absl::Seconds(29));
  Pass(absl::Seconds(19));
  EXPECT_TRUE(Exists("v"));
  const auto removed = SetTtl("v", absl::ZeroDuration());
  ASSERT_THAT(removed, IsOk());
  EXPECT_FALSE(removed->has_ttl());
  EXPECT_FALSE(removed->has_expire_time());
  EXPECT_EQ(catalog_->with_ttl(), 0u);
  Pass(absl::Hours(1));
  EXPECT_TRUE(Exists("v"));
  // Given back, it counts from then on, and a shorter one is not missed.
  ASSERT_THAT(SetTtl("v", absl::Hours(1000)), IsOk());
  ASSERT_THAT(SetTtl("v", absl::Seconds(5)), IsOk());
  Pass(absl::Seconds(4));
  EXPECT_TRUE(Exists("v"));
  Pass(absl::Seconds(1));
  EXPECT_FALSE(Exists("v"));
}

TEST_F(CatalogExpiryTest, ARenamedVolumeExpiresToo) {
  Create("v", absl::Seconds(10));
  v1::RenameVolumeRequest rename;
  rename.set_name("v");
  rename.set_new_name("w");
  const auto renamed = catalog_->Rename(rename);
  ASSERT_THAT(renamed, IsOk());
  EXPECT_TRUE(renamed->has_expire_time());
  Create("v", absl::Hours(1));
  Pass(absl::Seconds(10));
  EXPECT_FALSE(Exists("w"));
  EXPECT_TRUE(Exists("v"));
}

TEST_F(CatalogExpiryTest, ACallUnderWayKeepsTheVolume) {
  Create("v", absl::Seconds(10));
  {
    const std::shared_ptr<engine::Volume> under_way = *engine_->Find("v");
    PassUnseen(absl::Seconds(10));
    catalog_->ExpireDue();
    ASSERT_THAT(under_way->Write(0, std::string(4096, 'x')), IsOk());
  }
  Pass(absl::Seconds(9));
  EXPECT_TRUE(Exists("v")) << "the write is a use";
  Pass(absl::Seconds(3));
  EXPECT_FALSE(Exists("v"));
}

TEST_F(CatalogExpiryTest, ADeletedVolumeIsForgotten) {
  Create("v", absl::Seconds(10));
  v1::DeleteVolumeRequest request;
  request.set_name("v");
  ASSERT_THAT(catalog_->Delete(request), IsOk());
  EXPECT_EQ(catalog_->with_ttl(), 0u);
  Create("v", absl::ZeroDuration());
  Pass(absl::Minutes(1));
  EXPECT_TRUE(Exists("v"));
  EXPECT_EQ(catalog_->expired(), 0u);
}

TEST_F(CatalogExpiryTest, RefusesTimesOutOfRange) {
  v1::CreateVolumeRequest request;
  request.set_name("v");
  request.set_size_bytes(1);
  request.mutable_ttl()->set_nanos(999'999'999);
  EXPECT_THAT(catalog_->Create(request), IsInvalidField("ttl"));
  request.mutable_ttl()->set_seconds(-5);
  EXPECT_THAT(catalog_->Create(request), IsInvalidField("ttl"));
  request.mutable_ttl()->set_seconds(int64_t{1} << 62);
  EXPECT_THAT(catalog_->Create(request), IsInvalidField("ttl"));
  request.mutable_ttl()->set_seconds(1);
  request.mutable_ttl()->set_nanos(-1);
  EXPECT_THAT(catalog_->Create(request), IsInvalidField("ttl"));
  request.mutable_ttl()->set_nanos(1);
  request.set_validate_only(true);
  const auto checked = catalog_->Create(request);
  ASSERT_THAT(checked, IsOk());
  EXPECT_EQ(checked->ttl().nanos(), 1);
  request.set_validate_only(false);
  ASSERT_THAT(catalog_->Create(request), IsOk());
  EXPECT_THAT(SetTtl("v", absl::Hours(24 * 3651)),
              IsInvalidField("volume.ttl"));
  EXPECT_THAT(SetTtl("v", absl::Hours(24 * 3650)), IsOk());
}

// Clients find the volume, use it and let go, while its time is always just
// over. Who found it must be able to use it, and who used it must find it again
// before letting go: it is there or it is not, and never gone in between.
TEST_F(CatalogExpiryTest, AUseAtTheLastMomentKeepsItOrDoesNotFindIt) {
  constexpr int kVolumes = 200;
  constexpr int kUses = 50;  // Of one volume by one client.
  std::atomic<int> number{0};
  std::atomic<bool> done{false};
  std::atomic<int> used{-1};  // The last one that was.
  const auto use = [&] {
    const std::string data(512, 'x');
    int last = -1;
    while (!done) {
      const int mine = number;
      if (mine == last) continue;
      last = mine;
      const std::string name = absl::StrCat("v", mine);
      for (int i = 0; i < kUses; ++i) {
        const auto volume = engine_->Find(name);
        if (!volume.ok()) break;
        ASSERT_THAT((*volume)->Write(0, data), IsOk());
        ASSERT_THAT(engine_->Find(name), IsOk());
        used = mine;
      }
    }
  };
  Create("v0", absl::Seconds(1));
  std::thread first(use);
  std::thread second(use);
  while (number < kVolumes) {
    while (used != number) std::this_thread::yield();
    while (catalog_->Get(absl::StrCat("v", number.load())).ok()) {
      PassUnseen(absl::Seconds(2));
      catalog_->ExpireDue();
    }
    Create(absl::StrCat("v", number + 1), absl::Seconds(1));
    ++number;
  }
  done = true;
  first.join();
  second.join();
  EXPECT_EQ(catalog_->expired(), static_cast<uint64_t>(kVolumes));
}

TEST_F(CatalogExpiryTest, ManyExpireAtOnce) {
  constexpr int kMany = 2000;
  for (int i = 0; i < kMany; ++i) {
    Create(absl::StrCat("v", i), absl::Seconds(5));
  }
  EXPECT_EQ(catalog_->with_ttl(), static_cast<size_t>(kMany));
  Pass(absl::Seconds(5));
  EXPECT_EQ(catalog_->expired(), static_cast<uint64_t>(kMany));
  EXPECT_EQ(engine_->Stats().volumes, 0u);
}

}  // namespace
}  // namespace ramvol::service
