#include "client/lost_streams.h"

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "client/call.h"
#include "client/io_transport.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/make_call.h"

namespace ramvol {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<Part> Changes(const std::vector<int64_t>& offsets) {
  std::vector<Part> parts;
  for (const int64_t offset : offsets) {
    parts.push_back({MakeCall(OperationKind::kTrim, offset), offset, 1});
  }
  return parts;
}

auto OffsetIs(int64_t offset) { return Field(&Part::offset, offset); }

TEST(LostStreamsTest, ReplacedStreamsGiveTheirChangesBack) {
  LostStreams lost;
  lost.Add({.id = 1, .since = At(10), .changes = Changes({100, 101})});
  lost.Add({.id = 2, .since = At(11), .changes = Changes({200})});
  lost.Add({.id = 3, .since = At(12), .changes = Changes({300})});
  EXPECT_THAT(lost.ids(), ElementsAre(1, 2, 3));
  EXPECT_THAT(lost.Replaced({3, 1, 99}),
              ElementsAre(OffsetIs(100), OffsetIs(101), OffsetIs(300)));
  EXPECT_THAT(lost.ids(), ElementsAre(2));
  EXPECT_THAT(lost.Replaced({1}), IsEmpty());
  EXPECT_THAT(lost.Replaced({}), IsEmpty());
}

TEST(LostStreamsTest, TheOldestAreReplacedFirst) {
  LostStreams lost;
  for (uint64_t id = 1; id <= kMaxReplaces + 1; ++id) {
    lost.Add({.id = id, .since = At(10), .changes = {}});
  }
  const std::vector<uint64_t> ids = lost.ids();
  EXPECT_THAT(ids, SizeIs(kMaxReplaces));
  EXPECT_EQ(ids.front(), 1u);
  lost.Replaced(ids);
  EXPECT_THAT(lost.ids(), ElementsAre(kMaxReplaces + 1));
}

TEST(LostStreamsTest, WaitsSinceTheFirstThatHasChanges) {
  LostStreams lost;
  EXPECT_EQ(lost.waiting_since(), absl::InfiniteFuture());
  lost.Add({.id = 1, .since = At(10), .changes = {}});
  EXPECT_EQ(lost.waiting_since(), absl::InfiniteFuture());
  lost.Add({.id = 2, .since = At(11), .changes = Changes({200})});
  lost.Add({.id = 3, .since = At(12), .changes = Changes({300})});
  EXPECT_EQ(lost.waiting_since(), At(11));
}

TEST(LostStreamsTest, WhatIsGivenUpStaysToBeReplaced) {
  LostStreams lost;
  lost.Add({.id = 1, .since = At(10), .changes = Changes({100})});
  lost.Add({.id = 2, .since = At(20), .changes = Changes({200})});
  const std::vector<LostStream> taken = lost.TakeChanges(At(19));
  ASSERT_THAT(taken, SizeIs(1));
  EXPECT_EQ(taken[0].since, At(10));
  EXPECT_THAT(taken[0].changes, ElementsAre(OffsetIs(100)));
  EXPECT_EQ(lost.waiting_since(), At(20));
  EXPECT_THAT(lost.ids(), ElementsAre(1, 2));
  EXPECT_THAT(lost.Replaced({1, 2}), ElementsAre(OffsetIs(200)));
}

TEST(LostStreamsTest, DroppedChangesLeaveTheirStreams) {
  LostStreams lost;
  lost.Add({.id = 1, .since = At(10), .changes = Changes({100})});
  lost.DropChanges();
  EXPECT_EQ(lost.waiting_since(), absl::InfiniteFuture());
  EXPECT_THAT(lost.ids(), ElementsAre(1));
}

}  // namespace
}  // namespace ramvol
