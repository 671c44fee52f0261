#include "server/service/schedule.h"

#include <memory>

#include "gtest/gtest.h"

namespace ramvol::service {
namespace {

TEST(ScheduleTest, GivesOutWhatIsDueInOrder) {
  Schedule<int> schedule;
  EXPECT_EQ(schedule.PopDue(1000), nullptr);
  schedule.Set(std::make_shared<int>(2), 20);
  schedule.Set(std::make_shared<int>(1), 10);
  EXPECT_EQ(schedule.PopDue(9), nullptr);
  EXPECT_EQ(*schedule.PopDue(20), 1);
  EXPECT_EQ(*schedule.PopDue(20), 2);
  EXPECT_EQ(schedule.PopDue(20), nullptr);
}

TEST(ScheduleTest, AnItemIsThereOnce) {
  Schedule<int> schedule;
  const auto item = std::make_shared<int>(1);
  for (int i = 0; i < 1000; ++i) schedule.Set(item, 10 + i);
  EXPECT_EQ(schedule.size(), 1u);
  EXPECT_EQ(schedule.PopDue(1008), nullptr);
  EXPECT_EQ(schedule.PopDue(1009), item);
  schedule.Set(item, 10);
  schedule.Remove(item.get());
  schedule.Remove(item.get());
  EXPECT_EQ(schedule.PopDue(10), nullptr);
  EXPECT_EQ(item.use_count(), 1);
}

}  // namespace
}  // namespace ramvol::service
