#include "client/cli/transfer/extent_walk.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/extent.h"
#include "client/mocks/mock_volume_connection.h"
#include "client/remote_volume.h"
#include "client/volume_connection.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::cli {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::NiceMock;
constexpr int64_t kGib = int64_t{1} << 30;

// A volume whose extents are `extents`. It cuts them at the ends of the range
// that it is asked for, as a server does.
class ExtentWalkTest : public ::testing::Test {
 protected:
  ExtentWalkTest() {
    ON_CALL(*connection_, ExtentsAsync)
        .WillByDefault([this](int64_t offset, int64_t length, int32_t,
                              VolumeConnection::ExtentsDone done) {
          asked_.emplace_back(offset, length);
          if (asked_.size() > fail_after_) {
            return done(absl::UnavailableError("gone"));
          }
          done(Cut(offset, length));
        });
  }

  absl::StatusOr<std::vector<Extent>> Cut(int64_t offset,
                                          int64_t length) const {
    std::vector<Extent> cut;
    for (const Extent& extent : extents_) {
      const int64_t begin = std::max(offset, extent.offset);
      const int64_t end =
          std::min(offset + length, extent.offset + extent.length);
      if (begin < end) cut.push_back({begin, end - begin, extent.hole});
    }
    return cut;
  }

  absl::Status Walk(int64_t offset, int64_t length) {
    visited_.clear();
    return WalkExtents(RemoteVolume(connection_), offset, length,
                       [this](const Extent& extent) {
                         visited_.push_back(extent);
                         return visited_.size() == stop_at_
                                    ? absl::AbortedError("enough")
                                    : absl::OkStatus();
                       });
  }

  const std::shared_ptr<NiceMock<MockVolumeConnection>> connection_ =
      std::make_shared<NiceMock<MockVolumeConnection>>();
  std::vector<Extent> extents_;
  size_t fail_after_ = std::numeric_limits<size_t>::max();
  size_t stop_at_ = 0;
  std::vector<std::pair<int64_t, int64_t>> asked_;  // Offsets and lengths.
  std::vector<Extent> visited_;
};

TEST_F(ExtentWalkTest, VisitsARangeInOrder) {
  extents_ = {{0, 100, true}, {100, 50, false}, {150, 850, true}};
  EXPECT_TRUE(Walk(10, 200).ok());
  EXPECT_THAT(visited_,
              ElementsAre(Extent{10, 90, true}, Extent{100, 50, false},
                          Extent{150, 60, true}));
  EXPECT_TRUE(Walk(0, 0).ok());
  EXPECT_THAT(visited_, IsEmpty());
}

// What a window cuts is one extent again.
TEST_F(ExtentWalkTest, JoinsNeighboursAcrossWindows) {
  extents_ = {{0, 5 * kGib / 2, false}, {5 * kGib / 2, kGib, true}};
  EXPECT_TRUE(Walk(0, 7 * kGib / 2).ok());
  EXPECT_THAT(visited_, ElementsAre(Extent{0, 5 * kGib / 2, false},
                                    Extent{5 * kGib / 2, kGib, true}));
  EXPECT_EQ(asked_.size(), 4u);
  for (const auto& [offset, length] : asked_) EXPECT_LE(length, kGib);
}

TEST_F(ExtentWalkTest, WindowsGrowOverHolesAndShrinkAtData) {
  extents_ = {{0, 100 * kGib, true}, {100 * kGib, 300 * kGib, false}};
  EXPECT_TRUE(Walk(0, 400 * kGib).ok());
  EXPECT_THAT(visited_, ElementsAre(Extent{0, 100 * kGib, true},
                                    Extent{100 * kGib, 300 * kGib, false}));
  ASSERT_GE(asked_.size(), 4u);
  EXPECT_EQ(asked_[0].second, kGib);
  EXPECT_EQ(asked_[1].second, 4 * kGib);
  EXPECT_EQ(asked_[2].second, 16 * kGib);
  EXPECT_EQ(asked_.back().second, kGib);
}

TEST_F(ExtentWalkTest, AnEmptyVolumeOfAnySizeTakesFewCalls) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  extents_ = {{0, kMost, true}};
  EXPECT_TRUE(Walk(0, kMost).ok());
  EXPECT_THAT(visited_, ElementsAre(Extent{0, kMost, true}));
  EXPECT_LT(asked_.size(), 25u);
}

TEST_F(ExtentWalkTest, EndsWithTheFirstError) {
  extents_ = {{0, kGib, true}, {kGib, kGib, false}, {2 * kGib, kGib, true}};
  stop_at_ = 2;
  EXPECT_EQ(Walk(0, 3 * kGib).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(visited_.size(), 2u);
  stop_at_ = 0;
  asked_.clear();
  fail_after_ = 1;
  EXPECT_EQ(Walk(0, 3 * kGib).code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace ramvol::cli
