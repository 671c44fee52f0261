#include "server/status/volume_table.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/volume.h"
#include "tests/support/status_matchers.h"

namespace ramvol::status {
namespace {

using ::ramvol::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kSecondNs = 1'000'000'000;

class VolumeTableTest : public ::testing::Test {
 protected:
  VolumeTableTest() {
    engine::EngineOptions options;
    options.memory_limit_bytes = 64 << 20;
    engine_ = *engine::Engine::Create(options);
    table_ = std::make_unique<VolumeTable>(
        engine_.get(), [this](const std::string& name) {
          return name == labelled_ ? Labels{{"Team", "CI"}} : Labels();
        });
  }

  std::shared_ptr<engine::Volume> Make(const std::string& name,
                                       uint64_t size_bytes = 1 << 20) {
    engine::VolumeOptions options;
    options.name = name;
    options.size_bytes = size_bytes;
    return *engine_->CreateVolume(options);
  }
  // So much later.
  void Refresh(int64_t later_ns = kSecondNs) {
    now_ns_ += later_ns;
    table_->Refresh(now_ns_);
  }
  std::vector<std::string> Names(const VolumeQuery& query) const {
    std::vector<std::string> names;
    for (const VolumeRow* row : table_->Find(query).rows) {
      names.push_back(row->name);
    }
    return names;
  }
  const VolumeRow& Row(const std::string& name) const {
    return *table_->Find({.filter = name}).rows.at(0);
  }

  std::unique_ptr<engine::Engine> engine_;
  std::unique_ptr<VolumeTable> table_;
  std::string labelled_;
  int64_t now_ns_ = 1000 * kSecondNs;
};

TEST_F(VolumeTableTest, SortsAndCutsIntoPages) {
  Make("a", 3000);
  Make("b", 1000);
  Make("c", 2000);
  Refresh();
  const SortKey* const by_size = *FindSortKey("size_bytes");
  EXPECT_THAT(Names({}), ElementsAre("a", "b", "c"));
  EXPECT_THAT(Names({.descending = true}), ElementsAre("c", "b", "a"));
  EXPECT_THAT(Names({.sort = by_size}), ElementsAre("b", "c", "a"));
  EXPECT_THAT(Names({.sort = by_size, .descending = true}),
              ElementsAre("a", "c", "b"));
  EXPECT_THAT(Names({.sort = by_size, .offset = 1, .limit = 1}),
              ElementsAre("c"));
  EXPECT_THAT(Names({.offset = 3}), IsEmpty());
  EXPECT_THAT(Names({.offset = 1000, .limit = 0}), IsEmpty());
  const VolumePage page = table_->Find({.limit = 1});
  EXPECT_EQ(page.matching, 3u);
  EXPECT_EQ(page.total.size_bytes, 6000u);
}

TEST_F(VolumeTableTest, WhatIsUnknownComesLast) {
  auto full = Make("b");
  Make("a");
  Make("c");
  ASSERT_TRUE(full->Write(0, std::string(5000, 'x')).ok());
  Refresh();
  const SortKey* const by_ratio = *FindSortKey("ratio");
  for (const bool descending : {false, true}) {
    EXPECT_THAT(Names({.sort = by_ratio, .descending = descending}),
                ElementsAre("b", "a", "c"));
  }
}

TEST_F(VolumeTableTest, SaysWhatItCanBeSortedBy) {
  EXPECT_EQ(*FindSortKey("name"), nullptr);
  EXPECT_EQ(*FindSortKey(""), nullptr);
  EXPECT_THAT(FindSortKey("colour"), StatusIs(absl::StatusCode::kNotFound,
                                              HasSubstr("name, size_bytes")));
}

TEST_F(VolumeTableTest, FiltersByNameAndByLabel) {
  Make("disk-1");
  Make("disk-2");
  Make("other");
  labelled_ = "other";
  Refresh();
  EXPECT_THAT(Names({.filter = "DISK"}), ElementsAre("disk-1", "disk-2"));
  EXPECT_THAT(Names({.filter = "team=c"}), ElementsAre("other"));
  EXPECT_THAT(Names({.filter = "team"}), IsEmpty());
  EXPECT_EQ(table_->Find({.filter = "2"}).matching, 1u);
}

TEST_F(VolumeTableTest, TellsRatesOfEachVolume) {
  auto volume = Make("disk");
  Refresh();
  EXPECT_TRUE(std::isnan(Row("disk").writes_rate));
  ASSERT_TRUE(volume->Write(0, std::string(1000, 'x')).ok());
  ASSERT_TRUE(volume->Write(0, std::string(1000, 'x')).ok());
  Make("young");
  Refresh(2 * kSecondNs);
  EXPECT_EQ(Row("disk").writes_rate, 1);
  EXPECT_EQ(Row("disk").written_bytes_rate, 1000);
  EXPECT_EQ(Row("disk").reads_rate, 0);
  EXPECT_TRUE(std::isnan(Row("young").writes_rate));
  // Too long ago to be told.
  Refresh(VolumeTable::kMaxRateNs + 1);
  EXPECT_TRUE(std::isnan(Row("disk").writes_rate));
}

TEST_F(VolumeTableTest, AnotherVolumeOfTheNameBeginsAnew) {
  auto volume = Make("disk");
  ASSERT_TRUE(volume->Write(0, std::string(1000, 'x')).ok());
  Refresh();
  ASSERT_TRUE(engine_->DeleteVolume(volume, false).ok());
  Make("disk");
  Refresh();
  EXPECT_TRUE(std::isnan(Row("disk").writes_rate));
}

TEST_F(VolumeTableTest, IsMadeAnewAtMostOnceASecond) {
  Refresh();
  Make("disk");
  Refresh(VolumeTable::kMaxAgeNs - 1);
  EXPECT_THAT(Names({}), IsEmpty());
  Refresh(1);
  EXPECT_THAT(Names({}), ElementsAre("disk"));
  table_->ForgetIfUnused(now_ns_);
  EXPECT_THAT(Names({}), ElementsAre("disk"));
  table_->ForgetIfUnused(now_ns_ + VolumeTable::kMaxRateNs);
  EXPECT_THAT(Names({}), IsEmpty());
  Refresh();
  EXPECT_THAT(Names({}), ElementsAre("disk"));
}

TEST_F(VolumeTableTest, TakesAllOfMany) {
  for (int i = 0; i < 2500; ++i) Make(absl::StrCat("v", i));
  Refresh();
  EXPECT_EQ(table_->Find({}).matching, 2500u);
}

}  // namespace
}  // namespace ramvol::status
