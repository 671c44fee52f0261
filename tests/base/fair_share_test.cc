#include "base/fair_share.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace ramvol {
namespace {

using Answer = FairShare::Answer;
using Path = std::vector<std::string>;

// Enters until it is refused; how often it got in.
size_t TakeAll(FairShare& share, const Path& path) {
  size_t count = 0;
  while (share.Enter(path) == Answer::kEntered) ++count;
  return count;
}

TEST(FairShareTest, AloneAPeerGetsHalf) {
  FairShare share(100);
  EXPECT_EQ(TakeAll(share, {"a"}), 50u);
  EXPECT_EQ(share.Enter({"a"}), Answer::kTooMany);
  EXPECT_FALSE(share.full());
}

TEST(FairShareTest, TwoGreedyPeersGetAThirdEachAndOneIsLeft) {
  FairShare share(99);
  size_t a = 0;
  size_t b = 0;
  for (int i = 0; i < 99; ++i) {
    if (share.Enter({"a"}) == Answer::kEntered) ++a;
    if (share.Enter({"b"}) == Answer::kEntered) ++b;
  }
  EXPECT_EQ(a, 33u);
  EXPECT_EQ(b, 33u);
  EXPECT_EQ(share.Enter({"c"}), Answer::kEntered);
}

TEST(FairShareTest, EachPeerMayAlwaysHaveSomeUntilNoneIsFree) {
  FairShare share(20);
  EXPECT_EQ(TakeAll(share, {"a"}), 10u);
  EXPECT_EQ(TakeAll(share, {"b"}), FairShare::kAlways);
  EXPECT_EQ(TakeAll(share, {"c"}), 2u);
  EXPECT_TRUE(share.full());
  EXPECT_EQ(share.Enter({"d"}), Answer::kFull);
}

TEST(FairShareTest, APartGetsAnEighthOfWhatItsPeerMayStillTake) {
  FairShare share(1000);
  // With 100 places held, the peer may take 800 more, and the part an eighth.
  EXPECT_EQ(TakeAll(share, {"a", "a1"}), 100u);
  EXPECT_EQ(share.Enter({"a", "a1"}), Answer::kTooMany);
  EXPECT_EQ(share.Enter({"a", "a2"}), Answer::kEntered);
}

TEST(FairShareTest, WithoutANameOnlyTheNumberOfPlacesCounts) {
  FairShare share(20);
  EXPECT_EQ(TakeAll(share, {""}), 20u);
  EXPECT_EQ(share.Enter({}), Answer::kFull);
}

TEST(FairShareTest, LeavingGivesThePlaceBackAndTellsThatItWasTheLast) {
  FairShare share(2);
  ASSERT_EQ(share.Enter({"a", "a1"}), Answer::kEntered);
  ASSERT_EQ(share.Enter({"a", "a1"}), Answer::kEntered);
  EXPECT_TRUE(share.Leave({"a", "a1"}));
  EXPECT_EQ(share.held(), 1u);
  EXPECT_FALSE(share.Leave({"a", "a1"}));
  EXPECT_EQ(share.held(), 0u);
  EXPECT_EQ(TakeAll(share, {"a", "a1"}), 2u);
}

}  // namespace
}  // namespace ramvol
