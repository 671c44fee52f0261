#include "server/service/byte_gate.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ramvol::service {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ByteGateTest : public ::testing::Test {
 protected:
  bool Enter(size_t bytes, int who) {
    return gate_.Enter(bytes, [this, who] { admitted_.push_back(who); });
  }

  ByteGate gate_{100};
  std::vector<int> admitted_;
};

TEST_F(ByteGateTest, LetsInWhileThereIsRoom) {
  EXPECT_TRUE(Enter(60, 1));
  EXPECT_TRUE(Enter(40, 2));
  EXPECT_FALSE(Enter(1, 3));
  gate_.Leave(10);
  EXPECT_THAT(admitted_, ElementsAre(3));
}

TEST_F(ByteGateTest, WhoNeedsMoreThanTheLimitGoesAlone) {
  EXPECT_TRUE(Enter(1, 1));
  EXPECT_FALSE(Enter(500, 2));
  gate_.Leave(1);
  EXPECT_THAT(admitted_, ElementsAre(2));
  EXPECT_FALSE(Enter(1, 3));
  gate_.Leave(500);
  EXPECT_THAT(admitted_, ElementsAre(2, 3));
}

TEST_F(ByteGateTest, NobodyOvertakes) {
  EXPECT_TRUE(Enter(90, 1));
  EXPECT_FALSE(Enter(50, 2));
  EXPECT_FALSE(Enter(5, 3));
  gate_.Leave(30);
  EXPECT_THAT(admitted_, IsEmpty());
  gate_.Leave(60);
  EXPECT_THAT(admitted_, ElementsAre(2, 3));
}

}  // namespace
}  // namespace ramvol::service
