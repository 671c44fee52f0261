#include "server/engine/memory/account.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace ramvol::engine {
namespace {

TEST(AccountTest, ReservationIsExactAfterResizingItWhileItIsInUse) {
  constexpr uint64_t kReserved = 1 << 20;
  constexpr uint64_t kMore = 64 << 20;
  auto arena = *Arena::Create(256 << 20);
  Account account(*arena, /*limit_bytes=*/0);
  ASSERT_TRUE(account.GrowReservation(kReserved));
  std::atomic<bool> done{false};
  std::thread user([&] {
    while (!done) account.FreePage(account.NewPage(Priority::kNormal));
  });
  uint64_t most = 0;
  for (int i = 0; i < 300000; ++i) {
    ASSERT_TRUE(account.GrowReservation(kMore));
    most = std::max(most, account.used_bytes());
    account.ShrinkReservation(kMore);
  }
  done = true;
  user.join();
  // A page on its way may count twice, what was grown by never.
  EXPECT_LE(most, kReserved + kMore + 2 * kPageBytes);
  EXPECT_EQ(account.used_bytes(), kReserved);
}

TEST(AccountTest, AnArenaThatGotRoomAgainIsNotTakenForTheOwnLimit) {
  constexpr uint64_t kChunk = 64 << 10;
  constexpr uint64_t kLimit = 8 << 20;
  auto arena = *Arena::Create(64 << 20);
  Account account(*arena, kLimit);
  EXPECT_FALSE(account.OwnLimitRefuses(kChunk));
  std::vector<PageId> pages;
  while (account.used_bytes() + kChunk <= kLimit) {
    EXPECT_FALSE(account.OwnLimitRefuses(kChunk)) << account.used_bytes();
    pages.push_back(account.NewPage(Priority::kNormal));
    ASSERT_NE(pages.back(), 0u);
  }
  EXPECT_TRUE(account.OwnLimitRefuses(kChunk)) << account.used_bytes();
  for (const PageId page : pages) account.FreePage(page);
}

}  // namespace
}  // namespace ramvol::engine
